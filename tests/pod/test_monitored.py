"""Pods whose processes are children of a monitor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fixtures.machine import ROOT, patience
from fixtures.oci_command import wait_until
from fixtures.pods import FOREVER, pod_spec, python, shell
from pyrun.errors import ExecError, StateError
from pyrun.kernel.fd import Fd
from pyrun.kernel.monitor import Monitor
from pyrun.kernel.program import program_fd
from pyrun.linux.pidfd import pidfd_open
from pyrun.pod.driver import Driver
from pyrun.pod.leftover import remove_leftovers
from pyrun.pod.monitored import MonitorPlace, log_runs
from pyrun.pod.pod import Pod
from pyrun.pod.pool import SandboxPool
from pyrun.spec.pod import PodSpec

pytestmark = pytest.mark.root

program_fd("pyrun-monitor")  # stays open: no leak of the first test


@contextmanager
def monitored(spec: PodSpec, top: Path, **how: Any) -> Iterator[Pod]:
    """Afterwards nothing of it is left but its logs and its records."""
    place, directory = _place(top), top / "pod"
    with Pod.create(spec, directory=str(directory), monitor=place, **how) as pod:
        assert pod.sandbox.monitor is not None
        with Fd.adopt(pidfd_open(pod.sandbox.monitor.pid)) as monitor:
            yield pod
            cgroup = Path(pod.cgroup.path)
            pod.remove()
            with pytest.raises(ProcessLookupError):
                signal.pidfd_send_signal(monitor.fileno(), 0)
    assert not directory.exists()
    assert not cgroup.exists()


def _place(top: Path) -> MonitorPlace:
    for name in ("run", "logs"):
        (top / name).mkdir(exist_ok=True)
    return MonitorPlace(str(top / "run"), str(top / "logs"))


def texts(top: Path, name: str = "main", run: int = 0) -> list[str]:
    """Stream and text of each line."""
    path = top / f"logs/{name}/{run}.log"
    lines = path.read_bytes().decode().split("\n")[:-1] if path.exists() else []
    return [f"{stream} {text}" for _, stream, _, text in (line.split(" ", 3) for line in lines)]


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_pod_and_its_logs(tmp_path: Path) -> None:
    spec = pod_spec(shell("echo out; echo err >&2; exit 3", "a"), shell("read x || echo no input", "b"))
    with monitored(spec, tmp_path) as pod:
        pod.start()
        statuses = pod.wait(patience(30))
        assert statuses is not None
        assert {name: status.exit.exit_code for name, status in statuses.items()} == {"a": 3, "b": 0}
        wait_until(lambda: len(texts(tmp_path, "a")) == 2 and len(texts(tmp_path, "b")) == 1)
    assert sorted(texts(tmp_path, "a")) == ["stderr err", "stdout out"]
    assert texts(tmp_path, "b") == ["stdout no input"]


def test_whose_children_they_are(tmp_path: Path) -> None:
    with monitored(pod_spec(shell(FOREVER)), tmp_path) as pod:
        pod.start()
        assert pod.sandbox.monitor is not None
        monitor = pod.sandbox.monitor.pid
        assert parent_of(pod.sandbox.pause.process.pid) == monitor
        assert parent_of(pod.containers["main"].process.pid) == monitor
        assert Path(pod.cgroup.path, ".monitor/cgroup.procs").read_text() == f"{monitor}\n"
        with pod.containers["main"].exec(["/bin/sh", "-c", "exit 4"]) as process:
            assert process.wait_status().code == 4


def test_what_cannot_start_leaves_nothing(tmp_path: Path) -> None:
    place = _place(tmp_path)
    broken = {"name": "main", "image": "host:", "command": ["/nowhere"]}
    with pytest.raises(ExecError, match="/nowhere"):
        Pod.create(pod_spec(broken), directory=str(tmp_path / "pod"), monitor=place)
    spec = pod_spec(shell("true"))
    with SandboxPool(1, spec) as pool, pytest.raises(StateError, match="the sandbox is a child of this process"):
        Pod.create(spec, directory=str(tmp_path / "pod"), monitor=place, sandbox=pool.take())


def test_restarts_have_logs_of_their_own(tmp_path: Path) -> None:
    """Of the last run and of the one before."""
    script = "n=$(cat /count/n 2>/dev/null || echo 0); echo run $n; echo $((n + 1)) >/count/n; [ $n = 1 ] && sleep 1000; exit 1"
    volume = {"name": "count", "emptyDir": {}}
    container = shell(script, volumeMounts=[{"name": "count", "mountPath": "/count"}])
    with monitored(pod_spec(container, volumes=[volume], restartPolicy="Always"), tmp_path) as pod:
        driver = Driver(pod)
        driver.begin()
        while driver.life.restarts()["main"] < 1 or not texts(tmp_path, run=1):
            assert not driver.run(0.01)
        assert texts(tmp_path, run=0) == ["stdout run 0"]
        assert texts(tmp_path, run=1) == ["stdout run 1"]
        driver.stop(0)
        assert driver.run(patience(30))
    assert log_runs(str(tmp_path / "logs/main")) == [0, 1]


def test_old_logs_go(tmp_path: Path) -> None:
    directory = tmp_path / "logs/main"
    directory.mkdir(parents=True)
    for name in ("3.log", "4.log", "4.log.1", "5.log", "5.log.1", "5.log.bak", "other"):
        (directory / name).write_text("")
    with monitored(pod_spec(shell("echo six")), tmp_path) as pod:
        pod.start()
        assert pod.wait(patience(30)) is not None
        wait_until(lambda: texts(tmp_path, run=6) == ["stdout six"])
    names = sorted(os.listdir(directory))
    assert names == ["5.log", "5.log.1", "5.log.bak", "6.log", "other"]


def test_standard_input_and_a_terminal(tmp_path: Path) -> None:
    spec = pod_spec(
        shell("cat", "reader", stdin=True, stdinOnce=True),
        shell("stty size; read x; echo got $x; exec sleep 1000", "shell", stdin=True, tty=True),
    )
    with monitored(spec, tmp_path) as pod:
        pod.start()
        with Monitor.connect(str(tmp_path / "run")) as client:
            client.attach("reader", stdin=True)
            client.write_input(b"hello\n")
            client.end_input()
            answers = [client.read_output(), client.read_output()]
            assert [(each.kind, each.text) for each in answers] == [("OUTPUT", b"hello\n"), ("ENDED", b"")]
        with Monitor.connect(str(tmp_path / "run")) as client:
            client.attach("shell", stdin=True)
            client.resize_terminal(33, 99)
            client.write_input(b"word\n")
            wait_until(lambda: "stdout got word\r" in texts(tmp_path, "shell"))
        status = pod.containers["reader"].process.wait(patience(30))
        assert status is not None
        assert status.code == 0


def test_a_monitor_that_is_killed(tmp_path: Path) -> None:
    """Its pod ends with it, and is not started again."""
    with monitored(pod_spec(shell(FOREVER, "a"), shell(FOREVER, "b"), restartPolicy="Always"), tmp_path) as pod:
        driver = Driver(pod)
        driver.begin()
        assert pod.sandbox.monitor is not None
        with Fd.adopt(pidfd_open(pod.sandbox.monitor.pid)) as monitor:
            signal.pidfd_send_signal(monitor.fileno(), signal.SIGKILL)
        assert driver.run(patience(30))
        status = driver.life.status()
        assert (status.phase, status.reason) == ("Failed", "MonitorLost")
        assert driver.life.restarts() == {"a": 0, "b": 0}


LAUNCHER = """
import os, sys
from pyrun import Pod
from pyrun.pod.monitored import MonitorPlace
from fixtures.pods import pod_spec, shell
top = sys.argv[1]
spec = pod_spec(shell("for i in 1 2 3 4 5 6 7 8 9; do echo $i; sleep 0.05; done; read x || exit 6", "main", stdin=True))
pod = Pod.create(spec, directory=top + "/pod", monitor=MonitorPlace(top + "/run", top + "/logs"))
pod.start()
print(pod.uid, flush=True)
os._exit(0)
"""


def test_a_launcher_that_is_gone(tmp_path: Path) -> None:
    """The container runs on, its output is written, and how it ends is known to who asks later."""
    _place(tmp_path)
    path = os.pathsep.join([str(ROOT / "tests"), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHER, tmp_path],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    uid = done.stdout.strip()
    with Monitor.connect(str(tmp_path / "run")) as monitor, Fd.adopt(pidfd_open(monitor.pid)) as pidfd:
        processes = dict(monitor.processes())
        assert set(processes) == {"/pause", "main"}
        wait_until(lambda: texts(tmp_path) == [f"stdout {i}" for i in range(1, 10)])
        with Monitor.connect(str(tmp_path / "run")) as client:
            client.attach("main", stdin=True)
            client.end_input()
        for process in (processes["main"], processes["/pause"]):
            if process is processes["/pause"]:
                process.kill()
            process.wait()
            process.close()
        assert [(each.name, each.status.exit_code) for each in monitor.exits()] == [("main", 6), ("/pause", 137)]
        monitor.quit()
        os.waitid(os.P_PIDFD, pidfd.fileno(), os.WEXITED) if parent_is_us(pidfd) else None
    remove_leftovers(uid, str(tmp_path / "pod"))


def parent_is_us(pidfd: Fd) -> bool:
    """Whether it became a child of this process, which may be a subreaper."""
    try:
        os.waitid(os.P_PIDFD, pidfd.fileno(), os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


@pytest.mark.cgroup2
def test_what_its_cgroup_has_counted_is_in_the_record(tmp_path: Path) -> None:
    """Read when it ended: the cgroup may be gone by the time that somebody asks."""
    hungry = python("x = bytearray(256 << 20)", resources={"limits": {"memory": "32Mi"}})
    with monitored(pod_spec(hungry), tmp_path) as pod:
        pod.start()
        statuses = pod.wait(patience(60))
        assert statuses is not None
        assert statuses["main"].reason == "OOMKilled"
        assert pod.sandbox.monitor is not None
        (record,) = pod.sandbox.monitor.exits()
        assert record.status.signal == signal.SIGKILL
        assert record.oom_kills is not None
        assert record.oom_kills >= 1
        # Those of the pod, whose limit is the same and which has pause and the monitor as well, were met: not this one's.
        assert (record.ooms, record.memory_max) != (None, None)
        if record.memory_peak_bytes is not None:  # memory.peak, Linux 5.19
            assert 16 << 20 < record.memory_peak_bytes <= 32 << 20


def test_without_the_controller_nothing_is_counted(tmp_path: Path) -> None:
    with monitored(pod_spec(shell("true")), tmp_path) as pod:
        pod.start()
        assert pod.wait(patience(30)) is not None
        assert pod.sandbox.monitor is not None
        (record,) = pod.sandbox.monitor.exits()
        known = "memory" in pod.containers["main"].cgroup.read_available_controllers()
        assert [each is not None for each in (record.oom_kills, record.ooms, record.memory_max)] == [known] * 3
