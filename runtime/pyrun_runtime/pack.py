"""A file or tree as a tar stream, read by descriptors: no link is followed below the place that was asked for."""

from __future__ import annotations

import os
import stat
import tarfile

from pyrun import Fd, open_in_root
from pyrun_runtime.cli.message import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A FIFO or a device must neither be waited for nor become our terminal, should a file turn into one.
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
MOST_DEEP = 400  # a descriptor for each level, and paths that others can still use
KINDS = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}


class Packer:
    """Writes to *stream*; what is left out is told by *warn*."""

    def __init__(self, stream: IO[bytes], warn: Callable[[str], object]) -> None:
        self._tar = tarfile.TarFile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT)
        self._warn = warn
        self._links: dict[tuple[int, int], str] = {}  # files with several names -> the first of them

    def pack(self, root: Fd, path: str) -> None:
        """*path* below *root*: under its last name, or, if it ends in ``/.``, what is in that directory."""
        try:
            self._pack(root, path)
            self._tar.close()
        except BaseException:
            self._tar.fileobj.closed = True  # type: ignore[attr-defined] # else it ends the archive when it is collected
            raise

    def _pack(self, root: Fd, path: str) -> None:
        parent, name = os.path.split(path.rstrip("/"))
        if name in ("", ".", "..") or path.endswith("/"):
            with open_in_root(root, path, os.O_RDONLY | os.O_DIRECTORY) as directory:
                self._directory(directory.fileno(), "." if name in ("", ".", "..") else name, 0)
        else:
            with open_in_root(root, parent or "/", os.O_PATH | os.O_DIRECTORY) as directory:
                self._entry(directory.fileno(), name, name, 0)

    def _entry(self, parent: int, name: str, shown: str, depth: int) -> None:
        found = os.lstat(name, dir_fd=parent)
        kind = stat.S_IFMT(found.st_mode)
        if kind not in KINDS:
            self._warn(f"{shown}: a socket or device is not copied")
        elif kind == stat.S_IFDIR:
            with Fd.adopt(os.open(name, DIRECTORY, dir_fd=parent)) as fd:
                self._directory(fd.fileno(), shown, depth)
        elif kind == stat.S_IFREG:
            with Fd.adopt(os.open(name, FILE, dir_fd=parent)) as fd:
                self._file(fd.fileno(), shown)
        else:
            member = _member(found, shown, KINDS[kind])
            if kind == stat.S_IFLNK:
                member.linkname = os.readlink(name, dir_fd=parent)
            self._tar.addfile(member)

    def _directory(self, fd: int, shown: str, depth: int) -> None:
        if depth > MOST_DEEP:
            raise CommandError(f"{shown[:80]}...: more than {MOST_DEEP} directories deep")
        self._tar.addfile(_member(os.fstat(fd), shown, tarfile.DIRTYPE))
        for name in sorted(os.listdir(fd)):
            try:
                self._entry(fd, name, f"{shown}/{name}", depth + 1)
            except FileNotFoundError:
                self._warn(f"{shown}/{name}: gone meanwhile")

    def _file(self, fd: int, shown: str) -> None:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            self._warn(f"{shown}: has become another kind of file meanwhile")
            return
        member = _member(found, shown, tarfile.REGTYPE)
        key = (found.st_dev, found.st_ino)
        if found.st_nlink > 1 and key in self._links:
            member.type, member.linkname = tarfile.LNKTYPE, self._links[key]
            self._tar.addfile(member)
            return
        if found.st_nlink > 1:
            self._links[key] = shown
        member.size = found.st_size
        with open(fd, "rb", buffering=0, closefd=False) as file:
            self._tar.addfile(member, _Padded(file, shown, self._warn))  # type: ignore[arg-type] # it only reads


class _Padded:
    """A file that may have become shorter: the archive has said how long it is."""

    def __init__(self, file: IO[bytes], shown: str, warn: Callable[[str], object]) -> None:
        self._file = file
        self._shown = shown
        self._warn = warn
        self._short = False

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (more := self._file.read(size - len(data))):
            data += more
        if len(data) < size and not self._short:
            self._short = True
            self._warn(f"{self._shown}: has become shorter meanwhile; filled with zeros")
        return data.ljust(size, b"\0")


def _member(found: os.stat_result, shown: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(shown)
    member.type = kind
    member.mode = stat.S_IMODE(found.st_mode)
    member.uid, member.gid, member.mtime = found.st_uid, found.st_gid, found.st_mtime
    return member
