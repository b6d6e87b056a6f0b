"""What the answers of a container's probes add up to."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.pod.lifecycle.event import ProbeKind
    from pyrun.spec.handler import Probe
    from pyrun.spec.pod import Container

PROBE_KINDS: tuple[ProbeKind, ...] = ("startup", "liveness", "readiness")


def probe_of(container: Container, kind: ProbeKind) -> Probe | None:
    """The container's probe of that kind."""
    if kind == "startup":
        return container.startup_probe
    return container.liveness_probe if kind == "liveness" else container.readiness_probe


class Probing:
    """One probe of one run of a container. ``good`` is what its answers have added up to so far."""

    def __init__(self, kind: ProbeKind, probe: Probe) -> None:
        self.kind = kind
        self.probe = probe
        self.good = kind == "liveness"  # alive until shown otherwise
        self.asked_s = 0.0
        self.waiting = False  # for an answer
        self._same = 0  # answers of one kind in a row
        self._last_ok: bool | None = None

    def first_at_s(self, started_s: float, now_s: float) -> float:
        """When to ask first: ``initialDelaySeconds`` after the container's start, but not before now."""
        return max(started_s + self.probe.initial_delay_s, now_s)

    def next_at_s(self, now_s: float) -> float:
        """When to ask again: a period after the last time; at once if that is over, since answers do not overlap."""
        return max(self.asked_s + self.probe.period_s, now_s)

    def answer(self, ok: bool) -> bool:
        """Take an answer into account. Whether ``good`` has changed, or a threshold of failures is reached again."""
        self._same = self._same + 1 if ok is self._last_ok else 1
        self._last_ok = ok
        if self._same < (self.probe.success_threshold if ok else self.probe.failure_threshold):
            return False
        changed = self.good is not ok
        self.good = ok
        return changed or not ok
