"""Resizing a pod that this process runs: the node is asked for what it needs more, then the pod gets it."""

from __future__ import annotations

from pyrun import pod_need, qos_class, resize_container
from pyrun_runtime.cli.message import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyrun import Driver
    from pyrun_runtime.admission import Admission


class NoRoom(CommandError):
    """What a kubelet says of a resize that it defers; here it is refused, and may be asked for again."""


def resize_pod(
    driver: Driver,
    admission: Admission,
    default_pids: int | None,
    name: str,
    requests: Mapping[str, str],
    limits: Mapping[str, str],
) -> None:
    """Give container *name* of *driver*'s pod other resources, if the node has them.

    Until the pod has them the node holds the larger of what it had and what it gets. Raises :class:`NoRoom`, and what
    :meth:`pyrun.Driver.resize` raises; then all is as it was.
    """
    spec, uid = driver.pod.spec, driver.pod.uid
    qos = qos_class(spec)
    old, new = [pod_need(each, default_pids) for each in (spec, resize_container(spec, name, requests, limits))]
    both = {resource: max(old.get(resource, 0), new.get(resource, 0)) for resource in {**old, **new}}
    shortages = admission.admit(uid, both, qos)
    if shortages:
        raise NoRoom(f"pod {spec.metadata.name}: {shortages[0].message}")
    granted = old
    try:
        driver.resize(name, requests, limits)
        granted = new
    finally:
        admission.admit(uid, granted, qos)  # never more than it holds, so there is room


def parse_amounts(option: str, text: str) -> dict[str, str]:
    """``cpu=500m,memory=1Gi``; what the quantities are, the library looks at. Raises ValueError."""
    amounts: dict[str, str] = {}
    for part in text.split(","):
        name, equals, amount = part.strip().partition("=")
        if not equals or not name or not amount or name in amounts:
            raise ValueError(f"--{option} {text}: expected each resource once, as in cpu=500m,memory=1Gi")
        amounts[name] = amount
    return amounts
