"""Users and groups of an image: its /etc/passwd and /etc/group, which are as hostile as the image."""

from __future__ import annotations

import os
import stat

from pyrun.errors import NotFound
from pyrun.linux.file import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2
from pyrun.value import Value, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.spec.oci import OciUser

MAX_FILE_BYTES = 8 * 1024 * 1024
REMEMBERED_MOST = 64


class Account(Value):
    """A user of an image. ``gid`` and ``home`` are those of /etc/passwd, ``groups`` those of /etc/group that list it."""

    gid: int = 0
    home: str = ""
    groups: tuple[int, ...] = ()


def resolve_user(root: str, text: str, user: OciUser) -> tuple[OciUser, str]:
    """Who ``NAME|UID[:GROUP|GID]`` is in the root file system at *root*, and the home directory; the umask stays that of *user*.

    Raises :class:`NotFound` for a name that its files do not have.
    """
    who, _, group = text.partition(":")
    uid = _number(root, "etc/passwd", who, "user")
    account = read_account(root, uid)
    gid = _number(root, "etc/group", group, "group") if group else account.gid
    return replace(user, uid=uid, gid=gid, additional_gids=account.groups), account.home or "/"


def _number(root: str, path: str, word: str, what: str) -> int:
    if word.isascii() and _is_id(word.encode()):
        return int(word)
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = _open(root_fd, path)
    finally:
        os.close(root_fd)
    try:
        lines = _lines(_read(fd) if fd is not None else b"", 3)
        numbers = [int(number) for name, _, number, *_ in lines if name == os.fsencode(word) and _is_id(number)]
    finally:
        if fd is not None:
            os.close(fd)
    if not numbers or not word:
        raise NotFound(f"the container has no {what} {word!r} in /{path}")
    return numbers[0]


_remembered: dict[tuple[object, ...], Account] = {}


def read_account(image: str, uid: int) -> Account:
    """User *uid* of the root file system in directory *image*; an empty one where its files do not tell.

    Links lead nowhere outside of the image (openat2(2), RESOLVE_IN_ROOT), and only regular files of a sensible size are read.
    """
    try:
        root_fd = os.open(image, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return Account()  # whoever opens the image next tells
    try:
        files = [_open(root_fd, name) for name in ("etc/passwd", "etc/group")]
    finally:
        os.close(root_fd)
    try:
        key = (uid, *[None if fd is None else _version(fd) for fd in files])
        if key not in _remembered:
            if len(_remembered) >= REMEMBERED_MOST:
                _remembered.clear()
            _remembered[key] = _find(uid, *[b"" if fd is None else _read(fd) for fd in files])
        return _remembered[key]
    finally:
        for fd in files:
            if fd is not None:
                os.close(fd)


def _open(root_fd: int, name: str) -> int | None:
    try:
        # Not to wait for who opens a FIFO; what it is, is looked at next.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
        fd = openat2(root_fd, name, flags, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    except OSError:
        return None
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_FILE_BYTES:
        return fd
    os.close(fd)
    return None


def _version(fd: int) -> tuple[int, ...]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _read(fd: int) -> bytes:
    chunks = []
    left_bytes = MAX_FILE_BYTES
    while left_bytes > 0 and (chunk := os.read(fd, left_bytes)):
        chunks.append(chunk)
        left_bytes -= len(chunk)
    return b"".join(chunks)


def _find(uid: int, passwd: bytes, group: bytes) -> Account:
    for name, _, number, gid, _, home, *_ in _lines(passwd, 6):
        if number == b"%d" % uid and _is_id(gid):
            groups = [int(id_) for _, _, id_, members, *_ in _lines(group, 4) if _is_member(name, members, id_)]
            return Account(int(gid), _text(home), tuple(groups))
    return Account()


def _is_member(name: bytes, members: bytes, gid: bytes) -> bool:
    return name in members.split(b",") and _is_id(gid)


def _is_id(text: bytes) -> bool:
    """A number of any length is text; one of a group has ten digits at most."""
    return text.isdigit() and len(text) <= 10 and int(text) < 2**32 - 1


def _text(home: bytes) -> str:
    """Nothing, for what cannot be a directory of the environment's."""
    try:
        text = home.decode()
    except UnicodeDecodeError:
        return ""
    return text if text.startswith("/") else ""


def _lines(content: bytes, fields: int) -> Iterator[list[bytes]]:
    """The lines with as many fields; others, such as comments and those of NIS, are passed over."""
    for line in content.split(b"\n"):
        parts = line.split(b":")
        if len(parts) >= fields and b"\0" not in line:
            yield parts
