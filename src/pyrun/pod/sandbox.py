"""The sandbox of a pod: its cgroup, and pause in a leaf of it, with the namespaces that the containers share."""

from __future__ import annotations

import os
from itertools import zip_longest

from pyrun.container.root_plan import USER_NAMESPACE
from pyrun.errors import StateError
from pyrun.kernel.fd import Fd
from pyrun.kernel.pause import PauseProcess
from pyrun.kernel.step import JoinNamespaces, ParentDeathSignal, Step
from pyrun.linux.pidfd import pidfd_open
from pyrun.pod.limits import pause_limits
from pyrun.pod.sandbox_plan import BARE, LAUNCHER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.kernel.cgroup import Cgroup
    from pyrun.kernel.monitor import Monitor
    from pyrun.kernel.namespace import Namespace
    from pyrun.kernel.spawn import HasFileno
    from pyrun.kernel.undo import Undo
    from pyrun.pod.plan import ProcessPlan

ACCOUNTED = ("cpu", "memory", "pids", "io")  # what is told about a pod and its containers, limited or not


class Sandbox:
    """pause, on its way: it is ready once :meth:`PauseProcess.wait_ready` has returned.

    ``uid`` is the pod's, ``cgroup`` its group, below ``parent``; ``plan`` is what pause is set up with.
    """

    def __init__(
        self,
        uid: str,
        plan: ProcessPlan,
        cgroup: Cgroup,
        pause: PauseProcess,
        undo: Undo,
        users: Namespace | None = None,
        monitor: Monitor | None = None,
    ) -> None:
        self.uid = uid
        self.plan = plan
        self.cgroup = cgroup
        self.pause = pause
        self._undo = undo
        self.users = users
        self.monitor = monitor

    @classmethod
    def create(
        cls,
        uid: str,
        plan: ProcessPlan,
        cgroup: Cgroup,
        undo: Undo,
        bare: int | None = None,
        users: Namespace | None = None,
        monitor: Monitor | None = None,
    ) -> Sandbox:
        """Let pause come up in a leaf of *cgroup*. What ends it goes onto *undo*, which removes the cgroup as well.

        *bare* is the mount namespace that *plan* starts from, if it does (:mod:`pyrun.kernel.bare`); *users* the user namespace
        of a pod that has one, which stays its maker's. With a *monitor* pause is that one's child.
        """
        # A cgroup that has controllers for its children may hold no process itself, so pause has a leaf of its own.
        leaf = cgroup.child(plan.cgroup)
        undo.push(f"close cgroup {leaf.path}", leaf.close)
        leaf.apply_limits(pause_limits(cgroup.read_available_controllers()))
        pid = os.getpid() if monitor is None else monitor.pid
        with Fd.open("/dev/null", os.O_RDWR) as null, Fd.adopt(pidfd_open(pid)) as parent:
            fds: dict[str, HasFileno | int] = {"null": null, LAUNCHER: parent}
            if bare is not None:
                fds[BARE] = bare
            if users is not None:
                fds[USER_NAMESPACE] = users
            pause = PauseProcess.create(plan.steps, namespaces=plan.namespaces, cgroup=leaf, fds=fds, monitor=monitor)
        undo.push("end pause", pause.end)
        return cls(uid, plan, cgroup, pause, undo, users, monitor)

    @property
    def parent(self) -> str:
        """The group that the pod's is in."""
        return self.cgroup.name.rpartition("/")[0]

    @property
    def root(self) -> str:
        """The root of pause's mount namespace, as a path of ours."""
        return f"/proc/{self.pause.process.pid}/root"

    def check_fits(self, plan: ProcessPlan) -> None:
        """Raises :class:`StateError` if a pod whose pause is planned as *plan* needs another sandbox."""
        for has, needs in zip_longest(_made_by(self.plan), _made_by(plan), fillvalue="no more"):
            if has != needs:
                raise StateError(
                    "the sandbox", f"made for another pod ({_tell(has)})", f"made for this one ({_tell(needs)})"
                )

    def close(self) -> None:
        """Let go of one that a monitor holds."""
        self.pause.ready.close()
        self.pause.process.close()
        if self.users is not None:
            self.users.close()
        if self.monitor is not None:
            self.monitor.close()
        self.cgroup.close()

    def remove(self) -> None:
        """End pause and whoever else lives in the cgroup, and remove it, with all else that its maker put on the undo stack.
        Idempotent."""
        self._undo.run()


def _made_by(plan: ProcessPlan) -> list[object]:
    """What makes a difference to the containers: not with whom pause dies, and not what its mount namespace was a copy of."""
    start = JoinNamespaces(BARE, ("mount",))
    return [
        plan.namespaces,
        *[step for step in plan.steps if not isinstance(step, ParentDeathSignal) and step != start],
    ]


def _tell(part: object) -> str:
    return part.describe() if isinstance(part, Step) else str(part)
