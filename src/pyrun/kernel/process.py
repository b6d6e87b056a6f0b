"""A child process, owned by its pidfd."""

from __future__ import annotations

import errno
import math
import select
import time
from _thread import allocate_lock

from pyrun._core import lib
from pyrun.errors import KernelError, StateError
from pyrun.kernel.fd import Fd
from pyrun.kernel.poll import poll_ms
from pyrun.linux.pidfd import pidfd_open, pidfd_send_signal, waitid
from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType


SIGKILL, SIGPIPE = 9, 13
TRACER_LOOK_S = 0.01


class ExitStatus(Value):
    """How a process ended. Either ``code`` or ``signal`` is set. Times are those of the process and the children it
    waited for.

    ``max_rss_bytes`` is an upper bound: the kernel starts it at the peak of whoever spawned the process, since both share
    memory until the exec. The ``memory.peak`` of a cgroup tells the process's own.
    """

    code: int | None
    signal: int | None
    core_dumped: bool = False
    user_s: float = 0.0
    system_s: float = 0.0
    max_rss_bytes: int = 0

    @property
    def exit_code(self) -> int:
        """As a shell has it: the code, or 128 plus the signal."""
        return self.code if self.code is not None else 128 + (self.signal or 0)

    @property
    def cpu_s(self) -> float:
        """User and system time together."""
        return self.user_s + self.system_s

    def describe(self) -> str:
        """``exit code 3`` or ``signal SIGKILL``."""
        if self.code is not None:
            return f"exit code {self.code}"
        return f"signal {signal_name(self.signal or 0)}" + (" (core dumped)" if self.core_dumped else "")


def signal_name(number: int) -> str:
    """``SIGTERM`` for 15, ``SIGRTMIN+3`` for 37; the number as text for one without a name."""
    import signal  # makes enums, which costs some milliseconds: not on the path of a start

    if signal.SIGRTMIN < number < signal.SIGRTMAX:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


class Process:
    """A child of this process.

    ``fileno()`` is the pidfd: readable when the process has ended, so a Process goes into selectors, asyncio or trio as it is.
    ``pid`` is for display. As a context manager it kills what still runs and reaps it.
    """

    def __init__(self, pid: int, pidfd: Fd) -> None:
        self.pid = pid
        self._pidfd = pidfd
        self._status: ExitStatus | None = None
        self._lock = allocate_lock()

    def __repr__(self) -> str:
        return f"<Process {self.pid}, {self._status.describe() if self._status else 'running'}>"

    def fileno(self) -> int:
        return self._pidfd.fileno()

    @property
    def closed(self) -> bool:
        """Whether its owner has let go of it."""
        return self._pidfd.closed

    @property
    def status(self) -> ExitStatus | None:
        """What :meth:`wait` or :meth:`poll` found; None as long as neither did."""
        return self._status

    def signal(self, number: int) -> bool:
        """Send a signal. False if the process has ended already. Raises :class:`KernelError` (EPERM, EINVAL)."""
        if self._status is not None:
            return False
        try:
            pidfd_send_signal(self.fileno(), int(number))
        except KernelError as error:
            if error.errno != errno.ESRCH:  # that is a zombie
                raise
            return False
        return True

    def kill(self) -> bool:
        """SIGKILL."""
        return self.signal(SIGKILL)

    def poll(self) -> ExitStatus | None:
        """How it ended, reaping it, or None if it still runs. Never blocks.

        Raises :class:`StateError` if it was closed before it was reaped.
        """
        return self._reap()

    def wait(self, timeout_s: float | None = None) -> ExitStatus | None:
        """Wait for the end and reap. None when *timeout_s* seconds have run out first; without one never None.

        Any number of threads may wait. Raises :class:`StateError` if the process was closed.
        """
        deadline_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while self._status is None:
            left_s = deadline_s - time.monotonic()
            if not self._ends_within(left_s):
                return None
            if self._reap() is None:
                # It has ended, and somebody who traces it has not waited for it yet: until then it is not ours to reap.
                if left_s <= 0:
                    return None
                select.select([], [], [], TRACER_LOOK_S)
        return self._status

    def wait_status(self) -> ExitStatus:
        """:meth:`wait` without a limit, and so without None."""
        status = self.wait()
        assert status is not None
        return status

    def close(self) -> None:
        """Let go of the process: it runs on, and nobody waits for it. Idempotent."""
        self._pidfd.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Kill what still runs, reap it, close. Idempotent."""
        if self._pidfd.closed:
            return
        if self._status is None:
            self.kill()
            self.wait()
        self.close()

    @property
    def finished_s(self) -> float | None:
        """When it ended, on CLOCK_MONOTONIC, where somebody has written that down."""
        return None

    @property
    def has_run(self) -> bool:
        """Of one that has ended: whether it was more than a plan, as far as anybody knows."""
        return True

    def successor(self, pid: int) -> Process:
        """The process that this one's plan went on in: a child of our own, too."""
        return Process(pid, Fd.adopt(pidfd_open(pid)))

    def _ends_within(self, timeout_s: float) -> bool:
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return bool(poll.poll(poll_ms(timeout_s)))

    def _reap(self) -> ExitStatus | None:
        with self._lock:  # several threads may wait, and the kernel tells the status once
            if self._status is None:
                if self._pidfd.closed:
                    raise StateError(f"process {self.pid}", "closed", "open")
                self._status = _wait(self.fileno())
            return self._status


def _wait(pidfd: int) -> ExitStatus | None:
    result = waitid(pidfd, lib.WNOHANG)
    if result is None:
        return None
    exited = result.code == lib.CLD_EXITED
    return ExitStatus(
        code=result.status if exited else None,
        signal=None if exited else result.status,
        core_dumped=result.code == lib.CLD_DUMPED,
        user_s=result.user_us / 1e6,
        system_s=result.system_us / 1e6,
        max_rss_bytes=result.max_rss_bytes,
    )
