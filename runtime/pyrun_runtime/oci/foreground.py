"""A program that we stand in front of: its terminal, signals to it, and its exit status."""

from __future__ import annotations

import errno
import os
import select

from pyrun_runtime.terminal import RawInput, copy_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signals
    from collections.abc import Callable

    from pyrun import Fd, Process
    from pyrun_runtime.oci.notify import Notifications
else:
    import _signal as signals

# What the kernel or the terminal does to us alone, or what cannot be caught.
OWN = (
    "SIGKILL",
    "SIGSTOP",
    "SIGCHLD",
    "SIGPIPE",
    "SIGURG",
    "SIGTTIN",
    "SIGTTOU",
    "SIGSEGV",
    "SIGBUS",
    "SIGFPE",
    "SIGILL",
)
CHUNK = 65536


class Signals:
    """Signals as bytes in a pipe, for a poll(2), instead of doing what they do."""

    def __enter__(self) -> Signals:
        self._reading, self._writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._before_fd = signals.set_wakeup_fd(self._writing)
        own = {getattr(signals, name) for name in OWN}
        self._before = {
            number: signals.signal(number, _pass)
            for number in range(1, 32)
            if number not in own and signals.getsignal(number) != signals.SIG_IGN
        }
        return self

    def fileno(self) -> int:
        return self._reading

    def read(self) -> bytes:
        """Those that came since, each as one byte."""
        try:
            return os.read(self._reading, 512)
        except BlockingIOError:
            return b""

    def __exit__(self, *_error: object) -> None:
        signals.set_wakeup_fd(self._before_fd)
        for number, handler in self._before.items():
            if handler is not None:
                signals.signal(number, handler)
        os.close(self._reading)
        os.close(self._writing)


def _pass(_number: int, _frame: object) -> None:
    """What is to be done about it, the byte in the pipe tells."""


def stand_in_front(
    process: Process, terminal: Fd | None, caught: Signals, notifications: Notifications | None = None
) -> int:
    """Wait for the end of *process*, and return its exit status as a shell has it; signals are handed on."""
    front = _Front(process, terminal, caught, notifications)
    if terminal is None:
        return front.wait()
    copy_size(terminal)
    with RawInput():
        return front.wait()


class _Front:
    """Who is listened to: each source of events, with what is done about it. What that returns False for has come to its end."""

    def __init__(
        self, process: Process, terminal: Fd | None, caught: Signals, notifications: Notifications | None
    ) -> None:
        self._process = process
        self._terminal = terminal
        self._caught = caught
        self._sources: dict[int, Callable[[], bool]] = {caught.fileno(): self._hand_on}
        if terminal is not None:
            self._sources[0] = lambda: _copy(0, terminal.fileno())
            self._sources[terminal.fileno()] = lambda: _copy(terminal.fileno(), 1)
        if notifications is not None and notifications.fileno() >= 0:
            self._sources[notifications.fileno()] = notifications.read

    def wait(self) -> int:
        while not self._look(None):
            pass
        # What it has printed last. Somebody else may have the terminal open yet: only what is there is read.
        while self._terminal is not None and self._terminal.fileno() in self._sources:
            if not self._look(0, only=self._terminal.fileno()):
                break
        return self._process.wait_status().exit_code

    def _look(self, timeout_ms: int | None, only: int | None = None) -> bool:
        """Wait for events and see to them. True if the process has ended, or if *only* had something."""
        awaited = self._process.fileno() if only is None else only
        poll = select.poll()
        for fd in {awaited, *(self._sources if only is None else ())}:
            poll.register(fd, select.POLLIN)
        ready = [fd for fd, _ in poll.poll(timeout_ms)]
        for fd in ready:
            if fd in self._sources and not self._sources[fd]():
                del self._sources[fd]
        return awaited in ready

    def _hand_on(self) -> bool:
        for number in self._caught.read():
            if number == signals.SIGWINCH and self._terminal is not None:
                copy_size(self._terminal)
            else:
                self._process.signal(number)
        return True


def _copy(source: int, target: int) -> bool:
    """What there is now. False at the end; a terminal whose other side is closed says EIO (ioctl_tty(2))."""
    try:
        data = os.read(source, CHUNK)
        rest = data
        while rest:
            rest = rest[os.write(target, rest) :]
    except OSError as error:
        if error.errno not in (errno.EIO, errno.EPIPE):
            raise
        return False
    return bool(data)
