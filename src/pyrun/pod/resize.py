"""Other limits for a container that runs, and for its pod: which files change, and in which order."""

from __future__ import annotations

from pyrun.errors import StateError
from pyrun.pod.limits import container_limits, pod_limits
from pyrun.spec.qos import all_containers
from pyrun.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.kernel.cgroup import Cgroup
    from pyrun.kernel.cgroup_limits import CpuMax, Limits
    from pyrun.pod.limits import LimitPolicy
    from pyrun.spec.pod import PodSpec


def apply_resize(
    old: PodSpec, new: PodSpec, name: str, pod_group: Cgroup, group: Cgroup | None, policy: LimitPolicy
) -> None:
    """Give *pod_group* the limits of *new* in place of *old*'s, and *group* those of container *name*.

    Without *group* the container is to be made anew: then the pod's limit only grows, and what it is in the end is written by
    whoever makes the container.

    As the kubelet does it: nothing is written if more memory is in use than the new limit (:class:`StateError`); a pod that grows
    grows before its container, and one that shrinks after it, so that the pod's limit is never the one that is met first.
    """
    controllers = pod_group.read_available_controllers()
    before, after = pod_limits(old, controllers, policy), pod_limits(new, controllers, policy)
    if group is None:
        pod_group.apply_limits(_larger(before, after))
        return
    (container,) = [each for each in all_containers(new) if each.name == name]
    wanted = container_limits(new, container, controllers, policy)
    _check_usage(f"container {name}", group, wanted)
    _check_usage("the pod", pod_group, after)
    pod_group.apply_limits(_larger(before, after))
    group.apply_limits(wanted)
    pod_group.apply_limits(after)


def _check_usage(what: str, group: Cgroup, limits: Limits) -> None:
    most = limits.memory_max_bytes
    stats = group.read_memory_stats() if most is not None else None
    if most is not None and stats is not None and stats.current_bytes > most:
        state = f"using {stats.current_bytes} bytes of memory"
        raise StateError(what, state, f"using no more than its new limit ({most} bytes)")


def _larger(before: Limits, after: Limits) -> Limits:
    """*after*, with no maximum below that of *before*; one that *before* does not have, not yet."""
    memory = [limits.memory_max_bytes for limits in (before, after)]
    most = max([each for each in memory if each is not None]) if None not in memory else None
    return replace(after, memory_max_bytes=most, cpu_max=_larger_quota(before.cpu_max, after.cpu_max))


def _larger_quota(before: CpuMax | None, after: CpuMax | None) -> CpuMax | None:
    if before is None or after is None:
        return None
    return before if before.quota_us > after.quota_us else after
