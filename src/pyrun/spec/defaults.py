"""What Kubernetes fills in when a manifest is silent, where the value depends on other fields.

Constant defaults stand at the fields themselves in :mod:`pyrun.spec.pod`.
"""

from __future__ import annotations

from pyrun.spec.qos import containers_request, has_own_resources
from pyrun.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.pod import Container, PodSpec, Resources

MAX_HOSTNAME = 63


def apply_defaults(pod: PodSpec) -> PodSpec:
    """*pod* with the defaults that depend on other fields."""
    hostname = pod.hostname or ("" if pod.host_network else default_hostname(pod.metadata.name))
    pod = replace(
        pod,
        containers=_with_requests(pod.containers),
        init_containers=_with_requests(pod.init_containers),
        hostname=hostname,
    )
    return replace(pod, resources=default_pod_requests(pod)) if has_own_resources(pod) else pod


def _with_requests(containers: tuple[Container, ...]) -> tuple[Container, ...]:
    return tuple([replace(each, resources=default_requests(each.resources)) for each in containers])


def default_requests(resources: Resources) -> Resources:
    """A request that is not written is the limit of the same name (core/v1 ``SetDefaults_Pod``)."""
    cpu, memory, disk = (
        resources.cpu_request_milli,
        resources.memory_request_bytes,
        resources.ephemeral_storage_request_bytes,
    )
    return replace(
        resources,
        cpu_request_milli=resources.cpu_limit_milli if cpu is None else cpu,
        memory_request_bytes=resources.memory_limit_bytes if memory is None else memory,
        ephemeral_storage_request_bytes=resources.ephemeral_storage_limit_bytes if disk is None else disk,
    )


def default_pod_requests(pod: PodSpec) -> Resources:
    """The pod's own resources: with a limit but no request, what the containers request is the request, and where they request
    nothing, the limit (core/v1 ``defaultPodRequests``)."""
    own, needed = pod.resources, containers_request(pod)
    if own.cpu_limit_milli is None and own.memory_limit_bytes is None:
        return own
    own = replace(
        own,
        cpu_request_milli=_first(own.cpu_request_milli, needed.cpu_request_milli),
        memory_request_bytes=_first(own.memory_request_bytes, needed.memory_request_bytes),
    )
    return default_requests(own)


def _first(amount: int | None, otherwise: int | None) -> int | None:
    return otherwise if amount is None else amount


def default_hostname(pod_name: str) -> str:
    """The pod's name, cut to what the kernel and DNS take (kubelet, ``truncatePodHostnameIfNeeded``)."""
    return pod_name if len(pod_name) <= MAX_HOSTNAME else pod_name[:MAX_HOSTNAME].rstrip("-.")
