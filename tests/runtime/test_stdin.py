"""Standard input and terminals of containers, as ``pyrun run`` connects them."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest

from fixtures.command import PYRUN, Store, pyrun
from fixtures.machine import patience
from fixtures.pods import shell
from pyrun_runtime.terminal import RawInput

pytestmark = pytest.mark.root

FIRST = {"stdin": True, "stdinOnce": True}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def run(store: Store, spec: Path, text: bytes) -> str:
    done = pyrun("run", spec, stdin=text, env=store.environment)
    assert done.status == 0, done.err
    assert not store.entries()
    return done.out


def test_input_reaches_the_container_and_ends(store: Store) -> None:
    text = b"".join([b"line %d\n" % number for number in range(20000)])
    spec = store.manifest(shell("exec wc -lc", **FIRST))
    assert run(store, spec, text).split() == ["main", "|", "20000", str(len(text))]


def test_without_once_it_stays_open(store: Store) -> None:
    spec = store.manifest(shell('read -r x; echo "$x"; read -r -t 1 y || echo "still $?"', stdin=True))
    spec.write_text(spec.read_text().replace("/bin/sh", "/bin/bash"))
    assert run(store, spec, b"one\n") == "main | one\nmain | still 142\n"


def test_others_have_nothing_to_read(store: Store) -> None:
    spec = store.manifest(shell("exec cat", "a"), shell("exec cat", "b", **FIRST))
    assert run(store, spec, b"mine\n") == "b | mine\n"


def test_a_container_that_does_not_read_holds_nobody_up(store: Store) -> None:
    assert run(store, store.manifest(shell("exit 0", **FIRST)), b"x" * 1000000) == ""


class Terminal:
    """pyrun at a terminal of ours."""

    def __init__(self, store: Store, spec: Path, rows: int, columns: int) -> None:
        self.ours, theirs = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(theirs)
        self.process = subprocess.Popen(
            [*PYRUN, "run", str(spec)], stdin=theirs, stdout=theirs, stderr=theirs, env=store.environment
        )
        self.theirs = theirs
        self.seen = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: bytes) -> None:
        os.write(self.ours, text)

    def wait_for(self, text: bytes) -> None:
        deadline = time.monotonic() + patience(20)
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            if select.select([self.ours], [], [], 0.1)[0]:
                self.seen += os.read(self.ours, 4096)

    def end(self) -> int:
        """The exit status, when all has been read; the terminal is as it was."""
        while self.process.poll() is None:
            if select.select([self.ours], [], [], 0.05)[0]:
                self.seen += os.read(self.ours, 4096)
        assert termios.tcgetattr(self.theirs) == self.before
        os.close(self.ours)
        os.close(self.theirs)
        return self.process.returncode


def test_a_terminal(store: Store) -> None:
    """A terminal of the container's own, of the size of ours, in which Ctrl-C is the container's."""
    script = """
        trap 'echo interrupted' INT
        trap 'stty size' WINCH
        tty; stty size; echo ready
        read -r x || true; echo "read $x"
        exit 5
    """
    terminal = Terminal(store, store.manifest(shell(script, stdin=True, tty=True)), 33, 77)
    terminal.wait_for(b"ready")
    assert b"/dev/pts/0\r\n33 77\r\n" in terminal.seen
    terminal.type(b"\x03")
    terminal.wait_for(b"interrupted")
    terminal.type(b"typed\r")
    terminal.wait_for(b"read ")
    assert terminal.end() == 5


def test_a_terminal_follows_the_size_of_ours(store: Store) -> None:
    script = 'until [ "$(stty size)" = "10 20" ]; do sleep 0.02; done; echo resized'
    terminal = Terminal(store, store.manifest(shell("echo ready; " + script, stdin=True, tty=True)), 33, 77)
    terminal.wait_for(b"ready")
    terminal.resize(10, 20)
    terminal.process.send_signal(28)  # what a real terminal sends to its foreground group
    terminal.wait_for(b"resized")
    assert terminal.end() == 0


def test_a_terminal_without_input_among_others(store: Store) -> None:
    spec = store.manifest(shell("tty", "a", tty=True), shell("tty || true", "b"))
    assert sorted(run(store, spec, b"").splitlines()) == ["a | /dev/pts/0", "b | not a tty"]


def test_a_terminal_that_is_gone_at_the_end() -> None:
    """Nothing is left to give back, and what is to be closed after it must be closed."""
    ours, theirs = os.openpty()
    kept = os.dup(0)
    try:
        os.dup2(theirs, 0)
        os.close(theirs)
        with RawInput():
            os.close(ours)
    finally:
        os.dup2(kept, 0)
        os.close(kept)
