"""A pod: a sandbox and the containers in it, started as one unit.

The order is fixed: cgroup, volumes, pause, then every container is *created* (its plan run up to the gate before the
exec), and only when all are created does one start. Whatever fails before that undoes all of it.
"""

from __future__ import annotations

import errno
import os
import select
import time

from pyrun.container.lower import cgroup_name
from pyrun.container.plan import PAUSE, PAUSE_READY
from pyrun.container.process import STDIO
from pyrun.errors import AlreadyExists, KernelError, PyrunError, StateError
from pyrun.kernel.bare import bare_mount_namespace
from pyrun.kernel.cgroup import Cgroup
from pyrun.kernel.fd import Fd
from pyrun.kernel.poll import poll_ms
from pyrun.kernel.process import TRACER_LOOK_S
from pyrun.kernel.spawn import create
from pyrun.kernel.undo import Undo
from pyrun.pod.container import PodContainer
from pyrun.pod.limits import container_limits, pod_limits
from pyrun.pod.machine import read_machine
from pyrun.pod.plan import PodPlan, opened_paths, plan_containers, plan_pause, pod_paths
from pyrun.pod.sandbox import ACCOUNTED, Sandbox
from pyrun.pod.volume import check_images, has_disk_volumes, open_volumes, remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signals
    from collections.abc import Callable
    from types import TracebackType

    from pyrun.kernel.process import Process
    from pyrun.pod.plan import ProcessPlan
    from pyrun.pod.status import ContainerStatus
    from pyrun.spec.pod import Container, PodSpec

    Stdio = tuple[int, int, int]
else:
    import _signal as signals  # the built-in part: the module signal makes enums, which costs some milliseconds


class Pod:
    """A pod of this process: :meth:`create`, :meth:`start`, :meth:`wait`, :meth:`stop`, :meth:`remove`.

    As a context manager it is removed at the end of the block. ``containers`` are by name, in the order of the manifest;
    ``warnings`` is what could not be done and is no failure, a sentence each.
    """

    def __init__(self, spec: PodSpec, plan: PodPlan, sandbox: Sandbox, undo: Undo, made: Undo) -> None:
        self.spec = spec
        self.uid = sandbox.uid
        self.plan = plan
        self.cgroup = sandbox.cgroup
        self.sandbox = sandbox
        self.containers: dict[str, PodContainer] = {}
        self._undo = undo
        self._made = made  # on the host, and to stay once the pod runs

    @classmethod
    def create(
        cls,
        spec: PodSpec,
        *,
        directory: str,
        stdio: Callable[[str], Stdio] | None = None,
        kill_with_launcher: bool = False,
        sandbox: Sandbox | None = None,
    ) -> Pod:
        """Build the pod up to the point where every container waits at its gate.

        *directory* is an absolute path that does not exist yet; a pod with emptyDirs on disk has them there, and it goes when
        the pod is removed. *stdio* gives a container's standard descriptors, which stay the caller's; without it
        containers read /dev/null and write where this process writes. With *kill_with_launcher* the kernel kills the pod when the
        calling *thread* ends (prctl(2), PR_SET_PDEATHSIG). *sandbox* is one of a :class:`SandboxPool`, which the pod takes over,
        its uid with it, and removes in any case.

        Raises :class:`SpecError`, :class:`Unsupported`, :class:`AlreadyExists`, :class:`StepError`, :class:`ExecError`;
        each error says in its notes which container it is about; then nothing of the pod is left.
        """
        # null and its copies are closed before anything is undone: a launcher that has run out of descriptors then has three.
        what = f"pod {spec.metadata.name}"
        with Undo(what) as made, Undo(what) as undo, Fd.open("/dev/null", os.O_RDWR) as null, null.dup(), null.dup():
            if sandbox is not None:
                undo.push("remove the sandbox", sandbox.remove)
            inherited = (null.fileno(), 1, 2)
            builder = _Builder(spec, undo, made, stdio or (lambda _container: inherited))
            return builder.build(directory, signals.SIGKILL if kill_with_launcher else 0, sandbox)

    def start(self) -> None:
        """Start every container. If one cannot be executed, all are ended and the pod is removed."""
        waiting = [container.name for container in self.containers.values() if container.state != "created"]
        if waiting:
            raise StateError(f"pod {self.spec.metadata.name}", "started", "created")
        with self._made, self._undo:
            for container in self.containers.values():
                container.open_gate()
            for container in self.containers.values():
                with About(f"container {container.name}"):
                    container.wait_started()
        self._made.forget()

    @property
    def warnings(self) -> list[str]:
        """Optional steps that failed, with the container they belong to."""
        found = [f"pause: {warning}" for warning in self.sandbox.pause.warnings]
        for container in self.containers.values():
            found += [f"container {container.name}: {warning}" for warning in container.warnings]
        return found

    def poll(self) -> list[ContainerStatus]:
        """Reap what has ended, and return those containers' statuses that are new."""
        fresh = [container for container in self.containers.values() if container.status is None]
        return [status for container in fresh if (status := container.poll()) is not None]

    def wait(self, timeout_s: float | None = None) -> dict[str, ContainerStatus] | None:
        """Wait until every container has ended. None when *timeout_s* has run out first."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while running := [container for container in self.containers.values() if container.poll() is None]:
            left_s = None if deadline is None else deadline - time.monotonic()
            if left_s is not None and left_s <= 0:
                return None
            _wait_any([process for container in running for process in container.awaited], left_s)
            if not any([container.poll() for container in running]):
                # One has ended, and somebody who traces it has not waited for it yet; or the time is over.
                select.select([], [], [], TRACER_LOOK_S)
        return {name: container.status for name, container in self.containers.items() if container.status is not None}

    def signal(self, number: int) -> None:
        """Send a signal to the first process of every container that runs."""
        for container in self.containers.values():
            if container.status is None:
                container.process.signal(number)

    def stop(self, grace_s: float | None = None) -> dict[str, ContainerStatus]:
        """SIGTERM to each container; after *grace_s* (the manifest's terminationGracePeriodSeconds) kill what is left."""
        self.signal(signals.SIGTERM)
        statuses = self.wait(self.spec.termination_grace_period_s if grace_s is None else grace_s)
        return self.kill() if statuses is None else statuses

    def kill(self) -> dict[str, ContainerStatus]:
        """SIGKILL to every process of every container, at once."""
        for container in self.containers.values():
            container.cgroup.kill()
        statuses = self.wait()
        assert statuses is not None
        return statuses

    def remove(self) -> None:
        """End what still runs and take everything away. Idempotent; raises :class:`CleanupErrors` if something stays."""
        self._undo.run()
        self._made.run()  # of a pod that never started; start() has forgotten it

    def __enter__(self) -> Pod:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


class _Builder:
    """Builds one pod; every method leaves on the undo stack what takes it back."""

    def __init__(self, spec: PodSpec, undo: Undo, made: Undo, stdio: Callable[[str], Stdio]) -> None:
        self.spec = spec
        self.undo = undo
        self.made = made
        self.stdio = stdio

    def build(self, directory: str, death_signal: int, sandbox: Sandbox | None) -> Pod:
        machine, bare = read_machine(), bare_mount_namespace()
        # Before anything is touched: a manifest that cannot be planned touches nothing.
        pause = plan_pause(self.spec, machine, death_signal, bare is not None)
        if sandbox is not None:
            sandbox.check_fits(pause)
            self._limit(sandbox.cgroup)
        check_images(self.spec)
        self._make_directory(directory)
        volumes = open_volumes(self.spec, pod_paths(directory), self.undo, self.made)
        try:
            sandbox = sandbox or self._make_sandbox(pause, bare)
            # While pause is on its way: it takes longer than all of this.
            name = sandbox.cgroup.name
            containers = plan_containers(self.spec, sandbox.uid, directory, machine, death_signal, sandbox.parent)
            return self._build_in_sandbox(sandbox, PodPlan(name, pod_paths(directory), pause, containers), volumes)
        finally:
            for fd in volumes.values():
                fd.close()

    def _make_directory(self, path: str) -> None:
        """Where something is to be in it: a pod without volumes on disk costs the file system nothing."""
        if not has_disk_volumes(self.spec):
            if os.path.lexists(path):
                raise _exists(path)
            return
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            raise _exists(path) from None
        except OSError as error:
            raise KernelError(error.errno or 0, "mkdir(2)", path) from None
        self.undo.push(f"remove directory {path}", remove_tree, path)

    def _make_sandbox(self, plan: ProcessPlan, bare: int | None) -> Sandbox:
        uid = self.spec.metadata.uid or new_uid()
        cgroup = Cgroup.create(cgroup_name(uid), optional_controllers=ACCOUNTED)
        self.undo.push(f"remove cgroup {cgroup.path}", cgroup.destroy)
        self._limit(cgroup)
        with About("pause"):
            return Sandbox(uid, plan, cgroup, self.undo, bare)

    def _limit(self, cgroup: Cgroup) -> None:
        with About(f"pod {self.spec.metadata.name}"):
            cgroup.apply_limits(pod_limits(self.spec, cgroup.read_available_controllers()))

    def _build_in_sandbox(self, sandbox: Sandbox, plan: PodPlan, volumes: dict[str, Fd]) -> Pod:
        pod = Pod(self.spec, plan, sandbox, self.undo, self.made)
        self._create_containers(pod, volumes)
        # From here on pause and all containers are on their way at the same time.
        self._wait_for_pause(pod)
        sandbox.pause.ready.close()
        for container in pod.containers.values():
            self._wait_created(container, pod.sandbox)
        # First at the end: all at once, then one by one is quick.
        self.undo.push(f"kill cgroup {pod.cgroup.path}", pod.cgroup.kill)
        return pod

    def _create_containers(self, pod: Pod, volumes: dict[str, Fd]) -> None:
        try:
            for container, plan in zip(self.spec.containers, pod.plan.containers, strict=True):
                with About(f"container {container.name}"):
                    pod.containers[container.name] = self._create(container, plan, pod, volumes)
        except KernelError as error:
            # Nobody can be born in the PID namespace of a pause that is gone (clone(2): ENOMEM while it goes): it knows why.
            if error.errno in (errno.ESRCH, errno.ENOMEM):
                self._wait_for_pause(pod)
            raise

    def _wait_created(self, container: PodContainer, sandbox: Sandbox) -> None:
        try:
            with About(f"container {container.name}"):
                container.wait_created()
        except KernelError as error:
            # It did not find pause, which was ready a moment ago.
            if error.errno == errno.ESRCH:
                with About("pause"):
                    sandbox.pause.check_runs()
            raise

    def _wait_for_pause(self, pod: Pod) -> None:
        """What pause cannot do is told before what the containers then cannot.

        A pause that has failed is reaped only when nobody lives in its PID namespace any more (pid_namespaces(7)), and who lives
        there are children of ours.
        """
        pause = pod.sandbox.pause
        if not pause.becomes_ready():
            for container in pod.containers.values():
                container.abandon()
        with About("pause"):
            pause.wait_ready()

    def _create(self, container: Container, plan: ProcessPlan, pod: Pod, volumes: dict[str, Fd]) -> PodContainer:
        cgroup = pod.cgroup.child(plan.cgroup)
        self.undo.push(f"close cgroup {cgroup.path}", cgroup.close)
        cgroup.apply_limits(container_limits(container, cgroup.read_available_controllers()))
        descriptors = dict(zip(STDIO, self.stdio(container.name), strict=True))
        pause = pod.sandbox.pause
        created = create(
            plan.steps,
            namespaces=plan.namespaces,
            cgroup=cgroup,
            pid_namespace=pause if "pid" in pod.plan.pause.namespaces else None,
            fds={
                PAUSE: pause,
                PAUSE_READY: pause.ready,
                **descriptors,
                **{slot: volumes[path] for path, slot in opened_paths(self.spec, pod.plan.paths).items()},
            },
        )
        made = PodContainer(container.name, cgroup, created, plan)
        self.undo.push(f"end container {container.name}", made.abandon)
        return made


class About:
    """Says in an error of the block what it is about."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, PyrunError) and not error.about:
            error.about = self.what


def _exists(directory: str) -> AlreadyExists:
    return AlreadyExists(f"directory {directory} exists already")


def _wait_any(processes: list[Process], timeout_s: float | None) -> None:
    poll = select.poll()
    for process in processes:
        poll.register(process.fileno(), select.POLLIN)
    poll.poll(poll_ms(timeout_s))


def new_uid() -> str:
    """A random UUID (RFC 9562, version 4)."""
    raw = bytearray(os.urandom(16))
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    text = raw.hex()
    return "-".join([text[:8], text[8:12], text[12:16], text[16:20], text[20:]])
