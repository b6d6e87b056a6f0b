"""Making the containers of one pod, when it starts and again whenever one is restarted."""

from __future__ import annotations

import os

from pyrun.container.lower import is_in_sandbox, volume_source
from pyrun.container.plan import PAUSE, PAUSE_READY
from pyrun.container.process import CONSOLE, INIT, STDIO
from pyrun.container.root_plan import USER_NAMESPACE
from pyrun.errors import About, StateError, Unsupported
from pyrun.kernel.fd import Fd
from pyrun.kernel.program import program_fd
from pyrun.kernel.spawn import create
from pyrun.pod.container import PodContainer
from pyrun.pod.ends import Ends
from pyrun.pod.env_file import resolve_env_files
from pyrun.pod.facts import read_facts
from pyrun.pod.limits import container_limits
from pyrun.pod.plan import has_init, opened_paths, plan_containers, pod_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    from pyrun.kernel.cgroup import Cgroup
    from pyrun.kernel.process import Process
    from pyrun.kernel.spawn import HasFileno
    from pyrun.pod.limits import LimitPolicy
    from pyrun.pod.machine import Machine
    from pyrun.pod.monitored import PodMonitor
    from pyrun.pod.plan import ProcessPlan
    from pyrun.pod.sandbox import Sandbox
    from pyrun.spec.environment import Facts
    from pyrun.spec.pod import Container, PodSpec

    Stdio: TypeAlias = tuple[int, int, int]


class ContainerMaker:
    """What all containers of a pod are made with. ``volumes`` are by the path that is mounted from."""

    def __init__(
        self,
        spec: PodSpec,
        directory: str,
        machine: Machine,
        death_signal: int,
        stdio: Callable[[str], Stdio] | None,
        policy: LimitPolicy,
        volumes: Mapping[str, Fd],
        console: Callable[[str], int] | None = None,
        monitored: PodMonitor | None = None,
    ) -> None:
        self.spec = spec
        self.directory = directory
        self._stdio = stdio
        self._machine = machine
        self._death_signal = death_signal
        self.policy = policy
        self._volumes = volumes
        self._console = console
        self._monitored = monitored
        self._facts: Facts | None = None

    def close(self) -> None:
        """Let go of the volumes."""
        for fd in self._volumes.values():
            fd.close()

    def plan(self, containers: tuple[Container, ...], sandbox: Sandbox) -> tuple[ProcessPlan, ...]:
        """How they are made."""
        containers = tuple([self._with_env_files(each, sandbox) for each in containers])
        facts = self.facts(sandbox)
        machine, signal = self._machine, self._death_signal
        return plan_containers(
            self.spec, containers, sandbox.uid, self.directory, machine, signal, sandbox.parent, facts
        )

    def facts(self, sandbox: Sandbox) -> Facts:
        """What the downward API tells in this pod."""
        if self._facts is None:
            self._facts = read_facts(self.spec, self._machine, sandbox.uid, self.directory)
        return self._facts

    def _with_env_files(self, container: Container, sandbox: Sandbox) -> Container:
        volumes = {volume.name: volume for volume in self.spec.volumes}
        paths = pod_paths(self.directory)

        def directory_of(name: str) -> str | int:
            if is_in_sandbox(volumes[name]):
                return f"{sandbox.root}/volumes/{name}"
            return self._volume(volume_source(volumes[name], paths)).fileno()

        return resolve_env_files(container, directory_of)

    def create(
        self, container: Container, plan: ProcessPlan, sandbox: Sandbox, target: Process | None = None
    ) -> PodContainer:
        """The container, on its way to its gate, in a cgroup of its own below the pod's; with *target* in the PID namespace of
        that process. If that fails, nothing of it is left."""
        with (
            About(f"container {container.name}"),
            Fd.open("/dev/null", os.O_RDWR) as null,
            self._standard(container, null) as stdio,
        ):
            cgroup = sandbox.cgroup.child(plan.cgroup)
            try:
                controllers = cgroup.read_available_controllers()
                cgroup.apply_limits(container_limits(self.spec, container, controllers, self.policy))
                self._limit_devices(cgroup, container, plan)
                created = create(
                    plan.steps,
                    namespaces=plan.namespaces,
                    cgroup=cgroup,
                    pid_namespace=sandbox.pause if self.spec.share_process_namespace else target,
                    fds={**self._descriptors(container, sandbox), **stdio},
                    monitor=sandbox.monitor,
                    name=container.name,
                )
            except BaseException:
                cgroup.destroy()
                cgroup.close()
                raise
        return PodContainer(container.name, cgroup, created, plan)

    def _limit_devices(self, cgroup: Cgroup, container: Container, plan: ProcessPlan) -> None:
        """Where it may make nodes of them. Its module is loaded for those only."""
        process = plan.oci.process if plan.oci is not None else None
        if process is not None and process.capabilities is not None and "CAP_MKNOD" in process.capabilities.bounding:
            from pyrun.pod.device_access import limit_devices, may_make_nodes

            if may_make_nodes(self.spec, container, process.capabilities.bounding):
                limit_devices(cgroup, self.spec, container, pod_paths(self.directory), self._volumes)

    def _standard(self, container: Container, null: Fd) -> Ends:
        """Its standard descriptors, or the socket that its terminal is sent to."""
        if self._monitored is not None:
            return self._monitored.streams(container, null)
        if container.tty:
            if self._console is None:
                raise Unsupported(f"tty of container {container.name}", "a console for it (Pod.create)")
            return Ends({CONSOLE: self._console(container.name)})
        stdio = self._stdio(container.name) if self._stdio is not None else (null.fileno(), 1, 2)
        return Ends(dict(zip(STDIO, stdio, strict=True)))

    def _descriptors(self, container: Container, sandbox: Sandbox) -> dict[str, HasFileno | int]:
        paths = opened_paths(self.spec, pod_paths(self.directory))
        return {
            PAUSE: sandbox.pause,
            PAUSE_READY: sandbox.pause.ready,
            **({USER_NAMESPACE: sandbox.users} if sandbox.users is not None else {}),
            **({INIT: program_fd(INIT)} if has_init(self.spec, container) else {}),
            **{slot: self._volume(path) for path, slot in paths.items()},
        }

    def _volume(self, path: str) -> Fd:
        """Raises :class:`StateError` for one that was not there any more when the pod was taken up."""
        if path not in self._volumes:
            raise StateError(f"volume {path}", "gone", "there")
        return self._volumes[path]
