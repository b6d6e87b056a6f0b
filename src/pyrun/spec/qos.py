"""QoS class and resources of a whole pod: sums over its containers, with the rule for init containers and sidecars."""

from __future__ import annotations

from pyrun.spec.pod import Resources
from pyrun.spec.source import EmptyDir
from pyrun.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Literal, TypeAlias

    from pyrun.spec.pod import Container, PodSpec

    QosClass: TypeAlias = Literal["Guaranteed", "Burstable", "BestEffort"]
    Amounts: TypeAlias = dict[str, int]

_REQUESTS = ("cpu_request_milli", "memory_request_bytes", "ephemeral_storage_request_bytes")
_LIMITS = ("cpu_limit_milli", "memory_limit_bytes", "ephemeral_storage_limit_bytes")


def qos_class(pod: PodSpec) -> QosClass:
    """Kubernetes' ``ComputePodQOS``: only cpu and memory count, and only amounts above zero.

    BestEffort asks for nothing; Guaranteed has a cpu and a memory limit on every container, init containers among them, equal to
    the requests in sum; all else is Burstable. Where the pod has resources of its own, those alone decide (KEP-2837). An absent
    request is its limit already (:mod:`pyrun.spec.defaults`).
    """
    parts = [pod.resources] if has_own_resources(pod) else [each.resources for each in all_containers(pod)]
    requests = (_total([r.cpu_request_milli for r in parts]), _total([r.memory_request_bytes for r in parts]))
    limits = (_total([r.cpu_limit_milli for r in parts]), _total([r.memory_limit_bytes for r in parts]))
    if not any(requests) and not any(limits):
        return "BestEffort"
    if all(r.cpu_limit_milli and r.memory_limit_bytes for r in parts) and requests == limits:
        return "Guaranteed"
    return "Burstable"


def has_own_resources(pod: PodSpec) -> bool:
    """Whether ``spec.resources`` says anything."""
    return pod.resources != Resources()


def all_containers(pod: PodSpec) -> tuple[Container, ...]:
    """Init containers and containers; ephemeral ones have no resources."""
    return pod.init_containers + pod.containers


def is_sidecar(container: Container) -> bool:
    """Of an init container: whether it runs on while the others do."""
    return container.restart_policy == "Always"


# ---- what a pod needs ----


def effective_request(pod: PodSpec) -> Resources:
    """What has to be there for the pod to run (component-helpers, ``PodRequests``; KEP-753): the requests of containers and
    sidecars in sum, or more if an init container needs more beside the sidecars before it; where the pod has requests of its own,
    those instead; and the overhead. Limits are None."""
    amounts = _effective(pod, _requests_of)
    amounts |= _requests_of(pod.resources)
    for name, amount in _requests_of(pod.overhead).items():
        amounts[name] = amounts.get(name, 0) + amount
    return _to_resources(amounts)


def containers_request(pod: PodSpec) -> Resources:
    """As :func:`effective_request`, of the containers alone."""
    return _to_resources(_effective(pod, _requests_of))


def pod_resources(pod: PodSpec) -> Resources:
    """The pod's effective requests and limits.

    A limit is None unless every container has one (a limit of zero is none), or the pod itself: the group of the pod may not be
    tighter than a container without a limit (kubelet, ``ResourceConfigForPod``). A request is None only if no container asks.
    """
    request = effective_request(pod)
    limits = _effective(pod, _limits_of)
    for name, key in (("cpu_limit_milli", "cpu_request_milli"), ("memory_limit_bytes", "memory_request_bytes")):
        own = getattr(pod.resources, name)
        if own:
            limits[name] = own
        elif not all(getattr(each.resources, name) for each in all_containers(pod)):
            limits.pop(name, None)
        if name in limits:
            limits[name] += getattr(pod.overhead, key) or 0
    return replace(request, **{name: limits.get(name) for name in _LIMITS[:2]})


def limits_of_storage(pod: PodSpec) -> int | None:
    """The pod's limit of ephemeral storage: the sum of those that its containers have, None if none has one (component-helpers,
    ``PodLimits``)."""
    return _effective(pod, _limits_of).get("ephemeral_storage_limit_bytes")


def volume_limits(pod: PodSpec) -> dict[str, int]:
    """The ``sizeLimit`` of each emptyDir on disk that has one; those in memory have theirs from the kernel."""
    sources = [(volume.name, volume.source) for volume in pod.volumes]
    sized = [(name, each.size_limit_bytes) for name, each in sources if isinstance(each, EmptyDir) and not each.medium]
    return {name: size for name, size in sized if size}


def has_storage_limits(pod: PodSpec) -> bool:
    """Whether there is anything for :mod:`pyrun.pod.storage` to look at."""
    return bool(volume_limits(pod)) or limits_of_storage(pod) is not None


def _effective(pod: PodSpec, amounts_of: Callable[[Resources], Amounts]) -> Amounts:
    together: Amounts = {}
    for container in pod.containers:
        _add(together, amounts_of(container.resources))
    sidecars: Amounts = {}
    highest: Amounts = {}
    for container in pod.init_containers:
        own = amounts_of(container.resources)
        if is_sidecar(container):
            _add(together, own)
            _add(sidecars, own)
            own = dict(sidecars)
        else:
            _add(own, sidecars)
        _raise_to(highest, own)
    _raise_to(together, highest)
    return together


def _requests_of(resources: Resources) -> Amounts:
    """By field, and for pages by their size."""
    found = {name: getattr(resources, name) for name in _REQUESTS}
    amounts: Amounts = {name: amount for name, amount in found.items() if amount is not None}
    amounts.update({str(size): amount for size, amount in resources.hugepages})
    return amounts


def _limits_of(resources: Resources) -> Amounts:
    found = {name: getattr(resources, name) for name in _LIMITS}
    return {name: amount for name, amount in found.items() if amount is not None}


def _to_resources(amounts: Amounts) -> Resources:
    pages = [(int(name), amount) for name, amount in amounts.items() if name.isdigit()]
    named = {name: amounts[name] for name in _REQUESTS if name in amounts}
    return Resources(**named, hugepages=tuple(sorted(pages)))


def _add(amounts: Amounts, more: Amounts) -> None:
    for name, amount in more.items():
        amounts[name] = amounts.get(name, 0) + amount


def _raise_to(amounts: Amounts, least: Amounts) -> None:
    for name, amount in least.items():
        amounts[name] = max(amounts.get(name, 0), amount)


def _total(amounts: Iterable[int | None]) -> int:
    return sum([amount or 0 for amount in amounts])


# ---- who is killed first when memory is short ----


def oom_request_bytes(pod: PodSpec, container: Container) -> int:
    """The memory request that decides the container's oom_score_adj (kubelet, ``GetContainerOOMScoreAdjust``).

    Of the pod's own request, what its containers have not asked for counts in equal parts for each (KEP-2837). A sidecar counts
    at least as the container that is killed last: without it that one may be of no use (KEP-753).
    """
    spare = 0
    if pod.resources.memory_request_bytes is not None:
        taken = containers_request(pod).memory_request_bytes or 0
        spare = max(0, pod.resources.memory_request_bytes - taken) // max(1, len(all_containers(pod)))
    own = (container.resources.memory_request_bytes or 0) + spare
    if container in pod.init_containers and is_sidecar(container):
        others = [(each.resources.memory_request_bytes or 0) + spare for each in pod.containers]
        return max([own, *others])
    return own
