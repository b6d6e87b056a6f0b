"""``fileKeyRef``: variables from a file that an init container has written into an emptyDir.

The file is whatever a container made of it: it is opened without following links, read up to a limit, and parsed strictly.
"""

from __future__ import annotations

import os
import stat

from pyrun.errors import SpecError
from pyrun.kernel.fd import Fd
from pyrun.spec.environment import plain_variable
from pyrun.spec.names import check_env_name
from pyrun.spec.source import FileKeyRef
from pyrun.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrun.spec.pod import Container, EnvVar

MAX_FILE_BYTES = 64 * 1024


def resolve_env_files(container: Container, directory_of: Callable[[str], str | int]) -> Container:
    """*container* with the values of its ``fileKeyRef``. *directory_of* gives a volume's directory, a path or a descriptor.

    Raises :class:`SpecError` for a file or a key that is missing and not optional, and for a file that is no such file.
    """
    if not any([isinstance(variable.source, FileKeyRef) for variable in container.env]):
        return container
    found: list[EnvVar] = []
    for variable in container.env:
        source = variable.source
        if not isinstance(source, FileKeyRef):
            found.append(variable)
            continue
        value = _read_value(source, directory_of(source.volume_name))
        if value is not None:
            found.append(plain_variable(variable.name, value))
    return replace(container, env=tuple(found))


def _read_value(source: FileKeyRef, directory: str | int) -> str | None:
    place = f"{source.path} of volume {source.volume_name}"
    try:
        data = _read_file(directory, source.path)
    except OSError as error:
        if source.optional and isinstance(error, FileNotFoundError):
            return None
        raise SpecError("", f"variables from {place}: {error.strerror}") from None
    try:
        values = parse_env_file(data)
    except ValueError as error:
        raise SpecError("", f"variables from {place}: {error}") from None
    if source.key not in values and not source.optional:
        raise SpecError("", f"variables from {place}: there is no {source.key!r}")
    return values.get(source.key)


def _read_file(directory: str | int, path: str) -> bytes:
    """Component by component: nobody who can write into the volume leads us out of it."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    top = f"/proc/self/fd/{directory}" if isinstance(directory, int) else directory
    fd = Fd.adopt(os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    for name in path.split("/"):
        with fd:
            fd = Fd.adopt(os.open(name, flags, dir_fd=fd.fileno()))
    with fd:
        if not stat.S_ISREG(os.fstat(fd.fileno()).st_mode):
            raise OSError(0, "not a regular file")
        data = b""
        while len(data) <= MAX_FILE_BYTES and (part := os.read(fd.fileno(), MAX_FILE_BYTES + 1 - len(data))):
            data += part
    if len(data) > MAX_FILE_BYTES:
        raise OSError(0, f"more than {MAX_FILE_BYTES} bytes")
    return data


def parse_env_file(data: bytes) -> dict[str, str]:
    """``NAME=value`` or ``NAME='value'``, which may have several lines; empty lines and those that begin with ``#`` are none.

    Raises ValueError with the line's number.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
    values: dict[str, str] = {}
    lines = text.split("\n")
    number = 0
    while number < len(lines):
        line = lines[number].strip()
        number += 1
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        complaint = check_env_name(name) if equals else "expected NAME=value"
        if complaint is not None or name != name.strip():
            raise ValueError(f"line {number}: {complaint or 'a blank before the equals sign'}")
        if value.startswith("'"):
            value, number = _quoted(value[1:], lines, number)
        values[name] = value
    return values


def _quoted(rest: str, lines: list[str], number: int) -> tuple[str, int]:
    """What stands up to the closing quote, and the number of the line behind it."""
    first = number
    while "'" not in rest:
        if number >= len(lines):
            raise ValueError(f"line {first}: a quote is not closed")
        rest += "\n" + lines[number]
        number += 1
    value, _, behind = rest.partition("'")
    if behind.strip():
        raise ValueError(f"line {number}: something stands behind the closing quote")
    return value, number
