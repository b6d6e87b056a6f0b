"""``pyrun attach``: at the streams of a container, beside others."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.command import PYRUN, Store, emptied_store
from fixtures.machine import patience
from fixtures.oci_command import wait_until
from fixtures.pods import FOREVER, shell
from pyrun_runtime.cli.attach import parse_keys, split_keys
from pyrun_runtime.cli.message import UsageError

root = pytest.mark.root
ECHOING = "while read line; do echo got $line; done; echo end; exit 6"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    yield from emptied_store(tmp_path)


def begin(store: Store, *arguments: str) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen([*PYRUN, "attach", *arguments], env=store.environment, stdin=pipe, stdout=pipe, stderr=pipe)


def say(process: subprocess.Popen[bytes], text: bytes) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(text)
    process.stdin.flush()
    return process.stdout.readline()


@root
def test_input_goes_in_output_comes_out_and_its_end_is_the_containers(store: Store) -> None:
    with store.detached(store.manifest(shell(ECHOING, stdin=True))) as uid, begin(store, "-i", uid) as process:
        assert say(process, b"one\n") == b"got one\n"
        assert say(process, b"two\n") == b"got two\n"
        out, err = process.communicate(timeout=patience(20))
        assert (out, err, process.returncode) == (b"end\n", b"", 6)


@root
def test_several_look_on_and_one_writes(store: Store) -> None:
    with (
        store.detached(store.manifest(shell(ECHOING, stdin=True))) as uid,
        begin(store, "-i", uid) as writer,
        begin(store, uid) as reader,
    ):
        assert reader.stdout is not None
        while not select.select([reader.stdout], [], [], 0.05)[0]:  # it may have come later than the first lines
            assert say(writer, b"x\n") == b"got x\n"
        assert reader.stdout.readline() == b"got x\n"
        done = store.command("attach", "-i", uid)
        assert done.status == 1
        assert "somebody else has the input" in done.error
        writer.communicate(timeout=patience(20))
        assert reader.wait(patience(20)) == 6


@root
def test_both_streams_are_kept_apart(store: Store) -> None:
    script = "read x; echo out; echo err >&2"
    with store.detached(store.manifest(shell(script, stdin=True))) as uid, begin(store, "-i", uid) as process:
        out, err = process.communicate(b"go\n", timeout=patience(20))
        assert (out, err, process.returncode) == (b"out\n", b"err\n", 0)


@root
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_leaving_lets_it_run(store: Store, number: int) -> None:
    with store.detached(store.manifest(shell("while :; do echo x; sleep 0.02; done"))) as uid:
        with begin(store, uid) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"x\n"
            process.send_signal(number)
            process.communicate(timeout=patience(20))
            assert process.returncode == 128 + number
        assert "running" in store.command("ps", "-o", "json", uid).out


@root
def test_a_terminal_with_its_size_and_the_keys_that_leave_it(store: Store) -> None:
    script = "stty size; while read line; do echo got $line; stty size; done"
    with store.detached(store.manifest(shell(script, stdin=True, tty=True))) as uid:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
        command = [*PYRUN, "attach", "-it", uid]
        with subprocess.Popen(command, env=store.environment, stdin=theirs, stdout=theirs, stderr=theirs) as process:
            seen = b""

            def read_until(text: bytes) -> None:
                nonlocal seen
                deadline = time.monotonic() + patience(20)
                while text not in seen:
                    assert time.monotonic() < deadline, seen
                    seen += os.read(ours, 4096)

            wait_until(lambda: not termios.tcgetattr(theirs)[3] & termios.ICANON)
            os.write(ours, b"hello\r")
            read_until(b"got hello\r\n33 77\r\n")
            fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 50, 0, 0))
            process.send_signal(signal.SIGWINCH)
            seen = b""
            deadline = time.monotonic() + patience(20)
            while b"20 50" not in seen and time.monotonic() < deadline:
                os.write(ours, b"again\r")
                time.sleep(0.05)
                seen += os.read(ours, 4096)
            os.write(ours, b"\x10\x11")
            assert process.wait(patience(20)) == 0
            assert termios.tcgetattr(theirs)[3] & termios.ICANON
        os.close(ours)
        os.close(theirs)
        assert b"20 50" in seen
        store.command("stop", "--time=0", uid)


@root
def test_who_cannot_be_attached_to(store: Store) -> None:
    with store.detached(store.manifest(shell(FOREVER), shell("exit 0", "quick"))) as uid:
        assert "no standard input" in store.command("attach", "-i", "-c", "main", uid).error
        wait_until(lambda: '"terminated"' in store.command("ps", "-o", "json", uid).out)
        assert "container quick does not run" in store.command("attach", "-c", "quick", uid).error
        assert "it has main, quick" in store.command("attach", "-c", "none", uid).error
        store.command("stop", "--time=0", uid)
    with store.running(store.manifest(shell(f"echo ready; {FOREVER}"))) as running:
        running.wait_for("ready")
        assert "runs in the foreground" in store.command("attach", "test").error
        store.command("stop", "--time=0", "test")


def test_keys() -> None:
    assert parse_keys("ctrl-p,ctrl-q") == b"\x10\x11"
    assert parse_keys("a,ctrl-@,ctrl-[") == b"a\0\x1b"
    for wrong in ("", "ctrl-", "ctrl-pp", "a,,b", "ä"):
        with pytest.raises(UsageError):
            parse_keys(wrong)
    keys = b"\x10\x11"
    assert split_keys(b"abc", keys) == (b"abc", b"", False)
    assert split_keys(b"abc\x10", keys) == (b"abc", b"\x10", False)
    assert split_keys(b"\x10x", keys) == (b"\x10x", b"", False)
    assert split_keys(b"a\x10\x11b", keys) == (b"a", b"", True)
