"""PodContainer.exec: another program beside the first one, with no more and no less than that has."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from fixtures.machine import patience
from fixtures.pods import FOREVER, mount, pod_spec, running, shell
from pyrun.errors import ExecError, StateError
from pyrun.pod.container import PodContainer

pytestmark = pytest.mark.root

KINDS = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")


def output(container: PodContainer, script: str, **how: Any) -> str:
    """What a shell in the container prints; it must succeed."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        with container.exec(["sh", "-ec", script], stdio=(null, writing, 2), **how) as process:
            os.close(writing)
            writing = -1
            with open(reading, encoding="utf-8", closefd=False) as pipe:
                text = pipe.read()
            assert process.wait_status().code == 0, text
            return text
    finally:
        for fd in (reading, null, *([writing] if writing >= 0 else [])):
            os.close(fd)


SHOWN = "cat /proc/self/status | grep -E '^(Cap|NoNewPrivs|Seccomp|Uid|Gid|Groups|Umask)'; pwd; readlink " + " ".join(
    f"/proc/self/ns/{kind}" for kind in KINDS
)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"shareProcessNamespace": True},
        {"hostPID": True},
        {"hostNetwork": True, "hostIPC": True},
    ],
)
def test_it_has_what_the_first_program_has(tmp_path: Path, fields: dict[str, bool]) -> None:
    """Namespaces, capabilities, filter, ids, umask, directory, environment, root, cgroup."""
    first = shell(f"{SHOWN}; echo done; {FOREVER}", "a", workingDir="/srv", env=[{"name": "A", "value": "1"}])
    with running(pod_spec(first, shell(FOREVER, "b"), **fields), tmp_path) as it:
        it.wait_for("done", "a")
        assert output(it["a"], SHOWN) == it.read("a").removesuffix("done\n")
        assert (
            output(it["a"], "cat /proc/self/cgroup /proc/1/comm; echo $A $PATH $HOSTNAME")
            .splitlines()[-1]
            .startswith("1 /usr")
        )
        assert set(os.listdir(it["a"].cgroup.path)) >= {"cgroup.procs"}
        with it["a"].exec(["sleep", "100"]) as process:
            assert process.pid in it["a"].cgroup.read_procs()
            assert process.pid not in it["b"].cgroup.read_procs()
            assert os.readlink(f"/proc/{process.pid}/root") == os.readlink(f"/proc/{it['a'].process.pid}/root")


def test_descriptors_are_the_three_and_no_others(tmp_path: Path) -> None:
    with running(pod_spec(shell(FOREVER)), tmp_path) as it:
        assert output(it["main"], "ls /proc/$$/fd").split() == ["0", "1", "2"]


def test_environment_and_directory_of_its_own(tmp_path: Path) -> None:
    spec = pod_spec(shell(FOREVER, volumeMounts=[mount("it", "/data")]), volumes=[{"name": "it"}])
    with running(spec, tmp_path) as it:
        assert output(it["main"], "echo $B; pwd", env={"B": "2", "PATH": "/bin"}, cwd="/data") == "2\n/data\n"


def test_a_directory_outside_the_container_is_not_to_be_had(tmp_path: Path) -> None:
    """Through a descriptor that the launcher left, say (CVE-2024-21626)."""
    with running(pod_spec(shell(FOREVER)), tmp_path) as it:
        for number in range(12):
            for top in ("/proc/self/fd", "/proc/thread-self/fd"):
                with pytest.raises(OSError, match=r"EXDEV|ENOENT"):
                    it["main"].exec(["true"], cwd=f"{top}/{number}")


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with running(pod_spec(shell(FOREVER)), tmp_path) as it:
        with pytest.raises(ExecError) as caught:
            it["main"].exec(["nothing-of-this-name"])
        assert caught.value.exit_code == 127
        assert it["main"].poll() is None


@pytest.mark.parametrize("fields", [{}, {"shareProcessNamespace": True}, {"hostPID": True}])
@pytest.mark.parametrize("let_go", [False, True])
def test_it_ends_with_its_container(tmp_path: Path, fields: dict[str, bool], let_go: bool) -> None:
    """The first process of a PID namespace ends when all others have been reaped: also what nobody waits for any more."""
    with running(pod_spec(shell(FOREVER), **fields), tmp_path) as it, it["main"].exec(["sleep", "1000"]) as process:
        if let_go:
            process.close()
        it["main"].process.kill()
        assert it.pod.wait(patience(10)) is not None
        assert let_go or process.wait_status().signal == signal.SIGKILL
    assert not os.path.exists(f"/proc/{process.pid}")


def test_a_pod_is_removed_with_what_was_added(tmp_path: Path) -> None:
    with running(pod_spec(shell(FOREVER)), tmp_path) as it:
        kept, let_go = [it["main"].exec(["sleep", "1000"]) for _ in range(2)]
        let_go.close()
        it.pod.remove()
        assert kept.wait_status().signal == signal.SIGKILL
        kept.close()


def test_what_has_ended_is_not_kept(tmp_path: Path) -> None:
    with running(pod_spec(shell(FOREVER)), tmp_path) as it:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            with it["main"].exec(["true"]) as process:
                process.wait()
            it.pod.poll()
        assert len(os.listdir("/proc/self/fd")) == before
        assert it["main"].awaited == [it["main"].process]


def test_only_in_one_that_runs(tmp_path: Path) -> None:
    with running(pod_spec(shell("exit 3", "a"), shell(FOREVER, "b")), tmp_path) as it:
        assert it["a"].process.wait(patience(10)) is not None
        with pytest.raises(StateError, match="container a is stopped, but must be running"):
            it["a"].exec(["true"])
        it.pod.remove()
        with pytest.raises(StateError, match="container b is stopped, but must be running"):
            it["b"].exec(["true"])
