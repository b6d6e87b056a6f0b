"""Whole processes, as a user's shell would start them, and with as little of our own time as can be."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence

from bench.rounds import CaseFailed

QUIET = [
    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
]
LONGEST_S = 60


def run(argv: Sequence[str]) -> None:
    """Run *argv* to its end, its output thrown away. posix_spawn(3) and wait, nothing else, because this is what is measured."""
    pid = os.posix_spawn(argv[0], list(argv), os.environ, file_actions=QUIET)
    _, status = os.waitpid(pid, 0)
    if status:
        raise CaseFailed(f"'{' '.join(argv)}' ended with status {os.waitstatus_to_exitcode(status)}")


def attempt(argv: Sequence[str]) -> str:
    """Run *argv* once, unmeasured, and return what it printed. What it said in failing is the text of the CaseFailed.

    Its output goes to a file: a program that leaves a process behind would keep a pipe open.
    """
    with tempfile.TemporaryFile() as output:
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=LONGEST_S, check=False
            )
        except FileNotFoundError:
            raise CaseFailed(f"{argv[0]} is not installed") from None
        except subprocess.TimeoutExpired:
            raise CaseFailed(f"{argv[0]} did not end within {LONGEST_S} s") from None
        output.seek(0)
        text = output.read().decode(errors="replace").strip()
    if done.returncode:
        last = text.splitlines()[-1] if text else f"status {done.returncode}"
        raise CaseFailed(f"{os.path.basename(argv[0])}: {last[:200]}")
    return text
