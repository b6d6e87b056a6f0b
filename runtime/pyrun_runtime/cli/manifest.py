"""Reading the manifest that the command line names."""

from __future__ import annotations

import os

from pyrun import load_pod
from pyrun_runtime.cli.message import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun import PodSpec

# Well above what the library takes, so that it can say how big the file is; an endless input (/dev/zero) ends here.
MAX_READ_BYTES = 64 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024


def load_manifest(path: str) -> PodSpec:
    """The pod in a file; ``-`` is standard input. Raises InputError and SpecError, both naming the file."""
    name = "standard input" if path == "-" else path
    try:
        data = _read(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{name}: {getattr(error, 'strerror', None) or error}") from None
    return load_pod(data, name)


def _read(path: str) -> bytes:
    fd = 0 if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks = []
        left_bytes = MAX_READ_BYTES
        while left_bytes > 0 and (chunk := os.read(fd, min(CHUNK_BYTES, left_bytes))):
            chunks.append(chunk)
            left_bytes -= len(chunk)
        return b"".join(chunks)
    finally:
        if fd:
            os.close(fd)
