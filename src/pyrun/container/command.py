"""One command in fresh namespaces, with limits and a time-out: the shortest way to use the library.

The command sees the machine's own files. What it gets of its own are its namespaces (so no other processes, no network
but lo), its cgroup, and a /proc that fits. For a root file system of its own use a container or a pod.
"""

from __future__ import annotations

import os
import time

from pyrun.errors import PyrunError
from pyrun.kernel.cgroup import Cgroup, Limits
from pyrun.kernel.spawn import NEW_NAMESPACES, spawn
from pyrun.kernel.step import Attach, Exec, FindProgram, LoopbackUp, NewMount, NewSession, SetPropagation
from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from types import TracebackType

    from pyrun.kernel.process import ExitStatus
    from pyrun.kernel.spawn import HasFileno
    from pyrun.kernel.step import Plan, Step

ACCOUNTED = ("memory",)  # for the peak, also without a limit
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Outcome(Value):
    """How a command went.

    ``peak_memory_bytes`` is the cgroup's, None where it has no memory controller; ``oom_killed``: the kernel killed for memory;
    ``timed_out``: we killed for time.
    """

    exit: ExitStatus
    wall_s: float
    cpu_s: float
    peak_memory_bytes: int | None
    oom_killed: bool
    timed_out: bool


def plan_command(
    argv: Sequence[str], env: Mapping[str, str] | None = None, namespaces: Collection[str] = NEW_NAMESPACES
) -> Plan:
    """The steps that run *argv* on the machine's own root, to be spawned with the same *namespaces*.

    *env* None is the environment of this process. Raises :class:`PyrunError` for an empty *argv*.
    """
    if not argv:
        raise PyrunError("argv is empty: it begins with the program to run")
    variables = dict(os.environ if env is None else env)
    steps: list[Step] = [NewSession()]
    if "network" in namespaces:
        steps.append(LoopbackUp())
    if "mount" in namespaces:
        steps.append(SetPropagation("/", "private"))
        if "pid" in namespaces:
            steps += [NewMount("proc", "proc", (), ("nosuid", "nodev", "noexec")), Attach("proc", "/proc")]
    steps.append(FindProgram(argv[0], variables.get("PATH", DEFAULT_PATH)))
    return (*steps, Exec(tuple(argv), tuple([f"{name}={value}" for name, value in variables.items()])))


def run(
    argv: Sequence[str],
    *,
    limits: Limits | None = None,
    timeout_s: float | None = None,
    env: Mapping[str, str] | None = None,
    namespaces: Collection[str] = NEW_NAMESPACES,
    fds: Mapping[int, HasFileno | int] | None = None,
    cgroup: str | None = None,
) -> Outcome:
    """Run *argv* in fresh *namespaces* and in a cgroup of its own, wait for its end, and leave nothing behind.

    *fds* gives the command descriptors by number; 0, 1 and 2 are this process's unless given. After *timeout_s* seconds it is
    killed, which is no error but told (``timed_out``). *cgroup* names the group below the root of the hierarchy; without it a
    new name is made. What the command leaves running is killed.

    Raises :class:`ExecError` if there is no such program, :class:`Unsupported` if a limit cannot be applied.
    """
    with Command(argv, limits=limits, env=env, namespaces=namespaces, fds=fds, cgroup=cgroup) as command:
        timed_out = command.process.wait(timeout_s) is None
        command.group.kill()
        command.process.wait()
        return command.outcome(timed_out)


class Command:
    """A command of :func:`run` while it runs. Whoever has one waits for ``process``, kills ``group``, and asks for the outcome.
    At the end of the block nothing of it is left."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        limits: Limits | None,
        env: Mapping[str, str] | None,
        namespaces: Collection[str],
        fds: Mapping[int, HasFileno | int] | None,
        cgroup: str | None,
    ) -> None:
        name = cgroup if cgroup is not None else f"pyrun/run-{os.getpid()}-{os.urandom(4).hex()}"
        self.group = Cgroup.create(name, limits=limits, optional_controllers=ACCOUNTED)
        try:
            given = {f"fd {number}": fd for number, fd in (fds or {}).items()}
            plan = plan_command(argv, env, namespaces)
            steps = (*plan[:-1], *_duplicates(fds or {}), plan[-1])
            self._started_s = time.monotonic()
            self.process = spawn(steps, namespaces=namespaces, cgroup=self.group, fds=given)
        except BaseException as error:
            self.group.__exit__(type(error), error, error.__traceback__)
            raise

    def outcome(self, timed_out: bool) -> Outcome:
        """Once ``process`` has been waited for, and its group killed."""
        status = self.process.wait_status()
        return _outcome(self.group, status, time.monotonic() - self._started_s, timed_out)

    def __enter__(self) -> Command:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self.group, self.process:
            pass


def _duplicates(fds: Mapping[int, object]) -> list[Step]:
    from pyrun.kernel.step import Duplicate

    return [Duplicate(f"fd {number}", number) for number in fds]


def _outcome(group: Cgroup, status: ExitStatus, wall_s: float, timed_out: bool) -> Outcome:
    events = group.read_memory_events()
    return Outcome(
        exit=status,
        wall_s=wall_s,
        cpu_s=group.read_cpu_stats().usage_us / 1e6,
        peak_memory_bytes=group.read_memory_peak_bytes(),
        oom_killed=events is not None and events.oom_kill > 0,
        timed_out=timed_out,
    )
