"""Output of containers: whole lines, the right stream, slow and absent readers, and nothing lost."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fixtures.command import PYRUN, Store
from fixtures.machine import patience
from fixtures.pods import python, shell
from pyrun import Fd
from pyrun_runtime.cli.output import FULL_BYTES, MAX_LINE_BYTES, Sink, Source, line_prefix


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


class Pipe:
    def __init__(self) -> None:
        self.reading, self.writing = [Fd(fd) for fd in os.pipe2(os.O_CLOEXEC)]

    def read(self) -> bytes:
        return os.read(self.reading.fileno(), 1 << 20)

    def close(self) -> None:
        self.reading.close()
        self.writing.close()


@pytest.fixture
def pipes() -> Iterator[Callable[[], Pipe]]:
    made: list[Pipe] = []

    def make() -> Pipe:
        made.append(Pipe())
        return made[-1]

    yield make
    for pipe in made:
        pipe.close()


@pytest.fixture
def through(pipes: Callable[[], Pipe]) -> Iterator[Callable[..., bytes]]:
    """What a source makes of chunks that a container writes, each pumped on its own, up to the end."""
    sinks = []

    def run(*chunks: bytes, prefix: bytes = b"a | ") -> bytes:
        inner, outer = pipes(), pipes()
        sinks.append(Sink(outer.writing.fileno()))
        source = Source(inner.reading, sinks[-1], prefix)
        out = b""
        for chunk in chunks:
            os.write(inner.writing.fileno(), chunk)
            source.pump()
            out += outer.read() if select.select([outer.reading], [], [], 0)[0] else b""
        inner.writing.close()
        source.pump()
        assert not source.open
        return out + (outer.read() if select.select([outer.reading], [], [], 0)[0] else b"")

    yield run
    for sink in sinks:
        sink.close()


# ---- lines -----------------------------------------------------------------------------------------------------------


def test_each_line_has_the_name(through: Callable[..., bytes]) -> None:
    assert through(b"1\n2\n\n3\n") == b"a | 1\na | 2\na | \na | 3\n"


def test_a_line_in_pieces_comes_whole(through: Callable[..., bytes]) -> None:
    assert through(b"be", b"gin", b"ning\nand ", b"end") == b"a | beginning\na | and end\n"


def test_what_is_no_text_passes(through: Callable[..., bytes]) -> None:
    assert through(b"\x00\xff\n\xfe\r\x1b[m") == b"a | \x00\xff\na | \xfe\r\x1b[m\n"


def test_a_line_without_end_is_cut(through: Callable[..., bytes]) -> None:
    half = b"x" * (MAX_LINE_BYTES // 2)
    assert through(half, half, b"yy\n") == b"a | " + half * 2 + b"\na | yy\n"


@pytest.mark.parametrize(
    ("names", "terminal", "prefix"),
    [
        (("a",), False, b"a | "),
        (("a", "long"), False, b"a    | "),
        (("a",), True, b"\x1b[36ma |\x1b[0m "),
        (("a", "b"), True, b"\x1b[36ma |\x1b[0m "),
    ],
)
def test_prefix(names: tuple[str, ...], terminal: bool, prefix: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert line_prefix("a", names, terminal) == prefix


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_colour_where_none_is_wanted(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert line_prefix("a", ("a",), True) == b"a | "


# ---- sinks -----------------------------------------------------------------------------------------------------------


def test_sink_never_blocks_and_loses_nothing(pipes: Callable[[], Pipe]) -> None:
    pipe = pipes()
    sink = Sink(pipe.writing.fileno())
    data = os.urandom(FULL_BYTES + 1000)
    sink.write(data)
    assert sink.pending
    got = b""
    while len(got) < len(data):
        got += pipe.read()
        sink.flush()
    assert got == data
    assert not sink.pending
    sink.close()


def test_sink_says_when_it_is_full(pipes: Callable[[], Pipe]) -> None:
    pipe = pipes()
    sink = Sink(pipe.writing.fileno())
    while not sink.full:
        sink.write(bytes(65536))
    pipe.read()
    sink.flush()
    assert not sink.full or sink.pending
    sink.close()


def test_descriptors_of_others_stay_blocking(pipes: Callable[[], Pipe]) -> None:
    """The shell has the same open file: a flag on it would be a flag on the shell's."""
    pipe = pipes()
    sink = Sink(pipe.writing.fileno())
    sink.write(b"x")
    assert not fcntl.fcntl(pipe.writing.fileno(), fcntl.F_GETFL) & os.O_NONBLOCK
    sink.close()


def test_reader_that_has_left(pipes: Callable[[], Pipe]) -> None:
    pipe = pipes()
    sink = Sink(pipe.writing.fileno())
    pipe.reading.close()
    sink.write(b"x")
    assert sink.unread
    sink.write(b"y")
    assert not sink.pending
    sink.close()


def test_full_disk_is_no_absent_reader() -> None:
    with open("/dev/full", "wb") as full:
        sink = Sink(full.fileno())
        sink.write(b"x")
        assert not sink.unread
        assert sink.complaint == "No space left on device"
        sink.close()


# ---- the command -----------------------------------------------------------------------------------------------------

BYTES = "import os; os.write(1, bytes(range(256)) * 4096 + b'no end'); os.write(2, b'other')"


@pytest.mark.root
def test_no_byte_is_lost_or_changed(store: Store) -> None:
    """Whatever is in a line: only names come before lines, and an end after a last line that has none."""
    done = subprocess.run(
        [*PYRUN, "run", store.manifest(python(BYTES))], capture_output=True, check=False, env=store.environment
    )
    assert done.returncode == 0
    written = bytes(range(256)) * 4096 + b"no end"
    assert done.stdout == b"".join([b"main | " + line + b"\n" for line in written.split(b"\n")])
    assert b"main | other\n" in done.stderr


@pytest.mark.root
def test_streams_stay_apart_and_lines_whole(store: Store) -> None:
    count = 20_000
    script = f"i=0; while [ $i -lt {count} ]; do echo $i; i=$((i+1)); done; echo bad >&2"
    done = store.run(store.manifest(shell(script, "one"), shell(script, "three")))
    assert done.status == 0
    lines = done.out.splitlines()
    for prefix in ("one   | ", "three | "):
        assert [line.removeprefix(prefix) for line in lines if line.startswith(prefix)] == [
            str(i) for i in range(count)
        ]
        assert prefix + "bad" in done.err.splitlines()
    assert len(lines) == 2 * count


@pytest.mark.root
def test_both_streams_into_one_pipe_keep_lines_whole(store: Store) -> None:
    script = "i=0; while [ $i -lt 5000 ]; do echo out; echo err >&2; i=$((i+1)); done"
    spec = store.manifest(shell(script, "a"), shell(script, "b"))
    command = [*PYRUN, "run", spec]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, env=store.environment)
    lines = [line for line in done.stdout.decode().splitlines() if " | " in line]
    assert set(lines) == {f"{name} | {word}" for name in "ab" for word in ("out", "err")}
    assert len(lines) == 20_000


@pytest.mark.root
def test_reader_that_leaves_stops_the_pod(store: Store) -> None:
    spec = store.manifest(shell("exec yes"), terminationGracePeriodSeconds=int(patience(30)))
    begin = time.monotonic()
    command = [*PYRUN, "run", spec]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=store.environment)
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(9) == b"main | y\n"
        process.stdout.close()
        errors = process.stderr.read().decode()
    assert "pyrun: nobody reads the output: stopping" in errors
    assert time.monotonic() - begin < patience(25)
    assert process.returncode != 0
    assert not store.entries()


@pytest.mark.root
def test_slow_reader_loses_nothing_and_holds_up_no_signal(store: Store) -> None:
    """The command's pipe is full and nobody reads; it still hears SIGTERM, and a second one, and ends."""
    spec = store.manifest(shell("exec yes"), terminationGracePeriodSeconds=0)
    command = [*PYRUN, "run", spec]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=store.environment)
    with process:
        assert process.stdout is not None
        wait_until_full(process.stdout.fileno())
        process.terminate()
        time.sleep(0.3)
        got = process.stdout.read()
    assert process.returncode == 137
    assert got.startswith(b"main | y\nmain | y\n")
    assert set(got.splitlines()) <= {b"main | y", b"main | "}


@pytest.mark.root
def test_reader_that_never_reads_can_be_given_up(store: Store) -> None:
    spec = store.manifest(shell("exec yes"), terminationGracePeriodSeconds=0)
    command = [*PYRUN, "run", spec]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=store.environment)
    with process:
        assert process.stdout is not None
        wait_until_full(process.stdout.fileno())
        process.terminate()
        deadline = time.monotonic() + 20
        while process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.1)
            process.terminate()
    assert process.returncode == 137


def wait_until_full(fd: int) -> None:
    """Until as much as a pipe holds waits to be read, and a little longer."""
    size = fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
    deadline = time.monotonic() + 20
    while int.from_bytes(fcntl.ioctl(fd, 0x541B, bytes(4)), "little") < size // 2:  # FIONREAD
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.2)


@pytest.mark.root
def test_background_process_that_holds_the_pipe_holds_up_nothing(store: Store) -> None:
    for shared in (False, True):
        done = store.run(store.manifest(shell("sleep 1000 & echo done"), shareProcessNamespace=shared))
        assert (done.status, done.out) == (0, "main | done\n")


@pytest.mark.root
def test_full_disk_stops_the_pod(store: Store) -> None:
    spec = store.manifest(shell("echo x; exec sleep 1000"), terminationGracePeriodSeconds=0)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*PYRUN, "run", spec], stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=store.environment
        )
    assert done.returncode == 137
    assert "pyrun: the output: No space left on device: killing main\n" in done.stderr


@pytest.mark.root
def test_terminal_gets_names_in_colour(store: Store) -> None:
    spec = store.manifest(shell("echo hello; echo oops >&2"))
    shown = on_terminal(store, ["run", str(spec)], NO_COLOR="", TERM="xterm")
    assert b"\x1b[36mmain |\x1b[0m hello\r\n" in shown
    assert b"\x1b[36mmain |\x1b[0m oops\r\n" in shown
    plain = on_terminal(store, ["run", str(spec)], NO_COLOR="1", TERM="xterm")
    assert b"main | hello\r\n" in plain
    assert b"\x1b" not in plain


def on_terminal(store: Store, arguments: list[str], **environment: str) -> bytes:
    """What a terminal shows of the command."""
    ours, theirs = pty.openpty()
    shown: list[bytes] = []

    def read() -> None:
        try:
            while data := os.read(ours, 65536):
                shown.append(data)
        except OSError:
            pass  # EIO: nobody has the other end any more

    reader = threading.Thread(target=read)
    reader.start()
    try:
        subprocess.run(
            [*PYRUN, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=store.environment | environment,
            check=True,
        )
    finally:
        os.close(theirs)
        reader.join()
        os.close(ours)
    return b"".join(shown)


@pytest.mark.root
def test_manifest_from_a_pipe(store: Store) -> None:
    spec = json.loads(store.manifest(shell("echo from stdin")).read_text())
    done = store.run("-", stdin=json.dumps(spec).encode())
    assert (done.status, done.out) == (0, "main | from stdin\n")
