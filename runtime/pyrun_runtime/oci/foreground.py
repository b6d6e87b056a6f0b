"""A program that we stand in front of: its terminal, signals to it, and its exit status."""

from __future__ import annotations

import errno
import os
import select

from pyrun_runtime.oci.terminal import RawInput, copy_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signals

    from pyrun import Fd, Process
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


def stand_in_front(process: Process, terminal: Fd | None, caught: Signals) -> int:
    """Wait for the end of *process*, and return its exit status as a shell has it; signals are handed on."""
    if terminal is None:
        return _wait(process, None, caught)
    copy_size(terminal)
    with RawInput():
        return _wait(process, terminal, caught)


def _wait(process: Process, terminal: Fd | None, caught: Signals) -> int:
    poll = select.poll()
    poll.register(process.fileno(), select.POLLIN)
    poll.register(caught.fileno(), select.POLLIN)
    if terminal is not None:
        poll.register(terminal.fileno(), select.POLLIN)
        poll.register(0, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poll.poll()}
        if caught.fileno() in ready:
            _hand_on(process, terminal, caught.read())
        if terminal is not None and 0 in ready and not _copy(0, terminal.fileno()):
            poll.unregister(0)
        if terminal is not None and terminal.fileno() in ready and not _copy(terminal.fileno(), 1):
            poll.unregister(terminal.fileno())
            terminal = None
        if process.fileno() in ready:
            while terminal is not None and _copy(terminal.fileno(), 1):
                pass  # what it has printed last
            return process.wait_status().exit_code


def _hand_on(process: Process, terminal: Fd | None, numbers: bytes) -> None:
    for number in numbers:
        if number == signals.SIGWINCH and terminal is not None:
            copy_size(terminal)
        else:
            process.signal(number)


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
