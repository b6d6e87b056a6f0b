"""pyrun.run: one command in fresh namespaces, with limits and a time-out, and how it went."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

import pyrun
from fixtures.machine import cgroup2_root, has_complete_cgroup2, patience
from pyrun.kernel.program import program_fd

pytestmark = pytest.mark.root

# Stays open for good once something is spawned: not a leak of the test that happens to be the first.
program_fd("pyrun-stage")


def output(*argv: str, **how: object) -> tuple[pyrun.Outcome, str]:
    """How it went and what it printed (a few lines: a pipe holds them)."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        outcome = pyrun.run(argv, fds={1: writer, 2: writer}, **how)  # type: ignore[arg-type]
        os.close(writer)
        writer = -1
        with open(reader, closefd=False) as pipe:
            return outcome, pipe.read()
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)


def test_exit_code_times_and_nothing_left() -> None:
    begin = time.monotonic()
    outcome, text = output("sh", "-c", "echo hello; exit 3")
    assert text == "hello\n"
    assert (outcome.exit.code, outcome.exit.signal) == (3, None)
    assert 0 < outcome.wall_s < time.monotonic() - begin
    assert not outcome.timed_out
    assert not outcome.oom_killed
    root = cgroup2_root()
    assert root is not None
    assert not list(root.glob("pyrun/run-*"))


def test_cpu_time_is_that_of_everybody() -> None:
    script = (
        "import os\nfor _ in range(2):\n if os.fork() == 0:\n  sum(range(3 * 10**6)); os._exit(0)\nos.wait(); os.wait()"
    )
    outcome = pyrun.run(["/usr/bin/python3", "-ISc", script])
    assert outcome.exit.code == 0
    assert 0.02 < outcome.cpu_s < outcome.wall_s * (os.cpu_count() or 1) + 0.1


def test_peak_memory_is_told_where_it_is_counted() -> None:
    outcome = pyrun.run(["/usr/bin/python3", "-ISc", "len(bytearray(50 << 20))"])
    if has_complete_cgroup2():
        assert outcome.peak_memory_bytes is not None
        assert 50 << 20 < outcome.peak_memory_bytes < 200 << 20
    else:
        assert outcome.peak_memory_bytes is None


@pytest.mark.cgroup2
def test_too_much_memory() -> None:
    limits = pyrun.Limits(memory_max_bytes=32 << 20, memory_swap_max_bytes=0)
    outcome = pyrun.run(["/usr/bin/python3", "-ISc", "len(bytearray(100 << 20))"], limits=limits)
    assert outcome.exit.signal == signal.SIGKILL
    assert outcome.oom_killed
    assert outcome.peak_memory_bytes is not None
    assert outcome.peak_memory_bytes <= 32 << 20


def test_a_limit_that_cannot_be_had_is_an_error() -> None:
    if has_complete_cgroup2():
        assert pyrun.run(["true"], limits=pyrun.Limits(memory_max_bytes=64 << 20)).exit.code == 0
        return
    with pytest.raises(pyrun.Unsupported, match=r"memory\.max is not available here"):
        pyrun.run(["true"], limits=pyrun.Limits(memory_max_bytes=64 << 20))


def test_a_time_out_takes_all_of_it_down() -> None:
    begin = time.monotonic()
    outcome = pyrun.run(["sh", "-c", "trap '' TERM; sleep 1000 & setsid sleep 1000 & wait"], timeout_s=0.2)
    assert outcome.timed_out
    assert outcome.exit.signal == signal.SIGKILL
    assert 0.2 <= outcome.wall_s < patience(5)
    assert time.monotonic() - begin < patience(5)


def test_what_is_left_running_is_killed() -> None:
    outcome = pyrun.run(["sh", "-c", "setsid sleep 1000 & exit 0"], namespaces=())
    assert outcome.exit.code == 0
    assert not outcome.timed_out


def test_namespaces_of_its_own() -> None:
    _, text = output("sh", "-c", "readlink /proc/self/ns/pid /proc/self/ns/net /proc/self/ns/mnt; echo $$")
    pid, net, mnt, number = text.split()
    assert number == "1"
    assert {pid, net, mnt}.isdisjoint(os.readlink(f"/proc/self/ns/{kind}") for kind in ("pid", "net", "mnt"))
    _, text = output("ip", "-br", "link", "show", "lo")
    assert "UP" in text


def test_namespaces_of_the_host() -> None:
    _, text = output("readlink", "/proc/self/ns/net", "/proc/self/ns/mnt", namespaces=())
    assert text.split() == [os.readlink("/proc/self/ns/net"), os.readlink("/proc/self/ns/mnt")]


def test_environment_is_ours_or_what_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYRUN_TEST", "seen")
    assert "PYRUN_TEST=seen" in output("env")[1].splitlines()
    assert output("env", env={"ONLY": "this"})[1] == "ONLY=this\n"


def test_descriptors_by_number(tmp_path: Path) -> None:
    with (tmp_path / "five").open("w+") as file:
        outcome = pyrun.run(["sh", "-c", "echo five >&5"], fds={5: file})
        assert outcome.exit.code == 0
        assert (tmp_path / "five").read_text() == "five\n"


def test_descriptors_that_trade_places(tmp_path: Path) -> None:
    """3 as 4 and 4 as 3: each is what it was before any was moved."""
    with (tmp_path / "a").open("w") as a, (tmp_path / "b").open("w") as b:
        crossed = {a.fileno(): b, b.fileno(): a}
        script = f"echo for-b >&{a.fileno()}; echo for-a >&{b.fileno()}"
        assert pyrun.run(["bash", "-c", script], fds=crossed).exit.code == 0
    assert ((tmp_path / "a").read_text(), (tmp_path / "b").read_text()) == ("for-a\n", "for-b\n")


@pytest.mark.parametrize(("program", "code"), [("nothing-of-this-name", 127), ("/etc/passwd", 126), ("/no/such", 127)])
def test_a_program_that_cannot_be_run(program: str, code: int) -> None:
    with pytest.raises(pyrun.ExecError) as caught:
        pyrun.run([program])
    assert caught.value.exit_code == code


def test_a_cgroup_of_a_given_name() -> None:
    name = f"pyrun/test-{os.getpid()}"
    _, text = output("cat", "/proc/self/cgroup", cgroup=name)
    assert text.splitlines()[-1] == f"0::/{name}"
    with pyrun.Cgroup.create(name), pytest.raises(pyrun.AlreadyExists):
        pyrun.run(["true"], cgroup=name)


def test_an_end_by_signal() -> None:
    outcome = pyrun.run(["sh", "-c", "kill -SEGV $$"], namespaces=())
    assert (outcome.exit.signal, outcome.exit.exit_code) == (signal.SIGSEGV, 139)
