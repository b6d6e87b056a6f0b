"""/proc/PID/mountinfo: the mounts of a process's mount namespace, as far as they are below its root."""

from __future__ import annotations

import os

from pyrun.linux.file import read_bytes
from pyrun.linux.procfs import SELF, below
from pyrun.value import Value


class MountInfo(Value):
    """One mount. Paths are as bytes decoded by :func:`os.fsdecode`.

    ``root`` is the directory of the file system that is seen at ``target``; ``options`` belong to the mount, ``super_options`` to
    the file system; ``shared``, ``master`` and ``propagate_from`` are peer groups (mount_namespaces(7)) or None.
    """

    mount_id: int
    parent_id: int
    major: int
    minor: int
    root: str
    target: str
    options: tuple[str, ...]
    fs_type: str
    source: str
    super_options: tuple[str, ...]
    shared: int | None = None
    master: int | None = None
    propagate_from: int | None = None
    unbindable: bool = False


def read_mountinfo(where: int | str = SELF) -> tuple[MountInfo, ...]:
    """The mounts of a process's mount namespace, each after its parent. *where* as in :mod:`pyrun.linux.procfs`.

    Kernel: /proc/PID/mountinfo, proc_pid_mountinfo(5).
    Affects: nothing.
    Raises: ENOENT or ESRCH if the process has ended; EINVAL if it is a zombie; EACCES without PTRACE_MODE_READ.
    """
    return parse_mountinfo(read_bytes(*below(where, "mountinfo")))


def parse_mountinfo(data: bytes) -> tuple[MountInfo, ...]:
    """Of /proc/PID/mountinfo.

    Kernel: show_mountinfo() in fs/proc_namespace.c; blank, tab, newline, backslash and ``#`` are octal escapes there.
    Affects: nothing.
    Raises: ValueError for a text that is no such file.
    """
    return tuple([_parse_line(line) for line in data.split(b"\n") if line])


def _parse_line(line: bytes) -> MountInfo:
    fields = line.split(b" ")  # one blank each: a source may be empty
    end = fields.index(b"-", 6)  # of the optional fields; a target cannot be taken for it, it begins with a slash
    major, minor = fields[2].split(b":")
    tags = {name: value for name, _, value in [field.partition(b":") for field in fields[6:end]]}
    return MountInfo(
        mount_id=int(fields[0]),
        parent_id=int(fields[1]),
        major=int(major),
        minor=int(minor),
        root=_unescape(fields[3]),
        target=_unescape(fields[4]),
        options=_split_options(fields[5]),
        fs_type=_unescape(fields[end + 1]),
        source=_unescape(fields[end + 2]),
        super_options=_split_options(b" ".join(fields[end + 3 :])),
        shared=_peer_group(tags, b"shared"),
        master=_peer_group(tags, b"master"),
        propagate_from=_peer_group(tags, b"propagate_from"),
        unbindable=b"unbindable" in tags,
    )


def _peer_group(tags: dict[bytes, bytes], name: bytes) -> int | None:
    return int(tags[name]) if name in tags else None


def _split_options(field: bytes) -> tuple[str, ...]:
    r"""At commas, and only then unescaped: a comma that belongs to a value is written as ``\054``."""
    return tuple([_unescape(option) for option in field.split(b",")])


def _unescape(field: bytes) -> str:
    if b"\\" not in field:
        return os.fsdecode(field)
    first, *rest = field.split(b"\\")
    return os.fsdecode(first + b"".join([_unescape_one(part) for part in rest]))


def _unescape_one(part: bytes) -> bytes:
    """What followed a backslash: three octal digits, and then text. File systems may write a backslash of their own."""
    digits = part[:3]
    if len(digits) == 3 and digits[0] in b"0123" and all([digit in b"01234567" for digit in digits]):
        return bytes([int(digits, 8)]) + part[3:]
    return b"\\" + part
