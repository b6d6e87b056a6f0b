"""Where a negative return value of the C core becomes an exception."""

from __future__ import annotations

import os

from pyrun.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Path: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def check(ret: int, call: str, filename: Path | None = None) -> int:
    """*ret* itself, or the error that it stands for.

    Kernel: a raw system call returns -4095 to -1 for an error and cannot set ``errno``.
    Affects: nothing.
    Raises: KernelError of *call*, named as its manual page, and of *filename* where there is one.
    """
    if ret < 0:
        raise KernelError(-ret, call, None if filename is None else os.fsdecode(filename))
    return ret


def convert(error: OSError, call: str) -> KernelError:
    """The error of a function of :mod:`os` as ours.

    Kernel: for calls that the Python library wraps well enough.
    Affects: nothing.
    Raises: nothing; the caller raises what it gets.
    """
    name = error.filename
    return KernelError(error.errno or 0, call, name if name is None or isinstance(name, str) else os.fsdecode(name))


def encode_path(path: Path) -> bytes:
    """*path* as the kernel takes it, which ends at the first NUL.

    Kernel: path_resolution(7).
    Affects: nothing.
    Raises: ValueError for a path with a NUL in it: cut off there it would name another file than the one meant.
    """
    return encode_text(os.fsencode(path))


def encode_text(text: str | bytes) -> bytes:
    """*text* as the kernel takes it, for names and options that are no paths.

    Kernel: strings of the system call interface end at the first NUL.
    Affects: nothing.
    Raises: ValueError for a NUL in *text*.
    """
    encoded = os.fsencode(text)
    if b"\0" in encoded:
        raise ValueError(f"NUL in {text!r}")
    return encoded
