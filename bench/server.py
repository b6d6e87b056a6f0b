"""Processes that answer over a pipe: the limit's ``serve``, and Python processes of a given size that use the library.

What is measured of a library is measured inside such a process, so that the benchmark itself, with its plots and tables,
may be as big as it likes.
"""

from __future__ import annotations

import json
import os
import select
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.manifest import TRUE
from bench.rounds import CaseFailed
from bench.world import LIMIT_GROUP, World, remove_group

ROOT = Path(__file__).parents[1]
PATIENCE_S = 120
STAMP = struct.Struct("=Q")


class Server:
    """A child that reads a line and answers with one."""

    def __init__(self, argv: Sequence[str], pass_fds: Sequence[int] = ()) -> None:
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=pass_fds, cwd=ROOT
        )
        self.pid = self._process.pid
        self._stdin: Any = self._process.stdin
        self._stdout: Any = self._process.stdout

    def ask(self, line: str) -> str:
        self.send(line)
        return self.receive()

    def send(self, line: str) -> None:
        try:
            self._stdin.write(f"{line}\n".encode())
            self._stdin.flush()
        except BrokenPipeError:
            raise CaseFailed(f"process {self.pid} is gone") from None

    def receive(self) -> str:
        if not select.select([self._stdout], [], [], PATIENCE_S)[0]:
            self._process.kill()
            raise CaseFailed(f"no answer within {PATIENCE_S} s")
        answer: bytes = self._stdout.readline()
        if not answer:
            raise CaseFailed(f"process {self.pid} ended with status {self._process.wait()}")
        return answer.decode()

    def close(self) -> None:
        try:
            self._stdin.close()
        except BrokenPipeError:
            pass
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stdout.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Limit(Server):
    """limit.c. Its answers are moments: the beginning first, then one per name."""

    MOMENTS: Mapping[str, tuple[str, ...]] = {
        "pod": ("created", "running", "exited", "removed"),
        "spawn": ("running", "exited", "removed"),
        "up": ("created", "running"),
        "down": ("removed",),
        "exec": ("running", "exited"),
        "clone": ("running", "exited"),
        "join": ("running", "exited"),
        "hold": ("running", "destroyed"),
    }

    def __init__(self, world: World, program: Sequence[str] = TRUE) -> None:
        self._reading, writing = os.pipe()
        os.set_blocking(self._reading, False)
        super().__init__(world.limit_command("serve", out=writing, program=program), (writing,))
        os.close(writing)
        self._group = world.cgroup / LIMIT_GROUP
        self.pids: list[int] = []

    def do(self, command: str) -> dict[str, float]:
        """Microseconds from the beginning to each moment. After ``up``, ``pids`` has pause's and the containers'."""
        begin, moments = self._moments(command)
        return {name: (moment - begin) / 1000 for name, moment in moments.items()}

    def do_stamped(self, command: str, count: int) -> dict[str, float]:
        """The same, with the moment of the first instruction of the last of *count* containers, whose program is ``stamp``."""
        begin, moments = self._moments(command)
        stamps = os.read(self._reading, count * STAMP.size)
        last = max(stamp for (stamp,) in STAMP.iter_unpack(stamps))
        return {"first instruction": (last - begin) / 1000, **{n: (m - begin) / 1000 for n, m in moments.items()}}

    def wait_for_containers(self, count: int) -> None:
        """Until *count* containers have written the byte that says that all their processes are there."""
        while count > 0:
            if not select.select([self._reading], [], [], PATIENCE_S)[0]:
                raise CaseFailed("a container did not start its processes")
            count -= len(os.read(self._reading, count))

    def _moments(self, command: str) -> tuple[int, dict[str, int]]:
        words = [int(word) for word in self.ask(command).split()]
        names = self.MOMENTS[command.split()[0]]
        self.pids = words[1 + len(names) :]
        return words[0], dict(zip(names, words[1:]))

    def close(self) -> None:
        super().close()
        os.close(self._reading)
        remove_group(self._group)


class Worker(Server):
    """bench/worker.py: a Python process with the library, holding *megabytes* of touched memory, in front of *prefix*."""

    def __init__(self, megabytes: int = 10, prefix: Sequence[str] = ()) -> None:
        super().__init__([*prefix, sys.executable, "-m", "bench.worker", str(megabytes)])

    def do(self, action: str, **arguments: Any) -> Any:
        """What the function of that name in bench/worker.py returns."""
        answer = json.loads(self.ask(json.dumps({"action": action, "arguments": arguments})))
        if "error" in answer:
            raise CaseFailed(f"{action}: {answer['error']}")
        return answer["result"]
