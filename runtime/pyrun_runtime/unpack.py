"""A tar stream as files, written by descriptors: whatever its names and links say, nothing is written beside the place asked for.

Neither the archive nor what is there already is trusted: members that would lead out are an error, and no link is followed.
"""

from __future__ import annotations

import errno
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
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# What cannot be replaced, since something is mounted on it: /etc/hosts of a pod.
OLD = os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
CHUNK = 1 << 18
SET_ID = stat.S_ISUID | stat.S_ISGID
MOST_DEEP = 500


class Unpacker:
    """Reads from *stream*; what is left out is told by *warn*. Without *set_ids* no file gets the bits that make its owner's
    rights those of whoever runs it."""

    def __init__(self, stream: IO[bytes], warn: Callable[[str], object], set_ids: bool) -> None:
        self._stream = stream
        self._warn = warn
        self._set_ids = set_ids
        self._directories: list[tuple[tuple[str, ...], tarfile.TarInfo]] = []

    def unpack(self, root: Fd, path: str, whole: bool) -> None:
        """To *path* below *root*, as cp(1) does: into a directory that is there, else as that name. A *whole* archive, of
        somebody else's making, goes into a directory as it is."""
        with tarfile.open(fileobj=self._stream, mode="r|") as tar:
            first = tar.next()
            if first is None:
                raise CommandError("the archive is empty")
            contents = whole or not _parts(first.name)
            with _open_base(root, path, contents, whole) as (base, name):
                member: tarfile.TarInfo | None = first
                while member is not None:
                    parts = _parts(member.name)
                    self._member(tar, base.fileno(), _renamed(parts, name), member, name)
                    member = tar.next()
                self._finish(base.fileno())

    def _member(
        self, tar: tarfile.TarFile, base: int, parts: tuple[str, ...], member: tarfile.TarInfo, name: str
    ) -> None:
        if not parts:
            if member.isdir():
                return  # the directory that is there keeps its mode and owner
            raise CommandError(f"{member.name!r} in the archive names no file")
        with _open_parent(base, parts) as parent:
            last = parts[-1]
            if member.isdir():
                _make_directory(parent.fileno(), last)
                self._directories.append((parts, member))
            elif member.isreg():
                self._file(tar, parent.fileno(), last, member)
            elif member.issym():
                _clear(parent.fileno(), last)
                os.symlink(member.linkname, last, dir_fd=parent.fileno())
                os.chown(last, member.uid, member.gid, dir_fd=parent.fileno(), follow_symlinks=False)
            elif member.islnk():
                _link(base, _renamed(_parts(member.linkname), name), parent.fileno(), last)
            elif member.isfifo():
                _clear(parent.fileno(), last)
                os.mkfifo(last, 0o600, dir_fd=parent.fileno())
                with Fd.adopt(os.open(last, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent.fileno())) as fifo:
                    if stat.S_ISFIFO(os.fstat(fifo.fileno()).st_mode):
                        _own(f"/proc/self/fd/{fifo.fileno()}", member, member.mode & 0o777)
            else:
                self._warn(f"{member.name}: a device is not copied")

    def _file(self, tar: tarfile.TarFile, parent: int, name: str, member: tarfile.TarInfo) -> None:
        source = tar.extractfile(member)
        assert source is not None
        mode = member.mode & 0o7777 & (~0 if self._set_ids else ~SET_ID)
        with _open_file(parent, name) as file:
            while chunk := source.read(CHUNK):
                rest = memoryview(chunk)
                while rest:
                    rest = rest[os.write(file.fileno(), rest) :]
            _own(file.fileno(), member, mode)

    def _finish(self, base: int) -> None:
        """Directories last: what is put into one changes its time, and one that is read-only could not be filled."""
        for parts, member in reversed(self._directories):
            with _open_directory(base, parts) as directory:
                _own(directory.fileno(), member, member.mode & 0o7777 & (~0 if self._set_ids else ~stat.S_ISUID))


class _open_base:
    """The directory that is written below, and what the archive's first name becomes there; empty for no change."""

    def __init__(self, root: Fd, path: str, contents: bool, whole: bool) -> None:
        self.name = ""
        try:
            self.base = open_in_root(root, path, os.O_RDONLY | os.O_DIRECTORY)
            return
        except OSError as error:
            new = error.errno == errno.ENOENT and not whole
            other = error.errno == errno.ENOTDIR and not contents
            if path.endswith("/") or not (new or other):
                raise
        parent, self.name = os.path.split(path)
        if self.name in ("", ".", ".."):
            raise CommandError(f"{path}: no such directory")
        self.base = open_in_root(root, parent or "/", os.O_RDONLY | os.O_DIRECTORY)
        if contents:
            with self.base as above:
                os.mkdir(self.name, 0o755, dir_fd=above.fileno())
                self.base = Fd.adopt(os.open(self.name, DIRECTORY, dir_fd=above.fileno()))
            self.name = ""

    def __enter__(self) -> tuple[Fd, str]:
        return self.base, self.name

    def __exit__(self, *_error: object) -> None:
        self.base.close()


def _parts(name: str) -> tuple[str, ...]:
    """The names in a path of an archive. Raises :class:`CommandError` for one that leads out."""
    parts = tuple([part for part in name.split("/") if part not in ("", ".")])
    if ".." in parts or "\0" in name or len(parts) > MOST_DEEP:
        raise CommandError(f"{name[:200]!r} in the archive leads out of it, or too deep")
    return parts


def _renamed(parts: tuple[str, ...], name: str) -> tuple[str, ...]:
    return (name, *parts[1:]) if name and parts else parts


class _naming:
    """An OSError that says only a name, or nothing, gets the path in the archive."""

    def __init__(self, parts: tuple[str, ...]) -> None:
        self._path = "/".join(parts)

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError):
            error.filename = self._path


def _open_parent(base: int, parts: tuple[str, ...]) -> Fd:
    return _open_directory(base, parts[:-1])


def _open_directory(base: int, parts: tuple[str, ...]) -> Fd:
    """The directory *parts* below *base*, made where it is missing; a link on the way is an error (ENOTDIR, ELOOP)."""
    fd = Fd.adopt(os.dup(base))
    for at, part in enumerate(parts):
        with fd as above, _naming(parts[: at + 1]):
            _make_directory(above.fileno(), part)
            fd = Fd.adopt(os.open(part, DIRECTORY, dir_fd=above.fileno()))
    return fd


def _make_directory(parent: int, name: str) -> None:
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
            raise


def _clear(parent: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass


def _open_file(parent: int, name: str) -> Fd:
    try:
        _clear(parent, name)
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.EROFS):
            raise
        fd = Fd.adopt(os.open(name, OLD, dir_fd=parent))
        if not stat.S_ISREG(os.fstat(fd.fileno()).st_mode):
            fd.close()
            raise
        return fd
    return Fd.adopt(os.open(name, NEW, 0o600, dir_fd=parent))


def _link(base: int, target: tuple[str, ...], parent: int, name: str) -> None:
    if not target:
        raise CommandError(f"{name!r} in the archive is a link to nothing")
    with _open_parent(base, target) as directory:
        _clear(parent, name)
        os.link(target[-1], name, src_dir_fd=directory.fileno(), dst_dir_fd=parent, follow_symlinks=False)


def _own(file: int | str, member: tarfile.TarInfo, mode: int) -> None:
    """The owner first: a change of it takes away set-id bits (chown(2))."""
    os.chown(file, member.uid, member.gid)
    os.chmod(file, mode)
    os.utime(file, (member.mtime, member.mtime))
