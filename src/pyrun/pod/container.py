"""One container of a pod: its cgroup, its process, how it ended."""

from __future__ import annotations

import errno
import os
import time

from pyrun.container.exec import CONTAINER, exec_process, plan_exec
from pyrun.container.process import STDIO
from pyrun.errors import KernelError, StateError
from pyrun.kernel.fd import Fd
from pyrun.kernel.process import Process
from pyrun.kernel.spawn import spawn
from pyrun.kernel.step import JoinNamespaces, ParentDeathSignal, Unshare
from pyrun.pod.status import ContainerStatus, exit_reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pyrun.errors import StepError
    from pyrun.kernel.cgroup import Cgroup
    from pyrun.kernel.process import ExitStatus
    from pyrun.kernel.spawn import Adopted, Created, HasFileno
    from pyrun.kernel.step import Plan
    from pyrun.pod.plan import ProcessPlan


class PodContainer:
    """A container that has been created. ``state`` is OCI's word: created, running or stopped; ``status`` is None until it has
    ended and :meth:`poll` has seen that. ``cgroup`` and ``plan`` are what it was made in and with."""

    def __init__(
        self, name: str, cgroup: Cgroup, setup: Created | Adopted, plan: ProcessPlan, started_s: float = 0.0
    ) -> None:
        """*started_s* is for one that has been started already."""
        self.name = name
        self.cgroup = cgroup
        self.plan = plan
        self.status: ContainerStatus | None = None
        self._setup = setup
        self._started_s = started_s
        self.listeners: set[Callable[[], object]] = set()  # the pod's, see there
        self._execs: list[tuple[Process, Process]] = []  # what exec() gave away, and our own hold of the same process

    @property
    def process(self) -> Process:
        """The container's first process; a selector can wait for it."""
        return self._setup.process

    @property
    def awaited(self) -> list[Process]:
        """Those whose end matters to :meth:`poll`: the first process, and what :meth:`exec` has added.

        The kernel lets the first process of a PID namespace end only when all others in it have been reaped, and those are ours.
        """
        return [self.process, *[watched for _, watched in self._execs]]

    @property
    def state(self) -> str:
        """``created``, ``running`` or ``stopped``."""
        if self.status is not None:
            return "stopped"
        return "running" if self._started_s else "created"

    @property
    def started_s(self) -> float:
        """When it was started, on CLOCK_MONOTONIC; 0 before that."""
        return self._started_s

    @property
    def has_run(self) -> bool:
        """Whether its program runs, or ran: not of one whose gate was never opened."""
        return bool(self._started_s) and self.process.has_run

    @property
    def warnings(self) -> list[StepError]:
        """Optional steps that failed."""
        return self._setup.warnings

    @property
    def stamps(self) -> list[tuple[int, int]]:
        """(begin, end) of each step in nanoseconds of CLOCK_MONOTONIC, once it runs; (0, 0) for one that was not done."""
        return self._setup.stamps

    def wait_created(self) -> None:
        """Wait until the plan has reached the gate. Raises :class:`StepError`, :class:`ExecError` or :class:`KernelError`."""
        self._setup.wait_created()

    def open_gate(self) -> None:
        """Let the program start. Raises :class:`StateError` if it was let before."""
        if self._started_s:
            raise StateError(f"container {self.name}", self.state, "created")
        self._started_s = time.monotonic()
        self._setup.open_gate()

    def wait_started(self) -> None:
        """Wait until the program runs. Raises as :meth:`wait_created`."""
        self._setup.wait_started()

    def exec(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        stdio: tuple[int, int, int] | None = None,
        cgroup: Cgroup | None = None,
    ) -> Process:
        """Run another program in the container: in its namespaces and cgroup, with its capabilities, user and filter.

        What is not said is as for the container's own program; *stdio* are descriptors for 0, 1 and 2, which stay the caller's:
        without them it reads /dev/null and writes where this process writes. *cgroup* is one below the container's, where
        it is to be alone. It ends with the container, if not before.

        Raises :class:`StateError` unless the container runs, :class:`ExecError` if there is no such program.
        """
        if self.state != "running" or self.poll() is not None:
            raise StateError(f"container {self.name}", self.state, "running")
        oci = self.plan.oci
        assert oci is not None
        assert oci.process is not None
        variables = None if env is None else [f"{name}={value}" for name, value in env.items()]
        death_signal = next((step.signal for step in self.plan.steps if isinstance(step, ParentDeathSignal)), 0)
        steps = plan_exec(oci, exec_process(oci.process, argv, variables, cwd), self.namespaces, death_signal)
        with Fd.open("/dev/null", os.O_RDWR) as null:
            descriptors = zip(STDIO, stdio or (null.fileno(), 1, 2), strict=True)
            process = self._spawn(steps, {CONTAINER: self.process, **dict(descriptors)}, cgroup or self.cgroup)
        try:
            self._execs.append((process, Process(process.pid, Fd.adopt(os.dup(process.fileno())))))
        except BaseException:  # no descriptor left: then nobody has it
            process.end()
            raise
        for listener in tuple(self.listeners):
            listener()
        return process

    def _reap_execs(self) -> None:
        """Also those that their owner has let go of."""
        ended = [_was_reaped(process, watched) for process, watched in self._execs]
        for (_, watched), over in zip(self._execs, ended, strict=True):
            if over:
                watched.close()
        self._execs = [pair for pair, over in zip(self._execs, ended, strict=True) if not over]

    def _spawn(self, steps: Plan, fds: dict[str, HasFileno | int], cgroup: Cgroup) -> Process:
        try:
            return spawn(steps, cgroup=cgroup, pid_namespace=self.process, fds=fds)
        except KernelError as error:
            if error.errno == errno.ESRCH:  # it has ended meanwhile
                raise StateError(f"container {self.name}", "stopped", "running") from None
            raise

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Those that are not the host's, but for the PID namespace, into which one is born."""
        entered = [step for step in self.plan.steps if isinstance(step, JoinNamespaces | Unshare)]
        return tuple(dict.fromkeys([kind for step in entered for kind in step.kinds]))

    def poll(self) -> ContainerStatus | None:
        """How it ended, reaping it, or None if it still runs. Never blocks."""
        self._reap_execs()
        exit = self.process.poll() if self.status is None else None
        if exit is not None:
            self.status = self._finish(exit)
        return self.status

    def close(self) -> None:
        """Let go of it, and of what :meth:`exec` has started; it goes on."""
        for _, watched in self._execs:
            watched.close()
        self.process.close()
        self.cgroup.close()

    def abandon(self) -> None:
        """Kill and reap the process, wherever it is; ``status`` says how it ended then, too. Idempotent."""
        self._reap_execs()
        for process, watched in self._execs:
            watched.kill()
            (watched if process.closed else process).wait()
        self._reap_execs()
        self._setup.abandon()
        if self.status is None and self.process.status is not None:
            self.status = self._finish(self.process.status)

    def _finish(self, exit: ExitStatus) -> ContainerStatus:
        finished_s = self.process.finished_s or time.monotonic()
        if "pid" not in self.plan.namespaces:
            # The end of a first process that is PID 1 of nothing does not end its children.
            self.cgroup.kill()
        oom_kills, peak_bytes = self._account()
        reason = exit_reason(exit, oom_kills)
        return ContainerStatus(self.name, exit, reason, self._started_s or finished_s, finished_s, peak_bytes)

    def _account(self) -> tuple[int, int | None]:
        """OOM kills, and the most memory in use. Nothing is known without the controller, or of a group that is gone."""
        if "memory" not in self.cgroup.read_available_controllers():
            return 0, None
        try:
            events = self.cgroup.read_memory_events()
            return events.oom_kill if events is not None else 0, self.cgroup.read_memory_peak_bytes()
        except KernelError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise
            return 0, None


def _was_reaped(process: Process, watched: Process) -> bool:
    """Of *process*, or where its owner has let go of it, of our own hold of it; reaped then."""
    if process.status is not None:
        return True
    return (watched if process.closed else process).poll() is not None
