"""Detached pods whose supervisor was killed: who takes them up, and that nothing of them is lost."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.command import PYRUN, Store, emptied_store
from fixtures.machine import in_virtual_machine, patience
from fixtures.oci_command import wait_until
from fixtures.pods import FOREVER, document, host_path, mount, shell
from pyrun.kernel.fd import Fd
from pyrun.linux.pidfd import pidfd_open, pidfd_send_signal

pytestmark = pytest.mark.root

TRAPPING = "trap 'echo told; exit 7' TERM; echo ready; while :; do sleep 0.02; done"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    yield from emptied_store(tmp_path)


def directory(store: Store, uid: str) -> Path:
    return store.run_root / "pods" / uid


def supervisor_of(store: Store, uid: str) -> int:
    return int(json.loads((directory(store, uid) / "pod.json").read_text())["launcher_pid"])


def kill(pid: int) -> None:
    """And wait until it is gone."""
    with Fd.adopt(pidfd_open(pid)) as process:
        pidfd_send_signal(process.fileno(), signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{pid}/exe").exists())


def kill_supervisor(store: Store, uid: str) -> None:
    kill(supervisor_of(store, uid))


def monitor_of(uid: str) -> int:
    top = next(Path("/sys/fs/cgroup").rglob(f"pod{uid}"))
    return int((top / ".monitor/cgroup.procs").read_text())


def pod_of(store: Store, uid: str) -> dict[str, Any]:
    done = store.command("ps", "-o", "json", uid)
    assert (done.status, done.err) == (0, "")
    (pod,) = json.loads(done.out)["items"]
    found: dict[str, Any] = pod
    return found


def containers_of(store: Store, uid: str) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in pod_of(store, uid)["status"]["containerStatuses"]}


def reasons(store: Store, uid: str) -> list[str]:
    return [json.loads(line)["reason"] for line in (directory(store, uid) / "events").read_text().splitlines()]


def test_ps_takes_it_up_and_it_is_as_it_was(store: Store) -> None:
    with store.detached(store.manifest(shell(TRAPPING), restartPolicy="Always")) as uid:
        assert store.command("restart", uid).status == 0
        before = containers_of(store, uid)["main"]
        kill_supervisor(store, uid)
        after = containers_of(store, uid)["main"]
        assert (after["pid"], after["restartCount"]) == (before["pid"], 1)
        assert after["state"] == before["state"]
        assert store.command("exec", uid, "--", "echo", "inside").out == "inside\n"
        assert store.command("restart", uid).status == 0
        assert containers_of(store, uid)["main"]["restartCount"] == 2
        assert store.command("stop", uid).status == 0
        assert store.command("wait", uid).out == "main 7\n"
        assert reasons(store, uid) == ["Scheduled", "Started", "Killing", "Started", "Killing", "Started", "Killing"]


@pytest.mark.parametrize("how", ["supervise", "run", "stop", "wait"])
def test_whoever_notices_takes_it_up(store: Store, how: str) -> None:
    with store.detached(store.manifest(shell(TRAPPING))) as uid:
        kill_supervisor(store, uid)
        if how == "supervise":
            assert store.command("supervise", uid).out == f"{uid}\n"
        elif how == "run":
            done = store.command("run", store.write(document(shell("true")), "other.json"))
            assert done.status == 0
        else:
            options = ["--timeout=0.1"] if how == "wait" else []
            assert store.command(how, *options, uid).status == (124 if how == "wait" else 0)
        assert not Path(f"/proc/{supervisor_of(store, uid)}/exe").exists() or how != "stop"
        done = store.command("supervise", uid)
        assert done.status == 1
        assert "is over, or has somebody who looks after it" in done.error
        store.command("stop", uid)
        assert store.command("wait", uid).out == "main 7\n"


def test_who_ends_meanwhile_is_told_and_started_again(store: Store, tmp_path: Path) -> None:
    """With the time of its end, not with that of the next supervisor."""
    (tmp_path / "shared").mkdir()
    container = shell(
        "if [ -e /s/again ]; then echo again; while :; do sleep 0.02; done; fi; touch /s/again; "
        "while [ ! -e /s/go ]; do sleep 0.01; done; exit 5",
        volumeMounts=[mount("s", "/s")],
    )
    manifest = document(container, volumes=[host_path("s", tmp_path / "shared")], restartPolicy="OnFailure")
    with store.detached(store.write(manifest)) as uid:
        wait_until((tmp_path / "shared/again").exists)
        pid = containers_of(store, uid)["main"]["pid"]
        kill_supervisor(store, uid)
        (tmp_path / "shared/go").touch()
        wait_until(lambda: not Path(f"/proc/{pid}").exists())
        ended_s = time.time()
        time.sleep(0.5)
        main = containers_of(store, uid)["main"]
        last = main["lastState"].get("terminated") or main["state"]["terminated"]
        assert last["exitCode"] == 5
        finished = time.mktime(time.strptime(last["finishedAt"][:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
        assert finished <= ended_s


def test_a_monitor_that_is_killed_is_told_by_the_supervisor(store: Store) -> None:
    with store.detached(store.manifest(shell(FOREVER))) as uid:
        kill(monitor_of(uid))
        assert store.command("wait", uid).status == 0
        status = pod_of(store, uid)["status"]
        assert (status["phase"], status["reason"]) == ("Failed", "MonitorLost")


def test_a_monitor_that_is_killed_with_its_supervisor(store: Store) -> None:
    with store.detached(store.manifest(shell(FOREVER), shell(FOREVER, "b"))) as uid:
        pids = [each["pid"] for each in containers_of(store, uid).values()]
        monitor = monitor_of(uid)
        kill_supervisor(store, uid)
        kill(monitor)
        status = pod_of(store, uid)["status"]
        assert (status["phase"], status["reason"]) == ("Failed", "MonitorLost")
        assert [each["state"]["terminated"]["exitCode"] for each in status["containerStatuses"]] == [137, 137]
        assert not [pid for pid in pids if Path(f"/proc/{pid}/exe").exists()]
        assert not list(Path("/sys/fs/cgroup").rglob(f"pod{uid}"))
        assert store.command("rm", uid).status == 0


def test_a_pause_that_is_killed_with_the_supervisor(store: Store) -> None:
    with store.detached(store.manifest(shell(FOREVER))) as uid:
        pid = containers_of(store, uid)["main"]["pid"]
        top = next(Path("/sys/fs/cgroup").rglob(f"pod{uid}"))
        pause = int((top / "_pause/cgroup.procs").read_text())
        kill_supervisor(store, uid)
        kill(pause)
        status = pod_of(store, uid)["status"]
        assert (status["phase"], status["reason"]) == ("Failed", "SandboxLost")
        assert not Path(f"/proc/{pid}/exe").exists()
        assert not top.exists()


def test_one_that_was_killed_while_it_took_the_pod_away(store: Store) -> None:
    """It has written how the pod ended, and not let go of everything."""
    with store.detached(store.manifest(shell("exit 3"), restartPolicy="Never")) as uid:
        store.command("wait", uid)
        wait_until(lambda: not (directory(store, uid) / "state").exists())
        (directory(store, uid) / "state").write_text("{}")
        (store.state_root / "pods" / uid / "data").mkdir(parents=True)
        assert pod_of(store, uid)["status"]["phase"] == "Failed"
        assert not (store.state_root / "pods" / uid).exists()
        assert not (directory(store, uid) / "state").exists()


def test_a_state_that_cannot_be_read_is_told_and_the_pod_lives(store: Store) -> None:
    with store.detached(store.manifest(shell(FOREVER))) as uid:
        pid = containers_of(store, uid)["main"]["pid"]
        kill_supervisor(store, uid)
        state = directory(store, uid) / "state"
        kept = state.read_text()
        for text in ("", "{}", "[]", kept.replace('"stage": "running"', '"stage": "jumping"')):
            state.write_text(text)
            done = store.command("supervise", uid)
            assert done.status in (1, 2)
            assert "state" in done.error
            assert Path(f"/proc/{pid}").exists()
        state.write_text(kept)
        assert containers_of(store, uid)["main"]["pid"] == pid
        kill_supervisor(store, uid)
        state.write_text("")
        done = store.command("rm", "--force", uid)
        assert done.status == 0
        assert "cannot be taken up" in done.err
        assert not Path(f"/proc/{pid}/exe").exists()


def test_a_state_that_cannot_be_written_is_told_and_the_pod_goes_on(store: Store) -> None:
    """A directory in the place of the file, as a full disk would do it. What was saved last, and what is found, is enough."""
    with store.detached(store.manifest(shell(TRAPPING), restartPolicy="Always")) as uid:
        place = directory(store, uid) / ".state"
        place.mkdir()
        assert store.command("restart", uid).status == 0
        assert "state cannot be saved" in (directory(store, uid) / "supervisor.log").read_text()
        pid = containers_of(store, uid)["main"]["pid"]
        kill_supervisor(store, uid)
        place.rmdir()
        assert containers_of(store, uid)["main"]["pid"] == pid
        assert store.command("stop", uid).status == 0
        assert store.command("wait", uid).out == "main 7\n"


def test_before_the_machine_was_started_again(store: Store) -> None:
    with store.detached(store.manifest(shell(FOREVER))) as uid:
        kill_supervisor(store, uid)
        facts = json.loads((directory(store, uid) / "pod.json").read_text())
        (directory(store, uid) / "pod.json").write_text(json.dumps({**facts, "boot_id": "another"}))
        store.command("ps")
        assert not store.uids()
        assert not list(Path("/sys/fs/cgroup").rglob(f"pod{uid}"))


def test_in_the_foreground(store: Store) -> None:
    with store.detached(store.manifest(shell(TRAPPING))) as uid:
        kill_supervisor(store, uid)
        command = [*PYRUN, "supervise", "--foreground", uid]
        with subprocess.Popen(command, env=store.environment, stderr=subprocess.PIPE) as process:
            wait_until(lambda: supervisor_of(store, uid) == process.pid)
            assert containers_of(store, uid)["main"]["restartCount"] == 0
            process.send_signal(signal.SIGTERM)
            assert process.wait(patience(30)) == 0
        assert store.command("wait", uid).out == "main 7\n"


@pytest.mark.parametrize("seed", range(2 if in_virtual_machine() else 8))
def test_killed_at_random_moments(store: Store, seed: int) -> None:
    """While it starts, runs, restarts and stops the pod, several times: the pod ends as it would have."""
    chance = random.Random(seed)
    container = shell(TRAPPING, readinessProbe={"exec": {"command": ["true"]}, "periodSeconds": 1})
    side = shell(TRAPPING, "side", restartPolicy="Always")
    with store.detached(store.manifest(container, initContainers=[side])) as uid:
        for _ in range(3):
            time.sleep(chance.random() * 0.1)
            kill_supervisor(store, uid)
            assert store.command("ps", uid).status == 0
        assert set(containers_of(store, uid)) == {"main"}
        wait_until(lambda: any("ready" in log.read_text() for log in store.logs.glob("pods/*/main/*.log")))
        with subprocess.Popen([*PYRUN, "stop", uid], env=store.environment, stderr=subprocess.PIPE) as stopping:
            time.sleep(chance.random() * 0.2)
            try:
                kill_supervisor(store, uid)
            except OSError:
                pass  # it has ended already
            stopping.communicate(timeout=patience(60))
        assert stopping.returncode == 0
        assert store.command("wait", uid).out == "main 7\n"
        status = pod_of(store, uid)["status"]
        assert status["phase"] == "Failed"
        assert [each["restartCount"] for each in status["initContainerStatuses"]] == [0]
        assert not os.listdir(store.state_root / "pods")
