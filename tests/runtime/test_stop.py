"""``stop``, ``kill``, ``restart``, ``rm`` and ``wait``: other commands that a running pod obeys."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fixtures.command import PYRUN, Done, Running, Store, pyrun
from fixtures.machine import open_files, patience
from fixtures.pods import FOREVER, document, shell
from pyrun_runtime.cli.kill import parse_signal
from pyrun_runtime.cli.message import UsageError

pytestmark = pytest.mark.root

TRAPPING = "trap 'echo told; exit 7' TERM; echo ready; while :; do sleep 0.02; done"
STUBBORN = "trap '' TERM; echo ready; while :; do sleep 0.02; done"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@contextmanager
def pod(store: Store, script: str = TRAPPING, name: str = "test", **fields: object) -> Iterator[Running]:
    manifest = document(shell(script), **{"terminationGracePeriodSeconds": 30, **fields})
    manifest["metadata"]["name"] = name
    with store.running(store.write(manifest, f"{name}.json")) as running:
        running.wait_for("ready")
        yield running


def command(store: Store, *arguments: str) -> Done:
    return pyrun(*arguments, env=store.environment)


def begin(store: Store, *arguments: str) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen([*PYRUN, *arguments], env=store.environment, stdout=pipe, stderr=pipe)


def finish(process: subprocess.Popen[bytes]) -> Done:
    out, err = process.communicate(timeout=patience(30))
    return Done(process.returncode, out.decode(), err.decode())


def wait_until_it_has_asked(store: Store, process: subprocess.Popen[bytes]) -> None:
    """Until a command in the background holds the pipe of a pod."""
    (uid,) = store.uids()
    control, deadline = f"{store.run_root}/pods/{uid}/control", time.monotonic() + patience(20)
    while time.monotonic() < deadline:
        assert process.poll() is None
        links = open_files(process.pid)
        if control in links and not list(Path(control).parent.glob("request-*")):
            return
        time.sleep(0.005)
    raise AssertionError("it has not asked")


# ---- stop ----


def test_stop_returns_when_nothing_is_left(store: Store) -> None:
    with pod(store) as running:
        done = command(store, "stop", "test")
        assert (done.status, done.out, done.err) == (0, "test\n", "")
        assert not store.entries()
        assert running.finish().status == 7
        assert "told" in running.out


@pytest.mark.parametrize("option", ["--time=0", "-t0", "--grace-period=0"])
def test_stop_without_grace_kills(store: Store, option: str) -> None:
    with pod(store, STUBBORN) as running:
        assert command(store, "stop", option, "test").status == 0
        assert running.finish().status == 137


def test_a_shorter_grace_counts(store: Store) -> None:
    """The pod's own is an hour: without the option this would run into the command's limit."""
    with pod(store, STUBBORN, terminationGracePeriodSeconds=3600) as running:
        assert command(store, "stop", "-t", "0.2", "test").status == 0
        assert running.finish().status == 137


def test_stop_several_and_one_that_is_none(store: Store) -> None:
    with pod(store, name="a") as a, pod(store, name="b") as b:
        done = command(store, "stop", "a", "nobody", "b")
        assert (done.status, done.out) == (1, "a\nb\n")
        assert "nobody" in done.error
        assert (a.finish().status, b.finish().status) == (7, 7)


def test_stop_of_a_pod_that_ends_by_itself_meanwhile(store: Store) -> None:
    script = "trap '' TERM; echo ready; while [ ! -e $FILE ]; do sleep 0.02; done"
    end = store.top / "shared"
    end.mkdir()
    volume = {"name": "end", "hostPath": {"path": str(end)}}
    container = shell(script.replace("$FILE", "/end/now"), volumeMounts=[{"name": "end", "mountPath": "/end"}])
    spec = store.write(document(container, volumes=[volume], terminationGracePeriodSeconds=3600))
    with store.running(spec) as running:
        running.wait_for("ready")
        stopping = begin(store, "stop", "test")
        wait_until_it_has_asked(store, stopping)
        (end / "now").touch()
        assert finish(stopping).status == 0
        assert running.finish().status == 0


def test_a_launcher_that_is_killed_while_its_pod_is_being_stopped(store: Store) -> None:
    with pod(store, STUBBORN, terminationGracePeriodSeconds=3600) as running:
        stopping = begin(store, "stop", "test")
        wait_until_it_has_asked(store, stopping)
        running.signal(9)
        running.finish()
        assert finish(stopping).status == 0
        assert not store.entries()


def test_who_stops_is_killed_and_the_pod_ends_all_the_same(store: Store) -> None:
    with pod(store, STUBBORN, terminationGracePeriodSeconds=1) as running:
        stopping = begin(store, "stop", "test")
        wait_until_it_has_asked(store, stopping)
        stopping.kill()
        finish(stopping)
        assert running.finish().status == 137
    assert not store.entries()


@pytest.mark.parametrize(
    "arguments", [(), ("--time", "x", "test"), ("--time", "-1", "test"), ("--time", "1e3", "test")]
)
def test_a_wrong_command_line_of_stop(store: Store, arguments: tuple[str, ...]) -> None:
    done = command(store, "stop", *arguments)
    assert done.status == 2
    assert done.error


# ---- rm ----


def test_rm_refuses_a_pod_that_runs_unless_forced(store: Store) -> None:
    with pod(store, STUBBORN, terminationGracePeriodSeconds=3600) as running:
        done = command(store, "rm", "test")
        assert (done.status, done.out) == (1, "")
        assert "test runs" in done.error
        assert running.process.poll() is None
        assert command(store, "rm", "-f", "test").status == 0
        assert not store.entries()
        assert running.finish().status == 137
    assert command(store, "rm", "test").status == 1


def test_rm_of_a_pod_whose_launcher_was_killed(store: Store) -> None:
    with pod(store) as running:
        running.signal(9)
        running.finish()
    assert store.entries()
    assert command(store, "rm", "test").out == "test\n"
    assert not store.entries()


# ---- kill ----


def test_kill_returns_when_it_has_ended(store: Store) -> None:
    with pod(store, STUBBORN) as running:
        done = command(store, "kill", "test")
        assert (done.status, done.out, done.err) == (0, "test\n", "")
        assert running.finish().status == 137


def test_kill_sends_another_signal(store: Store) -> None:
    with pod(store, "trap 'echo told; exit 3' USR1; echo ready; while :; do sleep 0.02; done") as running:
        assert command(store, "kill", "-c", "main", "-s", "usr1", "test").status == 0
        assert running.finish().status == 3


@pytest.mark.parametrize(
    ("arguments", "status", "wanted"),
    [
        (("-s", "NOPE", "test"), 2, "no such signal"),
        (("-c", "other", "test"), 1, "no container 'other'; it has main"),
        (("nobody",), 1, "nobody"),
    ],
)
def test_kill_that_cannot_be(store: Store, arguments: tuple[str, ...], status: int, wanted: str) -> None:
    with pod(store) as running:
        done = command(store, "kill", *arguments)
        assert done.status == status
        assert wanted in done.error
        assert running.process.poll() is None
        assert command(store, "stop", "test").status == 0


def test_names_of_signals() -> None:
    for text, number in (("9", 9), ("kill", 9), ("SIGTERM", 15), ("RTMIN+3", 37), ("64", 64)):
        assert parse_signal(text) == number
    for text in ("0", "65", "-1", "", "RTMIN+99", "SIGRTMIN+x", "99999999999999999999"):
        with pytest.raises(UsageError):
            parse_signal(text)


# ---- restart ----


def test_restart_whatever_the_policy_is(store: Store) -> None:
    """Three times, and none waits for a back-off, which would be ten seconds from the second on."""
    with pod(store, TRAPPING, restartPolicy="Never") as running:
        for _ in range(3):
            done = command(store, "restart", "test")
            assert (done.status, done.out, done.err) == (0, "test\n", "")
        assert running.process.poll() is None
        assert running.out.count("told") == 3
        assert command(store, "stop", "test").status == 0
        assert "3 restarts" in running.finish().err


def test_restart_of_one_that_has_ended_or_waits(store: Store) -> None:
    manifest = document(
        shell(f"echo ready; {FOREVER}", "main"),
        shell("echo other; exit 0", "other"),
        terminationGracePeriodSeconds=0,
    )
    with store.running("--events", store.write(manifest)) as running:
        running.wait_for("ready")
        running.wait_for("other | other")
        assert command(store, "restart", "-c", "other", "test").status == 0
        assert command(store, "restart", "-c", "no", "test").status == 1
        assert command(store, "stop", "test").status == 0
        assert running.finish().out.count("other | other") == 2


def test_restart_of_a_pod_that_is_stopped_meanwhile(store: Store) -> None:
    with pod(store, STUBBORN, terminationGracePeriodSeconds=3600) as running:
        restarting = begin(store, "restart", "test")
        wait_until_it_has_asked(store, restarting)
        assert command(store, "stop", "-t", "0", "test").status == 0
        done = finish(restarting)
        assert (done.status, done.out) == (1, "")
        assert "has ended meanwhile" in done.error
        assert running.finish().status == 137


# ---- wait ----


def test_wait_prints_exit_codes(store: Store) -> None:
    with pod(store, name="a") as a, pod(store, STUBBORN, name="b") as b:
        one, both = begin(store, "wait", "a"), begin(store, "wait", "a", "b")
        for waiting in (one, both):
            _wait_for_control(waiting)
        assert command(store, "stop", "-t", "0", "b").status == 0
        assert command(store, "stop", "a").status == 0
        assert finish(one) == Done(0, "main 7\n", "")
        assert finish(both) == Done(0, "a/main 7\nb/main 137\n", "")
        a.finish()
        b.finish()


def _wait_for_control(process: subprocess.Popen[bytes]) -> None:
    """Until it sleeps in poll(2) with a pipe of a pod open."""
    deadline = time.monotonic() + patience(20)
    while time.monotonic() < deadline:
        links = open_files(process.pid)
        waits = "poll" in Path(f"/proc/{process.pid}/wchan").read_text()
        if waits and any(link.endswith("/control") for link in links):
            return
        time.sleep(0.005)
    raise AssertionError("it has not asked")


def test_wait_for_a_phase_and_for_readiness(store: Store) -> None:
    with pod(store) as running:
        for wanted in ("phase=Running", "ready", "condition=Ready"):
            assert command(store, "wait", f"--for={wanted}", "test").status == 0
        done = command(store, "wait", "--timeout", "0.1", "test")
        assert done.status == 124
        assert "exit has not come of test" in done.error
        waiting = begin(store, "wait", "--for=phase=Succeeded", "test")
        wait_until_it_has_asked(store, waiting)
        assert command(store, "stop", "test").status == 0
        done = finish(waiting)
        assert done.status == 1
        assert "its phase is Failed" in done.error
        running.finish()


def test_wait_when_the_launcher_is_killed(store: Store) -> None:
    with pod(store) as running:
        waiting = begin(store, "wait", "test")
        wait_until_it_has_asked(store, waiting)
        running.signal(9)
        running.finish()
        done = finish(waiting)
        assert (done.status, done.out) == (1, "")
        assert "launcher has ended" in done.error
    assert command(store, "rm", "test").status == 0


def test_nobody_who_waited_and_was_killed_stays_known(store: Store) -> None:
    with pod(store) as running:
        (uid,) = store.uids()
        before = sorted(os.listdir(store.run_root / "pods" / uid))
        waiting = begin(store, "wait", "test")
        wait_until_it_has_asked(store, waiting)
        waiting.kill()
        finish(waiting)
        fds = len(os.listdir(f"/proc/{running.process.pid}/fd"))
        assert command(store, "wait", "--for=ready", "test").status == 0
        assert sorted(os.listdir(store.run_root / "pods" / uid)) == before
        assert len(os.listdir(f"/proc/{running.process.pid}/fd")) <= fds
        assert command(store, "stop", "test").status == 0
        running.finish()
