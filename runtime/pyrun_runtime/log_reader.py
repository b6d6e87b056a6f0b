"""Reading what the monitor has written of one run of a container: the CRI's log format, in a file and the older parts of it.

::

    <logs>/<container>/3.log      run 3, as it is being written
                       3.log.1    the part before that, which was renamed when it was full; and so on
"""

from __future__ import annotations

import errno
import os

from pyrun import Fd, KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

READ_BYTES = 64 * 1024
MAX_LINE_BYTES = 64 * 1024  # of a line that has no end yet: then it is handed on as one


class Line:
    """One line of a container; ``time`` is RFC 3339 with nanoseconds, in UTC, and so sorts as text."""

    __slots__ = ("stream", "text", "time")

    def __init__(self, time: str, stream: str, text: bytes) -> None:
        self.time = time
        self.stream = stream
        self.text = text


class LogReader:
    """The lines of run *number* below *directory*, oldest first; more of them whenever there are more."""

    def __init__(self, directory: str, number: int) -> None:
        self._directory = directory
        self._name = f"{number}.log"
        self._file: Fd | None = None
        self._rest = b""
        self._parts: dict[str, tuple[str, bytes]] = {}  # by stream: when the line began, and what there is of it

    def seek_tail(self, count: int) -> None:
        """Begin with the last *count* lines."""
        left = count
        for name in self._names()[::-1]:
            self._open(name)
            assert self._file is not None
            at, left = _find_tail(self._file.fileno(), left)
            os.lseek(self._file.fileno(), at, os.SEEK_SET)
            if left <= 0:
                return

    def read(self) -> Iterator[Line]:
        """All that there is now."""
        while True:
            if self._file is None and not self._open_first():
                return
            assert self._file is not None
            data = os.read(self._file.fileno(), READ_BYTES)
            if data:
                yield from self._lines(data)
            elif not self._go_on():
                return

    def close(self) -> None:
        """Idempotent."""
        if self._file is not None:
            self._file.close()

    # ---- files ----

    def _names(self) -> list[str]:
        """The parts that there are, oldest first."""
        try:
            names = os.listdir(self._directory)
        except FileNotFoundError:
            return []
        found = [name for name in names if name == self._name or self._is_older(name)]
        return sorted(found, key=lambda name: int(name.rpartition(".")[2]) if name != self._name else 0, reverse=True)

    def _is_older(self, name: str) -> bool:
        part = name.removeprefix(f"{self._name}.")
        return part != name and part.isdecimal() and part.isascii()

    def _open(self, name: str) -> bool:
        try:
            file = Fd.open(f"{self._directory}/{name}", os.O_RDONLY | os.O_NOFOLLOW)
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        self.close()
        self._file = file
        return True

    def _open_first(self) -> bool:
        names = self._names()
        return bool(names) and self._open(names[0])

    def _go_on(self) -> bool:
        """At the end of a part: whether there is one that was written after it. It has another name by now, or none."""
        assert self._file is not None
        ours = os.fstat(self._file.fileno())
        after: list[str] = []
        for name in self._names()[::-1]:
            try:
                found = os.stat(f"{self._directory}/{name}")
            except FileNotFoundError:
                return False  # they are being renamed: who writes them tells of that
            if os.path.samestat(found, ours):
                break
            after.append(name)
        if not after:
            return False
        # What was written into ours before it was renamed, and after we had read to its end.
        if os.fstat(self._file.fileno()).st_size > os.lseek(self._file.fileno(), 0, os.SEEK_CUR):
            return True
        return self._open(after[-1])

    # ---- lines ----

    def _lines(self, data: bytes) -> Iterator[Line]:
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            found = self._take(line)
            if found is not None:
                yield found

    def _take(self, line: bytes) -> Line | None:
        """The line of which this is the last part. What is no line of a log is passed over."""
        parts = line.split(b" ", 3)
        if len(parts) < 4:
            return None
        stream = parts[1].decode("ascii", "replace")
        began, text = self._parts.pop(stream, (parts[0].decode("ascii", "replace"), b""))
        text += parts[3]
        if parts[2] == b"P" and len(text) < MAX_LINE_BYTES:
            self._parts[stream] = (began, text)
            return None
        return Line(began, stream, text)

    def take_rest(self) -> list[Line]:
        """Lines that have no end and, because the run is over, will have none."""
        rest = [Line(began, stream, text) for stream, (began, text) in self._parts.items()]
        self._parts.clear()
        return rest


def _find_tail(fd: int, count: int) -> tuple[int, int]:
    """Where the last *count* whole lines of a part begin, and how many of them there are not in it."""
    at, data, found = os.fstat(fd).st_size, b"", 0
    while at > 0:
        step = min(READ_BYTES, at)
        at -= step
        data = os.pread(fd, step, at) + data
        lines = data.split(b"\n")
        end = at + len(data)
        # The first may be the end of one that begins before; the last is empty, or not written to its end yet.
        for line in lines[:0:-1]:
            if _is_whole(line):
                found += 1
                if found > count:
                    return end + 1, 0
            end -= len(line) + 1
        data = lines[0]
    if _is_whole(data):
        found += 1
        if found > count:
            return len(data) + 1, 0
    return 0, count - found


def _is_whole(line: bytes) -> bool:
    return line.split(b" ", 3)[2:3] == [b"F"]
