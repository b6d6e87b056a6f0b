"""pause: each signal, each argument, and a thousand orphans."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fixtures.child import at_gate, shell
from fixtures.machine import ROOT, patience
from pyrun.errors import StepError
from pyrun.kernel.pause import PauseProcess
from pyrun.kernel.program import program_fd, program_path
from pyrun.kernel.spawn import create, spawn
from pyrun.kernel.step import (
    Await,
    Duplicate,
    Exec,
    Gate,
    JoinNamespaces,
    LoopbackUp,
    SetHostname,
    Unshare,
    WriteFile,
)

PAUSE = os.environ.get("PYRUN_TEST_PAUSE") or program_path("pyrun-pause")
VERSION = next(
    line.split('"')[1] for line in (ROOT / "pyproject.toml").read_text().splitlines() if line.startswith("version")
)


@contextmanager
def started(*arguments: str, **how: object) -> Iterator[subprocess.Popen[bytes]]:
    """pause as a child of ours, in no namespace of its own, ready."""
    read_fd, write_fd = os.pipe()
    try:
        process = subprocess.Popen([PAUSE, str(write_fd), *arguments], pass_fds=[write_fd], **how)  # type: ignore[call-overload]
        os.close(write_fd)
        try:
            assert os.read(read_fd, 10) == b"1"
            assert os.read(read_fd, 10) == b"", "the descriptor is closed once pause is ready"
            yield process
        finally:
            process.kill()
            process.wait()
    finally:
        os.close(read_fd)


def pause(*arguments: str, **how: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PAUSE, *arguments], capture_output=True, text=True, timeout=patience(20), check=False, **how)  # type: ignore[call-overload]


# ---- arguments ---------------------------------------------------------------------------------------------------------------


def test_version() -> None:
    done = pause("-v")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"pyrun-pause {VERSION}\n", "")


@pytest.mark.parametrize(
    "arguments", [["x"], [""], ["-"], ["-V"], ["-vv"], ["3x"], ["-1"], ["3", "4"], ["99999999999999999999"]]
)
def test_usage_error(arguments: list[str]) -> None:
    done = pause(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: pyrun-pause")


def test_it_is_a_few_kilobytes() -> None:
    assert os.path.getsize(PAUSE) < 8 * 1024
    with started() as process:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        fields = dict(line.split(":\t", 1) for line in lines)
        assert int(fields["VmRSS"].split()[0]) <= 64
        assert int(fields["Threads"]) == 1


def test_a_descriptor_that_is_none_is_no_reason_to_stop() -> None:
    process = subprocess.Popen([PAUSE, "77"])
    try:
        time.sleep(0.1)
        assert process.poll() is None
        process.terminate()
        assert process.wait(patience(5)) in (0, -signal.SIGTERM)  # the latter if it had not come to block it yet
    finally:
        process.kill()
        process.wait()


def test_warning_when_it_is_not_the_first_process() -> None:
    process = subprocess.Popen([PAUSE], stderr=subprocess.PIPE)
    assert process.stderr
    try:
        assert b"warning: not the first process" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(patience(5)) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


# ---- signals -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_these_end_it_with_zero(number: int) -> None:
    with started() as process:
        process.send_signal(number)
        assert process.wait(patience(5)) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_these_end_it_even_when_they_were_ignored_or_blocked_before(number: int) -> None:
    def ignore() -> None:
        signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, number})

    with started(preexec_fn=ignore) as process:
        process.send_signal(number)
        # An ignored signal is not kept for sigtimedwait(2): so started by hand, pause does not hear it. The stage resets that.
        process.terminate() if number == signal.SIGINT else process.send_signal(signal.SIGINT)
        assert process.wait(patience(5)) == 0


# As any program: what is not waited for has its default effect, which for PID 1 of a namespace is none.
ENDS = {
    "HUP",
    "QUIT",
    "ILL",
    "TRAP",
    "ABRT",
    "BUS",
    "FPE",
    "USR1",
    "SEGV",
    "USR2",
    "PIPE",
    "ALRM",
    "XCPU",
    "XFSZ",
    "VTALRM",
    "PROF",
    "IO",
    "SYS",
}
STAYS = {"CHLD", "CONT", "URG", "WINCH"}


@pytest.mark.parametrize("name", sorted(ENDS | STAYS))
def test_every_other_signal_has_its_default_effect(name: str) -> None:
    number = getattr(signal, f"SIG{name}")
    with started() as process:
        process.send_signal(number)
        if name in ENDS:
            assert process.wait(patience(5)) == -number
        else:
            process.terminate()
            assert process.wait(patience(5)) == 0


@pytest.mark.root
@pytest.mark.parametrize("number", range(1, 65))
def test_as_the_first_process_only_these_end_it_from_inside(number: int) -> None:
    """Containers of a shared PID namespace may send it what they like: TERM and INT are heard, nothing else ends it."""
    with start(namespaces=("pid",)) as pod:
        inside = spawn(
            (Exec(("sh", "-c", f"kill -{number} 1"), ("PATH=/bin",), program="/bin/sh"),), pid_namespace=pod.process
        )
        with inside:
            inside.wait()
        if number in (signal.SIGTERM, signal.SIGINT):
            status = pod.process.wait(patience(5))
            assert status is not None
            assert status.code == 0
        else:
            assert pod.process.wait(0.02) is None
            pod.process.signal(signal.SIGTERM)
            status = pod.process.wait(patience(5))
            assert status is not None
            assert status.code == 0


def test_stopped_and_continued() -> None:
    with started() as process:
        process.send_signal(signal.SIGSTOP)
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        assert process.wait(patience(5)) == 0


def test_a_rain_of_signals_that_mean_nothing() -> None:
    with started() as process:
        for _ in range(2000):
            process.send_signal(signal.SIGCHLD)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(patience(5)) == 0


# ---- as the first process of a pod -------------------------------------------------------------------------------------------


@contextmanager
def start(*plan: object, **how: object) -> Iterator[PauseProcess]:
    pod = PauseProcess.start(plan, **how)  # type: ignore[arg-type]
    try:
        yield pod
    finally:
        pod.end()


@pytest.mark.root
def test_it_holds_what_its_plan_made() -> None:
    kinds = ("uts", "ipc", "network", "time")
    with start(SetHostname("the-pod"), LoopbackUp(), namespaces=kinds) as pod:
        with at_gate(JoinNamespaces("pod", kinds), fds={"pod": pod}) as seen:
            for file in ("uts", "ipc", "net", "time"):
                assert seen.namespace(file) == os.readlink(f"/proc/{pod.process.pid}/ns/{file}")
        assert shell("hostname", JoinNamespaces("pod", kinds), fds={"pod": pod}) == "the-pod\n"
        assert [begin < end for begin, end in pod.stamps[:-1]] == [True] * (len(pod.stamps) - 1)


@pytest.mark.root
def test_what_others_in_its_pid_namespace_can_reach_through_it() -> None:
    with start(namespaces=("pid",)) as pod:
        proc = Path(f"/proc/{pod.process.pid}")
        assert os.readlink(proc / "exe") == "/memfd:pyrun-pause (deleted)"
        with pytest.raises(OSError, match=r"Text file busy|Operation not permitted"):
            os.open(proc / "exe", os.O_WRONLY)
        deadline = time.monotonic() + patience(5)
        while (
            len(os.listdir(proc / "fd")) > 3
        ):  # the standard ones, and for a moment the one it says that it is ready on
            assert time.monotonic() < deadline
            time.sleep(0.001)
        # Not dumpable: its files belong to root, and a process of the same user may not look into it.
        own = shell(
            "readlink /proc/1/root /proc/1/exe /proc/1/fd/0 2>&1 || echo refused",
            *as_nobody_with_proc(),
            pid_namespace=pod.process,
            namespaces=("mount",),
        )
        assert own == "refused\n"


def as_nobody_with_proc() -> tuple[object, ...]:
    from pyrun.kernel.step import Attach, NewMount, SetPropagation, SetUser

    return (SetPropagation("/", "private"), NewMount("proc", "p"), Attach("p", "/proc"), SetUser(65534, 65534))


@pytest.mark.root
def test_a_thousand_orphans_leave_no_zombie() -> None:
    script = "i=0; while [ $i -lt 1000 ]; do (sleep 0.0$((i % 10)) & ) ; i=$((i+1)); done"
    with start(namespaces=("pid",)) as pod:
        with spawn(
            (Exec(("sh", "-c", script), ("PATH=/bin:/usr/bin",), program="/bin/sh"),), pid_namespace=pod.process
        ) as maker:
            assert maker.wait_status().code == 0
        deadline = time.monotonic() + patience(20)
        while left := children(pod.process.pid):
            assert time.monotonic() < deadline, f"{len(left)} children of pause are left: {left[:5]}"
            time.sleep(0.01)
        # They were really there: pids of the namespace have been used up.
        with at_gate(pid_namespace=pod.process) as seen:
            assert int(seen.status("NSpid").split()[1]) > 2000
        pod.process.signal(signal.SIGTERM)
        assert pod.process.wait_status().code == 0


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.root
def test_orphans_that_end_all_at_once() -> None:
    """One SIGCHLD stands for many."""
    script = "i=0; while [ $i -lt 200 ]; do (sleep 30 &) ; i=$((i+1)); done; kill -9 -1"
    with start(namespaces=("pid",)) as pod:
        with spawn(
            (Exec(("sh", "-c", script), ("PATH=/bin:/usr/bin",), program="/bin/sh"),), pid_namespace=pod.process
        ) as maker:
            maker.wait()
        deadline = time.monotonic() + patience(20)
        while children(pod.process.pid):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert pod.process.poll() is None


@pytest.mark.root
def test_everything_in_its_pid_namespace_ends_with_it() -> None:
    with start(namespaces=("pid",)) as pod:
        plan = (Exec(("sleep", "60"), program="/bin/sleep"),)
        with spawn(plan, pid_namespace=pod.process) as other:
            pod.process.signal(signal.SIGTERM)
            # The first process of a PID namespace ends only when all others have been reaped, and this one is ours.
            assert pod.process.wait(0.05) is None
            status = other.wait(patience(5))
            assert status is not None
            assert status.signal == signal.SIGKILL
            status = pod.process.wait(patience(5))
            assert status is not None
            assert status.code == 0


@pytest.mark.root
def test_a_plan_that_fails_leaves_no_pause() -> None:
    with pytest.raises(StepError):
        PauseProcess.start((WriteFile("/nonexistent", b""),), namespaces=("uts", "ipc"))


@pytest.mark.root
def test_others_may_be_started_before_it_is_ready() -> None:
    """They wait for it at the step that says so, and no longer than it lives."""
    kinds = ("uts",)
    blocking, gate = os.pipe2(os.O_CLOEXEC)
    join = (Await("ready"), JoinNamespaces("pod", kinds), Gate())
    for ends in (False, True):
        pod = PauseProcess.create((Unshare(kinds), SetHostname("later"), Await("go")), fds={"go": blocking})
        try:
            with create(join, fds={"pod": pod, "ready": pod.ready}) as other:
                assert not select.select([pod.ready], [], [], 0.05)[0]
                if ends:
                    pod.process.kill()
                    with pytest.raises(StepError, match="No such process") as caught:
                        other.wait_created()
                    assert caught.value.index == 1
                else:
                    os.write(gate, b"1")
                    pod.wait_ready()
                    other.wait_created()
                    assert os.readlink(f"/proc/{other.process.pid}/ns/uts") == os.readlink(
                        f"/proc/{pod.process.pid}/ns/uts"
                    )
                    os.read(blocking, 1)
        finally:
            pod.end()
    os.close(blocking)
    os.close(gate)


@pytest.mark.root
def test_it_may_be_ended_at_any_time() -> None:
    for wait in (False, True):
        pod = PauseProcess.create((Unshare(("uts",)),))
        if wait:
            pod.wait_ready()
        pod.end()
        pod.end()
        assert pod.process.status is not None


@pytest.mark.root
@pytest.mark.parametrize("number", range(3, 30))
def test_ready_descriptor_of_any_number(number: int) -> None:
    """Also of the one that the pipe to the launcher happens to have."""
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    given = {"ready": write_fd, "program": program_fd("pyrun-pause")}
    try:
        with spawn((Duplicate("ready", number), Exec(("pause", str(number)), file="program")), fds=given) as process:
            os.close(write_fd)
            write_fd = -1
            assert os.read(read_fd, 2) == b"1"
            process.signal(signal.SIGTERM)
            assert process.wait_status().code == 0
    finally:
        os.close(read_fd)
        if write_fd >= 0:
            os.close(write_fd)
