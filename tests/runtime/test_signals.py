"""Signals to ``pyrun run``: stop with grace, stop at once, and what is left when the command itself is killed."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.command import PYRUN, Done, Store
from fixtures.machine import cgroup2_root, patience
from fixtures.pods import FOREVER, mount, shell
from pyrun_runtime.cli.signals import STOPPING, StopSignals

GRACEFUL = "trap 'echo stopping; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
STUBBORN = "trap 'echo not yet' TERM; echo ready; while :; do sleep 0.05; done"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.mark.root
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_stops_with_grace(store: Store, number: signal.Signals) -> None:
    with store.running(store.manifest(shell(GRACEFUL))) as command:
        command.wait_for("ready")
        command.signal(number)
        done = command.finish()
    assert (done.status, done.out) == (0, "main | ready\nmain | stopping\n")
    assert f"pyrun: {number.name}: stopping, for up to 30 s" in done.err
    assert done.table()["main"][:2] == ["0", "Completed"]
    assert not store.entries()


@pytest.mark.root
def test_grace_has_an_end(store: Store) -> None:
    spec = store.manifest(shell(STUBBORN, "a"), shell(GRACEFUL, "b"), terminationGracePeriodSeconds=1)
    with store.running(spec) as command:
        command.wait_for("a | ready")
        command.wait_for("b | ready")
        begin = time.monotonic()
        command.signal(signal.SIGTERM)
        done = command.finish()
        took_s = time.monotonic() - begin
    assert 1 <= took_s < patience(5)
    assert done.status == 1
    assert "pyrun: 1 s of grace are over: killing a\n" in done.err
    assert done.table()["a"][:2] == ["137", "SIGKILL"]
    assert done.table()["b"][:2] == ["0", "Completed"]


@pytest.mark.root
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_second_signal_kills_at_once(store: Store, number: signal.Signals) -> None:
    with store.running(store.manifest(shell(STUBBORN), terminationGracePeriodSeconds=60)) as command:
        command.wait_for("ready")
        command.signal(number)
        command.wait_for("not yet")
        begin = time.monotonic()
        command.signal(number)
        done = command.finish()
        assert time.monotonic() - begin < patience(5)
    assert done.status == 137
    assert f"pyrun: {number.name}: killing main\n" in done.err
    assert not store.entries()


@pytest.mark.root
def test_second_hangup_does_not(store: Store) -> None:
    with store.running(store.manifest(shell(STUBBORN), terminationGracePeriodSeconds=1)) as command:
        command.wait_for("ready")
        for _ in range(2):
            command.signal(signal.SIGHUP)
            time.sleep(0.05)
        done = command.finish()
    assert "1 s of grace are over" in done.err


@pytest.mark.root
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_to_a_pod_that_is_being_stopped_kills_at_once(store: Store, number: signal.Signals) -> None:
    spec = store.manifest(shell(STUBBORN), terminationGracePeriodSeconds=60)
    with store.running("--timeout", "0.3", spec) as command:
        command.wait_for("not yet")
        begin = time.monotonic()
        command.signal(number)
        done = command.finish()
        assert time.monotonic() - begin < patience(5)
    assert done.status == 124
    assert f"pyrun: {number.name}: killing main\n" in done.err


@pytest.mark.root
def test_hangup_to_a_pod_that_is_being_stopped_does_not(store: Store) -> None:
    spec = store.manifest(shell(STUBBORN), terminationGracePeriodSeconds=1)
    with store.running("--timeout", "0.3", spec) as command:
        command.wait_for("not yet")
        command.signal(signal.SIGHUP)
        done = command.finish()
    assert "1 s of grace are over" in done.err


@pytest.mark.root
def test_quit_kills_at_once(store: Store) -> None:
    with store.running(store.manifest(shell(STUBBORN))) as command:
        command.wait_for("ready")
        command.signal(signal.SIGQUIT)
        done = command.finish()
    assert done.status == 137
    assert "stopping" not in done.err


@pytest.mark.root
def test_no_grace_means_none(store: Store) -> None:
    with store.running(store.manifest(shell(STUBBORN), terminationGracePeriodSeconds=0)) as command:
        command.wait_for("ready")
        command.signal(signal.SIGTERM)
        done = command.finish()
    assert (done.status, done.out) == (137, "main | ready\n")


@pytest.mark.root
def test_ignored_signal_stays_ignored(store: Store) -> None:
    """As under nohup(1)."""
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with store.running(store.manifest(shell(GRACEFUL))) as command:
            command.wait_for("ready")
            command.signal(signal.SIGHUP)
            time.sleep(0.2)
            assert command.process.poll() is None
            command.signal(signal.SIGTERM)
            assert command.finish().status == 0
    finally:
        signal.signal(signal.SIGHUP, previous)


@pytest.mark.root
def test_results_are_not_lost_where_the_caller_ignores_the_end_of_children(store: Store) -> None:
    spec = store.manifest(shell("exit 7", "a"), shell("true", "b"))
    done = subprocess.run(
        ["env", "--ignore-signal=CHLD", *PYRUN, "run", spec],
        capture_output=True,
        text=True,
        check=False,
        env=store.environment,
    )
    assert {name: row[0] for name, row in Done(1, "", done.stderr).table().items()} == {"a": "7", "b": "0"}
    assert done.returncode == 1


@pytest.mark.root
def test_containers_start_with_default_signals(store: Store) -> None:
    """Python ignores SIGPIPE, and an ignored signal would survive the exec."""
    done = store.run(store.manifest(shell("exec grep -E 'Sig(Blk|Ign|Cgt)' /proc/self/status")))
    masks = dict([line.removeprefix("main | ").split() for line in done.out.splitlines()])
    assert set(masks) == {"SigBlk:", "SigIgn:", "SigCgt:"}
    assert int(masks["SigBlk:"], 16) == int(masks["SigIgn:"], 16) == 0


# ---- kill -9 ---------------------------------------------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.parametrize("shared", [False, True])
def test_killed_launcher_leaves_no_process_and_the_next_one_takes_the_rest(store: Store, shared: bool) -> None:
    volumes = [{"name": "disk", "emptyDir": {}}]
    script = f"echo data >/disk/file; echo ready; {FOREVER}"
    containers = [shell(script, name, volumeMounts=[mount("disk", "/disk")]) for name in ("a", "b")]
    spec = store.manifest(*containers, volumes=volumes, shareProcessNamespace=shared)
    with store.running(spec) as command:
        command.wait_for("a | ready")
        command.wait_for("b | ready")
        (uid,) = store.uids()
        assert len(processes(uid)) == 3
        command.signal(signal.SIGKILL)
        command.finish()
        wait_until(lambda: not processes(uid))
    assert (store.state_root / "pods" / uid / "data/volumes/disk/file").exists()
    next_spec = store.write(spec.read_text().replace(FOREVER, "true"), "next.json")
    done = store.run(next_spec)
    assert done.status == 0
    assert f"pyrun: removed what was left of pod {uid}, whose pyrun was killed\n" in done.err
    assert not pod_cgroup(uid).exists()


def pod_cgroup(uid: str) -> Path:
    root = cgroup2_root()
    assert root is not None
    return root / "pyrun" / "besteffort" / f"pod{uid}"


def processes(uid: str) -> list[str]:
    """All of a pod: nothing of it is born outside its cgroup."""
    return [pid for file in pod_cgroup(uid).rglob("cgroup.procs") for pid in file.read_text().split()]


@pytest.mark.root
def test_killed_launcher_in_the_middle_of_the_start(store: Store) -> None:
    """At whatever moment: no process stays, and the next run removes the rest."""
    spec = store.manifest(*[shell(FOREVER, f"c{i}") for i in range(4)])
    for delay_ms in range(0, 120, 8):
        with store.running(spec) as command:
            time.sleep(delay_ms / 1000)
            command.signal(signal.SIGKILL)
            command.finish()
    wait_until(lambda: not [pid for uid in store.uids() for pid in processes(uid)])
    next_spec = store.write(spec.read_text().replace(FOREVER, "true"), "next.json")
    assert store.run(next_spec).status == 0


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + patience(10)
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# ---- signals while a pod is made -------------------------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_at_any_moment_of_the_start_leaves_nothing(store: Store, number: int) -> None:
    spec = store.manifest(*[shell(FOREVER, f"c{i}") for i in range(3)], terminationGracePeriodSeconds=0)
    for delay_ms in range(0, 120, 8):
        with store.running(spec) as command:
            if number == signal.SIGINT:
                command.wait_for_the_core()
            time.sleep(delay_ms / 1000)
            command.signal(number)
            done = command.finish()
        assert done.status in (-number, 1, 130), (delay_ms, done)
        assert "Traceback" not in done.err
        assert not store.entries()


@pytest.mark.parametrize("gap_ms", [0, 1, 3])
def test_two_signals_at_any_moment_of_the_start_leave_nothing(store: Store, gap_ms: int) -> None:
    containers = [shell(FOREVER, f"c{i}") for i in range(2)]
    spec = store.manifest(*containers, terminationGracePeriodSeconds=0, shareProcessNamespace=True)
    for delay_ms in range(0, 120, 8):
        with store.running(spec) as command:
            time.sleep(delay_ms / 1000)
            command.signal(signal.SIGTERM)
            time.sleep(gap_ms / 1000)
            command.signal(signal.SIGTERM)
            done = command.finish()
        assert "Traceback" not in done.err, (delay_ms, done)
        assert not store.entries(), (delay_ms, done)


def test_first_signal_waits_and_a_second_one_does_not() -> None:
    given_up = []
    with StopSignals() as stop_signals:
        stop_signals.give_up = lambda: given_up.append(1)
        signal.raise_signal(signal.SIGTERM)
        assert not given_up
        signal.raise_signal(signal.SIGTERM)
        assert given_up == [1]
        assert stop_signals.take() == [signal.SIGTERM, signal.SIGTERM]
        stop_signals.give_up = None
        signal.raise_signal(signal.SIGINT)
        assert stop_signals.take() == [signal.SIGINT]
        assert stop_signals.take() == []


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in STOPPING]
    with StopSignals():
        assert [signal.getsignal(number) for number in STOPPING] != before
    assert [signal.getsignal(number) for number in STOPPING] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_ignored_end_of_children_is_put_back() -> None:
    previous = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with StopSignals():
            assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGCHLD, previous)
