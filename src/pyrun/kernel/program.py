"""The static programs of the package, as sealed memfds.

``/proc/<pid>/exe`` of a process leads to the file that it executes. For the stage and for pause, which a container of
the same PID namespace can see, that must not be a file of the host that could be written (CVE-2019-5736). A memfd with
all seals cannot be changed by anybody, root included.
"""

from __future__ import annotations

import fcntl
import os
from _thread import allocate_lock

from pyrun._core import lib

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

_lock = allocate_lock()
_opened: dict[str, int] = {}


def program_path(name: str) -> str:
    """The file of a program that is shipped in the package, such as ``pyrun-stage``."""
    return os.path.join(PACKAGE, name)


def program_fd(name: str) -> int:
    """A sealed memfd with the program. It is made once per process and stays open."""
    with _lock:
        if name not in _opened:
            _opened[name] = _seal(program_path(name), name)
        return _opened[name]


def use_program(name: str, path: str | None) -> None:
    """Test seam: take *name* from *path* (a build with sanitizers) from now on; None goes back to the shipped one."""
    with _lock:
        if name in _opened:
            os.close(_opened.pop(name))
        if path is not None:
            _opened[name] = _seal(path, name)


def above_standard(fd: int) -> int:
    """*fd* as one that is no standard descriptor: a launcher without standard input has 0 free, and a child keeps 0, 1 and 2."""
    if fd > 2:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)


def _memfd(name: str) -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        # Without MFD_EXEC a kernel with vm.memfd_noexec set makes files that nobody can execute.
        return os.memfd_create(name, flags | lib.MFD_EXEC)
    except OSError:
        return os.memfd_create(name, flags)  # FIXME: remove when Linux 6.3 is the oldest supported


def _seal(path: str, name: str) -> int:
    with open(path, "rb") as file:
        content = file.read()
    fd = above_standard(_memfd(name))
    try:
        while content:
            content = content[os.write(fd, content) :]
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd
