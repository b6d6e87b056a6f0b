"""QoS class and resources of a whole pod."""

from __future__ import annotations

from pyrun.spec.pod import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Literal, TypeAlias

    from pyrun.spec.pod import PodSpec

    QosClass: TypeAlias = Literal["Guaranteed", "Burstable", "BestEffort"]


def qos_class(pod: PodSpec) -> QosClass:
    """Kubernetes' ``ComputePodQOS``: only cpu and memory count, and only amounts above zero.

    BestEffort asks for nothing; Guaranteed has a cpu and a memory limit on every container, equal to the requests in
    sum; all else is Burstable. An absent request is its limit already (:mod:`pyrun.spec.defaults`).
    """
    parts = [each.resources for each in pod.containers]
    requests = (_total([r.cpu_request_milli for r in parts]), _total([r.memory_request_bytes for r in parts]))
    limits = (_total([r.cpu_limit_milli for r in parts]), _total([r.memory_limit_bytes for r in parts]))
    if not any(requests) and not any(limits):
        return "BestEffort"
    if all(r.cpu_limit_milli and r.memory_limit_bytes for r in parts) and requests == limits:
        return "Guaranteed"
    return "Burstable"


def pod_resources(pod: PodSpec) -> Resources:
    """The pod's effective requests and limits: sums over its containers.

    A limit is None unless every container has one (a limit of zero is none): the group of the pod may not be tighter
    than a container without a limit (kubelet, ``ResourceConfigForPod``). A request is None only if no container asks.
    """
    parts = [each.resources for each in pod.containers]
    return Resources(
        cpu_request_milli=_total_or_none([r.cpu_request_milli for r in parts]),
        cpu_limit_milli=_limit([r.cpu_limit_milli for r in parts]),
        memory_request_bytes=_total_or_none([r.memory_request_bytes for r in parts]),
        memory_limit_bytes=_limit([r.memory_limit_bytes for r in parts]),
    )


def _total(amounts: Iterable[int | None]) -> int:
    return sum([amount or 0 for amount in amounts])


def _total_or_none(amounts: list[int | None]) -> int | None:
    return None if all(amount is None for amount in amounts) else _total(amounts)


def _limit(amounts: list[int | None]) -> int | None:
    return _total(amounts) if all(amounts) else None
