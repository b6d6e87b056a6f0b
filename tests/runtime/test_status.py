"""``pyrun status``, ``inspect`` and ``events``: what is told of pods that run and of those that are over."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.command import PYRUN, Store, emptied_store
from fixtures.machine import patience
from fixtures.oci_command import wait_until
from fixtures.pods import FOREVER, document, shell
from pyrun import Publish
from pyrun_runtime.event_file import EventFile, read_events

root = pytest.mark.root


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    yield from emptied_store(tmp_path)


def lines_of(store: Store, *arguments: str) -> list[str]:
    done = store.command(*arguments)
    assert (done.status, done.err) == (0, "")
    return done.out.splitlines()


# ---- the file ----


def test_events_are_written_and_read(tmp_path: Path) -> None:
    file = EventFile(str(tmp_path))
    assert read_events(str(tmp_path)) == []
    file.write(Publish("Warning", "BackOff", 'with "quotes"\nand a line', "main"), 0.5)
    file.write(Publish("Normal", "Started", "started \ud800", ""), 1e9)
    file.close()
    first, second = read_events(str(tmp_path))
    assert first == {
        "time": "1970-01-01T00:00:00.500000Z",
        "type": "Warning",
        "reason": "BackOff",
        "container": "main",
        "message": 'with "quotes"\nand a line',
    }
    assert (second["time"], second["message"]) == ("2001-09-09T01:46:40.000000Z", "started \ud800")


def test_what_is_no_event_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "events").write_bytes(b'{}\n[]\n\xff\n{"time": "x"}\n' + b"half")
    assert read_events(str(tmp_path)) == []


def test_a_file_that_cannot_be_written_harms_nobody(tmp_path: Path) -> None:
    EventFile(str(tmp_path / "none")).write(Publish("Normal", "Started", "started"), 0)
    os.symlink("/dev/full", tmp_path / "events")
    EventFile(str(tmp_path)).write(Publish("Normal", "Started", "started"), 0)


# ---- status ----


@root
def test_the_status_of_a_pod_that_runs_and_of_one_that_is_over(store: Store) -> None:
    manifest = document(shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.02; done"), shell("exit 0", "quick"))
    manifest["metadata"]["labels"] = {"app": "web"}
    with store.detached(store.write(manifest)) as uid:
        wait_until(lambda: "Terminated" in store.command("status", uid).out)
        told = lines_of(store, "status", uid)
        for text in (
            "Name:         test",
            f"UID:          {uid}",
            "Labels:       app=web",
            "  main:",
            "    State:          Running",
        ):
            assert text in told
        assert [line.split() for line in told if "Exit code" in line] == [["Exit", "code:", "0"]]
        assert any(line.split()[:3] == ["Normal", "Started", "0s"] for line in told)
        assert lines_of(store, "status", "-o", "name", uid) == ["pod/test Running"]
        store.command("stop", uid)
        assert lines_of(store, "status", "-o", "name", uid) == ["pod/test Failed"]
        pod = json.loads(store.command("status", "-o", "json", uid).out)
        assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 7
        assert "Failed" in store.command("status", "-o", "yaml", uid).out


@root
def test_of_several_and_of_none(store: Store) -> None:
    one, two = (document(shell(FOREVER)) for _ in range(2))
    two["metadata"]["name"] = "other"
    grace = {"terminationGracePeriodSeconds": 1}
    one["spec"] |= grace
    two["spec"] |= grace
    with store.detached(store.write(one)) as first, store.detached(store.write(two, "two.json")) as second:
        listed = json.loads(store.command("status", "-o", "json", first, second).out)
        assert [pod["metadata"]["uid"] for pod in listed["items"]] == [first, second]
        done = store.command("status", "-o", "name", first, "nobody")
        assert (done.status, done.out) == (1, "pod/test Running\n")
        assert "no pod 'nobody'" in done.error
    assert store.command("status", "-o", "x", "pod").status == 2


# ---- inspect ----


@root
def test_all_that_is_known(store: Store) -> None:
    spec = store.manifest(shell(FOREVER), shell("exit 5", "quick"), terminationGracePeriodSeconds=1)
    with store.detached(spec) as uid:

        def inspect() -> dict[str, Any]:
            (found,) = json.loads(store.command("inspect", uid).out)
            return dict(found)

        wait_until(lambda: bool(inspect()["monitor"]["exits"]))
        found = inspect()
        assert found["sources"]["manifest"] == spec.read_text()
        assert found["facts"]["uid"] == uid
        assert found["runDirectory"] == str(store.run_root / "pods" / uid)
        main = found["containers"]["main"]
        assert main["cgroup"].endswith(f"pod{uid}/main")
        assert main["namespaces"]["net"] == os.readlink(f"/proc/{main['pid']}/ns/net")
        assert any(" / / " in mount for mount in main["mounts"])
        assert [(each["name"], each["exitCode"]) for each in found["monitor"]["exits"]] == [("quick", 5)]
        assert [event["reason"] for event in found["events"]] == ["Scheduled", "Started", "Started"]
        store.command("stop", uid)
        over = inspect()
        assert over["monitor"] is None
        assert over["containers"] == {}
        assert over["pod"]["status"]["phase"] == "Failed"
        assert store.command("inspect", "-o", "yaml", uid).out.startswith("---\npod:\n")
    assert store.command("inspect", uid).status == 1


@root
def test_a_pod_in_the_foreground(store: Store) -> None:
    with store.running(store.manifest(shell(f"echo ready; {FOREVER}"))) as running:
        running.wait_for("ready")
        (found,) = json.loads(store.command("inspect", "test").out)
        assert found["monitor"] is None
        assert [event["reason"] for event in found["events"]] == ["Scheduled", "Started"]
        assert "Status:" in store.command("status", "test").out
        assert store.command("events", "test", "--no-headers").out.count("\n") == 2
        store.command("stop", "--time=0", "test")


# ---- events ----


@root
def test_the_events_of_pods(store: Store) -> None:
    with store.detached(store.manifest(shell("exit 1"), restartPolicy="Never")) as uid:
        store.command("wait", uid)
        header, *rows = lines_of(store, "events")
        assert header.split("   ")[0] == "LAST SEEN"
        assert [row.split()[2] for row in rows][:2] == ["Scheduled", "Started"]
        assert all("pod/test" in row for row in rows)
        assert lines_of(store, "events", "--types=Warning", "--no-headers") == []
        assert lines_of(store, "events", "-n", "other", "--no-headers") == []
        assert lines_of(store, "events", "--since=1h", "--no-headers", "-o", "name")[0] == "pod/test"
        listed = json.loads(store.command("events", "-o", "json", uid).out)
        assert {event["uid"] for event in listed["items"]} == {uid}
    assert lines_of(store, "events", "--no-headers") == []
    assert "no pod" in store.command("events", uid).error


@root
def test_following_also_pods_that_come(store: Store) -> None:
    (store.run_root / "pods").mkdir(parents=True)
    command = [*PYRUN, "events", "--watch", "-o", "json"]
    with subprocess.Popen(command, env=store.environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        with store.detached(store.manifest(shell(FOREVER), terminationGracePeriodSeconds=1)) as uid:
            events = [json.loads(process.stdout.readline()) for _ in range(2)]
            assert [(event["uid"], event["reason"]) for event in events] == [(uid, "Scheduled"), (uid, "Started")]
            store.command("stop", uid)
            assert json.loads(process.stdout.readline())["reason"] == "Killing"
        process.terminate()
        process.communicate(timeout=patience(20))


@root
def test_following_one_until_it_is_over(store: Store) -> None:
    with store.detached(store.manifest(shell("sleep 0.3; exit 0"))) as uid:
        lines = lines_of(store, "events", "-w", uid)
        assert [line.split()[2] for line in lines[1:]] == ["Scheduled", "Started"]


@pytest.mark.parametrize(
    "options",
    [("-o", "x"), ("--types=Strange",), ("--since=x",), ("-w", "-o", "yaml")],
    ids=lambda options: options[-1],
)
def test_a_wrong_command_line(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = Store(tmp_path).command("events", *options)
    assert done.status == 2
    assert done.error
