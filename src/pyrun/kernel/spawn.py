"""From a plan to a process.

:func:`spawn` runs a plan to its end and returns the running program. :func:`create` stops where the plan has a
:class:`~pyrun.kernel.step.Gate`, so that several processes can be created before one of them starts. Both cost the same from a
parent of any size; csrc/child.c has the theory of operation.
"""

from __future__ import annotations

import errno
import os

from pyrun._core import lib
from pyrun.errors import ExecError, KernelError, PyrunError, StateError, StepError
from pyrun.kernel.encode import BORN_PID_OFFSET, decode_stamps, encode_plan, gates_of, slot_offset, stamps_offset
from pyrun.kernel.fd import Fd
from pyrun.kernel.process import Process
from pyrun.kernel.program import above_standard, program_fd
from pyrun.kernel.report import REPORT
from pyrun.kernel.step import (
    EnterPidNamespace,
    Exec,
    FindProgram,
    NewPidNamespace,
    NewTimeNamespace,
    Unshare,
    namespace_flags,
)
from pyrun.linux.call import convert
from pyrun.linux.pidfd import pidfd_getfd
from pyrun.linux.process import clone3
from pyrun.linux.process import land as land_flight

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signals
    from collections.abc import Collection, Mapping, Sequence
    from types import TracebackType
    from typing import NoReturn, Protocol

    from pyrun.kernel.monitor import Monitor
    from pyrun.kernel.step import Gate, Plan, Step
    from pyrun.linux.process import Flight

    class HasFileno(Protocol):
        def fileno(self) -> int: ...
else:
    import _signal as signals  # the built-in part: the module signal makes enums, which costs some milliseconds


NEW_NAMESPACES = ("mount", "uts", "ipc", "network", "pid")
"""What a container usually gets of its own."""

# The test hook of the step array: (index of the step, errno), for the next plans of this process. See tests/pod/test_faults.py.
_fault: tuple[int, int] | None = None


def inject_fault(index: int | None, error: int = errno.EIO) -> None:
    """Test hook: let step *index* of every plan that is spawned from now on fail with *error*; None ends it."""
    global _fault
    _fault = None if index is None else (index, error)


class Created:
    """A process that runs its plan: on its way to the gate, at the gate, or past it.

    ``process`` is the child, from :meth:`wait_created` on the one that becomes the program (a plan with
    :class:`~pyrun.kernel.step.NewPidNamespace` goes on in a child of its own); ``warnings`` are the optional steps that failed,
    as :class:`StepError`. Whoever has a Created calls :meth:`start` or :meth:`abandon`.
    """

    def __init__(
        self,
        steps: Plan,
        names: Collection[str],
        gates: Sequence[Gate],
        process: Process,
        flight: Flight | None,
        report: Fd,
        gate: Fd | None,
        plan_fd: Fd,
    ) -> None:
        self.process = process
        self._names = tuple(names)
        self._may_be_born = any([isinstance(step, (NewPidNamespace, EnterPidNamespace)) for step in steps])
        self.warnings: list[StepError] = []
        self.stamps: list[tuple[int, int]] = []
        self._steps = steps
        self._flight: Flight | None = flight
        self._report = report
        self._gate = gate
        self._plan_fd = plan_fd
        self._ahead = [gate.name for gate in gates]  # those that it has not reached yet, as far as we heard
        self._closed = [gate.name for gate in gates if gate.source is None]  # those that are ours to open

    def wait_created(self) -> None:
        """Wait until the plan has reached its last gate.

        Raises :class:`StepError` or :class:`ExecError`, :class:`KernelError` if the child did not get as far as its plan; then
        nothing is left.
        """
        self.land()
        while self._ahead:
            self._pass_gate()

    def is_ahead(self, name: str) -> bool:
        """Whether the plan has a gate *name*, and has not reached it as far as we heard."""
        return name in self._ahead

    def wait_gate(self, name: str) -> None:
        """Wait until the plan has reached the gate *name*. Raises as :meth:`wait_created`."""
        self.land()
        while name in self._ahead:
            self._pass_gate()

    def _pass_gate(self) -> None:
        if self._next_report() is None:
            self._raise_killed()
        self._follow()
        del self._ahead[0]

    def open_gate(self) -> None:
        """Let it go on from the first gate that is still closed. From the last one the program starts; :meth:`wait_started` tells
        whether it did."""
        if self._gate is None:
            return
        if not self._closed:
            raise StateError(f"process {self.process.pid}", "past its gate", "at its gate")
        try:
            os.write(self._gate.fileno(), b"1")
        except BrokenPipeError:
            pass  # it died at the gate: the report pipe tells
        del self._closed[0]
        if not self._closed:
            self._gate.close()

    def release(self) -> Process:
        """Leave it at its last gate for another process to open, and hand it over; see :class:`~pyrun.kernel.door.Door`."""
        self.wait_created()
        self._close()
        return self.process

    def wait_started(self) -> Process:
        """Wait until the exec is done, and hand over the process. Raises as :meth:`wait_created`."""
        self.land()
        while self._next_report() is not None:
            del self._ahead[0]
        self._follow()
        self.stamps = self._read_stamps()
        if self.stamps and not self.stamps[-1][0]:
            self._raise_killed()
        self._close()
        return self.process

    def start(self) -> Process:
        """Open the gate and wait for the exec."""
        self.open_gate()
        return self.wait_started()

    def abandon(self) -> None:
        """Kill the process wherever it is in its plan, and reap it. Idempotent."""
        self.process.end()
        self._follow()  # now that the first one is gone, none can be born any more
        self.process.end()
        try:
            self.land()
        except KernelError:
            pass  # it failed by itself before
        self._close()

    def take(self, slot: str) -> Fd:
        """A copy of what the plan has put into *slot*, from the process at its gate. Raises :class:`KernelError`."""
        offset = slot_offset(self._steps, self._names, slot)
        number = int.from_bytes(os.pread(self._plan_fd.fileno(), 4, offset), "little", signed=True)
        return Fd.adopt(pidfd_getfd(self.process.fileno(), number))

    def land(self) -> None:
        """Wait until the child shares our memory no more; the other waits do that first. Raises :class:`KernelError`, and then
        nothing is left."""
        flight, self._flight = self._flight, None
        if flight is None:
            return
        try:
            land_flight(flight)
        except KernelError:
            self.abandon()
            raise

    def __enter__(self) -> Created:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._report.closed:
            self.abandon()

    def _follow(self) -> None:
        """The process that the plan went on in, once there is one. It is our child: its pid is nobody else's till we reap it."""
        if not self._may_be_born or self._plan_fd.closed:
            return
        pid = int.from_bytes(os.pread(self._plan_fd.fileno(), 4, BORN_PID_OFFSET), "little")
        if pid:
            self._may_be_born = False
            first, self.process = self.process, self.process.successor(pid)
            if first is not self.process:
                first.end()

    def _close(self) -> None:
        for fd in (self._report, self._gate, self._plan_fd):
            if fd is not None:
                fd.close()

    def _next_report(self) -> int | None:
        """The kind of the next report that is no warning; None for the end of file."""
        while True:
            data = os.read(self._report.fileno(), REPORT.size)
            if not data:
                return None
            kind, index, error = REPORT.unpack(data)
            if kind == lib.PLAN_REPORT_WARNING:
                self.warnings.append(StepError(error, self._steps[index], index))
            elif kind == lib.PLAN_REPORT_FAILED:
                self.abandon()
                raise step_error(self._steps, index, error)
            else:
                return int(kind)

    def _read_stamps(self) -> list[tuple[int, int]]:
        offset, size = stamps_offset(len(self._steps))
        return decode_stamps(os.pread(self._plan_fd.fileno(), size, offset))

    def _raise_killed(self) -> NoReturn:
        """The pipe has ended before the last step began: somebody killed the child, or it could not read its plan."""
        self.stamps = self._read_stamps()
        self.abandon()
        status = self.process.wait_status()
        index = max([i for i, (begin, _) in enumerate(self.stamps) if begin], default=0)
        hint = f"the process ended with {status.describe()} before its program ran"
        raise StepError(errno.EINTR, self._steps[index], index, hint)


class Adopted:
    """A process that another has created and started, in place of a :class:`Created`: nothing is known of its plan."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.warnings: list[StepError] = []
        self.stamps: list[tuple[int, int]] = []

    def wait_created(self) -> None:
        """It was."""

    def open_gate(self) -> None:
        """Raises :class:`StateError`: it was opened, or never will be."""
        raise StateError(f"process {self.process.pid}", "past its gate", "at its gate")

    def wait_started(self) -> Process:
        return self.process

    def abandon(self) -> None:
        """Kill the process, and reap it. Idempotent."""
        self.process.end()


def step_error(steps: Sequence[Step], index: int, error: int) -> StepError | ExecError:
    """The exception for a report: step *index* failed with *error*."""
    if index >= len(steps):
        return StepError(error, steps[0], 0, "the child could not prepare the plan")
    step = steps[index]
    if isinstance(step, FindProgram):
        return ExecError(step.program, error, f" in PATH {step.path}" if "/" not in step.program else "")
    if isinstance(step, Exec) and step.file is None:
        return ExecError(step.argv[0], error)
    return StepError(error, step, index, step.hint(error))


def create(
    plan: Sequence[Step],
    *,
    namespaces: Collection[str] = (),
    cgroup: HasFileno | None = None,
    pid_namespace: HasFileno | None = None,
    fds: Mapping[str, HasFileno | int] | None = None,
    uid_map: str | None = None,
    gid_map: str | None = None,
    report: tuple[Fd, Fd] | None = None,
    monitor: Monitor | None = None,
    name: str = "",
) -> Created:
    """Clone a child that runs *plan*, and return without waiting for it.

    *namespaces* are made for it (names as in :data:`~pyrun.kernel.step.NAMESPACE_FLAGS`); it is born in *cgroup* (a cgroup v2
    directory) and in *pid_namespace* (a pidfd, or a namespace descriptor). *fds* gives the plan's slots their descriptors, which
    stay the caller's. With a ``user`` namespace, *uid_map* and *gid_map* are the lines of user_namespaces(7), which must map 0.
    *report* are the ends, for reading and for writing, of what the child reports through instead of a pipe; they become ours.
    With a *monitor* the child is that one's, and called *name* there.

    Raises :class:`KernelError` with the call that failed; then there is no child. :class:`StateError` where SIGCHLD is ignored.
    """
    if ("user" in namespaces, "user" in namespaces) != (uid_map is not None, gid_map is not None):
        raise PyrunError("uid_map and gid_map belong to a new user namespace: it needs both, and they need it")
    if signals.getsignal(signals.SIGCHLD) == signals.SIG_IGN:
        raise StateError(
            "SIGCHLD of this process",
            "ignored",
            "heard: the kernel would reap its children, and nobody learn how they ended",
        )
    first = _namespace_steps(namespaces)
    steps = (
        (*first, *plan) if first else tuple(plan)
    )  # the same tuple, where it is one: what it encodes to is remembered
    numbers = {name: fd if isinstance(fd, int) else fd.fileno() for name, fd in (fds or {}).items()}
    owned: list[Fd] = list(report or ())
    try:
        gates = gates_of(steps, numbers)
        gated = any([gate.source is None for gate in gates])
        report_fd, child_report = report or _pipe(owned)
        child_gate, gate = _pipe(owned) if gated else (None, None)
        gate_fd = child_gate.fileno() if child_gate else -1
        inherited = [*numbers.values(), child_report.fileno(), *([gate_fd] if gated else [])]
        known = inherited if monitor is None else range(len(inherited))
        given = dict(zip(numbers, known, strict=False))
        ends = known[len(numbers)], known[-1] if gated else -1
        plan_fd = _plan_file(encode_plan(steps, given, *ends, _fault))
        owned.append(plan_fd)
        flags, at = _clone_flags(namespaces), plan_fd.fileno()
        if monitor is None:
            process, flight = _clone(flags, at, {*inherited, at}, cgroup, pid_namespace, uid_map, gid_map)
        else:
            born = {"cgroup": cgroup, "pid_namespace": pid_namespace}
            process = monitor.spawn(at, inherited, name=name, flags=flags, uid_map=uid_map, gid_map=gid_map, **born)
            flight = None
    except BaseException:
        _close_all(*owned)
        raise
    _close_all(child_report, child_gate)
    created = Created(steps, numbers, gates, process, flight, report_fd, gate, plan_fd)
    if uid_map is not None:
        created.land()  # maps that do not let it be root are told at once
    return created


def spawn(
    plan: Sequence[Step],
    *,
    namespaces: Collection[str] = (),
    cgroup: HasFileno | None = None,
    pid_namespace: HasFileno | None = None,
    fds: Mapping[str, HasFileno | int] | None = None,
    uid_map: str | None = None,
    gid_map: str | None = None,
) -> Process:
    """Clone a child, let it run *plan* to its exec, and return the running program. Arguments as for :func:`create`.

    Raises :class:`StepError` or :class:`ExecError` when a step fails; then there is no child and nothing is left of it.
    """
    if not any([isinstance(step, Exec) for step in plan]):
        raise PyrunError(
            "the plan has no Exec, so there would be no program: create() is for a process that waits at its gate"
        )
    created = create(
        plan,
        namespaces=namespaces,
        cgroup=cgroup,
        pid_namespace=pid_namespace,
        fds=fds,
        uid_map=uid_map,
        gid_map=gid_map,
    )
    with created:
        created.wait_created()
        return created.start()


def _namespace_steps(namespaces: Collection[str]) -> Plan:
    """What clone3 cannot do: a cgroup namespace made by it would be rooted in the launcher's cgroup, and a time namespace cannot
    be entered by a clone that shares memory."""
    steps: list[Step] = []
    if "time" in namespaces:
        steps.append(NewTimeNamespace())
    if "cgroup" in namespaces:
        steps.append(Unshare(("cgroup",)))
    return tuple(steps)


def _clone_flags(namespaces: Collection[str]) -> int:
    return namespace_flags(tuple([kind for kind in namespaces if kind not in ("time", "cgroup")]))


def _pipe(owned: list[Fd]) -> tuple[Fd, Fd]:
    """The reading and the writing end, which are put into *owned*, too."""
    at = len(owned)
    try:
        owned += [Fd.adopt(fd) for fd in os.pipe2(os.O_CLOEXEC)]
    except OSError as error:
        raise convert(error, "pipe2(2)") from None
    for i in (at, at + 1):
        if owned[i].fileno() < 3:
            owned[i] = Fd.adopt(above_standard(owned[i].detach()))
    return owned[at], owned[at + 1]


def _plan_file(block: bytes) -> Fd:
    try:
        plan_fd = Fd.adopt(above_standard(os.memfd_create("pyrun-plan", os.MFD_CLOEXEC)))
    except OSError as error:
        raise convert(error, "memfd_create(2)") from None
    try:
        while block:
            block = block[os.write(plan_fd.fileno(), block) :]
    except BaseException:
        plan_fd.close()
        raise
    return plan_fd


def _clone(
    flags: int,
    plan_fd: int,
    keep: set[int],
    cgroup: HasFileno | None,
    pid_namespace: HasFileno | None,
    uid_map: str | None,
    gid_map: str | None,
) -> tuple[Process, Flight]:
    pid, pidfd, flight = clone3(
        flags,
        stage_fd=program_fd("pyrun-stage"),
        plan_fd=plan_fd,
        keep_fds=keep,
        cgroup_fd=-1 if cgroup is None else cgroup.fileno(),
        pid_namespace_fd=-1 if pid_namespace is None else pid_namespace.fileno(),
        uid_map=uid_map,
        gid_map=gid_map,
    )
    return Process(pid, Fd.adopt(pidfd)), flight


def _close_all(*fds: Fd | None) -> None:
    for fd in fds:
        if fd is not None:
            fd.close()
