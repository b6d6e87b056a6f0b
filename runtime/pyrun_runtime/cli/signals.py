"""Signals that ask ``pyrun run`` to stop, as bytes in a pipe that its loop polls."""

from __future__ import annotations

import os

from pyrun import Fd
from pyrun_runtime.cli.message import naming

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signals
    from collections.abc import Callable
else:
    import _signal as signals  # the built-in part: the module signal makes enums, which costs 5 ms

STOPPING = (signals.SIGINT, signals.SIGTERM, signals.SIGHUP, signals.SIGQUIT)


class StopSignals:
    """From here to the end of the block, a signal that would end the command is a byte instead.

    While a pod is being created nobody reads them, and a second signal calls ``give_up``. An exception raised here
    instead could fall between the making of a thing and the note of how to undo it. A signal that was ignored when the
    command started (nohup, a shell's ``&``) stays so.

    SIGCHLD is not ignored, whatever the caller wants: the kernel would reap the containers, and nobody know how they ended
    (wait(2)).
    """

    def __init__(self) -> None:
        self.give_up: Callable[[], object] | None = None
        self._count = 0
        self._old: dict[int, object] = {}
        with naming("a pipe for signals"):
            self._reading, self._writing = [Fd.adopt(fd) for fd in os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)]

    def fileno(self) -> int:
        return self._reading.fileno()

    def take(self) -> list[int]:
        """The signals that came since the last call."""
        try:
            return [number for number in os.read(self.fileno(), 64) if number in STOPPING]
        except BlockingIOError:
            return []

    def _note(self, _number: int, _frame: object) -> None:
        # The interpreter itself has written the number into the pipe.
        self._count += 1
        if self.give_up is not None and self._count > 1:
            self.give_up()

    def __enter__(self) -> StopSignals:
        signals.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        for number in STOPPING:
            if signals.getsignal(number) != signals.SIG_IGN:
                self._old[number] = signals.signal(number, self._note)
        self._old[signals.SIGCHLD] = signals.signal(signals.SIGCHLD, signals.SIG_DFL)
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._old.items():
            signals.signal(number, handler)  # type: ignore[arg-type]
        signals.set_wakeup_fd(-1)
        self._reading.close()
        self._writing.close()
