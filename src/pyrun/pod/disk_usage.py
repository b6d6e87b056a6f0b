"""How much of a disk a directory tree takes. The tree may be hostile, and change while it is looked at.

Links are not followed, other file systems not entered, a file with many names counts once, and only so many entries and levels
are looked at. The walk goes on in pieces, for whoever has other things to do meanwhile.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from os import _ScandirIterator
    from typing import TypeAlias

    Entries: TypeAlias = _ScandirIterator[str]

BLOCK_BYTES = 512  # of st_blocks, whatever the file system's (stat(2))
MAX_DEPTH = 100  # of descriptors there are two a level
MAX_ENTRIES = 2_000_000
PIECE_ENTRIES = 1000  # some milliseconds

OVER = object()


class TooMuch(Exception):
    """The tree is deeper, or has more entries, than is looked at."""


class DiskUsage:
    """One walk of the tree at *path*: :meth:`step` until it says that it is over; then ``used_bytes`` is known."""

    def __init__(self, path: str) -> None:
        self.used_bytes = 0
        self._entries = 0
        self._linked: set[int] = set()
        self._walk = self._walk_from(path)

    def step(self) -> bool:
        """Look at some more entries. True if that were all. Raises :class:`TooMuch`."""
        return any(next(self._walk, OVER) is OVER for _ in range(PIECE_ENTRIES))

    def close(self) -> None:
        """Give the walk up. Idempotent."""
        self._walk.close()

    def _walk_from(self, path: str) -> Generator[None]:
        """One yield an entry."""
        stack: list[tuple[int, Entries]] = []
        try:
            top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            stack.append((top, os.scandir(top)))
            device = os.fstat(top).st_dev
            self._count(os.fstat(top))
            while stack:
                fd, entries = stack[-1]
                entry = next(entries, None)
                if entry is None:
                    stack.pop()
                    os.close(fd)
                    continue
                self._look_at(entry, fd, device, stack)
                yield
        finally:
            for fd, entries in stack:
                entries.close()
                os.close(fd)

    def _look_at(self, entry: os.DirEntry[str], fd: int, device: int, stack: list[tuple[int, Entries]]) -> None:
        self._entries += 1
        if self._entries > MAX_ENTRIES:
            raise TooMuch(f"more than {MAX_ENTRIES} files")
        try:
            found = os.stat(entry.name, dir_fd=fd, follow_symlinks=False)
            if found.st_dev != device:
                return
            self._count(found)
            if _is_directory(found):
                below = os.open(entry.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            else:
                return
        except OSError:
            return  # gone, or another thing by now
        if len(stack) >= MAX_DEPTH:
            os.close(below)
            raise TooMuch(f"directories more than {MAX_DEPTH} deep")
        stack.append((below, os.scandir(below)))

    def _count(self, found: os.stat_result) -> None:
        if found.st_nlink > 1 and not _is_directory(found):
            if found.st_ino in self._linked:
                return
            self._linked.add(found.st_ino)
        self.used_bytes += found.st_blocks * BLOCK_BYTES


def _is_directory(found: os.stat_result) -> bool:
    return found.st_mode & 0o170000 == 0o040000
