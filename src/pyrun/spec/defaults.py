"""What Kubernetes fills in when a manifest is silent, where the value depends on other fields.

Constant defaults stand at the fields themselves in :mod:`pyrun.spec.pod`.
"""

from __future__ import annotations

from pyrun.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.pod import PodSpec, Resources

MAX_HOSTNAME = 63


def apply_defaults(pod: PodSpec) -> PodSpec:
    """*pod* with the defaults that depend on other fields."""
    containers = tuple([replace(each, resources=default_requests(each.resources)) for each in pod.containers])
    hostname = pod.hostname or ("" if pod.host_network else default_hostname(pod.metadata.name))
    return replace(pod, containers=containers, hostname=hostname)


def default_requests(resources: Resources) -> Resources:
    """A request that is not written is the limit of the same name (core/v1 ``SetDefaults_Pod``)."""
    cpu, memory = resources.cpu_request_milli, resources.memory_request_bytes
    return replace(
        resources,
        cpu_request_milli=resources.cpu_limit_milli if cpu is None else cpu,
        memory_request_bytes=resources.memory_limit_bytes if memory is None else memory,
    )


def default_hostname(pod_name: str) -> str:
    """The pod's name, cut to what the kernel and DNS take (kubelet, ``truncatePodHostnameIfNeeded``)."""
    return pod_name if len(pod_name) <= MAX_HOSTNAME else pod_name[:MAX_HOSTNAME].rstrip("-.")
