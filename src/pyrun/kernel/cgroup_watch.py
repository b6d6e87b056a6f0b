"""Being told when a cgroup's files change."""

from __future__ import annotations

import errno
import os
import select

from pyrun.errors import KernelError
from pyrun.kernel.fd import Fd
from pyrun.kernel.poll import poll_ms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    class HasFileno(Protocol):
        def fileno(self) -> int: ...


class CgroupWatch:
    """Files of a group that poll(2) tells about. Those that the group does not have never change.

    As a context manager it is closed at the end of the block.
    """

    def __init__(self, group: HasFileno, files: Iterable[str]) -> None:
        self._poll = select.poll()
        self._files: dict[int, Fd] = {}
        try:
            for name in files:
                self._add(name, group)
        except BaseException:
            self.close()
            raise

    def _add(self, name: str, group: HasFileno) -> None:
        try:
            fd = Fd.open(name, dir_fd=group.fileno())
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
            return
        self._files[fd.fileno()] = fd
        self._poll.register(fd.fileno(), select.POLLPRI)
        _arm(fd)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until one of the files has changed since the last call. False when *timeout_s* has run out first.

        A group that was removed has changed, every time.
        """
        changed = [self._files[fd] for fd, _ in self._poll.poll(poll_ms(timeout_s))]
        for fd in changed:
            _arm(fd)
        return bool(changed)

    def close(self) -> None:
        """Idempotent."""
        for fd in self._files.values():
            fd.close()

    def __enter__(self) -> CgroupWatch:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def _arm(fd: Fd) -> None:
    """The kernel tells of a change after what was read last."""
    try:
        os.pread(fd.fileno(), 4096, 0)
    except OSError as error:
        if error.errno != errno.ENODEV:  # the group is gone
            raise KernelError(error.errno or 0, "pread(2)") from None
