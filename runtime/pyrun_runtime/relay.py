"""Streams between us and a program in a container, without blocking: each way by itself, with its own end.

A container is never given our own descriptors: it could keep, reopen or change them. It has pipes or a terminal of its own, and
what goes through is copied here.
"""

from __future__ import annotations

import errno
import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrun import Fd

CHUNK = 65536
# What a pipe that poll(2) calls writable takes without blocking (pipe(7), PIPE_BUF): our own descriptors are shared with others,
# so they are not made non-blocking.
BLOCKING_CHUNK = 4096
GONE = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ECONNRESET)


class Stream:
    """From *source* to *target*. *finish* is called at the end of what there is to read, when all has been written, and when
    nobody takes it any more."""

    def __init__(self, source: int, target: int, finish: Callable[[], object] | None = None, last: bytes = b"") -> None:
        self.over = False
        self._source = source
        self._target = target
        self._finish = finish
        self._last = last  # said to the target at the end
        self._ended = False
        self._buffer = b""

    @property
    def pending(self) -> bool:
        """Whether something read has not been written yet."""
        return bool(self._buffer)

    def interests(self) -> list[tuple[int, int]]:
        """What to poll for."""
        if self.over:
            return []
        return [(self._target, select.POLLOUT)] if self._buffer else [(self._source, select.POLLIN)]

    def turn(self, ready: dict[int, int]) -> None:
        """Do what *ready* allows."""
        if self.over:
            return
        if self._buffer:
            if self._target in ready:
                self._write()
        elif self._source in ready:
            self._read()

    def _read(self) -> None:
        try:
            data = os.read(self._source, CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno not in GONE:  # a terminal whose other side is closed says EIO (ioctl_tty(2))
                raise
            data = b""
        if data:
            self._buffer = data
            return
        self._ended = True
        self._buffer, self._last = self._last, b""
        if not self._buffer:
            self.close()

    def _write(self) -> None:
        try:
            size = BLOCKING_CHUNK if os.get_blocking(self._target) else CHUNK
            self._buffer = self._buffer[os.write(self._target, self._buffer[:size]) :]
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno not in GONE:
                raise
            self._buffer, self._ended = b"", True
        if self._ended and not self._buffer:
            self.close()

    def close(self) -> None:
        """Idempotent."""
        if not self.over:
            self.over, self._buffer = True, b""
            if self._finish is not None:
                self._finish()


def drain(streams: list[Stream], stop: int) -> None:
    """What can be read now is handed on, until *stop* is readable. Not until their ends: somebody may hold them open for ever."""
    while True:
        waited = [pair for stream in streams if stream.pending for pair in stream.interests()]
        idle = [pair for stream in streams if not stream.pending for pair in stream.interests()]
        ready = poll_for([*waited, *idle, (stop, select.POLLIN)], None if waited else 0)
        if stop in ready or not ready:
            return
        for stream in streams:
            stream.turn(ready)


def poll_for(interests: list[tuple[int, int]], timeout_ms: int | None = None) -> dict[int, int]:
    """poll(2), where one descriptor may be wanted for several things."""
    wanted: dict[int, int] = {}
    for fd, events in interests:
        wanted[fd] = wanted.get(fd, 0) | events
    poll = select.poll()
    for fd, events in wanted.items():
        poll.register(fd, events)
    return dict(poll.poll(timeout_ms))


def pipe_for(owned: list[Fd], ours: int) -> tuple[Fd, Fd]:
    """A pipe, reading end first; end *ours* does not block. Both are noted in *owned*."""
    from pyrun import Fd

    ends = [Fd.adopt(fd) for fd in os.pipe2(os.O_CLOEXEC)]
    owned += ends
    os.set_blocking(ends[ours].fileno(), False)
    return ends[0], ends[1]
