"""What does it cost to start a process, and does it depend on the size of the parent?"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

import pyrun
from pyrun import steps

TRUE = "/bin/true"


def cases() -> dict[str, Callable[[], object]]:
    ballast = bytearray(500 << 20)
    for page in range(0, len(ballast), 4096):
        ballast[page] = 1
    return {
        "os.posix_spawn": _posix_spawn,
        "subprocess.run": lambda: subprocess.run([TRUE], check=True),
        "pyrun.spawn": lambda: _spawn(()),
        "pyrun.spawn, 5 new namespaces": lambda: _spawn(pyrun.NEW_NAMESPACES),
        "fork and exec": _fork,
        "(500 MB are held throughout)": lambda: ballast[0],
    }


def _posix_spawn() -> None:
    os.waitpid(os.posix_spawn(TRUE, [TRUE], {}), 0)


def _spawn(namespaces: tuple[str, ...]) -> None:
    with pyrun.spawn([steps.Exec((TRUE,), program=TRUE)], namespaces=namespaces) as process:
        process.wait()


def _fork() -> None:
    pid = os.fork()
    if pid == 0:
        os.execv(TRUE, [TRUE])
    os.waitpid(pid, 0)
