"""Hearing of changes in directories, without looking again and again."""

from __future__ import annotations

import errno
import os

from pyrun.errors import KernelError
from pyrun.kernel.fd import Fd
from pyrun.linux import inotify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

READ_BYTES = 65536
CHANGES = (
    inotify.IN_MODIFY
    | inotify.IN_CLOSE_WRITE
    | inotify.IN_CREATE
    | inotify.IN_DELETE
    | inotify.IN_MOVED_FROM
    | inotify.IN_MOVED_TO
)


class Inotify:
    """Directories that are watched. ``fileno()`` is readable when something has happened: then :meth:`read`.

    Who has to know everything looks at the directory itself when :meth:`read` tells of it, and once after :meth:`watch`.
    """

    def __init__(self) -> None:
        self._fd = Fd.adopt(inotify.inotify_init())
        self._paths: dict[int, str] = {}

    def fileno(self) -> int:
        return self._fd.fileno()

    def watch(self, directory: str) -> bool:
        """Whether it is watched from now on: not one that is not there. Raises :class:`KernelError`."""
        try:
            number = inotify.inotify_add_watch(self.fileno(), directory, CHANGES | inotify.IN_ONLYDIR)
        except KernelError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return False
            raise
        self._paths[number] = directory
        return True

    def read(self) -> set[tuple[str, str]]:
        """(directory, name) of what has changed since the last call; the name is empty where anything may have, because there was
        too much to tell, and for a directory that is gone and not watched any more. Does not wait."""
        changed: set[tuple[str, str]] = set()
        while True:
            try:
                data = os.read(self.fileno(), READ_BYTES)
            except BlockingIOError:
                return changed
            for number, mask, name in inotify.parse_events(data):
                if mask & inotify.IN_Q_OVERFLOW:
                    changed |= {(path, "") for path in self._paths.values()}
                elif number in self._paths:
                    gone = mask & inotify.IN_IGNORED
                    changed.add((self._paths.pop(number) if gone else self._paths[number], "" if gone else name))

    def close(self) -> None:
        """Idempotent."""
        self._fd.close()

    def __enter__(self) -> Inotify:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
