"""``--trace FILE``: what the command itself did and when, and the file."""

from __future__ import annotations

import os
import time

from pyrun_runtime.cli.message import naming

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun import Pod


EMPTY = '{"traceEvents": []}'


class Trace:
    """Phases of the launcher, and with them the steps of the pod's processes, for the file *path*; None for no file.

    Raises OSError where the file cannot be written: that is to be known before the pod exists. Later it would end a pod for the
    sake of its trace, so ``complaint`` is then why the last :meth:`save` failed.
    """

    def __init__(self, path: str | None) -> None:
        self.complaint = ""
        self._path = path
        self._begin_ns = time.monotonic_ns()
        # From its start on the process has done nothing but compute, so its processor time is how long ago that was.
        self._phases = [("interpreter and imports", self._begin_ns - time.process_time_ns(), self._begin_ns)]
        if path is not None:
            _write(path, EMPTY)

    def phase(self, name: str) -> None:
        """What was done since the last phase ended was *name*."""
        end_ns = time.monotonic_ns()
        self._phases.append((name, self._begin_ns, end_ns))
        self._begin_ns = end_ns

    def save(self, pod: Pod) -> None:
        """Write the file, anew each time; nothing without one."""
        if self._path is None:
            return
        import json

        from pyrun import Phase, trace_pod

        events = trace_pod(pod, os.getpid(), [Phase(*phase) for phase in self._phases])
        try:
            _write(self._path, json.dumps(events))
            self.complaint = ""
        except OSError as error:
            self.complaint = f"{self._path}: {error.strerror}"


def _write(path: str, text: str) -> None:
    with naming(path), open(path, "w", encoding="utf-8", opener=_open) as file:
        file.write(text)


def _open(path: str, flags: int) -> int:
    """Without waiting for the reader of a FIFO: meanwhile nobody would look after the pod."""
    return os.open(path, flags | os.O_NONBLOCK, 0o666)
