"""``fsGroup``: which group owns a pod's volumes, as the kubelet sets it (pkg/volume/volume_linux.go)."""

from __future__ import annotations

import errno
import os
import stat

from pyrun.errors import KernelError
from pyrun.kernel.fd import Fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.security import PodSecurity

DIRECTORY_MODE = 0o2770  # what is in it belongs to the group as well
FILE_MODE = 0o660
ENTER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _Level:
    """A directory on the way down: which it is, and those in it that have not been seen to."""

    def __init__(self, fd: Fd, group: int) -> None:
        self.identity = _identity(fd)
        self.directories = _give_files(fd, group)


def give_to_group(path: str, security: PodSecurity) -> None:
    """Let the directory *path* and all that is in it belong to the pod's fsGroup, if it has one; with OnRootMismatch only if the
    directory itself does not yet. Links in it are not followed. Raises :class:`KernelError`.

    Its content may be hostile, and change meanwhile: what has gone by then is nobody's, and a tree of any depth takes neither
    recursion nor more than three descriptors. Each directory comes after what is in it, the top last: it says to OnRootMismatch
    that all is done.
    """
    group = security.fs_group
    if group is None:
        return
    try:
        top = Fd.open(path, os.O_RDONLY | os.O_DIRECTORY)
        found = os.fstat(top.fileno())
        if security.fs_group_change_policy == "OnRootMismatch" and _belongs(found, group):
            top.close()
        else:
            _give_tree(top, group)
    except OSError as error:
        raise KernelError(error.errno or 0, "chown(2)", path) from None


def _belongs(found: os.stat_result, group: int) -> bool:
    return found.st_gid == group and found.st_mode & DIRECTORY_MODE == DIRECTORY_MODE


def _give_tree(here: Fd, group: int) -> None:
    """*here* is the top, and closed at the end."""
    try:
        levels = [_Level(here, group)]
        while True:
            if levels[-1].directories:
                below = _enter(levels[-1].directories.pop(), here)
                if below is not None:
                    here.close()
                    here = below
                    levels.append(_Level(here, group))
                continue
            _give(here.fileno(), group)
            levels.pop()
            if not levels:
                return
            above = Fd.adopt(os.open("..", ENTER, dir_fd=here.fileno()))
            here.close()
            here = above
            if _identity(here) != levels[-1].identity:  # somebody has moved the directory that we came from
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
    finally:
        here.close()


def _identity(fd: Fd) -> tuple[int, int]:
    found = os.fstat(fd.fileno())
    return found.st_dev, found.st_ino


def _enter(name: str, above: Fd) -> Fd | None:
    """None where it has gone, or is no directory any more."""
    try:
        return Fd.adopt(os.open(name, ENTER, dir_fd=above.fileno()))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        return None


def _give_files(directory: Fd, group: int) -> list[str]:
    """All in it that is no directory; the names of what is one."""
    directories = []
    for name in os.listdir(directory.fileno()):
        try:
            # O_PATH: nothing happens to a device or a pipe by that, whatever has come to be here.
            found = Fd.adopt(os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory.fileno()))
        except FileNotFoundError:
            continue
        with found:
            if stat.S_ISDIR(os.fstat(found.fileno()).st_mode):
                directories.append(name)
            else:
                _give(found.fileno(), group)
    return directories


def _give(fd: int, group: int) -> None:
    """What *fd* is open at, be it a link; only directories and files have a mode that counts."""
    path = f"/proc/self/fd/{fd}"
    os.chown(path, -1, group)
    mode = os.fstat(fd).st_mode  # without the set-ID bits of a file, which the change has taken
    if stat.S_ISDIR(mode) or stat.S_ISREG(mode):
        os.chmod(path, stat.S_IMODE(mode) | (DIRECTORY_MODE if stat.S_ISDIR(mode) else FILE_MODE))
