"""A container's terminal: to the caller's socket, or between it and our own standard streams.

The container's process makes the terminal in the container's own devpts and sends its other side through the slot ``console``.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from pyrun import Fd, OciConsoleSize, PyrunError, replace
from pyrun_runtime.cli.message import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun import OciProcess
    from pyrun_runtime.unix_socket import Socket

SLOT = "console"


class Console:
    """Where the terminal of a process goes: nowhere, to ``--console-socket``, or to us. As a context manager it lets go of it."""

    def __init__(self, wanted: bool, path: str, foreground: bool) -> None:
        if path and not wanted:
            raise UsageError("--console-socket is for a process with a terminal, and this one has none")
        if wanted and not path and not foreground:
            raise UsageError("a process with a terminal needs --console-socket, unless it is run in the foreground")
        self._ours: Socket | None = None
        self._theirs: Socket | None = None
        if wanted:
            from pyrun_runtime.unix_socket import connect, socket_pair  # most containers never need a socket

            if path:
                self._theirs = connect(path)
            else:
                self._ours, self._theirs = socket_pair()

    def slots(self) -> dict[str, int]:
        """For the plan: the socket that the terminal is sent to."""
        return {} if self._theirs is None else {SLOT: self._theirs.fileno()}

    def fit(self, process: OciProcess) -> OciProcess:
        """*process*, whose terminal is as large as ours from the start if it is ours to show."""
        if self._ours is None:
            return process
        size = window_size()
        return process if size is None else replace(process, console_size=OciConsoleSize(*size))

    def receive(self) -> Fd | None:
        """The terminal, once the process has made it; None if it is not ours."""
        if self._ours is None:
            return None
        from pyrun_runtime.unix_socket import receive_fd

        terminal = receive_fd(self._ours)
        if terminal is None:
            raise PyrunError("the process has sent no terminal")
        return terminal

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *_error: object) -> None:
        for end in (self._ours, self._theirs):
            if end is not None:
                end.close()


class RawInput:
    """Our own standard input, if it is a terminal, hands every key on as it is, for the block."""

    def __enter__(self) -> None:
        import termios  # a file of its own, which most containers never need

        self._before = termios.tcgetattr(0) if os.isatty(0) else None
        if self._before is None:
            return
        raw = termios.tcgetattr(0)
        raw[0] &= ~(termios.BRKINT | termios.ICRNL | termios.INPCK | termios.ISTRIP | termios.IXON)
        raw[1] &= ~termios.OPOST
        raw[2] = (raw[2] & ~(termios.CSIZE | termios.PARENB)) | termios.CS8
        raw[3] &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN | termios.ISIG)
        termios.tcsetattr(0, termios.TCSANOW, raw)

    def __exit__(self, *_error: object) -> None:
        if self._before is not None:
            import termios

            try:
                termios.tcsetattr(0, termios.TCSANOW, self._before)
            except termios.error:
                pass  # the terminal is gone, and nobody sees how it is left


class Keys:
    """For the block, keys come one by one and are not shown, if standard input is a terminal; ``fileno()`` is that."""

    def __enter__(self) -> Keys:
        import termios

        self._before = termios.tcgetattr(0)
        quiet = termios.tcgetattr(0)
        quiet[3] &= ~(termios.ECHO | termios.ICANON)
        termios.tcsetattr(0, termios.TCSANOW, quiet)
        return self

    def fileno(self) -> int:
        return 0

    def __exit__(self, *_error: object) -> None:
        import termios

        termios.tcsetattr(0, termios.TCSANOW, self._before)


def window_size() -> tuple[int, int] | None:
    """Rows and columns of our own terminal; None if standard input is none, or has none."""
    import termios

    try:
        rows, columns = struct.unpack("HHHH", fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))[:2]
    except OSError:
        return None
    return (rows, columns) if rows and columns else None


def copy_size(terminal: Fd) -> None:
    """Give *terminal* the size of ours."""
    import termios

    try:
        size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
        fcntl.ioctl(terminal.fileno(), termios.TIOCSWINSZ, size)
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EINVAL, errno.EBADF):
            raise
