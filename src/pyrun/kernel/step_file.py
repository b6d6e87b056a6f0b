"""Steps that work on files, directories and descriptors."""

from __future__ import annotations

import errno
import os
import stat

from pyrun._core import lib
from pyrun.kernel.step_base import Step, below

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.kernel.encode import Encoder
    from pyrun.kernel.step_base import Fields


class OpenDirectory(Step):
    """openat2(2): a directory into a slot. If it is missing, ``create_mode`` makes it (and its parents), and ``if_exists`` leaves
    the slot empty."""

    path: str
    directory: str
    at: str | None = None
    create_mode: int = 0
    if_exists: bool = False
    kind = "OPEN_DIRECTORY"
    reason = "used by descriptor from here on"

    @property
    def flags(self) -> int:  # type: ignore[override]
        return lib.PLAN_IF_EXISTS if self.if_exists else 0

    def describe(self) -> str:
        return f"open {below(self.at, self.path)} -> {self.directory}"

    def fields(self, encoder: Encoder) -> Fields:
        return (encoder.slot(self.at), encoder.fill(self.directory)), (encoder.text(self.path),), (self.create_mode,)


class MakeDirectory(Step):
    """mkdirat(2), with the parents."""

    path: str
    at: str | None = None
    mode: int = 0o755
    kind = "MKDIR"
    reason = "must be there for what follows"

    def describe(self) -> str:
        return f"mkdir {below(self.at, self.path)} {self.mode:04o}"

    def fields(self, encoder: Encoder) -> Fields:
        return (encoder.slot(self.at),), (encoder.text(self.path),), (self.mode,)


class MakeNode(Step):
    """mknodat(2). ``mode`` has the file type (``stat.S_IFCHR`` ...). What is there already is good if it is the same device."""

    path: str
    mode: int
    major: int
    minor: int
    at: str | None = None
    uid: int = 0
    gid: int = 0
    kind = "MKNOD"
    reason = "a device that every program may expect"

    def describe(self) -> str:
        letter = stat.filemode(self.mode)[0]
        return f"mknod {below(self.at, self.path)} {letter} {self.major}:{self.minor} {stat.S_IMODE(self.mode):04o}"

    def fields(self, encoder: Encoder) -> Fields:
        numbers = (self.mode, os.makedev(self.major, self.minor), self.uid, self.gid)
        return (encoder.slot(self.at),), (encoder.text(self.path),), numbers


class MakeSymlink(Step):
    """symlinkat(2). The same link may be there already; with ``keep`` whatever is there stays."""

    path: str
    target: str
    at: str | None = None
    keep: bool = False
    kind = "SYMLINK"
    reason = "a name that every program may expect"

    def describe(self) -> str:
        return f"symlink {below(self.at, self.path)} -> {self.target}"

    def fields(self, encoder: Encoder) -> Fields:
        return (encoder.slot(self.at),), (encoder.text(self.path), encoder.text(self.target)), (int(self.keep),)


class WriteFile(Step):
    """Write a file: a new one with ``create_mode``, or (0) one that exists."""

    path: str
    data: bytes
    at: str | None = None
    create_mode: int = 0
    kind = "WRITE_FILE"
    reason = "content that the containers read"

    def describe(self) -> str:
        return f"write {below(self.at, self.path)} ({len(self.data)} bytes)"

    def fields(self, encoder: Encoder) -> Fields:
        numbers = (len(self.data), self.create_mode)
        return (encoder.slot(self.at),), (encoder.text(self.path), encoder.data(self.data)), numbers


class SetSysctl(Step):
    """Write below /proc/sys: ``name`` with dots or slashes as sysctl(8) takes it."""

    name: str
    value: str
    kind = "WRITE_FILE"
    reason = "a kernel setting of the namespace"

    def describe(self) -> str:
        return f"sysctl {self.name} = {self.value}"

    def fields(self, encoder: Encoder) -> Fields:
        path = "/proc/sys/" + (self.name if "/" in self.name else self.name.replace(".", "/"))
        data = self.value.encode()
        return (encoder.slot(None),), (encoder.text(path), encoder.data(data)), (len(data),)


class SetSecurityLabel(Step):
    """Write to a file in /proc/thread-self/attr: what a security module is to make of the program at its exec."""

    module: str
    file: str
    label: str
    kind = "WRITE_FILE"
    reason = "the security module confines the program from its exec on"

    def describe(self) -> str:
        return f"{self.module} label {self.label}"

    def hint(self, error: int) -> str:
        if error in (errno.ENOENT, errno.EINVAL):
            return f"this kernel has no {self.module}, or no such label is loaded"
        return ""

    def fields(self, encoder: Encoder) -> Fields:
        path = f"/proc/thread-self/attr/{self.file}"
        data = (f"exec {self.label}" if self.module == "AppArmor" else self.label).encode()
        return (encoder.slot(None),), (encoder.text(path), encoder.data(data)), (len(data),)


class ChangeDirectory(Step):
    """fchdir(2) to a path below ``at``; ``create_mode`` makes it if it is missing."""

    path: str
    at: str | None = None
    create_mode: int = 0
    kind = "CHANGE_DIRECTORY"
    reason = "relative names start here"

    def describe(self) -> str:
        return f"chdir {below(self.at, self.path)}"

    def fields(self, encoder: Encoder) -> Fields:
        return (encoder.slot(self.at),), (encoder.text(self.path),), (self.create_mode,)


class Duplicate(Step):
    """dup3(2): the descriptor in a slot as number ``number``, kept across the exec."""

    source: str
    number: int
    kind = "DUPLICATE"
    reason = "a descriptor that the program gets"

    def describe(self) -> str:
        return f"descriptor {self.number} = {self.source}"

    def fields(self, encoder: Encoder) -> Fields:
        return (encoder.slot(self.source),), (), (self.number,)


class CloseRange(Step):
    """close_range(2): close, or with ``on_exec`` mark, the descriptors from ``first`` to ``last``."""

    first: int
    last: int = 2**32 - 1
    on_exec: bool = False
    kind = "CLOSE_RANGE"
    reason = "the program gets no other descriptor"

    def describe(self) -> str:
        last = "" if self.last == 2**32 - 1 else str(self.last)
        return f"close descriptors {self.first}..{last}{' on exec' if self.on_exec else ''}"

    def fields(self, encoder: Encoder) -> Fields:
        return (), (), (self.first, self.last, lib.CLOSE_RANGE_CLOEXEC if self.on_exec else 0)


class Close(Step):
    """Close the descriptor in a slot."""

    source: str
    kind = "CLOSE"
    reason = "not needed any more"

    def describe(self) -> str:
        return f"close {self.source}"

    def fields(self, encoder: Encoder) -> Fields:
        return (encoder.slot(self.source),), (), ()
