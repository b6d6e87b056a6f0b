"""kernel/process.py: a child and how it ended."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import selectors
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.machine import patience
from pyrun.errors import KernelError, StateError
from pyrun.kernel.process import ExitStatus, Process
from pyrun.kernel.spawn import spawn
from pyrun.kernel.step import Exec

pytestmark = pytest.mark.root


def sh(script: str) -> Process:
    return spawn((Exec(("sh", "-c", script), ("PATH=/bin:/usr/bin",), program="/bin/sh"),))


@pytest.mark.parametrize("code", [0, 1, 2, 126, 127, 128, 255])
def test_exit_code(code: int) -> None:
    with sh(f"exit {code}") as process:
        status = process.wait()
        assert status == process.wait() == process.poll(), "asked again it says the same"
    assert status is not None
    assert (status.code, status.signal, status.exit_code, status.core_dumped) == (code, None, code, False)
    assert status.describe() == f"exit code {code}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGUSR1, signal.SIGRTMIN + 3])
def test_ended_by_a_signal(number: int) -> None:
    with sh(f"ulimit -c 0; kill -{int(number)} $$; sleep 5") as process:
        status = process.wait_status()
    assert (status.code, status.signal, status.exit_code) == (None, number, 128 + number)
    assert status.describe().startswith("signal ")


def test_names_of_signals() -> None:
    assert ExitStatus(None, 9).describe() == "signal SIGKILL"
    assert ExitStatus(None, 6, core_dumped=True).describe() == "signal SIGABRT (core dumped)"
    assert ExitStatus(None, 250).describe() == "signal 250"


def test_poll_and_wait_with_a_limit() -> None:
    with sh("sleep 60") as process:
        assert process.poll() is None
        begin = time.monotonic()
        assert process.wait(0.05) is None
        assert process.wait(0) is None
        assert process.wait(-1) is None
        assert 0.05 <= time.monotonic() - begin < patience(5)
        assert process.signal(signal.SIGTERM)
        status = process.wait(patience(5))
        assert status is not None
        assert status.signal == signal.SIGTERM


def test_signal_to_one_that_is_gone() -> None:
    with sh("exit 0") as process:
        select.select([process], [], [])
        assert process.signal(0) in (True, False)  # a zombie
        process.wait()
        assert not process.signal(signal.SIGTERM)
        assert not process.kill()


def test_wrong_signal() -> None:
    with sh("sleep 60") as process, pytest.raises(KernelError) as caught:
        process.signal(999)
    assert (caught.value.call, caught.value.errno) == ("pidfd_send_signal(2)", errno.EINVAL)


def test_with_ends_what_still_runs() -> None:
    with sh("trap '' TERM INT; sleep 60") as process:
        pid = process.pid
    assert not os.path.exists(f"/proc/{pid}")
    process.end()
    process.close()
    assert process.wait_status().signal == signal.SIGKILL, "known after the end, too"


def test_closed_without_an_end() -> None:
    process = sh("exit 3")
    pid = process.pid
    process.close()
    process.close()
    with pytest.raises(StateError):
        process.poll()
    with pytest.raises(StateError):
        process.fileno()
    assert os.waitpid(pid, 0)[1] == 3 << 8


def test_cpu_time_is_that_of_the_process_and_its_children() -> None:
    with sh(
        "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; (while [ $i -lt 120000 ]; do i=$((i+1)); done)"
    ) as process:
        status = process.wait_status()
    assert status.user_s > 0.01
    assert status.cpu_s == pytest.approx(status.user_s + status.system_s)


def test_peak_memory_is_never_too_small() -> None:
    """The kernel counts the launcher's peak as the child's (both share memory until the exec), so it is an upper bound."""
    with sh("exit 0") as process:
        assert process.wait_status().max_rss_bytes > 100_000


def test_in_a_selector() -> None:
    with selectors.DefaultSelector() as selector, sh("sleep 0.1; exit 4") as process:
        selector.register(process, selectors.EVENT_READ)
        assert not selector.select(0)
        assert selector.select(patience(5))[0][0].fileobj is process
        status = process.poll()
        assert status is not None
        assert status.code == 4


def test_in_asyncio() -> None:
    async def wait(process: Process) -> int | None:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(process, ended.set)
        await asyncio.wait_for(ended.wait(), patience(5))
        loop.remove_reader(process)
        status = process.poll()
        return status.code if status else None

    with sh("sleep 0.1; exit 5") as process:
        assert asyncio.run(wait(process)) == 5


def test_signals_to_the_launcher_do_not_end_the_wait() -> None:
    rung: list[int] = []
    old = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        with sh("sleep 0.15; exit 6") as process:
            assert process.wait(patience(5)) == process.wait()
            assert process.wait_status().code == 6
        with sh("sleep 0.15; exit 7") as process:
            assert process.wait_status().code == 7
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert rung


def test_an_exception_in_a_signal_handler_comes_through() -> None:
    """Ctrl-C while waiting."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        with sh("sleep 60") as process:
            for wait in (process.wait, lambda: process.wait(60)):
                signal.setitimer(signal.ITIMER_REAL, 0.1)
                with pytest.raises(KeyboardInterrupt):
                    wait()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def test_many_threads_wait_for_one_process() -> None:
    def attempt(call: Callable[[], ExitStatus | None]) -> None:
        try:
            results.append(call())
        except BaseException as error:
            results.append(error)

    for _ in range(10):
        results: list[object] = []
        with sh("sleep 0.05; exit 9") as process:
            calls = [process.wait, lambda: process.wait(10), process.wait_status, process.wait]
            threads = [threading.Thread(target=attempt, args=(call,)) for call in calls]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert results == [process.poll()] * len(calls)


def test_the_same_pid_again_is_another_process() -> None:
    """What a pidfd is for: nothing is sent to whoever has the pid now."""
    with sh("exit 0") as process:
        process.wait()
        with sh("sleep 60") as other:
            assert not process.kill()
            assert other.poll() is None


# ---- traced ----------------------------------------------------------------------------------------------------------

TRACE_ME, SEIZE = 0, 0x4206
PTRACE = "import ctypes, os, signal, sys, time; ptrace = ctypes.CDLL(None, use_errno=True).ptrace; "


def python(script: str, *arguments: str) -> Process:
    return spawn((Exec((sys.executable, "-c", PTRACE + script, *arguments), program=sys.executable),))


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def wait_for_state(pid: int, state: str) -> None:
    deadline = time.monotonic() + patience(10)
    while state_of(pid) != state:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_child_that_asks_us_to_trace_it_and_stops_has_not_ended() -> None:
    """waitid(2) tells of its stop, asked or not."""
    with python(f"ptrace({TRACE_ME}, 0, 0, 0); os.kill(os.getpid(), signal.SIGUSR1); time.sleep(60)") as process:
        wait_for_state(process.pid, "t")
        assert process.poll() is None
        assert process.wait(0.05) is None
        assert process.kill()
        assert process.wait_status().signal == signal.SIGKILL


def test_a_child_whose_tracer_has_not_waited_for_it_yet() -> None:
    """It has ended, its pidfd says so, and it is not ours to reap before the tracer has."""
    with sh("sleep 60") as process:
        tracer = python(f"assert ptrace({SEIZE}, int(sys.argv[1]), 0, 0) == 0; time.sleep(60)", str(process.pid))
        with tracer:
            deadline = time.monotonic() + patience(10)
            while f"TracerPid:\t{tracer.pid}\n" not in Path(f"/proc/{process.pid}/status").read_text():
                assert time.monotonic() < deadline
                time.sleep(0.005)
            process.kill()
            wait_for_state(process.pid, "Z")
            assert process.wait(0.05) is None
        assert process.wait_status().signal == signal.SIGKILL
