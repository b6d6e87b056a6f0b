"""A pod with a monitor that is taken up by another process than its maker, which was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import pyrun
from fixtures.machine import ROOT, patience
from fixtures.oci_command import wait_until
from fixtures.pods import FOREVER, Document, document, host_path, mount, shell
from pyrun.errors import NotFound, SpecError, StateError
from pyrun.kernel.program import program_fd
from pyrun.pod.adopt import KEPT, read_kept
from pyrun.pod.leftover import remove_leftovers
from pyrun.pod.pod import Pod
from pyrun.pod.user_range import UserRanges, collect_user_ranges, take_user_range

pytestmark = pytest.mark.root

program_fd("pyrun-monitor")  # stays open: no leak of the first test

# Makes the pod, does what stands in its second argument, and is killed.
MAKER = """
import os, signal, sys
from pyrun import MonitorPlace, Pod, SecurityPolicy, UserRanges, load_pod
top = sys.argv[1]
os.makedirs(f"{top}/run"); os.makedirs(f"{top}/logs")
spec = load_pod(open(f"{top}/pod.json", "rb").read(), "test")
pod = Pod.create(spec, directory=f"{top}/data", monitor=MonitorPlace(f"{top}/run", f"{top}/logs"),
                 security=SecurityPolicy(user_ranges=UserRanges(f"{top}/users", 200000, 4)))
exec(sys.argv[2])
print(pod.uid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
# And waits until it is gone.
KILL_MONITOR = """
import select
pod.start()
os.kill(pod.sandbox.monitor.pid, signal.SIGKILL)
while not pod.sandbox.monitor.gone:
    select.select([pod.sandbox.monitor.fileno()], [], [])
"""
COUNTING = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done"


def make(top: Path, manifest: Document, then: str = "pod.start()") -> str:
    """The uid of the pod, whose maker is dead."""
    (top / "pod.json").write_text(json.dumps(manifest))
    path = os.pathsep.join([str(ROOT / "tests"), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", MAKER, top, then],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout.strip()


@contextmanager
def adopted(top: Path, manifest: Document, then: str = "pod.start()") -> Iterator[Pod]:
    """The pod, taken up by this process; nothing is left of it at the end."""
    uid = make(top, manifest, then)
    try:
        with Pod.adopt(str(top / "run")) as pod:
            assert pod.uid == uid
            yield pod
    except BaseException:
        remove_leftovers(uid, str(top / "data"))
        raise
    assert not (top / "data").exists()
    assert not Path(pod.cgroup.path).exists()
    assert not (top / "run" / KEPT).exists()


def texts(top: Path, name: str = "main", run: int = 0) -> list[str]:
    """What there is of a log by now."""
    path = top / f"logs/{name}/{run}.log"
    return [line.split(" ", 3)[3] for line in path.read_text().splitlines()] if path.exists() else []


def run_again(pod: Pod, name: str = "main") -> None:
    pod.containers[name].cgroup.kill()
    wait_until(lambda: pod.containers[name].poll() is not None)
    pod.create_containers([name])
    pod.start_containers([name])


def read_inside(pod: Pod, path: str, name: str = "main") -> str:
    return Path(f"/proc/{pod.containers[name].process.pid}/root{path}").read_text()


def test_it_runs_on_and_can_be_used_as_by_its_maker(tmp_path: Path) -> None:
    with adopted(tmp_path, document(shell(COUNTING), shell(FOREVER, "b"))) as pod:
        main = pod.containers["main"]
        assert {name: each.state for name, each in pod.containers.items()} == {"main": "running", "b": "running"}
        seen = len(texts(tmp_path))
        wait_until(lambda: len(texts(tmp_path)) > seen + 5)
        assert texts(tmp_path) == [str(i + 1) for i in range(len(texts(tmp_path)))]
        with main.exec(["/bin/sh", "-c", "exit 7"]) as process:
            assert process.wait_status().code == 7
        pid = main.process.pid
        run_again(pod)
        assert pod.containers["main"].process.pid != pid
        wait_until(lambda: len(texts(tmp_path, run=1)) > 3)
        assert texts(tmp_path, run=1)[0] == "1"
        statuses = pod.kill()
        assert {name: status.exit.signal for name, status in statuses.items()} == {"main": 9, "b": 9}


def test_who_ended_meanwhile_is_told_with_its_status_and_times(tmp_path: Path) -> None:
    begin = "import time; pod.start(); pod.containers['a'].process.wait(); before = time.monotonic()"
    with adopted(tmp_path, document(shell("sleep 0.2; exit 5", "a"), shell(FOREVER, "b")), begin) as pod:
        status = pod.containers["a"].status
        assert status is not None
        assert (status.exit.code, status.reason) == (5, "Error")
        process: Any = pod.containers["a"].process
        assert process.has_run
        assert 0.2 <= status.run_time_s < patience(10)
        record = pod.containers["a"].process.finished_s
        assert status.finished_s == record
        assert pod.containers["b"].status is None


def test_a_container_at_its_gate_is_one_that_has_not_run(tmp_path: Path) -> None:
    with adopted(tmp_path, document(shell("echo never")), "") as pod:
        process: Any = pod.containers["main"].process
        assert pod.containers["main"].state == "stopped"
        assert not process.has_run
        assert texts(tmp_path) == []
        pod.create_containers(["main"])
        pod.start_containers(["main"])
        wait_until(lambda: texts(tmp_path, run=1) == ["never"])


def test_volumes(tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    volumes = [
        {"name": "disk", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory"}},
        {"name": "config", "configMap": {"name": "c"}},
        host_path("host", tmp_path / "host"),
    ]
    mounts = [mount("disk", "/d"), mount("memory", "/m"), mount("config", "/c"), mount("host", "/h")]
    script = f"for i in d m h; do echo was >> /$i/file; done; cat /c/key; {FOREVER}"
    manifest = document(shell(script, volumeMounts=mounts), volumes=volumes)
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"key": "value\n"}}
    with adopted(tmp_path, {"apiVersion": "v1", "kind": "List", "items": [manifest, config]}) as pod:
        wait_until(lambda: texts(tmp_path) == ["value"])
        run_again(pod)
        wait_until(lambda: len(texts(tmp_path, run=1)) == 1)
        for name in "dmh":
            assert read_inside(pod, f"/{name}/file") == "was\nwas\n"
        (changed,) = pod.spec.objects
        assert dict(changed.data) == {"key": b"value\n"}


def test_a_volume_that_was_removed_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    manifest = document(
        shell(FOREVER, volumeMounts=[mount("host", "/h")]), volumes=[host_path("host", tmp_path / "host")]
    )
    with adopted(tmp_path, manifest, f"pod.start(); os.rmdir('{tmp_path}/host')") as pod:
        assert pod.containers["main"].state == "running"
        with pytest.raises(StateError, match="host"):
            run_again(pod)


KINDS = ({"hostUsers": False}, {"shareProcessNamespace": True}, {"hostPID": True}, {"hostNetwork": True})


@pytest.mark.parametrize("fields", KINDS)
def test_namespaces(tmp_path: Path, fields: dict[str, bool]) -> None:
    with adopted(tmp_path, document(shell(FOREVER), **fields)) as pod:
        kinds = ("user", "pid", "net", "uts", "ipc", "mnt")

        def links() -> dict[str, str]:
            return {kind: os.readlink(f"/proc/{pod.containers['main'].process.pid}/ns/{kind}") for kind in kinds}

        before = links()
        run_again(pod)
        own = {"mnt"} if fields.keys() & {"shareProcessNamespace", "hostPID"} else {"mnt", "pid"}
        assert {kind for kind, link in links().items() if before[kind] != link} <= own  # a number may come again
        assert links()["mnt"] != os.readlink("/proc/self/ns/mnt")


def test_the_range_of_ids_is_the_pods_as_long_as_it_lives(tmp_path: Path) -> None:
    locks = str(tmp_path / "users")
    with adopted(tmp_path, document(shell(FOREVER), hostUsers=False)) as pod:
        assert pod.spec.user_range == 200000
        collect_user_ranges(locks)
        taken = take_user_range(UserRanges(locks, 200000, 4))
        assert taken.first == 200000 + 65536
        taken.release()
        assert os.listdir(locks) == ["200000"]
    assert os.listdir(locks) == []


def test_init_containers_and_those_that_were_never_made(tmp_path: Path) -> None:
    manifest = document(shell("exit 0"), initContainers=[shell("echo one", "one"), shell(FOREVER, "two")])
    then = "pod.create_containers(['one']); pod.start_containers(['one']); pod.containers['one'].process.wait()"
    with adopted(tmp_path, manifest, then) as pod:
        assert {name: each.state for name, each in pod.containers.items()} == {"one": "stopped"}
        pod.create_containers(["two"])
        pod.start_containers(["two"])
        assert pod.containers["two"].state == "running"


def test_what_was_changed_is_as_it_was_left(tmp_path: Path) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"key": "old"}}
    manifest = document(
        shell(FOREVER, volumeMounts=[mount("c", "/c")]), volumes=[{"name": "c", "configMap": {"name": "c"}}]
    )
    changed = json.dumps({**config, "data": {"key": "new"}}).encode()
    then = f"from pyrun import load_objects; pod.start(); pod.update_objects(load_objects({changed!r}, 'x'))"
    with adopted(tmp_path, {"apiVersion": "v1", "kind": "List", "items": [manifest, config]}, then) as pod:
        assert dict(pod.spec.objects[0].data) == {"key": b"new"}
        assert read_inside(pod, "/c/key") == "new"


def test_hooks_and_probes_of_its_maker_are_gone(tmp_path: Path) -> None:
    then = (
        "from pyrun.pod.task import begin_task; from pyrun.spec.handler import ExecAction; pod.start(); "
        "begin_task(pod, pod.containers['main'], ExecAction(('/bin/sleep', '1000')), 0, 1e9, 'liveness')"
    )
    with adopted(tmp_path, document(shell(FOREVER)), then) as pod:
        group = Path(pod.containers["main"].cgroup.path)
        assert not [each.name for each in group.iterdir() if each.is_dir()]


def test_close_lets_it_live_and_another_takes_it_up(tmp_path: Path) -> None:
    uid = make(tmp_path, document(shell(COUNTING)))
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        pod = Pod.adopt(str(tmp_path / "run"))
        pid = pod.containers["main"].process.pid
        pod.close()
        pod.close()
        assert Path(f"/proc/{pid}").exists()
        pod.remove()  # not ours any more
        assert Path(f"/proc/{pid}").exists()
    assert set(os.listdir("/proc/self/fd")) == before
    with Pod.adopt(str(tmp_path / "run")) as pod:
        assert pod.containers["main"].process.pid == pid
    assert pod.uid == uid


def test_without_a_monitor_there_is_nothing_to_take_up(tmp_path: Path) -> None:
    uid = make(tmp_path, document(shell(FOREVER)), KILL_MONITOR)
    with pytest.raises(NotFound, match="no monitor"):
        Pod.adopt(str(tmp_path / "run"))
    remove_leftovers(uid, str(tmp_path / "data"))


def test_directories_without_a_pod(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no pod is kept"):
        Pod.adopt(str(tmp_path))
    for text in ("", "{", '{"Kept": {}}', '{"bytes": ""}', '{"LimitPolicy": {}}'):
        (tmp_path / KEPT).write_text(text)
        with pytest.raises(SpecError, match=KEPT):
            read_kept(str(tmp_path))


def test_connect_lets_go_of_what_it_has_found(tmp_path: Path) -> None:
    """By the pod's uid below the root, and by its directory."""
    uid = make(tmp_path, document(shell("trap 'exit 4' TERM; while :; do sleep 0.02; done")))
    (tmp_path / "pods").mkdir()
    (tmp_path / "pods" / uid).symlink_to(tmp_path / "run")
    with pyrun.connect(uid, root=str(tmp_path)) as pod:
        pid = pod.containers["main"].process.pid
    assert Path(f"/proc/{pid}").exists()
    for name in ("nobody", "../run", "", "."):
        with pytest.raises(NotFound):
            pyrun.connect(name, root=str(tmp_path))
    with pyrun.connect(str(tmp_path / "run")) as pod, pyrun.connect(uid, root=str(tmp_path)) as other:
        statuses = pod.stop()
        assert statuses["main"].exit.code == 4
        assert other.wait() == statuses
        pod.remove()
    assert not Path(pod.cgroup.path).exists()
    with pytest.raises(NotFound):
        pyrun.connect(uid, root=str(tmp_path))
