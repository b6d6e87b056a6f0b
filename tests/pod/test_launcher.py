"""The launcher's own end: killed at any moment, it leaves nothing running, and what lies around can be taken away by name."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fixtures.machine import ROOT, cgroup2_root, in_virtual_machine, patience
from fixtures.pods import FOREVER, created, pod_spec, running, shell
from pyrun.errors import CleanupErrors
from pyrun.kernel.cgroup import Cgroup
from pyrun.pod.leftover import remove_leftovers
from pyrun.pod.pod import new_uid

pytestmark = pytest.mark.root

LAUNCHER = """
import sys
sys.path[:0] = [PATHS]
from pathlib import Path
from fixtures.pods import pod_spec, shell, mount
from pyrun.pod.pod import Pod
from pyrun.value import replace
uid, directory, shared, kill = sys.argv[1:]
busy = "(while :; do sleep 0.01; done) & (setsid sleep 1000) & echo ready; exec sleep 1000"
mounts = [mount("disk", "/disk"), mount("memory", "/memory")]
spec = pod_spec(shell(busy, "a", volumeMounts=mounts), shell(busy, "b", volumeMounts=mounts),
                volumes=[{"name": "disk"}, {"name": "memory", "emptyDir": {"medium": "Memory"}}],
                shareProcessNamespace=bool(int(shared)))
spec = replace(spec, metadata=replace(spec.metadata, uid=uid))
print("go", flush=True)
while True:
    with Pod.create(spec, directory=directory, kill_with_launcher=bool(int(kill))) as pod:
        print("created", flush=True)
        pod.start()
        print("started", flush=True)
        if not int(kill):
            pod.wait()
""".replace("PATHS", ", ".join(repr(str(ROOT / name)) for name in ("tests", "src")))


def launch(uid: str, directory: Path, shared: bool, kill: bool = True) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", LAUNCHER, uid, str(directory), str(int(shared)), str(int(kill))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def wait_for_line(launcher: subprocess.Popen[str], line: str) -> None:
    assert launcher.stdout is not None
    for printed in launcher.stdout:
        if printed.strip() == line:
            return
    pytest.fail(f"the launcher ended before {line!r}")


def end(launcher: subprocess.Popen[str]) -> None:
    launcher.kill()
    launcher.wait()
    assert launcher.stdout is not None
    launcher.stdout.close()


@pytest.mark.parametrize("shared", [False, True], ids=["own-pid", "shared-pid"])
def test_a_launcher_killed_at_any_moment_leaves_nothing_running(tmp_path: Path, shared: bool) -> None:
    root = cgroup2_root()
    assert root is not None
    chance = random.Random(20)
    seen_left = 0
    rounds = 5 if in_virtual_machine() else 40  # an interpreter starts slowly there
    for round_ in range(rounds):
        uid, directory = new_uid(), tmp_path / f"pod{round_}"
        launcher = launch(uid, directory, shared)
        wait_for_line(launcher, "go")
        time.sleep(chance.uniform(0, patience(0.03)))
        end(launcher)
        pod_group = root / "pyrun" / "besteffort" / f"pod{uid}"
        if pod_group.exists():
            seen_left += 1
            with Cgroup.open(f"pyrun/besteffort/pod{uid}") as group:
                assert group.wait_empty(patience(10)), pod_group
        remove_leftovers(uid, str(directory))
        assert not pod_group.exists()
        assert not directory.exists()
    assert seen_left > rounds // 6  # or the moments were badly chosen


@pytest.mark.parametrize("shared", [False, True], ids=["own-pid", "shared-pid"])
def test_leftovers_are_ended_from_the_uid_alone(tmp_path: Path, shared: bool) -> None:
    """Without kill_with_launcher the containers run on."""
    uid, directory = new_uid(), tmp_path / "pod"
    launcher = launch(uid, directory, shared, kill=False)
    wait_for_line(launcher, "started")
    end(launcher)
    group = Cgroup.open(f"pyrun/besteffort/pod{uid}")
    assert not group.wait_empty(0.1)
    assert (directory / "volumes/disk").is_dir()
    group.close()
    for _ in range(2):  # idempotent
        remove_leftovers(uid, str(directory))
        assert not directory.exists()
        assert not group.exists()


def test_leftovers_that_cannot_be_removed_are_all_told(tmp_path: Path) -> None:
    with running(pod_spec(shell(FOREVER)), tmp_path) as it:
        with pytest.raises(CleanupErrors) as caught:
            remove_leftovers(it.pod.uid, "/proc/self")
        assert "remove directory /proc/self" in "".join(caught.value.exceptions[0].__notes__)
        assert not Path(it.pod.cgroup.path).exists()  # the rest was done all the same


def test_the_end_of_the_thread_is_the_launchers_end(tmp_path: Path) -> None:
    """prctl(2): the signal comes when the thread ends that made the process. Who wants this creates pods in a thread
    that stays."""
    started = threading.Event()
    go_on = threading.Event()
    found: list[int] = []

    def work() -> None:
        with_pod = created(pod_spec(shell(FOREVER)), tmp_path, kill_with_launcher=True)
        it = with_pod.__enter__()
        it.pod.start()
        found.append(it["main"].process.pid)
        kept.append((with_pod, it))
        started.set()
        go_on.wait()

    kept: list[tuple[object, object]] = []
    thread = threading.Thread(target=work)
    thread.start()
    assert started.wait(patience(20))
    assert os.path.exists(f"/proc/{found[0]}")
    go_on.set()
    thread.join()
    with_pod, it = kept[0]
    assert it["main"].process.wait(patience(10)).signal == 9  # type: ignore[index]
    with_pod.__exit__(None, None, None)  # type: ignore[attr-defined]


def test_without_it_a_thread_may_end(tmp_path: Path) -> None:
    pods = []

    def work() -> None:
        with_pod = created(pod_spec(shell(FOREVER)), tmp_path)
        pods.append((with_pod, with_pod.__enter__()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    with_pod, it = pods[0]
    it.pod.start()
    assert it["main"].process.wait(0.1) is None
    with_pod.__exit__(None, None, None)
