"""Looking after a pod that runs in the foreground: one loop over output, ends of processes, signals and the clock."""

from __future__ import annotations

import math
import select
import time

from pyrun import signal_name
from pyrun_runtime.cli.message import encode_message

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signals

    from pyrun import Pod, PodContainer
    from pyrun_runtime.cli.output import Outputs
    from pyrun_runtime.cli.signals import StopSignals
else:
    import _signal as signals

# poll(2) takes milliseconds in an int; looking up once an hour costs nothing.
MAX_WAIT_S = 3600.0


class Supervisor:
    """Runs until every container has ended.

    The first signal, the end of *timeout_s* or a broken output stops the pod gracefully: SIGTERM to each container, and when the
    grace period is over SIGKILL to all of them. A signal to a pod that is being stopped, whatever for, kills at once, and so does
    SIGQUIT; SIGHUP does not, because a terminal that closes and a service manager may each send one.

    ``timed_out`` are the containers that still ran when the time was over.
    """

    def __init__(self, pod: Pod, outputs: Outputs, stop_signals: StopSignals, timeout_s: float | None) -> None:
        self.timed_out: frozenset[str] = frozenset()
        self._pod = pod
        self._outputs = outputs
        self._signals = stop_signals
        self._grace_s = pod.spec.termination_grace_period_s
        self._deadline_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
        self._timeout_s = timeout_s
        self._kill_at_s = math.inf
        self._stopping = False
        self._signalled = False

    def watch(self) -> None:
        """Until every container has ended."""
        while True:
            self._pod.poll()
            if not self._running():
                return
            self._look_at_clock()
            self._turn(min(self._deadline_s, self._kill_at_s) - time.monotonic())
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
        for fd, events in self._outputs.interests():
            poll.register(fd, events)
        for container in self._running():
            poll.register(container.process.fileno(), select.POLLIN)
        poll.register(self._signals.fileno(), select.POLLIN)
        ready = dict(poll.poll(math.ceil(max(0.0, min(timeout_s, MAX_WAIT_S)) * 1000)))
        if self._signals.fileno() in ready:
            for number in self._signals.take():
                self._take_signal(number)
        return self._outputs.handle(ready)

    def _running(self) -> list[PodContainer]:
        return [container for container in self._pod.containers.values() if container.status is None]

    def _look_at_clock(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._deadline_s:
            self._deadline_s = math.inf
            self.timed_out = frozenset([container.name for container in self._running()])
            if not self._stopping:
                self._stop(f"{self._timeout_s:g} s are over")
        if now_s >= self._kill_at_s:
            self._kill(f"{self._grace_s} s of grace are over")

    # ---- stopping ----

    def _take_signal(self, number: int) -> None:
        again = self._stopping and number != signals.SIGHUP
        self._signalled = True
        if not self._running():
            return
        if again or number == signals.SIGQUIT:
            self._kill(signal_name(number))
        elif not self._stopping:
            hint = "; Ctrl-C again kills at once" if number == signals.SIGINT and self._grace_s else ""
            self._stop(signal_name(number), hint)

    def _stop(self, why: str, hint: str = "") -> None:
        self._stopping = True
        if self._grace_s:
            self._say(f"{why}: stopping, for up to {self._grace_s} s{hint}")
            self._pod.signal(signals.SIGTERM)
            self._kill_at_s = time.monotonic() + self._grace_s
        else:
            self._kill(why)

    def _kill(self, why: str) -> None:
        """Not waiting for the end: the loop does, and output is handed on meanwhile."""
        self._stopping = True
        self._kill_at_s = math.inf
        self._say(f"{why}: killing {', '.join([container.name for container in self._running()])}")
        for container in self._running():
            container.cgroup.kill()

    def _say(self, text: str) -> None:
        self._outputs.err.write(encode_message(text))
