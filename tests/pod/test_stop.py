"""Stopping: asked, waited for, and then made sure of, whatever the containers are up to."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from fixtures.leaks import describe_process
from fixtures.machine import patience
from fixtures.pods import FOREVER, created, pod_spec, python, running, shell
from pyrun.errors import StateError
from pyrun.pod.pod import Pod

pytestmark = pytest.mark.root

POLITE = "trap 'echo asked; exit 7' TERM; echo ready; while :; do sleep 0.01; done"
STUBBORN = "trap 'echo asked' TERM; echo ready; while :; do sleep 0.01; done"


def processes(cgroup: str) -> list[str]:
    """Everybody who lives in *cgroup* or below."""
    return [line for path in Path(cgroup).rglob("cgroup.procs") for line in path.read_text().split()]


def test_who_handles_sigterm_ends_by_itself(tmp_path: Path) -> None:
    with running(pod_spec(shell(POLITE, "a"), shell(POLITE, "b")), tmp_path) as it:
        it.wait_for("ready", "a")
        it.wait_for("ready", "b")
        statuses = it.pod.stop(patience(20))
    assert [(status.exit.code, status.reason) for status in statuses.values()] == [(7, "Error")] * 2
    assert it.read("a") == "ready\nasked\n"


def test_who_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    with running(pod_spec(shell(STUBBORN, "a"), shell(POLITE, "b")), tmp_path) as it:
        it.wait_for("ready", "a")
        it.wait_for("ready", "b")
        begin = time.monotonic()
        statuses = it.pod.stop(0.4)
        took = time.monotonic() - begin
    assert statuses["a"].exit.signal == signal.SIGKILL
    assert statuses["b"].exit.code == 7
    assert 0.4 <= took < patience(5)
    assert it.read("a") == "ready\nasked\n"


def test_the_grace_is_the_manifests(tmp_path: Path) -> None:
    with running(pod_spec(shell(STUBBORN), terminationGracePeriodSeconds=1), tmp_path) as it:
        it.wait_for("ready")
        begin = time.monotonic()
        it.pod.stop()
        assert 1 <= time.monotonic() - begin < patience(6)


def test_without_grace_it_is_a_kill(tmp_path: Path) -> None:
    with running(pod_spec(shell(STUBBORN)), tmp_path) as it:
        it.wait_for("ready")
        begin = time.monotonic()
        assert it.pod.stop(0)["main"].exit.signal == signal.SIGKILL
        assert time.monotonic() - begin < patience(1)


def test_who_does_not_know_of_signals_is_killed(tmp_path: Path) -> None:
    """PID 1 without a handler: the kernel keeps SIGTERM from it."""
    with running(pod_spec(shell(FOREVER)), tmp_path) as it:
        assert it.pod.stop(0.1)["main"].exit.signal == signal.SIGKILL


def test_a_stopped_process_is_killed_too(tmp_path: Path) -> None:
    with running(pod_spec(shell(POLITE)), tmp_path) as it:
        it.wait_for("ready")
        it["main"].process.signal(signal.SIGSTOP)
        assert it.pod.stop(0.1)["main"].exit.signal == signal.SIGKILL


def test_stop_and_kill_are_idempotent(tmp_path: Path) -> None:
    with running(pod_spec(shell(POLITE)), tmp_path) as it:
        it.wait_for("ready")
        statuses = it.pod.stop(patience(20))
        assert it.pod.stop(0) == it.pod.kill() == it.pod.stop() == statuses
        it.pod.signal(signal.SIGTERM)


def test_a_signal_goes_to_each_container(tmp_path: Path) -> None:
    script = "trap 'echo got; exit 0' HUP; echo ready; while :; do sleep 0.01; done"
    with running(pod_spec(shell(script, "a"), shell(script, "b")), tmp_path) as it:
        for name in ("a", "b"):
            it.wait_for("ready", name)
        it.pod.signal(signal.SIGHUP)
        assert (it.output("a"), it.output("b")) == ("ready\ngot\n", "ready\ngot\n")


def test_stopping_a_pod_that_was_never_started(tmp_path: Path) -> None:
    """The stage at its gate has no handler: SIGTERM is kept from PID 1, so the grace runs out."""
    with created(pod_spec(shell(FOREVER)), tmp_path) as it:
        assert it.pod.stop(0.1)["main"].exit.signal == signal.SIGKILL


# ---- children --------------------------------------------------------------------------------------------------------

CHILDREN = "(trap '' TERM HUP; while :; do sleep 0.01; done) & (trap '' TERM; setsid sleep 1000) & echo ready; "


@pytest.mark.parametrize("fields", [{}, {"shareProcessNamespace": True}, {"hostPID": True}])
def test_children_go_with_their_container(tmp_path: Path, fields: dict[str, bool]) -> None:
    """With a PID namespace of its own the kernel sees to it, without one the cgroup."""
    with running(pod_spec(shell(CHILDREN + "sleep 0.1", "short"), shell(FOREVER, "long"), **fields), tmp_path) as it:
        it["short"].process.wait(patience(20))
        it.pod.poll()
        assert it["short"].cgroup.wait_empty(patience(10))
        assert it["long"].state == "running"


@pytest.mark.parametrize("fields", [{}, {"shareProcessNamespace": True}, {"hostPID": True}])
def test_nobody_outlives_the_pod(tmp_path: Path, fields: dict[str, bool]) -> None:
    with running(pod_spec(shell(CHILDREN + FOREVER, "a"), shell(CHILDREN + FOREVER, "b"), **fields), tmp_path) as it:
        for name in ("a", "b"):
            it.wait_for("ready", name)
        pids = processes(it.pod.cgroup.path)
        assert len(pids) >= 7  # pause, two shells, four children and more
    # Orphans in the host's PID namespace are its init's to reap.
    assert not [pid for pid in pids if describe_process(pid).rpartition(" ")[2] not in ("(gone)", "Z")]


BREEDER = """
import os, time
print("ready", flush=True)
os.setsid() if os.getpid() != os.getsid(0) else None
while True:
    if os.fork() == 0:
        for _ in range(3):
            if os.fork() == 0:
                time.sleep(0.02)
        time.sleep(0.01)
        os._exit(0)
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                break
        except ChildProcessError:
            break
"""


@pytest.mark.parametrize("fields", [{}, {"shareProcessNamespace": True}, {"hostPID": True}])
def test_who_forks_all_the_time_is_caught(tmp_path: Path, fields: dict[str, bool]) -> None:
    with running(pod_spec(python(BREEDER, "a"), python(BREEDER, "b"), **fields), tmp_path) as it:
        for name in ("a", "b"):
            it.wait_for("ready", name)
        time.sleep(0.2)
        assert len(processes(it.pod.cgroup.path)) > 3
    # The end of the block has asserted that the cgroup is gone, so nobody is in it.


def test_a_container_that_ends_does_not_end_the_others(tmp_path: Path) -> None:
    with running(pod_spec(shell("exit 1", "a"), shell(POLITE, "b")), tmp_path) as it:
        it["a"].process.wait(patience(20))
        it.wait_for("ready", "b")
        it.pod.poll()
        assert (it["a"].state, it["b"].state) == ("stopped", "running")


def test_pause_killed_in_a_shared_process_namespace_ends_the_pod(tmp_path: Path) -> None:
    """It is PID 1: the kernel kills everybody with it, and the pod can still be removed."""
    with running(pod_spec(shell(FOREVER), shareProcessNamespace=True), tmp_path) as it:
        it.pod.sandbox.pause.process.kill()
        assert it.wait()["main"].exit.signal == signal.SIGKILL


def test_pause_killed_leaves_the_containers_running(tmp_path: Path) -> None:
    with running(pod_spec(shell(POLITE)), tmp_path) as it:
        it.wait_for("ready")
        it.pod.sandbox.pause.process.kill()
        assert it["main"].process.wait(0.1) is None
        assert it.pod.stop(patience(20))["main"].exit.code == 7


def test_somebody_elses_cgroup_kill(tmp_path: Path) -> None:
    with running(pod_spec(shell(FOREVER)), tmp_path) as it:
        Path(it.pod.cgroup.path, "cgroup.kill").write_text("1")
        assert it.wait()["main"].exit.signal == signal.SIGKILL


def test_a_frozen_pod_can_be_removed(tmp_path: Path) -> None:
    with running(pod_spec(shell(FOREVER)), tmp_path) as it:
        it["main"].cgroup.freeze()
        pid = it["main"].process.pid
    assert not os.path.exists(f"/proc/{pid}")


def test_a_pod_that_was_removed_can_be_asked_stopped_and_removed_again(tmp_path: Path) -> None:
    with running(pod_spec(shell(FOREVER, "a"), shell("exit 3", "b")), tmp_path) as it:
        assert it["b"].process.wait(patience(10)) is not None
        it.pod.remove()
        for ask in (it.pod.stop, it.pod.kill, it.pod.wait):
            statuses = ask()
            assert statuses is not None
            assert [(status.exit.exit_code, status.reason) for status in statuses.values()] == [
                (137, "Error"),
                (3, "Error"),
            ]
        assert it.pod.poll() == []
        it.pod.signal(signal.SIGTERM)
        it.pod.remove()
        with pytest.raises(StateError, match="must be created"):
            it.pod.start()


def test_a_pod_that_never_ran_is_removed_and_says_so(tmp_path: Path) -> None:
    with created(pod_spec(shell(FOREVER)), tmp_path) as it:
        it.pod.remove()
        statuses = it.pod.kill()
        assert [(status.exit.exit_code, status.run_time_s) for status in statuses.values()] == [(137, 0.0)]


def test_a_grace_that_is_longer_than_poll_can_wait(tmp_path: Path) -> None:
    with running(pod_spec(shell(POLITE), terminationGracePeriodSeconds=3_000_000), tmp_path) as it:
        it.wait_for("ready")
        assert it.pod.stop()["main"].exit.code == 7
        assert it.pod.cgroup.wait_empty(0.0) is False  # pause is there


def test_an_interrupt_while_it_is_removed_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C at any undo step: it is done all the same, then raised."""
    for number in range(8):
        with running(pod_spec(shell(FOREVER)), tmp_path) as it, monkeypatch.context() as patch:
            interrupt_call(patch, it.pod, number)
            with pytest.raises(KeyboardInterrupt):
                it.pod.remove()
            assert not it.directory.exists()
            assert not it.pod.cgroup.exists()


def interrupt_call(patch: pytest.MonkeyPatch, pod: Pod, number: int) -> None:
    steps = pod._undo._steps
    description, call, arguments = steps[number % len(steps)]
    pending = [KeyboardInterrupt()]

    def interrupted(*given: object) -> object:
        if pending:
            raise pending.pop()
        return call(*given)

    patch.setattr(pod._undo, "_steps", [*steps])
    pod._undo._steps[number % len(steps)] = (description, interrupted, arguments)
