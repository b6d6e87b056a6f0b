"""Hooks and probes while they run: what a driver polls for, and what came of it. Nothing here blocks.

Those that need no network are here; :mod:`pyrun.pod.net_task` has the others, loaded when a pod has one.
"""

from __future__ import annotations

import math
import os
import select

from pyrun.errors import KernelError, PyrunError
from pyrun.kernel.cgroup import Cgroup
from pyrun.kernel.fd import Fd
from pyrun.spec.handler import ExecAction, SleepAction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import TypeAlias

    from pyrun.kernel.process import Process
    from pyrun.pod.container import PodContainer
    from pyrun.pod.pod import Pod
    from pyrun.spec.handler import Handler

    Answer: TypeAlias = tuple[bool, str]  # whether it went well, and what is to be told about it

WHATS = (
    "exec",
    "postStart",
    "preStop",
    "startup",
    "liveness",
    "readiness",
)  # what a program of ours in a container is for
GONE_S = 0.1  # what the killed are waited for; they are gone in less than a hundredth of that
MAX_OUTPUT_BYTES = (
    10 * 1024
)  # of a program or an answer that is kept for the message (k8s.io/kubernetes/pkg/probe, maxReadLength)


class Task:
    """A hook or a probe under way. ``deadline_s`` is on the driver's clock."""

    deadline_s = math.inf

    def interests(self) -> list[tuple[int, int]]:
        """What to poll for, as (descriptor, events)."""
        return []

    def turn(self, ready: Collection[int], now_s: float) -> Answer | None:
        """Go on, *ready* being descriptors that have something. None as long as there is no answer."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Nobody wants the answer any more; nothing is left of it. Idempotent."""


class Answered(Task):
    """One that was over before it began."""

    deadline_s = 0.0

    def __init__(self, ok: bool, message: str) -> None:
        self._answer = (ok, message)

    def turn(self, ready: Collection[int], now_s: float) -> Answer | None:
        return self._answer


class Sleep(Task):
    """``sleep``."""

    def __init__(self, until_s: float) -> None:
        self.deadline_s = until_s

    def turn(self, ready: Collection[int], now_s: float) -> Answer | None:
        return (True, "") if now_s >= self.deadline_s else None


class Exec(Task):
    """``exec``: a program in the container, in a cgroup of its own, *what*, below the container's: when its time is over, it is
    killed with all that it has started. What it leaves behind when it ends by itself goes on, as a hook may want it."""

    def __init__(self, container: PodContainer, argv: tuple[str, ...], deadline_s: float, what: str) -> None:
        self.deadline_s = deadline_s
        self._over = False
        self._group: Cgroup | None = None
        self._output = bytearray()
        reading, writing = [Fd.adopt(fd) for fd in os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)]
        self._reading = reading
        try:
            self._group = _open_group(container.cgroup, what)
            with writing, Fd.open("/dev/null", os.O_RDONLY) as null:
                os.set_blocking(writing.fileno(), True)
                stdio = (null.fileno(), writing.fileno(), writing.fileno())
                self._process: Process = container.exec(argv, stdio=stdio, cgroup=self._group)
        except BaseException:
            reading.close()
            if self._group is not None:
                _leave_group(self._group, kill=False)
            raise

    def interests(self) -> list[tuple[int, int]]:
        # Its process is among those that the container awaits (:attr:`PodContainer.awaited`), which the driver polls for.
        return [] if self._reading.closed else [(self._reading.fileno(), select.POLLIN)]

    def turn(self, ready: Collection[int], now_s: float) -> Answer | None:
        self._read()
        status = self._process.poll()
        if status is None:
            if now_s < self.deadline_s:
                return None
            self.cancel()
            return False, "command timed out" + self._told()
        self._read()
        self._over = True
        self.cancel()
        if status.exit_code == 0:
            return True, ""
        return False, f"command ended with {status.describe()}" + self._told()

    def cancel(self) -> None:
        self._reading.close()
        if not self._process.closed:
            self._process.end()
            assert self._group is not None
            _leave_group(self._group, kill=not self._over)

    def _read(self) -> None:
        """All is read, so that the program does not wait for us; the beginning is kept."""
        while not self._reading.closed:
            try:
                data = os.read(self._reading.fileno(), 64 * 1024)
            except BlockingIOError:
                return
            if not data:
                self._reading.close()
            self._output += data[: MAX_OUTPUT_BYTES - len(self._output)]

    def _told(self) -> str:
        text = self._output.decode(errors="replace").strip()
        return f": {text}" if text else ""


def _open_group(above: Cgroup, name: str) -> Cgroup:
    """A group below a container's, for one program. It has no controllers, which a
    group with processes could not give it: they count for the container."""
    name = f"{name}-{_killed}"
    try:
        os.mkdir(f"{above.path}/{name}", 0o755)
    except FileExistsError:
        pass
    return Cgroup.open(f"{above.name}/{name}", root=above.root)


_killed = 0


def end_left(above: Cgroup) -> None:
    """Kill what hooks and probes have left below a container's group, whose driver was killed; the next ones get other names."""
    global _killed
    for entry in os.listdir(above.path):
        what, dash, number = entry.rpartition("-")
        if dash and what in WHATS and number.isdecimal():
            _killed = max(_killed, int(number))
            _leave_group(Cgroup.open(f"{above.name}/{entry}", root=above.root), kill=True)


def _leave_group(group: Cgroup, kill: bool) -> None:
    """Remove the group if nobody is in it; with *kill*, kill all in it first.

    From then on nobody can be born there: since Linux 6.14 the kernel compares how often the group was killed with how often that
    of the parent was (cgroup_css_set_fork, before it knows of CLONE_INTO_CGROUP), and kills the child. So the next one gets
    another name.
    """
    if kill:
        global _killed
        _killed += 1
        group.kill()
        group.wait_empty(GONE_S)
    group.close()
    try:
        os.rmdir(group.path)
    except OSError:
        pass  # somebody lives there: then it goes with the container's


def begin_task(
    pod: Pod, container: PodContainer, handler: Handler, now_s: float, timeout_s: float, what: str = "exec"
) -> Task:
    """Begin what *handler* says, for *container*; *what* it is, is the name of its cgroup. What cannot even begin has failed."""
    try:
        if isinstance(handler, SleepAction):
            return Sleep(now_s + handler.seconds)
        if isinstance(handler, ExecAction):
            return Exec(container, handler.command, now_s + timeout_s, what)
        from pyrun.pod.net_task import begin_net_task

        return begin_net_task(pod, handler, now_s + timeout_s)
    except (PyrunError, KernelError, OSError) as error:
        return Answered(False, str(error))
