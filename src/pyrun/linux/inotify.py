"""Being told of changes in directories and files."""

from __future__ import annotations

import os
import struct

from pyrun._core import lib
from pyrun.linux.call import check, encode_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.linux.call import Path

# <sys/inotify.h>
IN_MODIFY, IN_CLOSE_WRITE, IN_MOVED_FROM, IN_MOVED_TO = 0x2, 0x8, 0x40, 0x80
IN_CREATE, IN_DELETE, IN_DELETE_SELF, IN_MOVE_SELF = 0x100, 0x200, 0x400, 0x800
IN_Q_OVERFLOW, IN_IGNORED, IN_ONLYDIR, IN_ISDIR = 0x4000, 0x8000, 0x1000000, 0x40000000
_HEAD = struct.Struct("=iIII")


def inotify_init() -> int:
    """A descriptor that is readable when something has happened to what is watched; reading does not wait.

    Kernel: inotify_init1(2), Linux 2.6.27.
    Affects: nothing.
    Raises: EMFILE beyond fs.inotify.max_user_instances.
    Owns: the caller closes the descriptor, which is close-on-exec.
    """
    return check(lib.sys_inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1(2)")


def inotify_add_watch(fd: int, path: Path, mask: int) -> int:
    """Watch *path*, or give its watch another *mask*; the number of the watch.

    Kernel: inotify_add_watch(2).
    Affects: the queue behind *fd*.
    Raises: ENOENT, ENOTDIR, EACCES as of a path that is read; ENOSPC beyond fs.inotify.max_user_watches.
    """
    return check(lib.sys_inotify_add_watch(fd, encode_path(path), mask), "inotify_add_watch(2)", path)


def inotify_rm_watch(fd: int, watch: int) -> None:
    """Watch it no more.

    Kernel: inotify_rm_watch(2).
    Affects: the queue behind *fd*, which gets IN_IGNORED.
    Raises: EINVAL for a watch that is none, also of what was removed.
    """
    check(lib.sys_inotify_rm_watch(fd, watch), "inotify_rm_watch(2)")


def parse_events(data: bytes) -> list[tuple[int, int, str]]:
    """(watch, mask, name) of each event in what was read; the name is empty for what is watched itself.

    Kernel: inotify(7).
    Affects: nothing.
    Raises: nothing.
    """
    events = []
    at = 0
    while at < len(data):
        watch, mask, _cookie, size = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        events.append((watch, mask, os.fsdecode(data[at : at + size].rstrip(b"\0"))))
        at += size
    return events
