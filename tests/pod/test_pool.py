"""SandboxPool: ready before they are asked for, each handed out once, and gone with the program whatever ends it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import pyrun
from fixtures.leaks import describe_process
from fixtures.machine import ROOT, cgroup2_root, patience
from fixtures.pods import FOREVER, pod_spec, shell
from pyrun.errors import KernelError, StateError
from pyrun.kernel.program import program_fd
from pyrun.pod.pod import Pod
from pyrun.pod.pool import SandboxPool
from pyrun.pod.sandbox import Sandbox

pytestmark = pytest.mark.root

program_fd("pyrun-sweep")  # stays open for good once there was a pool


def groups() -> list[Path]:
    root = cgroup2_root()
    assert root is not None
    return sorted((root / "pyrun").glob("pool-*"))


def wait_until(condition: Callable[[], object], limit_s: float = 20) -> None:
    deadline = time.monotonic() + patience(limit_s)
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def ready(pool: SandboxPool) -> int:
    return len(pool._ready)


def test_it_fills_itself_and_refills_behind_what_it_hands_out() -> None:
    with SandboxPool(3, pod_spec(shell("true"))) as pool:
        wait_until(lambda: ready(pool) == 3)
        taken = [pool.take() for _ in range(5)]
        wait_until(lambda: ready(pool) == 3)
        assert len({sandbox.uid for sandbox in taken}) == 5
        assert len({sandbox.pause.process.pid for sandbox in taken}) == 5
        for sandbox in taken:
            sandbox.remove()
    assert groups() == []


def test_a_pod_runs_in_one(tmp_path: Path) -> None:
    spec = pod_spec(shell("hostname; exit 4", "a"), shell("exit 5", "b"), hostname="pooled")
    with SandboxPool(1, spec) as pool:
        sandbox = pool.take()
        with Pod.create(spec, directory=str(tmp_path / "pod"), sandbox=sandbox) as pod:
            assert pod.uid == sandbox.uid
            assert pod.cgroup.path.startswith(str(groups()[0]))
            oci = next(iter(pod.containers.values())).plan.oci
            assert oci is not None
            assert oci.linux.cgroups_path == f"/{pod.cgroup.name}/a"
            pod.start()
            assert pod.uid in pyrun.list_pods()
            statuses = pod.wait(patience(20))
            assert statuses is not None
            assert [status.exit.code for status in statuses.values()] == [4, 5]
        assert not pod.cgroup.exists()
        assert pod.uid not in pyrun.list_pods()


def test_pods_that_wait_for_a_taker_are_no_pods() -> None:
    with SandboxPool(2, pod_spec(shell("true"))) as pool:
        wait_until(lambda: ready(pool) == 2)
        assert not {sandbox.uid for sandbox in pool._ready} & set(pyrun.list_pods())


@pytest.mark.parametrize(
    "fields",
    [
        {"hostname": "other"},
        {"shareProcessNamespace": True},
        {"hostNetwork": True},
        {"volumes": [{"name": "m", "emptyDir": {"medium": "Memory"}}]},
    ],
)
def test_another_pods_sandbox_is_refused_and_gone(tmp_path: Path, fields: dict[str, Any]) -> None:
    with SandboxPool(1, pod_spec(shell("true"))) as pool:
        sandbox = pool.take()
        with pytest.raises(StateError, match="made for another pod"):
            Pod.create(pod_spec(shell("true"), **fields), directory=str(tmp_path / "pod"), sandbox=sandbox)
        assert not sandbox.cgroup.exists()


def test_no_sandbox_is_handed_out_twice_to_many_threads() -> None:
    taken: list[Sandbox] = []
    lock = threading.Lock()

    def take(pool: SandboxPool) -> None:
        for _ in range(10):
            sandbox = pool.take()
            with lock:
                taken.append(sandbox)

    with SandboxPool(4, pod_spec(shell("true"))) as pool:
        threads = [threading.Thread(target=take, args=(pool,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({id(sandbox) for sandbox in taken}) == len({sandbox.uid for sandbox in taken}) == 80
        for sandbox in taken:
            sandbox.remove()
    assert groups() == []


def test_one_whose_pause_was_killed_is_not_handed_out() -> None:
    with SandboxPool(2, pod_spec(shell("true"))) as pool:
        wait_until(lambda: ready(pool) == 2)
        killed = pool._ready[0]
        killed.pause.process.kill()
        killed.pause.process.wait()
        taken = pool.take()
        assert taken is not killed
        assert not killed.cgroup.exists()
        taken.remove()


def test_what_was_handed_out_outlives_the_pool(tmp_path: Path) -> None:
    spec = pod_spec(shell(FOREVER))
    with SandboxPool(2, spec) as pool:
        pod = Pod.create(spec, directory=str(tmp_path / "pod"), sandbox=pool.take())
        pod.start()
    with pytest.raises(StateError, match="closed"):
        pool.take()
    pool.close()
    assert pod.poll() == []
    assert len(groups()) == 1
    pod.remove()
    pool._maker.join(patience(20))
    assert groups() == []


def test_what_keeps_one_from_being_made_is_told_to_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_pool: SandboxPool) -> Sandbox:
        _pool._forget("")
        raise KernelError(errno.ENOSPC, "test(2)")

    with SandboxPool(1, pod_spec(shell("true"))) as pool:
        wait_until(lambda: ready(pool) == 1)
        with monkeypatch.context() as patch:
            patch.setattr(SandboxPool, "_make_one", fail)
            pool.take().remove()
            for _ in range(2):
                with pytest.raises(KernelError, match="ENOSPC"):
                    pool.take()
        with suppress(KernelError):  # tried before that, and told first
            pool.take().remove()
        pool.take().remove()
    assert groups() == []


def test_a_pool_of_none() -> None:
    with pytest.raises(ValueError, match="never"):
        SandboxPool(0, pod_spec(shell("true")))


HOLDER = """
import os, sys, time
sys.path[:0] = sys.argv[2:]
from fixtures.pods import FOREVER, pod_spec, shell
import pyrun
spec = pod_spec(shell(FOREVER), shell(FOREVER, "other"))
pool = pyrun.SandboxPool(3, spec)
pods = [pyrun.Pod.create(spec, directory=f"{sys.argv[1]}/{i}", sandbox=pool.take()) for i in range(2)]
pods[0].start()
print(pool._sweeper.pid, *[p.process.pid for pod in pods for p in (pod.sandbox.pause, *pod.containers.values())], flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_of_a_program_that_is_killed(tmp_path: Path, number: int) -> None:
    """With pods created and running, and sandboxes waiting."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path), str(ROOT / "tests"), str(ROOT / "src")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        pids = holder.stdout.readline().split()
        assert len(pids) == 7
        assert len(groups()) == 1
        holder.send_signal(number)
    wait_until(lambda: groups() == [])
    wait_until(lambda: {describe_process(pid) for pid in pids} <= {"(gone)"})


def test_the_sweeper_hears_no_signal_but_the_last() -> None:
    with SandboxPool(1, pod_spec(shell("true"))) as pool:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGUSR1):
            pool._sweeper.signal(number)
        assert pool._sweeper.wait(0.05) is None
        assert os.readlink(f"/proc/{pool._sweeper.pid}/exe") == "/memfd:pyrun-sweep (deleted)"


def test_a_killed_sweeper_leaves_the_rest_to_the_pool() -> None:
    with SandboxPool(1, pod_spec(shell("true"))) as pool:
        pool._sweeper.kill()
        pool.take().remove()
    assert groups() == []
