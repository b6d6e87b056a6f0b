"""Image references: which root file system a container gets.

The prefix is a transport in the sense of containers-transports(5). Two work now: ``host:`` (the machine's own root
file system under a fresh overlay) and ``rootfs:/path`` (a directory that is a root file system). The others keep
their meaning for later and are refused by name.
"""

from __future__ import annotations

from pyrun.errors import SpecError
from pyrun.spec.parse import quote
from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    Transport: TypeAlias = Literal["host", "rootfs"]

WHAT_WORKS = "what works now is host: (this machine's own files, read-only below) and rootfs:/path/to/a/directory"

# containers-transports(5), and the remote ones that people type.
LATER_TRANSPORTS = frozenset(
    (
        "dir",
        "docker",
        "docker-archive",
        "docker-daemon",
        "oci",
        "oci-archive",
        "containers-storage",
        "sif",
        "ostree",
        "tarball",
    )
)


class ImageReference(Value):
    """A root file system: ``path`` is the lower directory, ``"/"`` for ``host:``."""

    transport: Transport
    path: str

    def __str__(self) -> str:
        return "host:" if self.transport == "host" else f"rootfs:{self.path}"


def parse_image(text: str, pointer: str = "") -> ImageReference:
    """``host:`` or ``rootfs:/abs/path``; anything else is a SpecError at *pointer*."""
    transport, colon, rest = text.partition(":")
    if not text:
        raise SpecError(pointer, f"an image is required; {WHAT_WORKS}")
    if text == "host:":
        return ImageReference("host", "/")
    if transport == "host" and colon:
        raise SpecError(pointer, f"{quote(text)}: nothing may follow 'host:'; for a directory write rootfs:/path")
    if transport == "rootfs" and colon:
        return ImageReference("rootfs", _rootfs_path(rest, text, pointer))
    if transport in LATER_TRANSPORTS and colon:
        raise SpecError(pointer, f"{quote(text)}: the transport '{transport}:' is not built yet; {WHAT_WORKS}")
    raise SpecError(pointer, f"{quote(text)}: images cannot be pulled from a registry yet; {WHAT_WORKS}")


def _rootfs_path(path: str, text: str, pointer: str) -> str:
    if not path.startswith("/"):
        raise SpecError(pointer, f"{quote(text)}: the directory after 'rootfs:' must be an absolute path")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise SpecError(pointer, f"{quote(text)}: the path must not contain '..'")
    if not parts:
        raise SpecError(pointer, f"{quote(text)}: for the machine's own root file system write host:")
    return "/" + "/".join(parts)
