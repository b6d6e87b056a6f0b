"""``--trace FILE``: what the command itself did and when, and the file."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun import Pod


class Trace:
    """Phases of the launcher, and with them the steps of the pod's processes, for the file *path*; None for no file."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._begin_ns = time.monotonic_ns()
        # From its start on the process has done nothing but compute, so its processor time is how long ago that was.
        self._phases = [("interpreter and imports", self._begin_ns - time.process_time_ns(), self._begin_ns)]
        if path is not None:
            open(path, "w").close()  # a file that cannot be written is to be known before the pod exists

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
        with open(self._path, "w", encoding="utf-8") as file:
            json.dump(events, file)
