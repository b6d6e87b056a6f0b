"""What happens to a pod, kept in its run directory: ``events``, a JSON object in a line each.

::

    {"time": "2026-11-27T15:32:35.445728Z", "type": "Normal", "reason": "Started", "container": "main", "message": "started"}

A line is written at once, so that readers see whole ones but for the last. What a full disk does not take is lost: no pod ends
for what is told about it.
"""

from __future__ import annotations

import os

from pyrun import Fd
from pyrun_runtime.cli.document import date
from pyrun_runtime.store import to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun import Publish

EVENTS = "events"
FIELDS = {"time", "type", "reason", "container", "message"}
FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class EventFile:
    """Written to, for the pod whose run directory is *directory*."""

    def __init__(self, directory: str) -> None:
        self._path = f"{directory}/{EVENTS}"
        self._fd: Fd | None = None

    def write(self, event: Publish, real_s: float) -> None:
        """One more event, at *real_s* of CLOCK_REALTIME."""
        fields = {
            "time": date(real_s),
            "type": event.type,
            "reason": event.reason,
            "container": event.container,
            "message": event.message,
        }
        line = "{" + ", ".join([f'"{name}": {to_json(value)}' for name, value in fields.items()]) + "}\n"
        try:
            if self._fd is None:
                self._fd = Fd.adopt(os.open(self._path, FLAGS, 0o600))
            os.write(self._fd.fileno(), line.encode())
        except OSError:
            pass

    def close(self) -> None:
        """Idempotent."""
        if self._fd is not None:
            self._fd.close()

    def __enter__(self) -> EventFile:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def read_events(directory: str) -> list[dict[str, str]]:
    """All whole lines, in their order; none where there are none."""
    import json

    try:
        with open(f"{directory}/{EVENTS}", "rb") as file:
            lines = file.read().split(b"\n")[:-1]
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue  # of one who was killed while writing
    return [each for each in found if isinstance(each, dict) and each.keys() >= FIELDS]
