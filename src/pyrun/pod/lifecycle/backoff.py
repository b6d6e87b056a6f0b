"""How long a container that has ended waits before it is started again.

The first restart is at once; then the wait is 10 s, and doubles up to 300 s. Ten minutes of running forgive all. That is the
kubelet's (k8s.io/client-go/util/flowcontrol, Backoff; the kubelet's doBackOff), counted from the container's end.
"""

from __future__ import annotations

INITIAL_S = 10.0
MAX_S = 300.0
CLEAN_RUN_S = 600.0


class Backoff:
    """The back-off of one container."""

    def __init__(self) -> None:
        self._next_s = 0.0

    def restart_at_s(self, started_s: float, ended_s: float) -> float:
        """When a container that ran from *started_s* to *ended_s* may start again; each call counts as a restart."""
        if ended_s - started_s >= CLEAN_RUN_S:
            self._next_s = 0.0
        wait_s = self._next_s
        self._next_s = min(wait_s * 2, MAX_S) or INITIAL_S
        return ended_s + wait_s
