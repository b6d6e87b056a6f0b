"""Paths in a manifest: checked and brought into normal form as text, without asking any file system."""

from __future__ import annotations

from pyrun.spec.parse import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.parse import Reader


def read_absolute_path(reader: Reader) -> str:
    """An absolute path without ``..``; ``/a//b/./`` becomes ``/a/b``."""
    text = reader.string()
    if not text.startswith("/"):
        raise reader.error(f"{quote(text)} must be an absolute path" if text else "must not be empty")
    return "/" + "/".join(_components(text, reader))


def read_relative_path(reader: Reader) -> str:
    """A relative path without ``..``; may be empty."""
    text = reader.string()
    if text.startswith("/"):
        raise reader.error(f"{quote(text)} must be a relative path")
    return "/".join(_components(text, reader))


def _components(text: str, reader: Reader) -> list[str]:
    components = [part for part in text.split("/") if part not in ("", ".")]
    # '..' could climb out of the volume or the container's root before any check that knows the real files.
    if ".." in components:
        raise reader.error(f"{quote(text)} must not contain '..'")
    if len(text) > 4095 or any(len(part.encode()) > 255 for part in components):
        raise reader.error("is longer than a path can be: 4095 bytes, 255 for each part")
    return components
