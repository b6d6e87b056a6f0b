"""What ``pyrun ps`` says of a status, beside what ``kubectl get pods`` prints for the same (pkg/printers/internalversion)."""

from __future__ import annotations

from typing import Any

import pytest

from pyrun_runtime.cli.pod_word import age_word, pod_word, ready_word, restarts_word

RUNNING = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}


def container(state: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "c", "state": state, "lastState": {}, "ready": "running" in state, "restartCount": 0, **more}


def waiting(reason: str) -> dict[str, Any]:
    return {"waiting": {"reason": reason}}


def ended(code: int, reason: str = "", **more: Any) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "finishedAt": "2026-01-01T00:00:00Z", **more}}


def status(
    *containers: dict[str, Any], init: tuple[dict[str, Any], ...] = (), ready: bool = True, **more: Any
) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": str(ready)}]
    lists = {"initContainerStatuses": list(init), "containerStatuses": list(containers)}
    return {"phase": "Running", "conditions": conditions, **lists, **more}


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (status(container(RUNNING)), "Running"),
        (status(container(waiting("ContainerCreating")), phase="Pending"), "ContainerCreating"),
        (status(container(RUNNING), container(waiting("CrashLoopBackOff"))), "CrashLoopBackOff"),
        (status(container(ended(1, "Error")), container(waiting("CrashLoopBackOff"))), "Error"),
        (status(container(ended(0, "Completed")), container(RUNNING)), "Running"),
        (status(container(ended(0, "Completed")), container(RUNNING), ready=False), "NotReady"),
        (status(container(ended(0, "Completed")), phase="Succeeded"), "Completed"),
        (status(container(ended(137, signal=9)), phase="Failed"), "Signal:9"),
        (status(container(ended(3)), phase="Failed"), "ExitCode:3"),
        (status(container(ended(137, "OOMKilled")), phase="Failed", reason="Evicted"), "Evicted"),
        (status(init=(container(RUNNING), container(waiting("PodInitializing"))), phase="Pending"), "Init:0/2"),
        (status(init=(container(ended(0)), container(RUNNING)), phase="Pending"), "Init:1/2"),
        (status(init=(container(ended(1, "Error")),), phase="Pending"), "Init:Error"),
        (status(init=(container(ended(2)),), phase="Pending"), "Init:ExitCode:2"),
        (status(init=(container(waiting("CrashLoopBackOff")),), phase="Pending"), "Init:CrashLoopBackOff"),
        (status(container(RUNNING), init=(container(RUNNING, started=True),)), "Running"),
        ({"phase": "Unknown"}, "Unknown"),
    ],
)
def test_the_word(given: dict[str, Any], word: str) -> None:
    assert pod_word(given) == word


def test_how_many_are_ready() -> None:
    sidecar = container(RUNNING, started=True)
    assert ready_word(status(container(RUNNING), container(waiting("x")), init=(sidecar, container(ended(0))))) == "2/3"
    assert ready_word({"phase": "Unknown"}) == "0/0"


def test_restarts() -> None:
    again = container(RUNNING, restartCount=3, lastState=ended(1))
    new_year = 1767225600
    assert restarts_word(status(container(RUNNING), again), new_year + 75) == "3 (75s ago)"
    assert restarts_word(status(container(RUNNING)), new_year) == "0"


@pytest.mark.parametrize(
    ("seconds", "word"),
    [
        *((-1, "0s"), (0, "0s"), (119.9, "119s"), (120, "2m"), (192, "3m12s"), (600, "10m"), (10799, "179m")),
        *((10800, "3h"), (14400 + 60, "4h1m"), (28800, "8h"), (86400 * 2, "2d"), (86400 * 4 + 3600, "4d1h")),
        *((86400 * 100, "100d"), (86400 * 365 * 3 + 86400 * 5, "3y5d"), (86400 * 365 * 9, "9y")),
    ],
)
def test_ages(seconds: float, word: str) -> None:
    assert age_word(seconds) == word
