"""Files by path, resolved as the caller allows, and whole ones: openat2(2), read(2), close_range(2)."""

from __future__ import annotations

import os

from pyrun._core import ffi, lib
from pyrun.linux.call import check, convert, encode_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.linux.call import Path

AT_FDCWD: int = lib.AT_FDCWD
AT_EMPTY_PATH: int = lib.AT_EMPTY_PATH
RESOLVE_NO_XDEV: int = lib.RESOLVE_NO_XDEV
RESOLVE_NO_MAGICLINKS: int = lib.RESOLVE_NO_MAGICLINKS
RESOLVE_NO_SYMLINKS: int = lib.RESOLVE_NO_SYMLINKS
RESOLVE_BENEATH: int = lib.RESOLVE_BENEATH
RESOLVE_IN_ROOT: int = lib.RESOLVE_IN_ROOT
RESOLVE_CACHED: int = lib.RESOLVE_CACHED
CLOSE_RANGE_CLOEXEC: int = lib.CLOSE_RANGE_CLOEXEC
CLOSE_RANGE_UNSHARE: int = lib.CLOSE_RANGE_UNSHARE
CHUNK_BYTES = 1 << 16


def openat2(dir_fd: int, path: Path, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """Open *path* below *dir_fd*, with restrictions on how it may be resolved. ``O_CLOEXEC`` is added to *flags*.

    Kernel: openat2(2), Linux 5.6.
    Affects: the file system where *flags* create or truncate.
    Raises: EXDEV if RESOLVE_BENEATH or RESOLVE_NO_XDEV would be broken; ELOOP for a symlink where none is allowed; EAGAIN
    if a rename or mount happened meanwhile (or RESOLVE_CACHED would have to wait): try again; EINVAL for flags or a
    mode that open(2) would have ignored; ValueError for a NUL in *path*.
    Owns: the caller closes the descriptor.
    """
    how = ffi.new("struct open_how *")
    how.flags, how.mode, how.resolve = flags | os.O_CLOEXEC, mode, resolve
    return check(lib.sys_openat2(dir_fd, encode_path(path), how, ffi.sizeof("struct open_how")), "openat2(2)", path)


def read_bytes(name: str, dir_fd: int | None = None) -> bytes:
    """The whole of a file.

    Kernel: open(2), read(2). A file of /proc that takes several reads may change in between.
    Affects: nothing.
    Raises: in /proc, ENOENT if the process has ended before the open; ESRCH after it; EACCES without PTRACE_MODE_READ for some
    files.
    """
    call = "open(2)"
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=dir_fd)
        call = "read(2)"
        try:
            chunks = []
            while chunk := os.read(fd, CHUNK_BYTES):
                chunks.append(chunk)
        finally:
            os.close(fd)
    except OSError as error:
        error.filename = error.filename or name
        raise convert(error, call) from None
    return b"".join(chunks)


def close_range(first: int, last: int, flags: int = 0) -> None:
    """Close the descriptors *first* to *last*, or mark them close-on-exec with ``CLOSE_RANGE_CLOEXEC``.

    Kernel: close_range(2), Linux 5.9; CLOSE_RANGE_CLOEXEC since 5.11.
    Affects: the process's descriptor table; with CLOSE_RANGE_UNSHARE a private copy of it for the calling thread.
    Raises: EINVAL if *first* is larger than *last* or a flag is unknown.
    Owns: takes descriptors away from whoever owned them: Python objects that hold one will close another's later.
    """
    check(lib.sys_close_range(first, last, flags), "close_range(2)")
