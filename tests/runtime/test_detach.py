"""``pyrun run --detach``: a pod that outlives its command, and what is left of it when it is over."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.command import PYRUN, Store, emptied_store
from fixtures.machine import in_virtual_machine, open_files, patience
from fixtures.oci_command import wait_until
from fixtures.pods import FOREVER, shell

pytestmark = pytest.mark.root

TRAPPING = "trap 'echo told; exit 7' TERM; echo ready; while :; do sleep 0.02; done"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    yield from emptied_store(tmp_path)


def status_of(store: Store, uid: str) -> dict[str, object]:
    done = store.command("ps", "-o", "json", uid)
    assert done.status == 0, done.err
    (pod,) = json.loads(done.out)["items"]
    status: dict[str, object] = pod["status"]
    return status


def supervisor_of(store: Store, uid: str) -> int:
    return int(json.loads((store.run_root / "pods" / uid / "pod.json").read_text())["launcher_pid"])


def test_it_prints_the_uid_and_the_pod_runs_on(store: Store) -> None:
    spec = store.manifest(shell(TRAPPING))
    with store.detached(spec) as uid:
        assert store.uids() == {uid}
        assert status_of(store, uid)["phase"] == "Running"
        assert store.command("exec", uid, "--", "echo", "inside").out == "inside\n"
        pid = supervisor_of(store, uid)
        assert os.getsid(pid) == pid
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        assert not {each for each in open_files(pid) if each.startswith(("/dev/pts", str(store.top / "out")))}
        log = store.logs / f"pods/default_test_{uid}/main/0.log"
        wait_until(lambda: log.exists() and log.read_text().endswith(" stdout F ready\n"))


def test_an_ended_pod_stays_known_until_it_is_removed(store: Store) -> None:
    with store.detached(store.manifest(shell("echo out; exit 3"), restartPolicy="Never")) as uid:
        done = store.command("wait", uid)
        assert (done.status, done.out) == (0, "main 3\n")
        assert status_of(store, uid)["phase"] == "Failed"
        assert store.command("wait", "--for=phase=Failed", uid).status == 0
        assert store.command("wait", "--for=ready", uid).status == 1
        assert store.command("stop", uid).status == 0
        for verb in (["kill", uid], ["restart", uid], ["exec", uid, "--", "true"]):
            done = store.command(*verb)
            assert done.status == 1
            assert "over" in done.error
        assert not list(store.state_root.glob("pods/*"))
        assert not list(store.run_root.glob("admitted/*"))
        assert store.command("rm", uid).out == f"{uid}\n"
        assert not store.entries()
        assert not list(store.logs.glob("pods/*"))


def test_stop_takes_the_pod_away_and_keeps_how_it_ended(store: Store) -> None:
    with store.detached(store.manifest(shell(TRAPPING))) as uid:
        done = store.command("rm", uid)
        assert done.status == 1
        assert "runs" in done.error
        began = time.monotonic()
        assert store.command("stop", uid).status == 0
        assert time.monotonic() - began < patience(30)
        assert store.command("wait", uid).out == "main 7\n"
        assert store.command("rm", uid).status == 0


@pytest.mark.parametrize("wanted", ["running", "ready"])
def test_a_pod_that_is_over_before_it_was_waited_for(store: Store, wanted: str) -> None:
    probe = {"exec": {"command": ["false"]}}
    spec = store.manifest(shell("exit 4", readinessProbe=probe), restartPolicy="Never")
    done = store.command("run", "-d", "--wait", wanted, spec)
    (uid,) = store.uids()
    assert done.out == f"{uid}\n"
    if wanted == "ready":
        assert done.status == 1
        assert "was never ready: Failed" in done.error
    else:
        assert (done.status, done.err) == (0, "")


def test_waiting_for_ready(store: Store, tmp_path: Path) -> None:
    probe = {"exec": {"command": ["test", "-e", "/shared/ready"]}, "periodSeconds": 1}
    container = shell(FOREVER, readinessProbe=probe, volumeMounts=[{"name": "shared", "mountPath": "/shared"}])
    spec = store.manifest(container, volumes=[{"name": "shared", "hostPath": {"path": str(tmp_path)}}])
    process = subprocess.Popen(
        [*PYRUN, "run", "-d", "--wait=ready", spec], env=store.environment, stdout=subprocess.PIPE
    )
    with process:
        deadline = time.monotonic() + patience(20)
        while not list(store.run_root.glob("pods/*/control")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert process.poll() is None
        (tmp_path / "ready").touch()
        out, _ = process.communicate(timeout=patience(30))
    (uid,) = store.uids()
    assert (process.returncode, out.decode()) == (0, f"{uid}\n")


def test_what_cannot_be_started_leaves_nothing(store: Store) -> None:
    done = store.command("run", "-d", store.manifest({**shell("true"), "command": ["/no/such/program"]}))
    assert done.status == 1
    assert done.out == ""
    assert "/no/such/program" in done.error
    assert not store.entries()
    assert not list(store.logs.glob("pods/*"))
    assert not list(store.run_root.glob("admitted/*"))


def test_no_two_detached_pods_have_the_same_name(store: Store) -> None:
    spec = store.manifest(shell(FOREVER))
    with store.detached(spec) as uid:
        done = store.command("run", "-d", spec)
        assert done.status == 1
        assert f"there is a pod default/test already, which runs: {uid}" in done.error
        assert store.uids() == {uid}
        store.command("stop", "--time=0", uid)
        assert "has ended, and stays until 'pyrun rm'" in store.command("run", "-d", spec).error
    with store.detached(spec):
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_interrupted_while_it_waits_leaves_nothing_that_runs(store: Store, number: int) -> None:
    container = shell(TRAPPING, readinessProbe={"exec": {"command": ["false"]}})
    spec = store.manifest(container)
    process = subprocess.Popen(
        [*PYRUN, "run", "-d", "--wait=ready", spec], env=store.environment, stdout=subprocess.PIPE
    )
    with process:
        deadline = time.monotonic() + patience(20)
        while not list(store.logs.glob("pods/*/main/0.log")) or not store.command("ps", "-o", "name").out:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        process.communicate(timeout=patience(30))
    assert process.returncode == 130
    for uid in store.uids():
        assert status_of(store, uid)["phase"] == "Failed"


def test_the_time_of_a_detached_pod(store: Store) -> None:
    with store.detached("--timeout=0.3", store.manifest(shell(TRAPPING))) as uid:
        assert store.command("wait", uid).out == "main 7\n"


def test_the_end_of_the_log_is_the_message_of_who_wants_it_so(store: Store) -> None:
    container = shell("echo one; echo two; exit 1", terminationMessagePolicy="FallbackToLogsOnError")
    with store.detached(store.manifest(container, restartPolicy="Never")) as uid:
        store.command("wait", uid)
        document = json.loads((store.run_root / "pods" / uid / "status").read_text())
        assert document["status"]["containerStatuses"][0]["state"]["terminated"]["message"] == "one\ntwo\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-d", "--wait=later"), "not one of running, ready"),
        (("-d", "--output=json"), "--output is for a pod in the foreground"),
        (("--wait=ready",), "--wait is for --detach"),
    ],
)
def test_a_wrong_command_line(store: Store, arguments: tuple[str, ...], message: str) -> None:
    done = store.command("run", *arguments, store.manifest(shell("true")))
    assert done.status == 2
    assert message in done.error
    assert not store.entries()


@pytest.mark.parametrize("seed", range(2 if in_virtual_machine() else 8))
def test_a_command_that_is_killed_at_a_random_moment(store: Store, seed: int) -> None:
    """The pod comes to be as without the kill, or not at all: nothing half."""
    chance = random.Random(seed)
    spec = store.manifest(shell(TRAPPING), shell(FOREVER, "b"), terminationGracePeriodSeconds=1)
    for _ in range(3):
        process = subprocess.Popen([*PYRUN, "run", "-d", spec], env=store.environment, stdout=subprocess.PIPE)
        with process:
            time.sleep(chance.random() * 0.2)
            process.kill()
            process.communicate()

        def settled() -> bool:
            done = store.command("ps", "--no-headers")
            return not done.out or "2/2" in done.out

        wait_until(settled)
        for uid in store.uids():
            assert store.command("rm", "--force", uid).status == 0
        assert not store.entries()


def test_the_supervisor_is_killed_before_the_pod_runs(store: Store) -> None:
    """It is told, and nothing of the pod is left, or it is taken up."""
    spec = store.manifest(shell(FOREVER), initContainers=[shell(FOREVER, "first")], terminationGracePeriodSeconds=1)
    pipe = subprocess.PIPE
    process = subprocess.Popen([*PYRUN, "run", "-d", spec], env=store.environment, stdout=pipe, stderr=pipe)
    with process:
        wait_until(lambda: "running" in store.command("ps", "-o", "json").out)
        (uid,) = store.uids()
        os.kill(supervisor_of(store, uid), signal.SIGKILL)
        out, err = process.communicate(timeout=patience(30))
    assert (process.returncode, out) == (1, b"")
    assert b"the supervisor was killed by signal 9 before the pod ran" in err
    assert "Init:0/1" in store.command("ps", "--no-headers").out
