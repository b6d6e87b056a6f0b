"""A pod: a sandbox and the containers in it, started as one unit.

The order is fixed: cgroup, volumes, pause, then every container is *created* (its plan run up to the gate before the
exec), and only when all are created does one start. Whatever fails before that undoes all of it.
"""

from __future__ import annotations

import errno
import os
import select
import time

from pyrun.container.lower import cgroup_name, class_cgroup, has_files, id_mappings
from pyrun.container.namespaces import make_user_namespace
from pyrun.errors import About, AlreadyExists, KernelError, NotFound, StateError, Unsupported
from pyrun.kernel.bare import bare_mount_namespace
from pyrun.kernel.cgroup import Cgroup
from pyrun.kernel.fd import Fd
from pyrun.kernel.poll import poll_ms
from pyrun.kernel.process import TRACER_LOOK_S
from pyrun.kernel.undo import Undo
from pyrun.pod.limits import NO_POLICY, pod_limits, weigh_class
from pyrun.pod.machine import read_machine
from pyrun.pod.maker import ContainerMaker
from pyrun.pod.plan import plan_pause, pod_paths
from pyrun.pod.remove import remove_tree
from pyrun.pod.sandbox import ACCOUNTED, Sandbox
from pyrun.pod.security import NO_POLICY as NO_SECURITY_POLICY
from pyrun.pod.security import settle_security
from pyrun.pod.volume import check_images, has_disk_volumes, open_volumes
from pyrun.spec.pod_check import check_pod
from pyrun.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signals
    from collections.abc import Callable, Collection, Mapping
    from types import TracebackType

    from pyrun.kernel.namespace import Namespace
    from pyrun.kernel.process import Process
    from pyrun.pod.adopt import Kept
    from pyrun.pod.container import PodContainer
    from pyrun.pod.limits import LimitPolicy
    from pyrun.pod.maker import Stdio
    from pyrun.pod.monitored import MonitorPlace, PodMonitor
    from pyrun.pod.plan import ProcessPlan
    from pyrun.pod.security import SecurityPolicy
    from pyrun.pod.status import ContainerStatus
    from pyrun.pod.user_range import UserRange
    from pyrun.pod.volume_files import VolumeFiles
    from pyrun.spec.pod import Container, PodSpec
    from pyrun.spec.source import ConfigObject
else:
    import _signal as signals  # the built-in part: the module signal makes enums, which costs some milliseconds


MONITOR_GROUP = ".monitor"  # what no container can be called


class Pod:
    """A pod of this process: :meth:`create`, :meth:`start`, :meth:`wait`, :meth:`stop`, :meth:`remove`.

    As a context manager it is removed at the end of the block, or let go of if it is only ``visited`` (:func:`connect`).
    ``containers`` are those that have been created, by name, each its last run; ``warnings`` is what could not be done and is no
    failure, a sentence each. ``listeners`` are called, in the caller's thread, when somebody has done something after which a
    loop that sleeps until something of the pod ends has to look again: a container was made, a program executed in one, a
    :class:`~pyrun.pod.driver.Driver` told to stop, the pod removed.

    Nothing is decided here: who is to be started when, and again, is :class:`~pyrun.pod.driver.Driver`'s business, which calls
    :meth:`create_containers` and :meth:`start_containers`.
    """

    def __init__(self, spec: PodSpec, sandbox: Sandbox, maker: ContainerMaker, undo: Undo, made: Undo) -> None:
        self.spec = spec
        self._kept: Kept | None = None
        self.uid = sandbox.uid
        self.cgroup = sandbox.cgroup
        self.sandbox = sandbox
        self.containers: dict[str, PodContainer] = {}
        self.paths = pod_paths(maker.directory)
        self._maker = maker
        self._files: VolumeFiles | None = None
        self._limits_due = False  # of the pod's cgroup: resized, for a container that is to be made anew
        self.removed = False
        self.visited = False
        self.listeners: set[Callable[[], object]] = set()
        self._known: set[str] = set()  # those whose end is on the undo stack
        self._undo = undo
        self._made = made  # on the host, and to stay once the pod runs

    @classmethod
    def create(
        cls,
        spec: PodSpec,
        *,
        directory: str,
        stdio: Callable[[str], Stdio] | None = None,
        console: Callable[[str], int] | None = None,
        kill_with_launcher: bool = False,
        sandbox: Sandbox | None = None,
        policy: LimitPolicy = NO_POLICY,
        security: SecurityPolicy = NO_SECURITY_POLICY,
        monitor: MonitorPlace | None = None,
    ) -> Pod:
        """Build the pod up to the point where every container waits at its gate; with init containers only the sandbox, because
        they come first, one by one.

        *directory* is an absolute path that does not exist yet; a pod with emptyDirs on disk has them there, and it goes when
        the pod is removed. *stdio* gives a container's standard descriptors, which stay the caller's; without it containers
        read /dev/null and write where this process writes. *console* gives a container with a tty a Unix socket, to which the
        other side of its terminal is sent (SCM_RIGHTS) before it is at its gate. With *kill_with_launcher* the kernel kills the
        pod when the calling *thread* ends (prctl(2), PR_SET_PDEATHSIG). *sandbox* is one of a :class:`SandboxPool`, which the
        pod takes over, its uid with it, and removes in any case. *policy* is what the node says about limits, *security* what
        it allows and where its profiles are.

        With *monitor* the pod's processes are children of a monitor of its own (:class:`Monitor`), which writes their output to
        logs and outlives us; the kernel kills the pod when that one ends. Then there is no *stdio*, *console* or *sandbox*.

        Raises :class:`SpecError`, :class:`Unsupported`, :class:`AlreadyExists`, :class:`StepError`, :class:`ExecError`;
        each error says in its notes which container it is about; then nothing of the pod is left.
        """
        # null and its copies are closed before anything is undone: a launcher that has run out of descriptors then has three.
        what = f"pod {spec.metadata.name}"
        with Undo(what) as made, Undo(what) as undo, Fd.open("/dev/null", os.O_RDWR) as null, null.dup(), null.dup():
            if sandbox is not None:
                undo.push("remove the sandbox", sandbox.remove)
            settled = settle_security(spec, security)
            users = None if settled.host_users else _take_range(security, undo)
            if users is not None:
                settled = replace(settled, user_range=users.first)
            builder = _Builder(settled, directory, undo, made, policy, users)
            death_signal = signals.SIGKILL if kill_with_launcher or monitor is not None else 0
            return builder.build(stdio, death_signal, sandbox, console, monitor)

    @classmethod
    def adopt(cls, directory: str) -> Pod:
        """A pod with a monitor, made by another process that is gone or does not drive it any more; *directory* is that of its
        :class:`MonitorPlace`. What was made with it is as it was: ``containers`` are those that run, and how the others ended.

        Raises :class:`NotFound` where there is no such pod, or no monitor or pause any more: :func:`remove_leftovers` takes away
        what is left.
        """
        from pyrun.pod.adopt import adopt

        return adopt(directory)

    def keep_for(self, kept: Kept) -> None:
        """From now on whatever changes is written down for who adopts the pod."""
        self._kept = kept
        self._limits_due = kept.limits_due

    def change_spec(self, spec: PodSpec) -> None:
        """*spec* is what the next containers are made by."""
        self.spec = self._maker.spec = spec
        self._keep()

    def _keep(self) -> None:
        if self._kept is not None:
            from pyrun.pod.adopt import keep

            self._kept = replace(self._kept, spec=self.spec, limits_due=self._limits_due)
            keep(self._kept)

    def take(self, container: PodContainer) -> None:
        """One of the pod's containers that another process has made."""
        self._undo.push(f"end container {container.name}", self._end, container.name)
        self._known.add(container.name)
        self.containers[container.name] = container
        container.listeners = self.listeners

    def close(self) -> None:
        """Let go of a pod with a monitor, which lives on without us. Idempotent; raises :class:`StateError` for one without."""
        monitor = self.sandbox.monitor
        if monitor is None:
            raise StateError(
                f"pod {self.spec.metadata.name}", "one whose processes are our children", "one with a monitor"
            )
        self.removed = True
        self._undo.forget()
        for container in self.containers.values():
            container.close()
        self.sandbox.close()
        self._maker.close()
        self.notify()

    def start(self) -> None:
        """Start every container. If one cannot be executed, all are ended and the pod is removed.

        Raises :class:`ExecError`, :class:`StepError`; :class:`StateError` for a pod that was started, or has init containers.
        """
        name = f"pod {self.spec.metadata.name}"
        if self.spec.init_containers:
            raise StateError(name, "a pod with init containers, which a Driver starts", "one without")
        if any([container.state != "created" for container in self.containers.values()]):
            raise StateError(name, "started", "created")
        try:
            with self._made, self._undo:
                self._start(tuple(self.containers))
        except BaseException:
            self.removed = True
            self.notify()
            raise
        self._made.forget()

    def write_files(self) -> None:
        """Bring the files of ConfigMaps, Secrets and the downward API in the pod's volumes to what ``spec`` says now."""
        if self._files is None:
            from pyrun.pod.volume_files import VolumeFiles

            self._files = VolumeFiles(self.sandbox.root, self._maker.facts(self.sandbox))
        self._files.write(self.spec)

    def update_objects(self, objects: tuple[ConfigObject, ...]) -> None:
        """Other ConfigMaps and Secrets. Volumes have them at once, each all or nothing; variables when their container starts
        again; a subPath keeps what it has, as in Kubernetes. Raises :class:`SpecError` if something needed is not there, and
        :class:`KernelError` if a file cannot be written; then all stays as it was."""
        spec = replace(self.spec, objects=objects)
        check_pod(spec)
        if self._files is not None:
            try:
                self._files.write(spec)
            except BaseException:
                self._files.write(self.spec)  # those that have been written have what the others have
                raise
        self.change_spec(spec)

    # ---- some of the containers ----

    def create_containers(self, names: Collection[str]) -> None:
        """Create these containers, as one unit, up to their gates. One that has run before is made anew: a root layer
        and a cgroup of its own again, and new counters.

        Raises as :meth:`create`, and :class:`StateError` for one that is there and has not ended; then none of them is left.
        """
        for name in names:
            self._clear(name)
        try:
            self.begin_creating(tuple([self._find(name) for name in names]))
            for name in names:
                with About(f"container {name}"):
                    self.containers[name].wait_created()
        except BaseException:
            self._abandon(names)
            raise

    def start_containers(self, names: Collection[str]) -> None:
        """Start these created containers. If one cannot be executed, all of them are ended."""
        try:
            self._start(names)
        except BaseException:
            self._abandon(names)
            raise
        self._made.forget()

    def _start(self, names: Collection[str]) -> None:
        for name in names:
            self.containers[name].open_gate()
        for name in names:
            with About(f"container {name}"):
                self.containers[name].wait_started()

    def begin_creating(self, containers: tuple[Container, ...]) -> None:
        """Let these containers begin to come up, all at the same time; none of them is waited for."""
        if self._limits_due:
            controllers = self.cgroup.read_available_controllers()
            self.cgroup.apply_limits(pod_limits(self.spec, controllers, self._maker.policy))
            self._limits_due = False
            self._keep()
        for container, plan in zip(containers, self._maker.plan(containers, self.sandbox), strict=True):
            if container.name not in self._known:
                self._undo.push(f"end container {container.name}", self._end, container.name)
                self._known.add(container.name)
            target = self._target_of(container)
            self.containers[container.name] = made = self._maker.create(container, plan, self.sandbox, target)
            made.listeners = self.listeners
        self.notify()

    def _target_of(self, container: Container) -> Process | None:
        """The process whose PID namespace an ephemeral container is to see; it has to run."""
        name = container.target_container_name
        if not name:
            return None
        target = self.containers.get(name)
        if target is None or target.state != "running" or target.poll() is not None:
            state = "not there" if target is None else target.state
            raise StateError(f"container {name}, the target of {container.name}", state, "running")
        return target.process

    def _find(self, name: str) -> Container:
        spec = self.spec
        for container in (*spec.init_containers, *spec.containers, *spec.ephemeral_containers):
            if container.name == name:
                return container
        raise NotFound(f"pod {spec.metadata.name} has no container {name}")

    def _clear(self, name: str) -> None:
        old = self.containers.get(name)
        if old is None:
            return
        if old.status is None:
            raise StateError(f"container {name}", old.state, "stopped")
        self._abandon((name,))
        del self.containers[name]

    def _abandon(self, names: Collection[str]) -> None:
        """End these, and remove their cgroups."""
        for name in [name for name in names if name in self.containers]:
            self.containers[name].abandon()
            self.containers[name].cgroup.destroy()
            self.containers[name].cgroup.close()

    def _end(self, name: str) -> None:
        """End a container for good; its cgroup goes with the pod's."""
        container = self.containers.get(name)
        if container is not None:
            container.abandon()
            container.cgroup.close()

    def resize(
        self, name: str, requests: Mapping[str, str] | None = None, limits: Mapping[str, str] | None = None
    ) -> tuple[str, ...]:
        """Give a container other *requests* and *limits*: quantities, by ``cpu`` and ``memory``; what is not named stays.

        Returns the resources whose ``resizePolicy`` has a restart for them: then the container keeps what it has, and it is for
        the caller to end it; made anew it has the new limits. Else they are in force at once. Whether the node has room, nobody
        is asked.

        Raises :class:`NotFound`, :class:`SpecError` for what may not be changed, and :class:`StateError` where more memory is in
        use than the new limit; then nothing is changed.
        """
        from pyrun.pod.resize import apply_resize
        from pyrun.spec.resize import needs_restart, resize_container

        old, new = self.spec, resize_container(self.spec, name, requests, limits)
        restart = needs_restart(old, new, name)
        running = self.containers.get(name)
        group = None if running is None or running.status is not None or restart else running.cgroup
        apply_resize(old, new, name, self.cgroup, group, self._maker.policy)
        self._limits_due = self._limits_due or group is None
        self.change_spec(new)
        return restart

    # ---- all of them ----

    @property
    def warnings(self) -> list[str]:
        """Optional steps that failed, with the container they belong to."""
        found = [f"pause: {warning}" for warning in self.sandbox.pause.warnings]
        for container in self.containers.values():
            found += [f"container {container.name}: {warning}" for warning in container.warnings]
        return found

    def poll(self) -> list[ContainerStatus]:
        """Reap what has ended, and return those containers' statuses that are new, in the order of creation. Never blocks."""
        fresh = [container for container in self.containers.values() if container.status is None]
        return [status for container in fresh if (status := container.poll()) is not None]

    def wait(self, timeout_s: float | None = None) -> dict[str, ContainerStatus] | None:
        """Wait until every container has ended: how, by name. None when *timeout_s* seconds have run out first."""
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
        """Send a signal to the first process of every container that runs. Raises :class:`KernelError` (EPERM, EINVAL)."""
        for container in self.containers.values():
            if container.status is None:
                container.process.signal(number)

    def stop(self, grace_s: float | None = None) -> dict[str, ContainerStatus]:
        """SIGTERM to each container; after *grace_s* seconds (the manifest's terminationGracePeriodSeconds) kill what is left.
        Returns when all have ended: how, by name."""
        self.signal(signals.SIGTERM)
        statuses = self.wait(self.spec.termination_grace_period_s if grace_s is None else grace_s)
        return self.kill() if statuses is None else statuses

    def kill(self) -> dict[str, ContainerStatus]:
        """SIGKILL to every process of every container, at once. Returns when all have ended: how, by name."""
        for container in self.containers.values():
            container.cgroup.kill()
        statuses = self.wait()
        assert statuses is not None
        return statuses

    def notify(self) -> None:
        """Call the ``listeners``."""
        for listener in tuple(self.listeners):
            listener()

    def kill_all(self) -> None:
        """SIGKILL to every process of the pod; not to its monitor, which keeps how they end."""
        if self.sandbox.monitor is None:
            self.cgroup.kill()
            return
        for container in self.containers.values():
            if container.status is None:
                container.cgroup.kill()
        self.sandbox.pause.process.kill()

    def when_removed(self, what: str, action: Callable[[], object]) -> None:
        """Let *action* be done when the pod is removed; *what* it is, for the error if it fails."""
        self._undo.push(what, action)

    def remove(self) -> None:
        """End what still runs and take everything away. Idempotent; raises :class:`CleanupErrors` if something stays."""
        self.removed = True
        try:
            self._undo.run()
            self._made.run()  # of a pod that never started; start() has forgotten it
        finally:
            self.notify()

    def __enter__(self) -> Pod:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.visited:
            self.close()
        else:
            self.remove()


def _take_range(policy: SecurityPolicy, undo: Undo) -> UserRange:
    if policy.user_ranges is None:
        raise Unsupported("hostUsers: false", "ranges of ids to give to pods (SecurityPolicy.user_ranges)")
    from pyrun.pod.user_range import take_user_range

    taken = take_user_range(policy.user_ranges)
    undo.push("give back the range of ids", taken.release)
    return taken


class _Builder:
    """Builds one pod; every method leaves on the undo stack what takes it back."""

    def __init__(
        self, spec: PodSpec, directory: str, undo: Undo, made: Undo, policy: LimitPolicy, users: UserRange | None
    ) -> None:
        self.users = users
        self.spec = spec
        self.directory = directory
        self.undo = undo
        self.made = made
        self.policy = policy
        self.monitored: PodMonitor | None = None

    def build(
        self,
        stdio: Callable[[str], Stdio] | None,
        death_signal: int,
        sandbox: Sandbox | None,
        console: Callable[[str], int] | None,
        monitor: MonitorPlace | None,
    ) -> Pod:
        machine, bare = read_machine(), bare_mount_namespace()
        # Before anything is touched: a manifest that cannot be planned touches nothing.
        pause = plan_pause(self.spec, machine, death_signal, bare is not None)
        if sandbox is not None:
            if monitor is not None:
                raise StateError("the sandbox", "a child of this process", "one of the pod's monitor")
            sandbox.check_fits(pause)
            self._limit(sandbox.cgroup)
        check_images(self.spec)
        self._make_directory(self.directory)
        volumes = open_volumes(self.spec, pod_paths(self.directory), self.undo, self.made)
        sandbox = sandbox or self._make_sandbox(pause, bare, monitor)
        # While pause is on its way: it takes longer than all of this.
        maker = ContainerMaker(
            self.spec, self.directory, machine, death_signal, stdio, self.policy, volumes, console, self.monitored
        )
        pod = Pod(self.spec, sandbox, maker, self.undo, self.made)
        if any([has_files(volume) for volume in self.spec.volumes]):
            self._wait_for_pause(pod)  # which has made the places that the files go to
            pod.write_files()
        try:
            pod.begin_creating(() if self.spec.init_containers else self.spec.containers)
        except KernelError as error:
            # Nobody can be born in the PID namespace of a pause that is gone (clone(2): ENOMEM while it goes): it knows why.
            if error.errno in (errno.ESRCH, errno.ENOMEM):
                self._wait_for_pause(pod)
            raise
        # From here on pause and all containers are on their way at the same time.
        self._wait_for_pause(pod)
        for container in pod.containers.values():
            self._wait_created(container, sandbox)
        if monitor is not None:
            self._keep(pod, monitor)
        # First at the end: all at once, then one by one is quick.
        self.undo.push(f"kill cgroup {pod.cgroup.path}", pod.kill_all)
        return pod

    def _keep(self, pod: Pod, place: MonitorPlace) -> None:
        from pyrun.pod.adopt import VERSION, Kept, keep, remove_kept

        locks = self.users.locks if self.users is not None else ""
        kept = Kept(VERSION, pod.uid, self.spec, self.directory, self.policy, place, locks)
        self.undo.push("remove the record of the pod", remove_kept, place.directory)
        keep(kept)
        pod.keep_for(kept)

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

    def _make_sandbox(self, plan: ProcessPlan, bare: int | None, place: MonitorPlace | None) -> Sandbox:
        uid = self.spec.metadata.uid or new_uid()
        parent = class_cgroup(self.spec)
        cgroup = Cgroup.create(cgroup_name(uid, parent), optional_controllers=ACCOUNTED)
        self.undo.push(f"remove cgroup {cgroup.path}", cgroup.destroy)
        self._limit(cgroup)
        weigh_class(cgroup, parent, self.policy)
        if place is not None:
            self._start_monitor(cgroup, place)
        monitor = self.monitored.monitor if self.monitored is not None else None
        with About("pause"):
            users = None if self.spec.host_users else self._make_users()
            sandbox = Sandbox.create(
                uid, plan, cgroup, self.undo, bare if self.spec.host_users else None, users, monitor
            )
            if users is not None and self.spec.share_process_namespace:
                sandbox.pause.wait_ready()  # others are born into its PID namespace, which a child of its first process is in
            return sandbox

    def _start_monitor(self, cgroup: Cgroup, place: MonitorPlace) -> None:
        from pyrun.kernel.monitor import Monitor
        from pyrun.pod.monitored import PodMonitor

        leaf = cgroup.child(MONITOR_GROUP)
        self.undo.push(f"close cgroup {leaf.path}", leaf.close)
        with About("the monitor"):
            monitor = Monitor.start(place.directory, cgroup=leaf, held=self.users)
        self.undo.push("end the monitor", monitor.end)
        self.monitored = PodMonitor(monitor, place)

    def _make_users(self) -> Namespace:
        """The pod's user namespace, made before pause, for the ids of what all of them mount are mapped by it."""
        maps = id_mappings(self.spec)
        users = make_user_namespace(maps, maps)
        self.undo.push("let go of the user namespace", users.close)
        return users

    def _limit(self, cgroup: Cgroup) -> None:
        with About(f"pod {self.spec.metadata.name}"):
            cgroup.apply_limits(pod_limits(self.spec, cgroup.read_available_controllers(), self.policy))

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
