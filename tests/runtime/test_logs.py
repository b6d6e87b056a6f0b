"""``pyrun logs``: lines out of what the monitor has written, to their end and as they come."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fixtures.command import PYRUN, Store, emptied_store
from fixtures.machine import patience
from fixtures.oci_command import wait_until
from fixtures.pods import FOREVER, document, shell
from pyrun_runtime.cli.duration import parse_duration
from pyrun_runtime.cli.message import UsageError
from pyrun_runtime.log_reader import MAX_LINE_BYTES, LogReader

TIME = "2026-11-27T15:32:35.000000000Z"


def line(text: str, stream: str = "stdout", tag: str = "F") -> bytes:
    return f"{TIME} {stream} {tag} {text}\n".encode()


def texts(reader: LogReader) -> list[str]:
    return [each.text.decode() for each in reader.read()]


# ---- reading ----


def test_parts_of_a_line_are_one_and_streams_do_not_mix(tmp_path: Path) -> None:
    (tmp_path / "0.log").write_bytes(
        line("a", tag="P") + line("x", "stderr", "P") + line("b") + line("y", "stderr") + line("c", tag="P")
    )
    reader = LogReader(str(tmp_path), 0)
    assert [(each.stream, each.text) for each in reader.read()] == [("stdout", b"ab"), ("stderr", b"xy")]
    assert [each.text for each in reader.take_rest()] == [b"c"]
    reader.close()


def test_what_comes_later_and_half_a_line(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    reader = LogReader(str(tmp_path), 0)
    assert texts(reader) == []
    log.write_bytes(line("one") + line("two")[:-3])
    assert texts(reader) == ["one"]
    with log.open("ab") as file:
        file.write(line("two")[-3:])
    assert texts(reader) == ["two"]
    reader.close()


def test_what_is_no_line_of_a_log_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "0.log").write_bytes(b"\n\0\xff\nx y\n" + line("good") + b"half")
    reader = LogReader(str(tmp_path), 0)
    assert texts(reader) == ["good"]
    reader.close()


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    with (tmp_path / "0.log").open("wb") as file:
        for _ in range(100):
            file.write(line("x" * 16000, tag="P"))
    reader = LogReader(str(tmp_path), 0)
    found = [len(each.text) for each in reader.read()]
    assert sum(found) + sum(len(each.text) for each in reader.take_rest()) == 1_600_000
    assert max(found) < MAX_LINE_BYTES + 16000
    reader.close()


class Writer:
    """Writes and rotates as the monitor does."""

    def __init__(self, top: Path, files: int) -> None:
        self.top, self.files = top, files

    def write(self, text: str) -> None:
        with (self.top / "0.log").open("ab") as file:
            file.write(line(text))

    def rotate(self) -> None:
        for part in range(self.files - 1, 0, -1):
            old = self.top / ("0.log" if part == 1 else f"0.log.{part - 1}")
            if old.exists():
                old.rename(self.top / f"0.log.{part}")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["write", "write", "rotate", "read"]), max_size=30), st.integers(0, 12))
def test_rotation_loses_and_repeats_nothing(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], tail: int
) -> None:
    top = tmp_path_factory.mktemp("logs")
    writer, reader, number = Writer(top, 40), LogReader(str(top), 0), 0
    seen: list[str] = []
    for step in steps:
        if step == "write":
            writer.write(str(number))
            number += 1
        elif step == "rotate":
            writer.rotate()
        else:
            seen += texts(reader)
    seen += texts(reader)
    assert seen == [str(i) for i in range(number)]
    last = LogReader(str(top), 0)
    last.seek_tail(tail)
    assert texts(last) == [str(i) for i in range(max(0, number - tail), number)]
    writer.write("more")
    assert texts(last) == ["more"]
    reader.close()
    last.close()


def test_parts_that_were_dropped_before_they_were_read(tmp_path: Path) -> None:
    writer, reader = Writer(tmp_path, 3), LogReader(str(tmp_path), 0)
    writer.write("0")
    assert texts(reader) == ["0"]
    for number in range(1, 6):
        writer.rotate()
        writer.write(str(number))
    assert texts(reader) == ["3", "4", "5"]
    reader.close()


@pytest.mark.parametrize("size", [10, 70_000])
def test_the_tail_of_long_lines(tmp_path: Path, size: int) -> None:
    (tmp_path / "0.log").write_bytes(b"".join([line(f"{i}".ljust(size, "x")) for i in range(9)]))
    reader = LogReader(str(tmp_path), 0)
    reader.seek_tail(3)
    assert [text[0] for text in texts(reader)] == ["6", "7", "8"]
    reader.close()


DURATIONS = {"30s": 30, "5m": 300, "1h30m": 5400, "1.5h": 5400, "7": 7, "2d": 172800}


@pytest.mark.parametrize(("text", "seconds"), DURATIONS.items())
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration("since", text) == seconds


@pytest.mark.parametrize("text", ["", "x", "5x", "m", "1h2", "-3s", "1..5s", ".s", "1e9s", "99999999999d"])
def test_no_durations(text: str) -> None:
    with pytest.raises(UsageError, match="--since"):
        parse_duration("since", text)


# ---- the command ----

root = pytest.mark.root


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    yield from emptied_store(tmp_path)


@root
def test_of_one_container_and_of_all(store: Store) -> None:
    spec = store.manifest(shell("echo a; echo b", "one"), shell("echo c >&2", "two"))
    with store.detached(spec) as uid:
        store.command("wait", uid)
        done = store.command("logs", "test")
        assert (done.status, done.out) == (0, "a\nb\n")
        assert done.error == "Defaulted container 'one' out of: one, two"
        assert store.command("logs", "-c", "two", uid).out == "c\n"
        assert store.command("logs", "--all-containers", uid).out.splitlines() == [
            "[pod/test/one] a",
            "[pod/test/one] b",
            "[pod/test/two] c",
        ]
        assert store.command("logs", "-c", "one", "-c", "two", "--tail=1", uid).out.splitlines() == [
            "[pod/test/one] b",
            "[pod/test/two] c",
        ]
        assert store.command("logs", "--limit-bytes=3", "-c", "one", uid).out == "a\nb"
        stamped = store.command("logs", "--timestamps", "-c", "two", uid).out
        assert stamped.split(" ")[1] == "c\n"
        moment = stamped.split(" ")[0]
        assert store.command("logs", "--since-time", moment, "-c", "two", uid).out == "c\n"
        assert store.command("logs", "--since-time", "2999-01-01T00:00:00Z", "-c", "two", uid).out == ""
        assert store.command("logs", "--since", "1h", "-c", "two", uid).out == "c\n"


@root
def test_the_run_before(store: Store) -> None:
    with store.detached(
        store.manifest(shell(f"echo begun; {FOREVER}"), restartPolicy="Always", terminationGracePeriodSeconds=1)
    ) as uid:
        done = store.command("logs", "-p", uid)
        assert done.status == 1
        assert done.error == "previous terminated container 'main' in pod 'test' not found"
        store.command("restart", uid)
        assert store.command("logs", "-p", uid).out == "begun\n"


@root
def test_following_to_the_end_of_the_run(store: Store) -> None:
    spec = store.manifest(shell("for i in 1 2 3; do echo $i; sleep 0.1; done; printf rest"), shell(FOREVER, "b"))
    with store.detached(spec) as uid:
        done = store.command("logs", "-f", "-c", "main", uid)
        assert (done.status, done.out) == (0, "1\n2\n3\nrest\n")
        assert store.command("ps", uid).status == 0


@root
def test_following_several_until_the_pod_is_over(store: Store) -> None:
    loop = "for i in 1 2 3; do echo $NAME$i; sleep 0.05; done"
    spec = store.manifest(shell(loop.replace("$NAME", "a"), "a"), shell(loop.replace("$NAME", "b"), "b"))
    with store.detached(spec) as uid:
        lines = store.command("logs", "-f", "--all-containers", uid).out.splitlines()
        for name in "ab":
            assert [each for each in lines if each.startswith(f"[pod/test/{name}]")] == [
                f"[pod/test/{name}] {name}{i}" for i in (1, 2, 3)
            ]


@root
def test_following_while_the_log_is_rotated(store: Store) -> None:
    """More than a log may have before it is renamed: nothing is lost, nothing comes twice."""
    lines = 120_000
    script = f"i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo $i {'x' * 90}; done"
    with store.detached(store.manifest(shell(script))) as uid:
        done = store.command("logs", "-f", uid)
        assert [each.split()[0] for each in done.out.splitlines()] == [str(i + 1) for i in range(lines)]
        assert len(list(store.logs.glob("pods/*/main/0.log*"))) > 1


@root
def test_who_follows_ends_with_its_reader(store: Store) -> None:
    with store.detached(store.manifest(shell(f"echo one; {FOREVER}"))) as uid:
        command = [*PYRUN, "logs", "-f", uid]
        with subprocess.Popen(
            command, env=store.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == b"one\n"
            process.stdout.close()
            assert process.wait(patience(20)) == 141
            assert process.stderr.read() == b""


@root
def test_following_outlives_the_supervisor(store: Store) -> None:
    script = "trap 'echo last; exit 0' TERM; echo first; while :; do sleep 0.02; done"
    with store.detached(store.manifest(shell(script))) as uid:
        command = [*PYRUN, "logs", "-f", uid]
        with subprocess.Popen(command, env=store.environment, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"first\n"
            facts = (store.run_root / "pods" / uid / "pod.json").read_text()
            pid = int(facts.partition('"launcher_pid": ')[2].partition(",")[0])
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not Path(f"/proc/{pid}/exe").exists())
            time.sleep(0.1)
            assert process.poll() is None
            assert store.command("stop", uid).status == 0
            assert process.communicate(timeout=patience(20))[0] == b"last\n"


@root
def test_a_pod_in_the_foreground_has_no_logs(store: Store) -> None:
    with store.running(store.manifest(shell(f"echo ready; {FOREVER}"))) as running:
        running.wait_for("ready")
        done = store.command("logs", "test")
        assert done.status == 1
        assert "its output goes to its 'pyrun run'" in done.error
        store.command("stop", "--time=0", "test")


@root
def test_what_has_no_log(store: Store) -> None:
    manifest = document(shell(FOREVER), initContainers=[shell(FOREVER, "first")])
    path = store.write(manifest)
    process = subprocess.Popen([*PYRUN, "run", "-d", path], env=store.environment, stdout=subprocess.PIPE)
    with process:
        wait_until(lambda: bool(list(store.logs.glob("pods/*/first/0.log"))))
        done = store.command("logs", "test")
        assert done.status == 1
        assert "container 'main' in pod 'test' is waiting to start: PodInitializing" in done.err
        assert "it has first, main" in store.command("logs", "-c", "none", "test").error
        store.command("stop", "--time=0", "test")
        process.communicate(timeout=patience(20))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--tail=x",), "--tail x"),
        (("--tail=-2",), "--tail -2"),
        (("--limit-bytes=-1",), "--limit-bytes"),
        (("-f", "-p"), "cannot be followed"),
        (("--since=1x",), "--since"),
        (("--since-time=yesterday",), "--since-time"),
        (("--since-time=2026-11-27T15:00:00",), "time zone"),
        (("--since=1s", "--since-time=2026-11-27T15:00:00Z"), "exclude"),
        (("-c", "a", "--all-containers"), "exclude"),
    ],
)
def test_a_wrong_command_line(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    done = Store(tmp_path).command("logs", *options, "pod")
    assert done.status == 2
    assert message in done.error
