"""How a pod is, as Kubernetes shapes it. Times are in seconds, until :func:`status_document` makes dates of them."""

from __future__ import annotations

from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal, TypeAlias

    Phase: TypeAlias = Literal["Pending", "Running", "Succeeded", "Failed"]


class Waiting(Value):
    """``state.waiting``."""

    reason: str = ""
    message: str = ""


class Running(Value):
    """``state.running``."""

    started_s: float


class Terminated(Value):
    """``state.terminated``. ``detail`` is what Kubernetes has no field for: which limit was hit, and by whom.

    ``started_s`` is None for a container that never ran.
    """

    exit_code: int
    reason: str
    started_s: float | None
    finished_s: float
    signal: int | None = None
    message: str = ""
    detail: str = ""


class ContainerState(Value):
    """``containerStatuses[]``. ``last`` is how the run before ended."""

    name: str
    role: str
    state: Waiting | Running | Terminated
    last: Terminated | None
    restart_count: int
    ready: bool
    started: bool


class Condition(Value):
    """``conditions[]``. ``since_s`` is when it last changed."""

    type: str
    status: bool
    since_s: float
    reason: str = ""
    message: str = ""


class PodStatus(Value):
    """``status`` of a pod."""

    phase: Phase
    start_s: float
    conditions: tuple[Condition, ...]
    containers: tuple[ContainerState, ...]
    reason: str = ""
    message: str = ""
    qos_class: str = ""


_LISTS = (
    ("initContainerStatuses", ("init", "sidecar")),
    ("containerStatuses", ("regular",)),
    ("ephemeralContainerStatuses", ("ephemeral",)),
)


def status_document(status: PodStatus, date: Callable[[float], str]) -> dict[str, Any]:
    """``status`` as a JSON document. *date* makes an RFC 3339 date of a time of the machine's."""
    document: dict[str, Any] = {"phase": status.phase}
    document |= _written(reason=status.reason, message=status.message)
    document["conditions"] = [_condition(each, date) for each in status.conditions]
    document["startTime"] = date(status.start_s)
    if status.qos_class:
        document["qosClass"] = status.qos_class
    for key, roles in _LISTS:
        listed = [_container(each, date) for each in status.containers if each.role in roles]
        if listed:
            document[key] = listed
    return document


def _condition(condition: Condition, date: Callable[[float], str]) -> dict[str, Any]:
    return {
        "type": condition.type,
        "status": "True" if condition.status else "False",
        "lastTransitionTime": date(condition.since_s),
        **_written(reason=condition.reason, message=condition.message),
    }


def _container(container: ContainerState, date: Callable[[float], str]) -> dict[str, Any]:
    return {
        "name": container.name,
        "state": _state(container.state, date),
        "lastState": _state(container.last, date) if container.last is not None else {},
        "ready": container.ready,
        "started": container.started,
        "restartCount": container.restart_count,
    }


def _state(state: Waiting | Running | Terminated, date: Callable[[float], str]) -> dict[str, Any]:
    if isinstance(state, Waiting):
        return {"waiting": _written(reason=state.reason, message=state.message)}
    if isinstance(state, Running):
        return {"running": {"startedAt": date(state.started_s)}}
    terminated: dict[str, Any] = {"exitCode": state.exit_code}
    if state.signal is not None:
        terminated["signal"] = state.signal
    terminated |= _written(reason=state.reason, message=state.message, detail=state.detail)
    if state.started_s is not None:
        terminated["startedAt"] = date(state.started_s)
    terminated["finishedAt"] = date(state.finished_s)
    return {"terminated": terminated}


def _written(**texts: str) -> dict[str, str]:
    return {name: text for name, text in texts.items() if text}
