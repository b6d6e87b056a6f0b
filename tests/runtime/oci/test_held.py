"""What is asked of a container that runs: ps, pause, resume, events."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.held import Held
from fixtures.machine import patience
from pyrun_runtime.cli.message import UsageError
from pyrun_runtime.oci.events import page_sizes, parse_duration

TWO = ("/bin/sh", "-c", "sleep 1000 & exec sleep 1000")


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    with Held(tmp_path) as container:
        yield container


def wait_for_pids(container: Held, count: int) -> list[int]:
    """A program that has just been started needs a moment to start others."""
    for _ in range(int(patience(200))):
        pids: list[int] = json.loads(container.ok("ps", "--format=json", container.id))
        if len(pids) == count:
            return pids
    raise AssertionError(f"{pids} instead of {count} processes")


# ---- ps --------------------------------------------------------------------------------------------------------------


@pytest.mark.root
def test_ps_as_json_are_the_pids(held: Held) -> None:
    assert json.loads(held.ok("ps", "--format", "json", held.id)) == [held.state()["pid"]]


@pytest.mark.root
def test_ps_as_a_table_is_that_of_ps(held: Held) -> None:
    heading, line = held.ok("ps", held.id).splitlines()
    assert heading.split()[:3] == ["UID", "PID", "PPID"]
    assert line.split()[1] == str(held.state()["pid"])
    assert line.endswith("/bin/sleep 1000")


@pytest.mark.root
def test_what_comes_after_the_id_is_for_ps(held: Held) -> None:
    heading, line = held.ok("ps", held.id, "-o", "comm,pid").splitlines()
    assert heading.split() == ["COMMAND", "PID"]
    assert line.split() == ["sleep", str(held.state()["pid"])]


@pytest.mark.root
def test_options_of_ps_that_help_nobody(held: Held) -> None:
    assert "no column PID" in held.fails("ps", held.id, "-eo", "comm")
    done = held("ps", held.id, "--no-such-option")
    assert done.status == 1
    assert "pyrun-oci: ps --no-such-option: " in done.err
    assert "Traceback" not in done.err


@pytest.mark.root
@pytest.mark.parametrize("manager", ["cgroupfs", "disabled"])
def test_every_process_is_listed_with_a_cgroup_and_without(tmp_path: Path, manager: str) -> None:
    with Held(tmp_path, TWO, manager) as container:
        assert container.state()["pid"] in wait_for_pids(container, 2)


@pytest.mark.root
def test_ps_of_a_container_that_has_ended(held: Held) -> None:
    held.ok("kill", held.id, "KILL")
    wait_for_pids(held, 0)
    assert held.ok("ps", held.id).splitlines()[1:] == []


@pytest.mark.root
def test_ps_where_there_is_no_ps(held: Held, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert held.ok("ps", held.id).split() == ["PID", str(held.state()["pid"])]


@pytest.mark.root
def test_ps_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    container = Held(tmp_path)
    assert "--format xml: there are table and json" in container.fails("ps", "--format", "xml", "held")
    assert "the ID of a container is missing" in container.fails("ps")
    assert container.fails("ps", "held") == "container 'held' does not exist"


# ---- pause and resume ------------------------------------------------------------------------------------------------


def frozen(pid: int) -> bool:
    """As the kernel has it, not as the runtime says."""
    group = Path(f"/proc/{pid}/cgroup").read_text().rpartition("0::")[2].strip()
    for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        events = Path(f"{root}{group}/cgroup.events")
        if events.exists():
            return "frozen 1" in events.read_text()
    raise AssertionError(f"no cgroup {group}")


@pytest.mark.root
def test_pause_stops_everybody_and_resume_lets_them_go_on(held: Held) -> None:
    pid = held.state()["pid"]
    held.ok("pause", held.id)
    assert frozen(pid)
    assert held.state()["status"] == "paused"
    assert "is paused already" in held.fails("pause", held.id)
    held.ok("resume", held.id)
    assert not frozen(pid)
    assert held.state()["status"] == "running"
    assert "is not paused" in held.fails("resume", held.id)


@pytest.mark.root
def test_a_paused_container_can_be_killed_and_removed(held: Held) -> None:
    held.ok("pause", held.id)
    held.ok("delete", "--force", held.id)
    assert "does not exist" in held.fails("state", held.id)


@pytest.mark.root
@pytest.mark.parametrize("verb", ["pause", "resume", "events"])
def test_a_container_that_has_ended_cannot_be(held: Held, verb: str) -> None:
    held.ok("kill", held.id, "KILL")
    wait_for_pids(held, 0)
    assert "not running" in held.fails(verb, held.id) or verb == "resume"


@pytest.mark.root
@pytest.mark.parametrize("verb", ["pause", "events"])
def test_without_a_cgroup_it_cannot_be(tmp_path: Path, verb: str) -> None:
    with Held(tmp_path, manager="disabled") as container:
        assert "it has no cgroup" in container.fails(verb, container.id)


# ---- events ----------------------------------------------------------------------------------------------------------


@pytest.mark.root
def test_stats_once(held: Held) -> None:
    line = json.loads(held.ok("events", "--stats", held.id))
    assert (line["type"], line["id"]) == ("stats", held.id)
    assert line["data"]["cpu"]["usage"]["total"] > 0
    assert set(line["data"]) >= {"cpu", "memory", "pids", "blkio", "hugetlb"}


@pytest.mark.root
def test_stats_again_and_again_until_it_ends(held: Held) -> None:
    with held.popen("events", "--interval", "50ms", held.id) as events:
        assert events.stdout is not None
        lines = [json.loads(events.stdout.readline()) for _ in range(3)]
        assert [line["type"] for line in lines] == ["stats"] * 3
        held.ok("kill", held.id, "KILL")
        events.stdout.read()
        assert events.wait(patience(10)) == 0


@pytest.mark.cgroup2
def test_out_of_memory_is_told(tmp_path: Path) -> None:
    """A child eats memory, so that what is killed is not what holds the container."""
    eat = "read x </tmp/go; (x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done); sleep 1000"
    limits = {"memory": {"limit": 16 << 20, "swap": 16 << 20}}
    container = Held(tmp_path, ("/bin/sh", "-c", eat), resources=limits)
    os.mkfifo(container.bundle / "rootfs/tmp/go")
    with container, container.popen("events", "--interval", "200ms", container.id) as events:
        assert events.stdout is not None
        kinds = [json.loads(events.stdout.readline())["type"]]  # it watches by now
        (container.bundle / "rootfs/tmp/go").write_text("go\n")
        while kinds[-1] != "oom" and len(kinds) < 200:
            kinds.append(json.loads(events.stdout.readline())["type"])
        assert kinds[-1] == "oom"
        container.ok("kill", "--all", container.id, "KILL")


@pytest.mark.parametrize(
    ("text", "seconds"), [("1s", 1), ("500ms", 0.5), ("1m30s", 90), ("1.5h", 5400), ("2us", 2e-6), ("7ns", 7e-9)]
)
def test_durations_as_go_writes_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "0s", "-1s", "s", "1x", "1s2", "1 s", ".s", "1..5s", "99999999h"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="not a duration above 0"):
        parse_duration(text)


def test_sizes_of_huge_pages_are_those_of_the_files() -> None:
    assert all(size.endswith(("KB", "MB", "GB")) for size in page_sizes())
