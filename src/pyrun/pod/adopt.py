"""Taking up a pod that another process has made, and that lives on with its monitor.

::

    <directory>/pod    what the pod is made with, in JSON (:mod:`pyrun.spec.archive`): written anew whenever that changes

The rest is asked of the monitor (who lives, and how the others ended) and of the kernel (cgroups, namespaces). A container that
waited at its gate when its creator died ends there: nobody can open that any more.
"""

from __future__ import annotations

import json
import os
import select
import time
from contextlib import suppress

from pyrun.container.lower import cgroup_name, class_cgroup, has_files
from pyrun.errors import About, NotFound, PyrunError, SpecError
from pyrun.kernel.cgroup import Cgroup
from pyrun.kernel.monitor import Monitor, MonitoredProcess
from pyrun.kernel.namespace import Namespace
from pyrun.kernel.pause import MONITORED_AS, PauseProcess
from pyrun.kernel.spawn import Adopted
from pyrun.kernel.undo import Undo
from pyrun.pod.container import PodContainer
from pyrun.pod.limits import LimitPolicy
from pyrun.pod.machine import read_machine
from pyrun.pod.maker import ContainerMaker
from pyrun.pod.monitored import MonitorPlace, PodMonitor
from pyrun.pod.plan import opened_paths, plan_pause, pod_paths
from pyrun.pod.pod import Pod
from pyrun.pod.remove import remove_tree
from pyrun.pod.sandbox import Sandbox
from pyrun.pod.task import end_left
from pyrun.pod.user_range import release_user_range
from pyrun.pod.volume import reopen_volumes
from pyrun.spec.archive import classes_of, from_plain, to_plain
from pyrun.spec.pod import PodSpec
from pyrun.value import Value, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signals

    from pyrun.pod.plan import ProcessPlan
    from pyrun.spec.pod import Container
else:
    import _signal as signals

KEPT = "pod"
VERSION = 1
STARTING_S = 10.0  # how long a process between its gate and its program may take
LOOK_S = 0.002
STAGE = "/memfd:pyrun-stage"


class SandboxGone(NotFound):
    """The monitor lives, and pause does not."""


class Kept(Value):
    """What the next process needs of a pod. ``user_locks`` is where its range of ids is locked, if it has one; ``limits_due``
    says that its cgroup gets other limits when a container is made anew."""

    version: int
    uid: str
    spec: PodSpec
    directory: str
    policy: LimitPolicy
    place: MonitorPlace
    user_locks: str = ""
    limits_due: bool = False


CLASSES = classes_of(LimitPolicy, MonitorPlace, Kept)


def keep(kept: Kept) -> None:
    """Write it down, so that nobody ever reads a half."""
    path = f"{kept.place.directory}/{KEPT}"
    data = json.dumps(to_plain(kept)).encode()
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(f"{path}.new", "wb", opener=lambda name, _flags: os.open(name, flags, 0o600)) as file:
        file.write(data)
    os.rename(f"{path}.new", path)


def read_kept(directory: str) -> Kept:
    """What was kept in *directory*. Raises :class:`NotFound` where there is nothing, and :class:`SpecError` for what cannot be
    read."""
    path = f"{directory}/{KEPT}"
    try:
        with open(path, "rb") as file:
            kept = from_plain(json.loads(file.read()), CLASSES)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"no pod is kept at {directory}") from None
    except ValueError as error:
        raise SpecError("", f"not JSON: {error}", path) from None
    except SpecError as error:
        raise error.located(path) from None
    if not isinstance(kept, Kept) or kept.version != VERSION:
        raise SpecError("", f"not the record of a pod, or of another version than {VERSION}", path)
    return kept


def remove_kept(directory: str) -> None:
    """Idempotent."""
    with suppress(FileNotFoundError):
        os.unlink(f"{directory}/{KEPT}")


def adopt(directory: str) -> Pod:
    """See :meth:`Pod.adopt`."""
    kept = read_kept(directory)
    with Undo(f"pod {kept.spec.metadata.name}") as opened:
        return _Adoption(kept, opened).build()


def connect(pod_id: str, *, root: str = "/run/pyrun") -> Pod:
    """A pod with a monitor, whoever drives it: *pod_id* is its uid below ``<root>/pods``, or the absolute path of its
    :class:`MonitorPlace`'s directory. It is what :meth:`Pod.adopt` gives, but at the end of a ``with`` block it is let go
    (:meth:`Pod.close`), and only :meth:`Pod.remove` takes the pod away.

    Several may wait for it, look at it, and run programs in it at the same time. Who starts and ends containers beside a
    :class:`Driver` of another process decides for it: that one sees them end as if they had by themselves.

    Raises :class:`NotFound` where there is no such pod.
    """
    if not pod_id.startswith("/") and (not pod_id or "/" in pod_id or pod_id.startswith(".")):
        raise NotFound(f"{pod_id!r} is no uid of a pod, and no absolute path")
    pod = adopt(pod_id if pod_id.startswith("/") else f"{root}/pods/{pod_id}")
    pod.visited = True
    return pod


class _Adoption:
    """One adoption. What *opened* has closes what was opened, should it fail: the pod itself stays as it is."""

    def __init__(self, kept: Kept, opened: Undo) -> None:
        self.kept = kept
        self.opened = opened
        self.monitor = Monitor.connect(kept.place.directory)
        opened.push("close the monitor", self.monitor.close)
        self.living = dict(self.monitor.processes())
        for process in self.living.values():
            opened.push("close a process", process.close)

    def build(self) -> Pod:
        kept, spec = self.kept, self.kept.spec
        cgroup = Cgroup.open(cgroup_name(kept.uid, class_cgroup(spec)))
        self.opened.push("close the cgroup", cgroup.close)
        undo = Undo(f"pod {spec.metadata.name}")
        undo.push("remove the record of the pod", remove_kept, kept.place.directory)
        self._push_removal(undo, cgroup)
        machine = read_machine()
        volumes = reopen_volumes(opened_paths(spec, pod_paths(kept.directory)), undo)
        for fd in volumes.values():
            self.opened.push("close a volume", fd.close)
        sandbox = self._sandbox(cgroup, plan_pause(spec, machine, signals.SIGKILL), undo)
        monitored = PodMonitor(self.monitor, kept.place)
        maker = ContainerMaker(
            spec, kept.directory, machine, signals.SIGKILL, None, kept.policy, volumes, None, monitored
        )
        pod = Pod(spec, sandbox, maker, undo, Undo("nothing"))
        pod.keep_for(kept)
        if any([has_files(volume) for volume in spec.volumes]):
            pod.write_files()
        for container in (*spec.init_containers, *spec.containers, *spec.ephemeral_containers):
            found = self._container(container, cgroup, maker, sandbox)
            if found is not None:
                pod.take(found)
        undo.push(f"kill cgroup {cgroup.path}", pod.kill_all)
        return pod

    def _push_removal(self, undo: Undo, cgroup: Cgroup) -> None:
        """What takes the pod away, in the order in which it was made."""
        kept = self.kept
        if kept.user_locks:
            undo.push("give back the range of ids", release_user_range, kept.user_locks, kept.spec.user_range)
        undo.push(f"remove directory {kept.directory}", remove_tree, kept.directory)
        undo.push(f"remove cgroup {cgroup.path}", cgroup.destroy)
        undo.push("end the monitor", self.monitor.end)

    def _sandbox(self, cgroup: Cgroup, plan: ProcessPlan, undo: Undo) -> Sandbox:
        process = self.living.get(MONITORED_AS)
        if process is None:
            raise SandboxGone("pause, which holds the pod's namespaces, has ended")
        pause = PauseProcess.adopt(process)
        undo.push("end pause", pause.end)
        self.opened.push("close pause", pause.ready.close)
        users = None
        if not self.kept.spec.host_users:
            users = Namespace.open("user", process)
            undo.push("let go of the user namespace", users.close)
            self.opened.push("let go of the user namespace", users.close)
        return Sandbox(self.kept.uid, plan, cgroup, pause, undo, users, self.monitor)

    def _container(
        self, container: Container, above: Cgroup, maker: ContainerMaker, sandbox: Sandbox
    ) -> PodContainer | None:
        """Its last run; None for one that has had none."""
        process = self._process(container.name)
        if process is None:
            return None
        try:
            cgroup = Cgroup.open(f"{above.name}/{container.name}", root=above.root)
        except NotFound:
            return None  # it was made anew when its maker died, and had no process yet
        self.opened.push("close a cgroup", cgroup.close)
        end_left(cgroup)
        found = PodContainer(
            container.name, cgroup, Adopted(process), _plan(container, maker, sandbox), process.started_s
        )
        found.poll()
        return found

    def _process(self, name: str) -> MonitoredProcess | None:
        process = self.living.get(name)
        if process is not None:
            if _has_started(process):
                return process
            process.close()
        records = [record for record in self.monitor.exits() if record.name == name]
        return MonitoredProcess.ended(records[-1], self.monitor) if records else None


def _has_started(process: MonitoredProcess) -> bool:
    """Whether it is a program; one that is still on its way is waited for: to its end, or to its exec."""
    deadline_s = time.monotonic() + STARTING_S
    while process.poll() is None:
        try:
            if not os.readlink(f"/proc/{process.pid}/exe").startswith(STAGE):
                return True
        except OSError:
            pass  # it has just ended
        if time.monotonic() > deadline_s:
            process.kill()
        select.select([], [], [], LOOK_S)
    return False


def _plan(container: Container, maker: ContainerMaker, sandbox: Sandbox) -> ProcessPlan:
    """How it was made, as far as that can be told: a file with variables for it may be another by now, or gone."""
    with About(f"container {container.name}"):
        try:
            (plan,) = maker.plan((container,), sandbox)
        except (PyrunError, OSError):
            (plan,) = maker.plan((replace(container, env=(), env_from=()),), sandbox)
    return plan
