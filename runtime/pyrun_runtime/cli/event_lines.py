"""What happens to a pod, told on standard error as it happens."""

from __future__ import annotations

import time

from pyrun_runtime.cli.message import encode_message, one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun import Pod, Publish
    from pyrun_runtime.cli.output import Outputs
    from pyrun_runtime.event_file import EventFile


class Events:
    """Hears of a pod's events. With *wanted* each is a line: date, type, reason, object, message, as ``kubectl get events`` has
    them; a container's warnings are told in any case."""

    def __init__(self, pod: Pod, outputs: Outputs, file: EventFile, wanted: bool) -> None:
        self._pod = pod
        self._file = file
        self._outputs = outputs
        self._wanted = wanted

    def tell(self, event: Publish, at_s: float) -> None:
        """A tell of :class:`pyrun.Driver`; *at_s* is CLOCK_MONOTONIC."""
        if event.reason == "Started":
            # From now on the container alone holds the ends that it writes to.
            self._outputs.containers_have_theirs()
            self._outputs.take_terminal(event.container)
            for warning in self._pod.containers[event.container].warnings:
                self._outputs.err.write(encode_message(f"warning: container {event.container}: {warning}"))
        self._file.write(event, time.time() - time.monotonic() + at_s)
        if self._wanted:
            self._outputs.err.write(self._line(event, at_s).encode("utf-8", "backslashreplace"))

    def _line(self, event: Publish, at_s: float) -> str:
        from pyrun_runtime.cli.document import date

        name = f"pod/{self._pod.spec.metadata.name}" + (f"/{event.container}" if event.container else "")
        when = date(time.time() - time.monotonic() + at_s)
        return f"{when}  {event.type:7}  {event.reason}  {name}  {one_line(event.message)}\n"
