"""Termination messages: what a container has written into its terminationMessagePath, or, on an error, the end of its output."""

from __future__ import annotations

import errno
import os
import stat

from pyrun.container.layout import MESSAGE_PATH, MESSAGES
from pyrun.kernel.fd import Fd
from pyrun.linux.file import RESOLVE_IN_ROOT, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.kernel.process import Process
    from pyrun.spec.pod import Container

MAX_BYTES = 4096
# Of the output that stands in for a message (kubelet, fallbackToLogsOnError).
MAX_TAIL_BYTES = 2048
MAX_TAIL_LINES = 80


def open_message(container: Container, process: Process, sandbox: str, *, empty: bool = True) -> Fd | None:
    """The file that *container* writes its message into, emptied; *process* is at its gate, *sandbox* the root of pause. None
    for a container that has none: its /dev is somebody else's. Not to *empty* it is for one that runs already.

    Only the file that was made for the message is opened: to root, who empties it, a link in a volume may mean a file that the
    container itself may not write.
    """
    path, flags = container.termination_message_path, os.O_RDWR | (os.O_TRUNC if empty else 0)
    if path == MESSAGE_PATH and any([mount.mount_path in ("/dev", path) for mount in container.volume_mounts]):
        return None
    try:
        with Fd.open(f"/proc/{process.pid}/root", os.O_PATH) as root:
            found = Fd.adopt(openat2(root.fileno(), path, os.O_PATH, resolve=RESOLVE_IN_ROOT))
        with found:
            made = os.fstat(found.fileno())
            if path == MESSAGE_PATH:
                ours = stat.S_ISREG(made.st_mode)
            else:
                ours = os.path.samestat(made, os.lstat(f"{sandbox}/{MESSAGES}/{container.name}"))
            return Fd.open(f"/proc/self/fd/{found.fileno()}", flags) if ours else None
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise
        return None  # its process is gone, or somebody has put something else there


def read_message(file: Fd | None, container: Container, exit_code: int, tail: bytes) -> str:
    """The message of a container that has ended; *tail* is the end of its output, where somebody has kept it."""
    data = os.pread(file.fileno(), MAX_BYTES, 0) if file is not None else b""
    if not data and exit_code and container.termination_message_policy == "FallbackToLogsOnError":
        data = cut_tail(tail)
    return data.decode(errors="replace")


def cut_tail(output: bytes) -> bytes:
    """As much of the end of *output* as may be a message."""
    lines = output[-MAX_TAIL_BYTES:].splitlines(keepends=True)
    return b"".join(lines[-MAX_TAIL_LINES:])
