"""Removing trees whose content may be hostile."""

from __future__ import annotations

import errno
import os
import stat


def remove_tree(path: str) -> None:
    """Remove a directory with all that is in it; nothing if it does not exist.

    Its content may be hostile: directories are never followed through links, and a tree of any depth takes neither recursion nor
    more than two descriptors, because each subdirectory is moved up to the top before it is emptied.
    """
    try:
        top_fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        serial = 0
        while names := os.listdir(top_fd):
            for name in names:
                serial = _remove_entry(name, top_fd, serial)
    finally:
        os.close(top_fd)
    os.rmdir(path)


def remove_below(name: str, dir_fd: int) -> None:
    """:func:`remove_tree` for *name* in the directory *dir_fd*, which is ours."""
    remove_tree(f"/proc/self/fd/{dir_fd}/{name}")


def _remove_entry(name: str, top_fd: int, serial: int) -> int:
    if not _is_directory(name, top_fd):
        os.unlink(name, dir_fd=top_fd)
        return serial
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top_fd)
    try:
        for inner in os.listdir(fd):
            if _is_directory(inner, fd):
                serial = _move_up(inner, fd, top_fd, serial)
            else:
                os.unlink(inner, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=top_fd)
    return serial


def _move_up(name: str, dir_fd: int, top_fd: int, serial: int) -> int:
    """Rename to a name that is free: whoever filled the tree may have guessed some of ours."""
    while True:
        serial += 1
        try:
            os.rename(name, f".pyrun-remove-{serial}", src_dir_fd=dir_fd, dst_dir_fd=top_fd)
            return serial
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise


def _is_directory(name: str, dir_fd: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode)
