"""How a pod's status is told in a word or two, as ``kubectl get pods`` does. Pure: from the status document."""

from __future__ import annotations

from datetime import datetime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, TypeAlias

    Document: TypeAlias = Mapping[str, Any]

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400
YEAR_S = 365 * DAY_S
# Below so many seconds: the larger unit, and the smaller one if it is told as well (k8s.io/apimachinery, duration.HumanDuration).
AGES = (
    (2 * MINUTE_S, (1, "s"), None),
    (10 * MINUTE_S, (MINUTE_S, "m"), (1, "s")),
    (3 * HOUR_S, (MINUTE_S, "m"), None),
    (8 * HOUR_S, (HOUR_S, "h"), (MINUTE_S, "m")),
    (2 * DAY_S, (HOUR_S, "h"), None),
    (8 * DAY_S, (DAY_S, "d"), (HOUR_S, "h")),
    (2 * YEAR_S, (DAY_S, "d"), None),
    (8 * YEAR_S, (YEAR_S, "y"), (DAY_S, "d")),
    (float("inf"), (YEAR_S, "y"), None),
)


def pod_word(status: Document) -> str:
    """``Running``, ``Init:0/2``, ``CrashLoopBackOff``, ``Completed`` …"""
    inits = status.get("initContainerStatuses", ())
    pending = next((word for i, each in enumerate(inits) if (word := _init_word(each, i, len(inits)))), "")
    if pending and not status.get("reason"):
        return pending
    return status.get("reason") or _containers_word(status)


def _init_word(container: Document, place: int, count: int) -> str:
    """Empty for one that is through, or a sidecar that has started."""
    state = container["state"]
    if state.get("terminated", {}).get("exitCode") == 0 or (container.get("started") and "running" in state):
        return ""
    if "terminated" in state:
        return f"Init:{_ended_word(state['terminated'])}"
    reason = state.get("waiting", {}).get("reason", "")
    return f"Init:{place}/{count}" if reason in ("", "PodInitializing", "ContainerCreating") else f"Init:{reason}"


def _containers_word(status: Document) -> str:
    """That of the first container in the manifest that has something to say; of those that run only the phase says something."""
    word = str(status.get("phase", "Unknown"))
    runs = False
    for container in reversed(status.get("containerStatuses", ())):
        state = container["state"]
        if state.get("waiting", {}).get("reason"):
            word = state["waiting"]["reason"]
        elif "terminated" in state:
            word = _ended_word(state["terminated"])
        runs = runs or ("running" in state and bool(container.get("ready")))
    if word == "Completed" and runs:
        return "Running" if _is_ready(status) else "NotReady"
    return word


def _ended_word(terminated: Document) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    return f"Signal:{terminated['signal']}" if terminated.get("signal") else f"ExitCode:{terminated['exitCode']}"


def _is_ready(status: Document) -> bool:
    return any([each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", ())])


def ready_word(status: Document) -> str:
    """How many containers are ready of those that are to be: ``1/2``."""
    lasting = [*status.get("containerStatuses", ()), *_sidecars(status.get("initContainerStatuses", ()))]
    return f"{sum([bool(each.get('ready')) for each in lasting])}/{len(lasting)}"


def _sidecars(inits: Sequence[Document]) -> list[Document]:
    return [each for each in inits if each.get("started") and "running" in each["state"]]


def restarts_word(status: Document, now_s: float) -> str:
    """``0``, ``3 (12s ago)``."""
    every = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    count = sum([each.get("restartCount", 0) for each in every])
    ends = [seconds_of(each["lastState"]["terminated"]["finishedAt"]) for each in every if each.get("lastState")]
    return f"{count} ({age_word(now_s - max(ends))} ago)" if count and ends else str(count)


def age_word(seconds: float) -> str:
    """``5s``, ``3m12s``, ``2h``, ``4d1h``."""
    whole = max(0, int(seconds))
    for below, (unit_s, unit), smaller in AGES:
        if whole < below:
            text = f"{whole // unit_s}{unit}"
            rest = whole % unit_s // smaller[0] if smaller is not None else 0
            return f"{text}{rest}{smaller[1]}" if rest and smaller is not None else text
    raise AssertionError(seconds)


def seconds_of(date: str) -> float:
    """Of an RFC 3339 date, on the clock of :func:`time.time`."""
    return datetime.fromisoformat(date).timestamp()
