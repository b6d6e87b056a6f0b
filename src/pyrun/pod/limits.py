"""What a pod and its containers ask for, as limits of their cgroups (formulas: :mod:`pyrun.container.resources`)."""

from __future__ import annotations

import os

from pyrun.container.lower import CLASS_CGROUPS
from pyrun.container.resources import (
    NO_LIMIT,
    memory_high_bytes,
    milli_cpu_to_quota_us,
    milli_cpu_to_shares,
    page_size_name,
    shares_to_weight,
)
from pyrun.kernel.cgroup import Cgroup
from pyrun.kernel.cgroup_limits import CpuMax, IoMax, Limits
from pyrun.spec.pod import Resources
from pyrun.spec.qos import has_own_resources, pod_resources, qos_class
from pyrun.value import Value, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from pyrun.spec.pod import Container, IoLimit, PodSpec


class LimitPolicy(Value):
    """What the node has to say about limits, beside the manifest.

    ``pids_max`` is for pods that do not say it themselves. ``memory_throttling_factor`` (0 to 1) lets Burstable containers be
    slowed down that far between their request and their limit (memory.high, KEP-2570); ``reserve_memory`` protects what a pod has
    requested from being reclaimed (memory.min of Guaranteed, memory.low of Burstable). ``memory_bytes`` stands for a limit that a
    container does not have. ``burstable_cpu_milli`` is what all Burstable pods have requested together, which is the share of
    their class; None leaves that as it is.
    """

    pids_max: int | None = None
    memory_throttling_factor: float | None = None
    reserve_memory: bool = False
    memory_bytes: int = 0
    burstable_cpu_milli: int | None = None


NO_POLICY = LimitPolicy()


def pod_limits(pod: PodSpec, controllers: Collection[str], policy: LimitPolicy = NO_POLICY) -> Limits:
    """The limits of the pod's own cgroup: the sums, and a maximum only where every container has one."""
    asked = pod_resources(pod)
    limits = _limits(asked, controllers, oom_group=None)
    pids = pod.pids_limit or policy.pids_max
    plain = pids is None and not asked.hugepages and not pod.io_weight and not pod.io_max
    if plain and not policy.reserve_memory:
        return limits
    minimum, low = _protected(pod, asked, policy)
    return replace(
        limits,
        pids_max=pids,
        io_weight=pod.io_weight,
        io_max=_io_max(pod.io_max),
        hugetlb=_hugetlb(asked.hugepages) if asked.hugepages else (),
        memory_min_bytes=minimum,
        memory_low_bytes=low,
    )


def container_limits(
    pod: PodSpec, container: Container, controllers: Collection[str], policy: LimitPolicy = NO_POLICY
) -> Limits:
    """The limits of a container's cgroup. One without a limit has the pod's own, where there is one (KEP-2837)."""
    asked = container.resources
    if has_own_resources(pod):
        asked = replace(
            asked,
            cpu_limit_milli=asked.cpu_limit_milli or pod.resources.cpu_limit_milli,
            memory_limit_bytes=asked.memory_limit_bytes or pod.resources.memory_limit_bytes,
        )
    grouped = container.oom_group and (bool(asked.memory_limit_bytes) or "memory" in controllers)
    limits = _limits(asked, controllers, oom_group=True if grouped else None)
    if pod.resources.hugepages or asked.hugepages or pod_has_hugepages(pod):
        limits = replace(limits, hugetlb=_hugetlb(asked.hugepages or pod.resources.hugepages))
    if container.pids_limit or container.io_weight or container.io_max:
        limits = replace(
            limits, pids_max=container.pids_limit, io_weight=container.io_weight, io_max=_io_max(container.io_max)
        )
    if policy.memory_throttling_factor is not None or policy.reserve_memory:
        minimum, low = _protected(pod, asked, policy)
        # None would leave a container that is resized with what it had.
        high = _memory_high(pod, asked, policy) or NO_LIMIT
        limits = replace(limits, memory_min_bytes=minimum, memory_low_bytes=low, memory_high_bytes=high)
    return limits


def pause_limits(controllers: Collection[str]) -> Limits:
    """pause asks for nothing, so it gets the least share."""
    return _limits(Resources(), controllers, oom_group=None)


def weigh_class(pod_group: Cgroup, parent: str, policy: LimitPolicy) -> None:
    """Give the class that *pod_group* is in, below *parent*, its share: BestEffort the least, Burstable what its pods have
    requested (kubelet, qos_container_manager_linux.go). Nothing where there is no cpu controller, or for Guaranteed pods."""
    milli = 0 if parent == CLASS_CGROUPS["BestEffort"] else policy.burstable_cpu_milli
    if milli is None or parent == CLASS_CGROUPS["Guaranteed"] or "cpu" not in pod_group.read_available_controllers():
        return
    with Cgroup.open(parent) as group:
        group.write_file("cpu.weight", str(shares_to_weight(milli_cpu_to_shares(milli))))


def pod_has_hugepages(pod: PodSpec) -> bool:
    """Then no container may have more of them than it asked for; else nobody is told about huge pages."""
    return any([each.resources.hugepages for each in (*pod.init_containers, *pod.containers)])


def _limits(asked: Resources, controllers: Collection[str], oom_group: bool | None) -> Limits:
    """One process killed for memory takes the container with it, whose ever limit it was (kubernetes#117793).

    A cpu request that nobody made is the least share, as the kubelet has it. Where there is no cpu controller that default is
    left out, since nobody asked for it; what was asked for stays, and is an error there."""
    request, quota = asked.cpu_request_milli or 0, asked.cpu_limit_milli or 0
    weigh = request > 0 or "cpu" in controllers
    return Limits(
        cpu_weight=shares_to_weight(milli_cpu_to_shares(request)) if weigh else None,
        cpu_max=CpuMax(milli_cpu_to_quota_us(quota)) if quota else None,
        memory_max_bytes=asked.memory_limit_bytes or None,
        memory_oom_group=oom_group,
    )


# ---- memory QoS ------------------------------------------------------------------------------------------------------


def _protected(pod: PodSpec, asked: Resources, policy: LimitPolicy) -> tuple[int | None, int | None]:
    """memory.min and memory.low: a Guaranteed pod's request is never reclaimed, a Burstable one's last (KEP-2570)."""
    request = asked.memory_request_bytes or None
    if not policy.reserve_memory or request is None:
        return None, None
    return (request, None) if qos_class(pod) == "Guaranteed" else (None, request)


def _memory_high(pod: PodSpec, asked: Resources, policy: LimitPolicy) -> int | None:
    factor = policy.memory_throttling_factor
    if factor is None or qos_class(pod) == "Guaranteed":
        return None
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    request, limit = asked.memory_request_bytes or 0, asked.memory_limit_bytes or None
    return memory_high_bytes(request, limit, policy.memory_bytes, factor, page_bytes)


# ---- huge pages and devices ------------------------------------------------------------------------------------------


def _hugetlb(pages: tuple[tuple[int, int], ...]) -> tuple[tuple[str, int], ...]:
    """Sizes that are not asked for are none, as the kubelet has it."""
    from pyrun.pod.devices import read_page_sizes  # what most pods do not need

    asked = dict(pages)
    return tuple([(page_size_name(size), asked.get(size, 0)) for size in sorted({*asked, *read_page_sizes()})])


def _io_max(limits: tuple[IoLimit, ...]) -> tuple[IoMax, ...]:
    if not limits:
        return ()
    from pyrun.pod.devices import read_block_device

    return tuple(
        [
            IoMax(
                *read_block_device(limit.path),
                limit.read_bytes_per_s,
                limit.write_bytes_per_s,
                limit.read_operations_per_s,
                limit.write_operations_per_s,
            )
            for limit in limits
        ]
    )
