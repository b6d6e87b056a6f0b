"""A process that is not our child: found again by what was written down about it."""

from __future__ import annotations

import errno
import select

from pyrun.errors import KernelError, NotFound
from pyrun.kernel.fd import Fd
from pyrun.kernel.poll import poll_ms
from pyrun.linux.pidfd import pidfd_open, pidfd_send_signal
from pyrun.linux.procfs import read_stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

ENDED = ("Z", "X")


class ForeignProcess:
    """A process by its pidfd, which is ``fileno()``; ``pid`` is for display."""

    def __init__(self, pid: int, pidfd: Fd) -> None:
        self.pid = pid
        self._pidfd = pidfd

    @classmethod
    def find(cls, pid: int, start_ticks: int) -> ForeignProcess | None:
        """The process that had *pid* and was started at *start_ticks* (see :func:`read_start_ticks`); None if it has ended."""
        try:
            pidfd = Fd.adopt(pidfd_open(pid))
        except KernelError as error:
            if error.errno not in (errno.ESRCH, errno.EINVAL):  # EINVAL: by now it is a thread
                raise
            return None
        # Looked at after the open: whoever has the pid now is who the descriptor means.
        if _start_ticks(pid) == start_ticks:
            return cls(pid, pidfd)
        pidfd.close()
        return None

    def fileno(self) -> int:
        return self._pidfd.fileno()

    def signal(self, number: int) -> bool:
        """Send a signal. False if the process has ended. Raises :class:`KernelError` (EPERM, EINVAL)."""
        try:
            pidfd_send_signal(self.fileno(), number)
        except KernelError as error:
            if error.errno != errno.ESRCH:
                raise
            return False
        return True

    def wait_end(self, timeout_s: float | None = None) -> bool:
        """Wait until it has ended. False when *timeout_s* has run out first."""
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return bool(poll.poll(poll_ms(timeout_s)))

    def close(self) -> None:
        """Idempotent."""
        self._pidfd.close()

    def __enter__(self) -> ForeignProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_start_ticks(pid: int) -> int:
    """When the process was started, in clock ticks since boot: with the pid it names a process for good.

    Raises :class:`NotFound` if there is none.
    """
    ticks = _start_ticks(pid)
    if ticks is None:
        raise NotFound(f"there is no process {pid}")
    return ticks


def _start_ticks(pid: int) -> int | None:
    """None also for a zombie, which only waits to be reaped."""
    try:
        stat = read_stat(f"/proc/{pid}")
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ESRCH):
            raise
        return None
    return None if stat.state in ENDED else stat.start_ticks
