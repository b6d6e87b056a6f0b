"""Looking after a pod: one loop over its driver, output, signals and the clock."""

from __future__ import annotations

import math
import select
import time

from pyrun import signal_name
from pyrun_runtime.cli.message import encode_message

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signals

    from pyrun import Driver
    from pyrun_runtime.cli.output import Outputs
    from pyrun_runtime.cli.signals import StopSignals
    from pyrun_runtime.cli.supervisor import Log
    from pyrun_runtime.cli.watch import ObjectFiles, ObjectWatch
    from pyrun_runtime.control import Control
else:
    import _signal as signals

# poll(2) takes milliseconds in an int; looking up once an hour costs nothing.
MAX_WAIT_S = 3600.0


class PodLoop:
    """Runs until the pod is over.

    The first signal, the end of *timeout_s* or a broken output stops the pod gracefully, within its grace period. A signal to a
    pod that is being stopped, whatever for, kills at once, and so does SIGQUIT; SIGHUP does not, because a terminal that closes
    and a service manager may each send one.

    ``control``, if there is one, is where other commands ask for something. ``timed_out`` are the containers that still ran when
    the time was over; ``time_over`` says that it ended the pod, which may have been waiting for a restart with none running.
    """

    def __init__(
        self,
        driver: Driver,
        outputs: Outputs | Log,
        stop_signals: StopSignals,
        timeout_s: float | None,
        object_files: ObjectFiles | None,
    ) -> None:
        self.timed_out: frozenset[str] = frozenset()
        self.time_over = False
        self._driver = driver
        self._outputs = outputs
        self._signals = stop_signals
        self._grace_s = driver.pod.spec.termination_grace_period_s
        self._deadline_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
        self._timeout_s = timeout_s
        self._kill_at_s = math.inf
        self.control: Control | None = None
        self._stopping = False
        self._signalled = False
        self._objects: ObjectWatch | None = None
        if object_files is not None:
            from pyrun_runtime.cli.watch import ObjectWatch

            self._objects = ObjectWatch(driver, object_files, self._say, time.monotonic())

    def watch(self) -> None:
        """Until the pod is over."""
        while not self._driver.over:
            self._look_at_clock()
            due_s = min(self._deadline_s, self._kill_at_s, self._objects.due_s if self._objects else math.inf)
            self._turn(min(due_s - time.monotonic(), self._driver.wait_s()))
            if self._objects is not None:
                self._objects.look(time.monotonic())
            broken = self._outputs.broken
            if broken is not None and not self._stopping:
                self._stop("nobody reads the output" if broken.unread else f"the output: {broken.complaint}")

    def drain(self) -> None:
        """When the pod is gone: hand on what its pipes still hold, and wait for our own reader until a signal comes.

        Not until the pipes end: somebody outside the pod may have been given one, and would hold it for ever.
        """
        self._signalled = False
        while not self._signalled:
            moved = self._turn(math.inf if self._outputs.pending else 0)
            if not moved and not self._outputs.pending:
                break
        self._outputs.close_sources()
        self.flush()

    def flush(self) -> None:
        """Until our own reader has taken all, or a signal comes."""
        while self._outputs.pending and not self._signalled:
            self._turn(math.inf)

    # ---- one turn of the loop ----

    def _turn(self, timeout_s: float) -> bool:
        """Wait for something, and see to it. Whether a container's output moved on."""
        poll = select.poll()
        watched = [] if self._driver.over else self._driver.interests()
        for fd, events in (*self._outputs.interests(), *watched):
            poll.register(fd, events)
        poll.register(self._signals.fileno(), select.POLLIN)
        if self.control is not None and not self._driver.over:
            poll.register(self.control.fileno(), select.POLLIN)
        ready = dict(poll.poll(math.ceil(max(0.0, min(timeout_s, MAX_WAIT_S)) * 1000)))
        if self._signals.fileno() in ready:
            for number in self._signals.take():
                self._take_signal(number)
        moved = self._outputs.handle(ready)
        if not self._driver.over:
            self._look_at_clock()
            if self.control is not None and self.control.fileno() in ready:
                self.control.turn()
            self._driver.turn(ready)
            if self.control is not None:
                self.control.look()
        return moved

    def _look_at_clock(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._deadline_s:
            self._deadline_s = math.inf
            self.timed_out = frozenset(self._driver.running)
            self.time_over = bool(self.timed_out) or not self._stopping
            if not self._stopping:
                self._stop(f"{self._timeout_s:g} s are over")
        if now_s >= self._kill_at_s:
            self._kill_at_s = math.inf
            if self._driver.running:  # the driver's own timer does it
                self._say(f"{self._grace_s} s of grace are over: killing {', '.join(self._driver.running)}")

    # ---- stopping ----

    def _take_signal(self, number: int) -> None:
        again = self._stopping and number != signals.SIGHUP
        self._signalled = True
        if self._driver.over:
            return
        if again or number == signals.SIGQUIT:
            self._kill(signal_name(number))
        elif not self._stopping:
            hint = "; Ctrl-C again kills at once" if number == signals.SIGINT and self._grace_s else ""
            self._stop(signal_name(number), hint)

    def _stop(self, why: str, hint: str = "") -> None:
        if not self._grace_s:
            self._kill(why)
            return
        self._stopping = True
        self._say(f"{why}: stopping, for up to {self._grace_s} s{hint}")
        self._kill_at_s = time.monotonic() + self._grace_s
        self._driver.stop()

    def _kill(self, why: str) -> None:
        """Not waiting for the end: the loop does, and output is handed on meanwhile."""
        self._stopping = True
        self._kill_at_s = math.inf
        self._say(f"{why}: killing {', '.join(self._driver.running) or 'nothing, for nothing runs'}")
        self._driver.stop(0)

    def _say(self, text: str) -> None:
        self._outputs.err.write(encode_message(text))
