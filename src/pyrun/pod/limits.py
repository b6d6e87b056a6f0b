"""What a pod and its containers ask for, as limits of their cgroups (formulas: :mod:`pyrun.container.resources`)."""

from __future__ import annotations

from pyrun.container.resources import milli_cpu_to_quota_us, milli_cpu_to_shares, shares_to_weight
from pyrun.kernel.cgroup_limits import CpuMax, Limits
from pyrun.spec.pod import Resources
from pyrun.spec.qos import pod_resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from pyrun.spec.pod import Container, PodSpec


def pod_limits(pod: PodSpec, controllers: Collection[str]) -> Limits:
    """The limits of the pod's own cgroup: the sums, and a maximum only where every container has one."""
    return _limits(pod_resources(pod), controllers, oom_group=None)


def container_limits(container: Container, controllers: Collection[str]) -> Limits:
    """The limits of a container's cgroup. One process killed for memory takes the container with it, whose ever limit it was
    (kubernetes#117793)."""
    limited = container.resources.memory_limit_bytes
    return _limits(container.resources, controllers, oom_group=True if limited or "memory" in controllers else None)


def pause_limits(controllers: Collection[str]) -> Limits:
    """pause asks for nothing, so it gets the least share."""
    return _limits(Resources(), controllers, oom_group=None)


def _limits(asked: Resources, controllers: Collection[str], oom_group: bool | None) -> Limits:
    """A cpu request that nobody made is the least share, as the kubelet has it. Where there is no cpu controller that default is
    left out, since nobody asked for it; what was asked for stays, and is an error there."""
    request, quota = asked.cpu_request_milli or 0, asked.cpu_limit_milli or 0
    weigh = request > 0 or "cpu" in controllers
    return Limits(
        cpu_weight=shares_to_weight(milli_cpu_to_shares(request)) if weigh else None,
        cpu_max=CpuMax(milli_cpu_to_quota_us(quota)) if quota else None,
        memory_max_bytes=asked.memory_limit_bytes or None,
        memory_oom_group=oom_group,
    )
