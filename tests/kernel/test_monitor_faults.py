"""Each system call of the monitor fails once: that is told or made good, nothing hangs, and no end of a process is forgotten."""

from __future__ import annotations

import collections
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fixtures.machine import ROOT, in_virtual_machine, patience
from fixtures.oci_command import wait_until

pytestmark = pytest.mark.root

SCENARIO = ROOT / "tests" / "fixtures" / "monitor_scenario.py"
# close(2) gives the descriptor back whatever it says; exit_group(2) does not come back; getpid(2) has no errors.
NEVER = {"close", "getpid", "exit_group", "restart_syscall", "rt_sigreturn", "execve"}
# What a call that can be interrupted says then; the monitor has to begin it again, and nobody to notice.
INTERRUPTED = {"ppoll", "poll", "read", "write", "recvmsg", "sendmsg", "waitid", "openat", "accept4", "fallocate"}
MOST_OF_A_KIND = 1 if in_virtual_machine() else 4


def run(top: Path, *strace: str) -> dict[str, Any]:
    """The scenario with *strace* at the monitor from before its first request on."""
    top.mkdir()
    path = os.pathsep.join([str(ROOT / "tests"), *sys.path])
    pipe = subprocess.PIPE
    command = [sys.executable, SCENARIO, top]
    with subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": path}, stdin=pipe, stdout=pipe, stderr=pipe
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        tracer = subprocess.Popen(["strace", "-p", str(pid), "-o", top / "trace", *strace], stderr=subprocess.DEVNULL)
        with tracer:
            try:
                wait_until(lambda: "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text())
                out, err = process.communicate(b"go\n", timeout=patience(30))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                os.kill(pid, 9)
                return {"errors": [], "problems": ["it hangs"]}
            finally:
                process.kill()
                tracer.terminate()
    assert (process.returncode, err) == (0, b""), err.decode()
    found: dict[str, Any] = json.loads(out)
    return found


def calls_of(top: Path) -> dict[str, int]:
    """How often it makes each call."""
    assert run(top, "-e", "trace=all") == {"errors": [], "problems": []}
    names = re.findall(r"^(\w+)\(", (top / "trace").read_text(), re.MULTILINE)
    return {name: count for name, count in collections.Counter(names).items() if name not in NEVER}


def places(count: int) -> list[int]:
    """Some of so many occurrences, the first and the last among them."""
    if count <= MOST_OF_A_KIND:
        return list(range(1, count + 1))
    return sorted({1 + round(i * (count - 1) / max(1, MOST_OF_A_KIND - 1)) for i in range(MOST_OF_A_KIND)})


def test_each_call_fails_once(tmp_path: Path) -> None:
    calls = calls_of(tmp_path / "whole")
    assert {"ppoll", "recvmsg", "sendmsg", "write", "waitid"} <= set(calls), calls
    wrong = []
    for name, count in sorted(calls.items()):
        for place in places(count):
            told = run(
                tmp_path / f"{name}-{place}", "-e", f"trace={name}", "-e", f"inject={name}:error=ENOMEM:when={place}"
            )
            if told["problems"]:
                wrong.append((name, place, told))
    assert not wrong, "\n".join(map(str, wrong))


def test_each_call_is_interrupted_once(tmp_path: Path) -> None:
    """Nobody notices."""
    calls = calls_of(tmp_path / "whole")
    wrong = []
    for name in sorted(INTERRUPTED & set(calls)):
        for place in places(calls[name]):
            told = run(
                tmp_path / f"{name}-{place}", "-e", f"trace={name}", "-e", f"inject={name}:error=EINTR:when={place}"
            )
            if told["problems"] or told["errors"]:
                wrong.append((name, place, told))
    assert not wrong, "\n".join(map(str, wrong))
