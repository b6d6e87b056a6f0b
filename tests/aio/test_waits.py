"""pyrun.aio: processes, pods and drivers awaited in one loop, with nothing left in it."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import pyrun
from fixtures.machine import patience
from fixtures.pods import FOREVER, created, host_path, mount, pod_spec, running, shell
from pyrun import aio, steps
from pyrun.kernel.process import Process
from pyrun.pod.driver import Driver

pytestmark = pytest.mark.root

STRACE_LIKE = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
pid = int(sys.argv[1])
PTRACE_SEIZE, WNOWAIT = 0x4206, 0x01000000
if libc.ptrace(PTRACE_SEIZE, pid, None, None):
    sys.exit("seize: " + os.strerror(ctypes.get_errno()))
print("traced", flush=True)
sys.stdin.read()  # the traced one ends meanwhile, and we do not wait for it
"""


def sleeper(script: str = FOREVER) -> Process:
    return pyrun.spawn((steps.Exec(("sh", "-c", script), program="/bin/sh"),))


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    """*main* in a loop of its own, which must not hold more afterwards than it did before."""

    async def bounded() -> Any:
        loop = asyncio.get_running_loop()
        before = registered(loop)
        async with asyncio.timeout(patience(60)):
            result = await main()
        assert registered(loop) == before
        return result

    return asyncio.run(bounded())


def registered(loop: asyncio.AbstractEventLoop) -> set[int]:
    return set(loop._selector.get_map())  # type: ignore[attr-defined]


async def turns() -> None:
    """Let all others come to where they wait."""
    for _ in range(5):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.002)


# ---- processes -------------------------------------------------------------------------------------------------------


def test_a_process_is_awaited_by_many() -> None:
    async def main() -> None:
        with sleeper() as process:
            waits = [asyncio.create_task(aio.wait_process(process)) for _ in range(5)]
            await turns()
            process.kill()
            statuses = await asyncio.gather(*waits)
            assert {status.signal for status in statuses} == {signal.SIGKILL}
            assert await aio.wait_process(process) is statuses[0]

    run(main)


def test_a_cancelled_wait_leaves_the_process() -> None:
    async def main() -> None:
        with sleeper() as process:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await aio.wait_process(process)
            assert process.poll() is None
            process.signal(signal.SIGTERM)
            assert (await aio.wait_process(process)).signal == signal.SIGTERM

    run(main)


def test_a_process_that_is_closed() -> None:
    async def main() -> None:
        process = sleeper()
        with Process(process.pid, pyrun.Fd.adopt(os.dup(process.fileno()))) as other:
            wait = asyncio.create_task(aio.wait_process(process))
            await turns()
            process.close()
            other.kill()
            with pytest.raises(pyrun.StateError, match="closed"):
                await wait
            with pytest.raises(pyrun.StateError, match="closed"):
                await aio.wait_process(process)

    run(main)


def test_a_loop_that_is_closed_under_a_wait() -> None:
    with sleeper() as process:
        loop = asyncio.new_event_loop()
        wait = aio.wait_process(process)
        task = loop.create_task(wait)
        loop.run_until_complete(turns())
        task.cancel()
        loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        loop.close()
        assert task.cancelled()
        assert asyncio.run(aio.wait_process(sleeper_end(process))).signal == signal.SIGKILL


def sleeper_end(process: Process) -> Process:
    process.kill()
    return process


def test_no_descriptor_left_is_an_error_of_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(_fd: int) -> int:
        raise OSError(24, "Too many open files")

    async def main() -> None:
        with sleeper() as process:
            monkeypatch.setattr(os, "dup", none_left)
            with pytest.raises(pyrun.KernelError, match="EMFILE"):
                await aio.wait_process(process)
            monkeypatch.undo()

    run(main)


class Tracer:
    """Traces *pid* until the end of the block, and waits for nobody: the traced one, ended, is not its parent's to reap."""

    def __init__(self, pid: int) -> None:
        command = [sys.executable, "-ISc", STRACE_LIKE, str(pid)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "traced\n"

    def end(self) -> None:
        self.process.communicate()


@pytest.mark.parametrize("what", ["process", "pod", "driver"])
def test_a_traced_process_is_no_busy_loop(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pidfd is readable, and nobody may reap it until its tracer has."""
    polls = 0
    poll = Process.poll

    def counted(self: Process) -> object:
        nonlocal polls
        polls += 1
        return poll(self)

    async def main() -> None:
        with running_or_driven(what, tmp_path) as (process, wait):
            tracer = Tracer(process.pid)
            try:
                task = asyncio.ensure_future(wait)
                await turns()
                monkeypatch.setattr(Process, "poll", counted)
                process.kill()
                await asyncio.sleep(0.3)
                assert not task.done()
            finally:
                tracer.end()
            await task
        assert polls < 400, polls  # 30 looks, of several processes; a busy loop has many thousands

    run(main)


class running_or_driven:
    """The first process, and an awaitable of its end, of what *what* says."""

    def __init__(self, what: str, top: Path) -> None:
        self.what = what
        self.top = top
        self.stack = ExitStack()

    def __enter__(self) -> tuple[Process, Awaitable[object]]:
        if self.what == "process":
            process = self.stack.enter_context(sleeper())
            return process, aio.wait_process(process)
        if self.what == "pod":
            pod = self.stack.enter_context(running(pod_spec(shell(FOREVER)), self.top)).pod
            return pod.containers["main"].process, aio.wait_pod(pod)
        pod = self.stack.enter_context(created(pod_spec(shell(FOREVER)), self.top)).pod
        driver = Driver(pod)
        driver.begin()
        return pod.containers["main"].process, aio.drive(driver)

    def __exit__(self, *_error: object) -> None:
        self.stack.close()


# ---- pods ------------------------------------------------------------------------------------------------------------


def test_ends_come_in_their_order(tmp_path: Path) -> None:
    """Each ends when the one before has been told."""
    names = ("b", "c", "a")
    mounts = [mount("top", "/top")]
    scripts = {name: f"until [ -e /top/{name} ]; do sleep 0.01; done; exit {i}" for i, name in enumerate(names)}
    containers = [shell(scripts[name], name, volumeMounts=mounts) for name in sorted(names)]

    async def main() -> list[tuple[str, int]]:
        told = []
        with running(pod_spec(*containers, volumes=[host_path("top", tmp_path)]), tmp_path) as it:
            (tmp_path / "b").touch()
            async for status in aio.pod_ends(it.pod):
                told.append((status.name, status.exit.exit_code))
                for name in names[len(told) : len(told) + 1]:
                    (tmp_path / name).touch()
        return told

    assert run(main) == [("b", 0), ("c", 1), ("a", 2)]


def test_a_pod_is_awaited_twice_and_after_its_end(tmp_path: Path) -> None:
    async def main() -> None:
        with running(pod_spec(shell("exit 3", "a"), shell("sleep 0.1", "b")), tmp_path) as it:
            one, other = await asyncio.gather(aio.wait_pod(it.pod), aio.wait_pod(it.pod))
            assert one == other == await aio.wait_pod(it.pod) == it.pod.wait()
            assert [one[name].exit.exit_code for name in ("a", "b")] == [3, 0]

    run(main)


def test_a_pod_that_is_removed_meanwhile_has_ended(tmp_path: Path) -> None:
    async def main() -> None:
        with running(pod_spec(shell(FOREVER)), tmp_path) as it:
            wait = asyncio.create_task(aio.wait_pod(it.pod))
            await turns()
            it.pod.remove()
            assert (await wait)["main"].exit.signal == signal.SIGKILL
            assert (await aio.stop_pod(it.pod))["main"].exit.signal == signal.SIGKILL

    run(main)


def test_a_pod_that_is_removed_by_a_thread(tmp_path: Path) -> None:
    async def main() -> None:
        with running(pod_spec(shell(FOREVER)), tmp_path) as it:
            wait = asyncio.create_task(aio.wait_pod(it.pod))
            await turns()
            await asyncio.to_thread(it.pod.remove)
            assert (await wait)["main"].exit.signal == signal.SIGKILL

    run(main)


def test_a_wait_that_is_left_in_the_middle(tmp_path: Path) -> None:
    async def main() -> None:
        with running(pod_spec(shell("exit 1", "a"), shell(FOREVER, "b")), tmp_path) as it:
            ends = aio.pod_ends(it.pod)
            assert (await anext(ends)).name == "a"
            await ends.aclose()
            assert it.pod.listeners == set()
            wait = asyncio.create_task(aio.wait_pod(it.pod))
            await turns()
            wait.cancel()
            assert (await asyncio.gather(wait, return_exceptions=True))[0].__class__ is asyncio.CancelledError
            assert it.pod.listeners == set()
            assert it["b"].poll() is None

    run(main)


def test_a_program_that_was_executed_meanwhile_holds_nobody_up(tmp_path: Path) -> None:
    """PID 1 of a container ends when what was executed there is reaped, and who executed it may have let go of it."""

    async def main() -> None:
        with running(pod_spec(shell("trap 'exit 5' TERM; while :; do sleep 0.01; done")), tmp_path) as it:
            wait = asyncio.create_task(aio.wait_pod(it.pod))
            await turns()
            it["main"].exec(["sleep", "1000"]).close()
            await turns()
            it["main"].process.signal(signal.SIGTERM)
            assert (await wait)["main"].exit.code == 5

    run(main)


@pytest.mark.parametrize(
    ("script", "grace_s", "code"),
    [
        pytest.param("trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done", 20, 7, id="hears"),
        pytest.param("trap '' TERM; echo up; while :; do sleep 0.01; done", 0.05, 137, id="deaf"),
        pytest.param("trap '' TERM; echo up; while :; do sleep 0.01; done", 0, 137, id="no-grace"),
    ],
)
def test_stop(tmp_path: Path, script: str, grace_s: float, code: int) -> None:
    async def main() -> None:
        with running(pod_spec(shell(script)), tmp_path) as it:
            await until(lambda: "up" in it.read())
            assert (await aio.stop_pod(it.pod, grace_s))["main"].exit.exit_code == code

    run(main)


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 8192), max(hard, 8192)))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
def test_two_hundred_pods_in_one_loop(tmp_path: Path) -> None:
    """Half of them awaited, half of them driven; they end all at once, and the loop goes on meanwhile."""
    spec = pod_spec(shell("read go || exit 4"))

    def wait_for(pod: pyrun.Pod, driven: bool) -> Awaitable[object]:
        if not driven:
            pod.start()
            return aio.wait_pod(pod)
        driver = Driver(pod)
        driver.begin()
        return aio.drive(driver)

    async def main() -> None:
        reading, writing = os.pipe()
        null = os.open(os.devnull, os.O_RDWR)
        turned = 0
        with ExitStack() as stack:
            stack.callback(os.close, reading)
            stack.callback(os.close, null)
            how: dict[str, Any] = {"stdio": lambda _name: (reading, null, null)}
            pods = [
                stack.enter_context(pyrun.Pod.create(spec, directory=str(tmp_path / str(i)), **how)) for i in range(200)
            ]
            waits = [asyncio.ensure_future(wait_for(pod, i % 2 == 0)) for i, pod in enumerate(pods)]
            await turns()
            os.close(writing)
            while not all([wait.done() for wait in waits]):
                await asyncio.sleep(0)
                turned += 1
            await asyncio.gather(*waits)
            statuses = [pod.containers["main"].status for pod in pods]
            assert [status.exit.exit_code for status in statuses if status is not None] == [4] * 200
            assert turned > 1

    run(main)


# ---- drivers ---------------------------------------------------------------------------------------------------------


def test_a_driven_pod_restarts_and_ends(tmp_path: Path) -> None:
    told: list[str] = []
    spec = pod_spec(
        shell("[ -e /v/once ] || { : >/v/once; exit 1; }", volumeMounts=[{"name": "v", "mountPath": "/v"}]),
        initContainers=[shell("true", "first")],
        restartPolicy="OnFailure",
        volumes=[{"name": "v", "emptyDir": {"medium": "Memory"}}],
    )

    async def main() -> None:
        with created(spec, tmp_path) as it:
            driver = Driver(it.pod, lambda action, _at_s: told.append(action.reason))
            driver.begin()
            await aio.drive(driver)
            assert driver.over
            assert driver.life.containers["main"].restart_count == 1

    run(main)
    assert told.count("Started") == 3


@pytest.mark.parametrize("lifecycle", [{}, {"preStop": {"exec": {"command": ["true"]}}}], ids=["plain", "preStop"])
def test_a_driver_is_stopped_by_another_task(tmp_path: Path, lifecycle: dict[str, Any]) -> None:
    """The grace period is a timer, and preStop a program, of which the loop that sleeps did not know."""
    spec = pod_spec(
        shell("trap '' TERM; while :; do sleep 0.01; done", lifecycle=lifecycle), terminationGracePeriodSeconds=1
    )

    async def main() -> None:
        with created(spec, tmp_path) as it:
            driver = Driver(it.pod)
            driver.begin()
            task = asyncio.create_task(aio.drive(driver))
            await turns()
            driver.stop()
            await task
            assert driver.over
            assert it["main"].status is not None
            assert it["main"].status.exit.signal == signal.SIGKILL

    run(main)


def test_a_cancelled_driver_is_driven_on(tmp_path: Path) -> None:
    async def main() -> None:
        with created(pod_spec(shell(FOREVER)), tmp_path) as it:
            driver = Driver(it.pod)
            driver.begin()
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await aio.drive(driver)
            assert it.pod.listeners == set()
            assert driver.running == ["main"]
            it["main"].process.kill()
            await aio.drive(driver)
            assert driver.over

    run(main)


def test_a_driver_whose_pod_is_removed(tmp_path: Path) -> None:
    async def main() -> None:
        with created(pod_spec(shell(FOREVER), restartPolicy="Always"), tmp_path) as it:
            driver = Driver(it.pod)
            driver.begin()
            task = asyncio.create_task(aio.drive(driver))
            await turns()
            it.pod.remove()
            with pytest.raises(pyrun.StateError, match="pod test is removed"):
                await task
            with pytest.raises(pyrun.StateError, match="pod test is removed"):
                await aio.drive(driver)

    run(main)


def test_an_ephemeral_container_and_a_program_in_it_while_it_is_driven(tmp_path: Path) -> None:
    spec = pod_spec(shell(FOREVER))
    more = pyrun.with_ephemeral(spec, {"name": "debug", "image": "host:", "command": ["true"]}).ephemeral_containers[0]
    told: list[tuple[str, str]] = []

    async def main() -> None:
        with created(spec, tmp_path, stdio=lambda _name: (null, null, null)) as it:
            driver = Driver(it.pod, lambda action, _at_s: told.append((action.reason, action.container)))
            driver.begin()
            task = asyncio.create_task(aio.drive(driver))
            await turns()
            driver.add_ephemeral(more)
            await until(lambda: "debug" not in driver.running)
            with it["main"].exec(["sh", "-c", "exit 6"]) as process:
                assert (await aio.wait_process(process)).code == 6
            driver.stop(0)
            await task

    null = os.open(os.devnull, os.O_RDWR)
    try:
        run(main)
    finally:
        os.close(null)
    assert ("Started", "debug") in told


def test_what_tell_raises_comes_out(tmp_path: Path) -> None:
    def tell(_action: object, _at_s: float) -> None:
        raise ZeroDivisionError

    async def main() -> None:
        with created(pod_spec(shell(FOREVER)), tmp_path) as it:
            driver = Driver(it.pod, tell)
            driver.begin()
            await aio.drive(driver)

    with pytest.raises(ZeroDivisionError):
        run(main)


# ---- commands --------------------------------------------------------------------------------------------------------


def test_a_command_and_its_errors() -> None:
    async def main() -> None:
        outcome = await aio.run(["sh", "-c", "exit 9"])
        assert (outcome.exit.code, outcome.timed_out) == (9, False)
        outcome = await aio.run(["sleep", "1000"], timeout_s=0.05)
        assert (outcome.exit.signal, outcome.timed_out) == (signal.SIGKILL, True)
        with pytest.raises(pyrun.ExecError):
            await aio.run(["no-such-program"])

    run(main)


def test_a_cancelled_command_is_gone() -> None:
    name = f"pyrun/test-{os.urandom(4).hex()}"

    async def main() -> None:
        task = asyncio.create_task(aio.run(["sleep", "1000"], cgroup=name))
        await turns()
        assert os.path.isdir(f"{pyrun.find_cgroup_root()}/{name}")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not os.path.exists(f"{pyrun.find_cgroup_root()}/{name}")

    run(main)


def test_commands_at_the_same_time() -> None:
    async def main() -> list[int | None]:
        outcomes = await asyncio.gather(*[aio.run(["sh", "-c", f"exit {i}"]) for i in range(20)])
        return [outcome.exit.code for outcome in outcomes]

    assert run(main) == list(range(20))
