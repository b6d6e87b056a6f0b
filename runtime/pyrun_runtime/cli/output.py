"""Output of the containers: from their pipes, line by line with the container's name, to standard output and standard error.

A :class:`Source` is the reading end of one stream of one container, a :class:`Sink` one of the command's own two descriptors. A
sink never blocks: what its reader does not take waits in a bounded buffer, and while that is full the sources are not read, so
the containers wait and not the command, which goes on to hear signals and ends of processes.

Lines of several containers never mix. A line is cut at 64 KiB, so that a container that writes none cannot fill the memory.
"""

from __future__ import annotations

import errno
import os
import select
import stat

from pyrun import Fd
from pyrun_runtime.cli.message import naming

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyrun_runtime.cli.input import Input

MAX_LINE_BYTES = 64 * 1024
READ_BYTES = 64 * 1024
TAIL_BYTES = 2048  # as much as Kubernetes makes a message of
FULL_BYTES = 256 * 1024
# A pipe that poll(2) calls writable takes this much without blocking (pipe(7), PIPE_BUF).
SAFE_WRITE_BYTES = 4096
RESET = b"\x1b[0m"
# Foreground colours that can be read on dark and on light ground: cyan, yellow, green, magenta, blue, and their bright ones.
COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


class Sink:
    """Standard output or standard error. ``error`` is why nothing can be written any more."""

    def __init__(self, fd: int) -> None:
        self.is_terminal = os.isatty(fd)
        self.error: OSError | None = None
        self._buffer = bytearray()
        self._reopened = _reopen_nonblocking(fd)
        self._fd = fd if self._reopened is None else self._reopened.fileno()
        # A regular file takes everything; of anything else we only know what poll says.
        self._careful = self._reopened is None and not stat.S_ISREG(os.fstat(fd).st_mode)

    def fileno(self) -> int:
        return self._fd

    @property
    def pending(self) -> bool:
        return bool(self._buffer)

    @property
    def full(self) -> bool:
        return len(self._buffer) >= FULL_BYTES

    def write(self, data: bytes) -> None:
        """Take *data* and write what can be written at once. Never blocks, never raises: see ``error``."""
        if self.error is None:
            self._buffer += data
            self.flush()

    def flush(self) -> None:
        """Write what can be written at once."""
        try:
            while self._buffer and (not self._careful or _is_writable(self._fd)):
                size = SAFE_WRITE_BYTES if self._careful else len(self._buffer)
                with memoryview(self._buffer) as view:
                    written = os.write(self._fd, view[:size])
                del self._buffer[:written]
        except BlockingIOError:
            pass
        except OSError as error:
            self.error = error
            self._buffer.clear()

    @property
    def unread(self) -> bool:
        """Whether there is nobody to read, as behind ``| head``: that is no failure."""
        return self.error is not None and self.error.errno in (errno.EPIPE, errno.ECONNRESET)

    @property
    def complaint(self) -> str:
        return str(self.error.strerror) if self.error is not None else ""

    def close(self) -> None:
        if self._reopened is not None:
            self._reopened.close()


class Source:
    """One stream of one container. *prefix* goes before each line."""

    def __init__(self, fd: Fd, sink: Sink, prefix: bytes, name: str = "", whole_lines: bool = True) -> None:
        self._whole_lines = whole_lines
        self.name = name
        self.tail = b""  # the end of what was read
        self.fd = fd
        self.sink = sink
        self._prefix = prefix
        self._line = bytearray()

    @property
    def open(self) -> bool:
        return not self.fd.closed

    def pump(self) -> None:
        """Hand on what can be read; to be called when there is something or the end.

        When nobody takes it any more the pipe is closed, and the container learns that by EPIPE, as in any pipeline.
        """
        if self.sink.error is not None:
            self.fd.close()
            return
        data = _read(self.fd.fileno())
        if data is None:
            return
        if data and not self._whole_lines:
            self.sink.write(data)
        elif data:
            self.tail = (self.tail + data)[-TAIL_BYTES:]
            self.sink.write(self._lines(data))
        else:
            self.close()

    def close(self) -> None:
        """Hand on a last line that has no end, and close. Idempotent."""
        if self._line:
            self.sink.write(self._prefix + bytes(self._line) + b"\n")
            self._line.clear()
        self.fd.close()

    def _lines(self, data: bytes) -> bytes:
        self._line += data
        end = self._line.rfind(b"\n") + 1
        whole = bytes(self._line[:end])
        del self._line[:end]
        if len(self._line) >= MAX_LINE_BYTES:
            whole += bytes(self._line) + b"\n"
            self._line.clear()
        if not whole:
            return b""
        return self._prefix + whole[:-1].replace(b"\n", b"\n" + self._prefix) + b"\n"


class Outputs:
    """The two sinks, and the sources of all containers. As a context manager it closes what it has."""

    def __init__(self, names: Iterable[str], keep_out: bool = False, input: Input | None = None) -> None:
        """With *keep_out* standard output is left alone: everything goes to standard error. *input* is for one that reads."""
        # One sink where both are the same file (2>&1, a terminal), so that lines of the one are not cut by lines of the other.
        self.err = Sink(2)
        self.out = self.err if keep_out or os.path.sameopenfile(1, 2) else Sink(1)
        self.sources: list[Source] = []
        self._names = tuple(names)
        self._writing_ends: list[Fd] = []
        self._null = Fd.open("/dev/null", os.O_RDONLY)
        self.input = input

    def stdio(self, name: str) -> tuple[int, int, int]:
        """Standard descriptors for a container: our input if it is to have it, else nothing to read, and a pipe for each of its
        two streams."""
        reading = self.input.pipe(name) if self.input is not None else None
        if reading is not None:
            self._writing_ends.append(Fd.adopt(reading))
        return (
            self._null.fileno() if reading is None else reading,
            self._pipe(name, self.out),
            self._pipe(name, self.err),
        )

    def add(self, name: str) -> None:
        """One more container."""
        self._names = (*self._names, name)

    def take_terminal(self, name: str) -> None:
        """Show what container *name*, which has just started, writes to its terminal, if it has one. What the only container of a
        pod writes there is shown as it is."""
        terminal = self.input.take_terminal(name) if self.input is not None else None
        if terminal is not None:
            alone = len(self._names) == 1
            prefix = b"" if alone else line_prefix(name, self._names, self.out.is_terminal)
            self.sources.append(Source(terminal, self.out, prefix, name, whole_lines=not alone))

    def _pipe(self, name: str, sink: Sink) -> int:
        with naming(f"a pipe for container {name}"):
            reading, writing = [Fd.adopt(fd) for fd in os.pipe2(os.O_CLOEXEC)]
        self.sources.append(Source(reading, sink, line_prefix(name, self._names, sink.is_terminal), name))
        self._writing_ends.append(writing)
        return writing.fileno()

    def containers_have_theirs(self) -> None:
        """Close our copies of the writing ends: without that no pipe would ever end."""
        for fd in self._writing_ends:
            fd.close()
        self._writing_ends.clear()

    def tail_of(self, name: str) -> bytes:
        """The end of what a container has printed in its last run, standard output before standard error, with what still is in
        its pipes."""
        sources = [source for source in self.sources if source.name == name][-2:]
        for source in sources:
            while source.open and _has_something(source.fd.fileno()):
                source.pump()
        return b"".join([source.tail for source in sources])

    @property
    def broken(self) -> Sink | None:
        """A sink that takes nothing any more."""
        return next((sink for sink in (self.out, self.err) if sink.error is not None), None)

    def interests(self) -> list[tuple[int, int]]:
        """What to poll for, as (descriptor, events)."""
        sources = [source for source in self.sources if source.open and not source.sink.full]
        reading = [(source.fd.fileno(), select.POLLIN) for source in sources]
        if self.input is not None:
            reading += self.input.interests()
        return reading + [(sink.fileno(), select.POLLOUT) for sink in (self.out, self.err) if sink.pending]

    def handle(self, ready: dict[int, int]) -> bool:
        """Do what *ready* allows. Whether a source had something."""
        for sink in (self.out, self.err):
            if sink.pending and sink.fileno() in ready:
                sink.flush()
        if self.input is not None:
            self.input.handle(ready)
        readable = [source for source in self.sources if source.open and source.fd.fileno() in ready]
        for source in readable:
            source.pump()
        if any(
            [not source.open for source in readable]
        ):  # of the runs that are over, each container's last two streams stay
            kept = {id(source) for name in self._names for source in [s for s in self.sources if s.name == name][-2:]}
            self.sources = [source for source in self.sources if source.open or id(source) in kept]
        return bool(readable)

    def close_sources(self) -> None:
        """Stop reading; what is half a line is handed on."""
        for source in self.sources:
            source.close()

    @property
    def pending(self) -> bool:
        return self.out.pending or self.err.pending

    def __enter__(self) -> Outputs:
        if self.input is not None:
            self.input.__enter__()
        return self

    def __exit__(self, *_error: object) -> None:
        if self.input is not None:
            self.input.__exit__()
        self.containers_have_theirs()
        self._null.close()
        self.close_sources()
        self.out.close()
        self.err.close()


def line_prefix(name: str, names: tuple[str, ...], is_terminal: bool) -> bytes:
    """``web   | ``, aligned, in the container's colour on a terminal."""
    label = f"{name:{max([len(each) for each in names])}} |".encode()
    if is_terminal and wants_colour():
        label = b"\x1b[%dm%s%s" % (COLOURS[names.index(name) % len(COLOURS)], label, RESET)
    return label + b" "


def wants_colour() -> bool:
    """Whether a terminal is to be coloured: https://no-color.org, and terminals that cannot."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _read(fd: int) -> bytes | None:
    """What there is to read: empty at the end, which is an error of a terminal; None for nothing yet."""
    try:
        return os.read(fd, READ_BYTES)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""


def _has_something(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def _is_writable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(0))


def _reopen_nonblocking(fd: int) -> Fd | None:
    """A non-blocking descriptor of the same pipe or terminal; None where there is no such thing.

    Setting the flag on *fd* itself would set it for everybody who shares it: the shell, and the next program in it.
    """
    mode = os.fstat(fd).st_mode
    if not (stat.S_ISFIFO(mode) or os.isatty(fd)):
        return None
    try:
        return Fd.adopt(os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return None
