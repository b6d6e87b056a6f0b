"""The sandbox of a pod: pause, in a leaf of the pod's cgroup, with the namespaces that the containers share."""

from __future__ import annotations

import os

from pyrun.kernel.fd import Fd
from pyrun.kernel.pause import PAUSE_STEPS, PauseProcess
from pyrun.pod.limits import pause_limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.kernel.cgroup import Cgroup
    from pyrun.kernel.undo import Undo
    from pyrun.pod.plan import ProcessPlan


class Sandbox:
    """pause, on its way: it is ready once :meth:`PauseProcess.wait_ready` has returned.

    ``plan`` is what it is set up with; ``undo`` has what ends it.
    """

    def __init__(self, plan: ProcessPlan, cgroup: Cgroup, undo: Undo) -> None:
        self.plan = plan
        # A cgroup that has controllers for its children may hold no process itself, so pause has a leaf of its own.
        leaf = cgroup.child(plan.cgroup)
        undo.push(f"close cgroup {leaf.path}", leaf.close)
        leaf.apply_limits(pause_limits(cgroup.read_available_controllers()))
        with Fd(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)) as null:
            steps = plan.steps[: -len(PAUSE_STEPS)]
            self.pause = PauseProcess.create(steps, namespaces=plan.namespaces, cgroup=leaf, fds={"null": null})
        undo.push("end pause", self.pause.end)
