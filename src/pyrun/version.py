"""The version, as it was compiled in: pyproject.toml is its one place."""

from __future__ import annotations

from pyrun._core import ffi, lib

__version__: str = ffi.string(lib.pyrun_version).decode()
