"""Time-outs as poll(2) takes them."""

from __future__ import annotations

import math

POLL_MAX_MS = 2**31 - 1  # an int of milliseconds: some 24 days


def poll_ms(timeout_s: float | None) -> int | None:
    """*timeout_s* in milliseconds, rounded up: whoever waits for the end of a time must not wake before it, and look again.

    None and infinity are for ever. Longer than poll(2) can wait is the longest that it can: who waits longer looks again.
    """
    if timeout_s is None or timeout_s == math.inf:
        return None
    return min(math.ceil(max(0.0, timeout_s) * 1000), POLL_MAX_MS)
