"""``pyrun gc``: what nobody has goes, and what somebody has stays."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.command import PYRUN, Store, emptied_store
from fixtures.machine import cgroup2_root, patience
from fixtures.oci_command import wait_until
from fixtures.pods import FOREVER, document, shell

pytestmark = pytest.mark.root


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    yield from emptied_store(tmp_path)


def names(store: Store, *options: str) -> list[str]:
    done = store.command("gc", "-o", "name", *options)
    assert done.status == 0, done.err
    return done.out.splitlines()


def group(name: str) -> Path:
    root = cgroup2_root()
    assert root is not None
    return root / "pyrun" / name


def test_nothing_is_found_where_all_is_somebodys(store: Store) -> None:
    with store.running(store.manifest(shell(f"echo ready; {FOREVER}"))) as running:
        running.wait_for("ready")
        manifest = document(shell(FOREVER), terminationGracePeriodSeconds=1)
        manifest["metadata"]["name"] = "other"
        with store.detached(store.write(manifest, "other.json")):
            assert names(store) == []
            assert Store(store.top / "elsewhere").command("gc", "-o", "name").out == ""
            assert store.command("ps", "--no-headers").out.count("Running") == 2
        store.command("stop", "--time=0", "test")


def test_an_empty_group_and_one_with_a_process(store: Store) -> None:
    empty, full = group("podempty"), group("besteffort/podfull")
    for path in (empty, full / "main"):
        path.mkdir(parents=True)
    with subprocess.Popen(["sleep", "1000"]) as process:
        (full / "main/cgroup.procs").write_text(str(process.pid))
        assert set(names(store, "--dry-run")) == {"cgroup/pyrun/podempty", "cgroup/pyrun/besteffort/podfull"}
        assert process.poll() is None
        assert set(names(store)) == {"cgroup/pyrun/podempty", "cgroup/pyrun/besteffort/podfull"}
        assert process.wait(patience(10)) == -signal.SIGKILL
    assert not empty.exists()
    assert not full.exists()
    assert names(store) == []


def test_a_monitor_that_nobody_can_reach(store: Store) -> None:
    done = store.command("run", "-d", store.manifest(shell(FOREVER)))
    uid = done.out.strip()
    facts = json.loads((store.run_root / "pods" / uid / "pod.json").read_text())
    os.kill(facts["launcher_pid"], signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{facts['launcher_pid']}/exe").exists())
    shutil.rmtree(store.run_root / "pods")
    shutil.rmtree(store.state_root / "pods")
    done = store.command("gc", "--dry-run", "--no-headers")
    rows = [line.split()[:2] for line in done.out.splitlines()]
    assert ["cgroup", f"pyrun/besteffort/pod{uid}"] in rows
    assert ["reservation", uid] in rows
    assert ["logs", facts["logs"]] in rows
    assert len(rows) == 3
    names(store)
    assert not group(f"besteffort/pod{uid}").exists()
    assert not Path(facts["logs"]).exists()
    assert not list(store.run_root.glob("admitted/*"))


def test_of_a_killed_launcher(store: Store) -> None:
    with store.running(store.manifest(shell(f"echo ready; {FOREVER}"))) as running:
        running.wait_for("ready")
        (uid,) = store.uids()
        running.signal(signal.SIGKILL)
        running.finish()
    wait_until(lambda: f"pod/{uid}" in names(store, "--dry-run"))
    assert names(store) == []
    assert not store.entries()


def test_of_a_killed_supervisor(store: Store) -> None:
    with store.detached(store.manifest(shell(FOREVER), terminationGracePeriodSeconds=1)) as uid:
        facts = json.loads((store.run_root / "pods" / uid / "pod.json").read_text())
        os.kill(facts["launcher_pid"], signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{facts['launcher_pid']}/exe").exists())
        assert names(store, "--dry-run") == [f"pod/{uid}"]
        assert names(store) == []
        assert "Running" in store.command("ps", uid).out


def test_groups_of_a_program_that_has_ended(store: Store) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    )
    left, own = group(f"run-{done.stdout.strip()}-abcd"), group(f"run-{os.getpid()}-abcd")
    for path in (left, own):
        path.mkdir(parents=True)
    try:
        assert names(store) == [f"cgroup/pyrun/{left.name}"]
        assert not left.exists()
        assert own.exists()
    finally:
        own.rmdir()


def test_logs_of_others_stay(store: Store) -> None:
    for name in ("somebody", "default_x_y"):
        (store.logs / "pods" / name).mkdir(parents=True)
    (store.logs / "pods" / "default_x_y" / ".pod").symlink_to(store.top / "nowhere")
    assert names(store) == [f"logs/{store.logs}/pods/default_x_y"]
    assert os.listdir(store.logs / "pods") == ["somebody"]


def test_while_pods_come_and_go(store: Store) -> None:
    """It takes nothing of a pod that is just coming or going."""
    loop = [*PYRUN, "gc", "-o", "name"]
    for _ in range(4):
        with subprocess.Popen(loop, env=store.environment, stdout=subprocess.PIPE) as process:
            for _ in range(4):
                assert store.run(store.manifest(shell("exit 0"))).status == 0
            out, _ = process.communicate(timeout=patience(30))
            assert (process.returncode, out) == (0, b"")


def test_a_wrong_command_line(store: Store) -> None:
    assert store.command("gc", "-o", "x").status == 2
