"""A runtime that is killed leaves something that ``delete --force`` removes, and any number of them at once do no harm."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from fixtures.machine import open_files, patience
from fixtures.oci_command import PYRUN_OCI, OciRuntime, wait_until

pytestmark = pytest.mark.root

# Stands before the command: after so many lines of ours in a file of ours it is killed, as by kill -9 from outside, but at every
# moment and not only at those that the clock happens to hit.
KILLED_AFTER = """
import os, signal, sys
left = [int(sys.argv.pop(1))]
def trace(frame, event, arg):
    name = frame.f_code.co_filename
    if not name.endswith(("/oci/launch.py", "/oci/new_cgroup.py", "/oci/store.py", "/kernel/door.py", "/kernel/spawn.py")):
        return None
    if event == "line" and frame.f_code.co_name != "<module>":
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return trace
sys.settrace(trace)
from pyrun_runtime.oci.main import main
main()
"""


def create_and_die(runtime: OciRuntime, lines: int, *options: str) -> int:
    """The status of a ``create`` that is killed after so many lines."""
    words = runtime.command(*options, "create", "--bundle", runtime.bundle, "box")[len(PYRUN_OCI) :]
    command = [sys.executable, "-c", KILLED_AFTER, str(lines), *words]
    with (runtime.top / "output").open("ab") as output:
        return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False).returncode


def processes_of(runtime: OciRuntime) -> list[str]:
    """Whoever runs the plan or the program of a container of this runtime: it holds a FIFO, or has the root."""
    found = []
    for pid in [name for name in os.listdir("/proc") if name.isdigit()]:
        try:
            targets = [*open_files(int(pid)), os.readlink(f"/proc/{pid}/root")]
        except OSError:
            continue
        if any(target.startswith(str(runtime.root)) for target in targets):
            found.append(pid)
    return found


@pytest.mark.parametrize("manager", ["cgroupfs", "disabled"])
def test_killed_at_any_moment_of_create(runtime: OciRuntime, manager: str) -> None:
    """Each moment is a line of the runtime's; of several hundred some twenty are tried, the first and the last among them."""
    runtime.configure("/bin/sleep", "60", hooks={"createRuntime": [{"path": "/bin/true"}]})
    options = ("--cgroup-manager", manager)
    last = find_last_line(runtime, *options)
    assert last > 100
    for lines in sorted({*range(1, last, last // 20), last}):
        status = create_and_die(runtime, lines, *options)
        assert status == -signal.SIGKILL, (lines, runtime.output())
        runtime.ok("list")
        runtime.ok("delete", "--force", "box")
        wait_until(lambda: not processes_of(runtime))
        assert runtime.left() == [], lines


def find_last_line(runtime: OciRuntime, *options: str) -> int:
    """How many lines a whole ``create`` has, by halving."""
    low, high = 1, 512
    while create_and_die(runtime, high, *options):
        runtime.ok("delete", "--force", "box")
        low, high = high, high * 2
    runtime.ok("delete", "--force", "box")
    while high - low > 4:
        middle = (low + high) // 2
        low, high = (middle, high) if create_and_die(runtime, middle, *options) else (low, middle)
        runtime.ok("delete", "--force", "box")
    return low


def test_killed_while_a_hook_runs(runtime: OciRuntime) -> None:
    script = f"echo $$ >{runtime.top}/hook; exec sleep 60"
    runtime.configure("/bin/sleep", "60", hooks={"prestart": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]})
    with subprocess.Popen(runtime.command("create", "-b", runtime.bundle, "box"), stderr=subprocess.DEVNULL) as create:
        wait_until(lambda: (runtime.top / "hook").exists() and bool((runtime.top / "hook").read_text()))
        assert runtime.status() == "creating"
        create.kill()
    os.kill(int((runtime.top / "hook").read_text()), signal.SIGKILL)
    wait_until(lambda: runtime.status() == "stopped")  # the process ends with whoever was to let it go on
    runtime.ok("delete", "box")
    assert runtime.left() == []


def test_killed_while_it_stands_in_front(runtime: OciRuntime) -> None:
    """The container runs on, and is known."""
    runtime.configure("/bin/sleep", "60")
    with subprocess.Popen(runtime.command("run", "-b", runtime.bundle, "box")) as process:
        wait_until(lambda: "box" in runtime.ok("list", "-q") and runtime.status() == "running")
        process.kill()
    assert runtime.status() == "running"
    runtime.ok("delete", "--force", "box")
    assert runtime.left() == []


def test_fifty_at_once_on_one_container(runtime: OciRuntime) -> None:
    """Every one says how it went; none sees half a container; and after all the container can still be deleted."""
    runtime.configure("/bin/sh", "-c", "trap : USR1; while :; do sleep 0.05; done")
    runtime.create()
    verbs = [("start", "box"), ("state", "box"), ("kill", "box", "USR1"), ("exec", "box", "true"), ("list",)]
    ends = run_at_once(runtime, [random.choice(verbs) for _ in range(49)] + [("start", "box")])
    assert [out for words, status, out in ends if words == ("start", "box") and status == 0] == [""]
    check_ends(ends)
    assert runtime.status() == "running"
    runtime.ok("delete", "--force", "box")


def test_fifty_at_once_while_it_is_deleted(runtime: OciRuntime) -> None:
    runtime.configure("/bin/sh", "-c", "while :; do sleep 0.05; done")
    runtime.create()
    runtime.ok("start", "box")
    verbs = [
        ("delete", "--force", "box"),
        ("state", "box"),
        ("kill", "box", "KILL"),
        ("exec", "box", "true"),
        ("list",),
    ]
    check_ends(run_at_once(runtime, [random.choice(verbs) for _ in range(49)] + [verbs[0]]))
    assert runtime.left() == []


def test_of_many_that_create_one_container_one_does(runtime: OciRuntime) -> None:
    runtime.configure("/bin/sleep", "60")
    ends = run_at_once(runtime, [("create", "--bundle", str(runtime.bundle), "box")] * 10)
    assert sorted(status for _, status, _ in ends) == [0] + [1] * 9
    check_ends(ends)
    assert runtime.status() == "created"


Ends = list[tuple[tuple[str, ...], int, str]]


def run_at_once(runtime: OciRuntime, commands: list[tuple[str, ...]]) -> Ends:
    """What each said and how it ended; their output goes to files, which a container that they make may keep open."""
    running = []
    for i, words in enumerate(commands):
        with (runtime.top / f"said-{i}").open("wb") as said:
            running.append(
                subprocess.Popen(runtime.command(*words), stdin=subprocess.DEVNULL, stdout=said, stderr=said)
            )
    deadline = time.monotonic() + patience(120)
    ends = []
    for i, (words, process) in enumerate(zip(commands, running, strict=True)):
        status = process.wait(deadline - time.monotonic())
        ends.append((words, status, (runtime.top / f"said-{i}").read_text()))
    return ends


def check_ends(ends: Ends) -> None:
    known = (
        "does not exist",
        "container not running",
        "is stopped",
        "must be created",
        "already exists",
        "in use by others",
    )
    known += ("the process has ended", "in use by other processes", "signal SIGKILL before its program ran")
    for words, status, said in ends:
        assert status in (0, 1, 255), (words, said)
        assert not {"Traceback", "unexpected"} & set(said.split()), (words, said)
        assert status == 0 or any(text in said for text in known), (words, said)
