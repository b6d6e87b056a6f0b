"""Reading the manifest that the command line names, and the ConfigMaps and Secrets beside it; and keeping them with the pod.

::

    /run/pyrun/pods/<uid>/manifest    what SPEC was, byte for byte: JSON or YAML
                          objects-N   what the Nth --configmap was

As they were read and not as one document made of them: so whoever takes the pod over reads what its launcher read, by the
same way, and a launcher pays for a write(2) each and no encoder.
"""

from __future__ import annotations

import os

from pyrun import load_pod
from pyrun_runtime.cli.message import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    from pyrun import ConfigObject, PodSpec
    from pyrun_runtime.store import Claim

    Source: TypeAlias = tuple[str, bytes]
    """What a file is called in messages, and what is in it."""

# Well above what the library takes, so that it can say how big the file is; an endless input (/dev/zero) ends here.
MAX_READ_BYTES = 64 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024
KEPT, KEPT_OBJECTS = "manifest", "objects-"
OBJECT_OPTIONS = {"configmap": "FILE..."}
OBJECT_HELP = """\
  --configmap FILE   a file with ConfigMaps and Secrets for the pod, besides those in SPEC; may be given again
"""


def load_manifest(path: str, object_paths: Iterable[str] = ()) -> PodSpec:
    """The pod in a file, with the ConfigMaps and Secrets in *object_paths*; ``-`` is standard input. Raises InputError and
    SpecError, both naming the file."""
    return load_manifest_with(read_source(path), load_object_files(object_paths))


def load_manifest_with(source: Source, objects: tuple[ConfigObject, ...]) -> PodSpec:
    """The pod in *source*, with *objects* beside those that are there. Raises SpecError."""
    name, data = source
    return load_pod(data, name, objects)


def read_source(path: str) -> Source:
    """A file, read. Raises InputError."""
    return name_of(path), read_input(path)


def keep_sources(claim: Claim, sources: list[Source]) -> None:
    """Keep them in the pod's run directory."""
    for number, (_, data) in enumerate(sources):
        claim.write(f"{KEPT_OBJECTS}{number}" if number else KEPT, data)


def load_kept(directory: str) -> PodSpec:
    """The pod whose run directory is *directory*, as its launcher read it: without a uid, unless the manifest has one, and
    without what options made of it. Raises as :func:`load_manifest`."""
    numbers = sorted(
        [int(name.removeprefix(KEPT_OBJECTS)) for name in _list(directory) if name.startswith(KEPT_OBJECTS)]
    )
    return load_manifest(f"{directory}/{KEPT}", [f"{directory}/{KEPT_OBJECTS}{number}" for number in numbers])


def _list(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError as error:
        raise InputError(f"{directory}: {error.strerror}") from None


def load_object_files(paths: Iterable[str]) -> tuple[ConfigObject, ...]:
    """The ConfigMaps and Secrets in files. Raises as :func:`load_manifest`."""
    found: tuple[ConfigObject, ...] = ()
    for path in paths:
        found += objects_in(read_source(path))
    return found


def objects_in(source: Source) -> tuple[ConfigObject, ...]:
    """The ConfigMaps and Secrets in a file that was read. Raises SpecError."""
    from pyrun import load_objects

    name, data = source
    return load_objects(data, name)


def name_of(path: str) -> str:
    """What a file is called in messages."""
    return "standard input" if path == "-" else path


def read_input(path: str) -> bytes:
    """What is in a file. Raises InputError."""
    try:
        return _read(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{name_of(path)}: {getattr(error, 'strerror', None) or error}") from None


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
