"""What comes before each pod: what others left is taken away, it is described, and what it needs is reserved."""

from __future__ import annotations

import os

from pyrun import describe_error, pod_need, qos_class, replace
from pyrun_runtime.admission import Admission, NotAdmitted
from pyrun_runtime.cli.message import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun import PodSpec
    from pyrun_runtime.config import NodeConfig
    from pyrun_runtime.store import Store


def admit(pod: PodSpec, store: Store, config: NodeConfig) -> NodeConfig:
    """Reserve what the pod needs, or raise :class:`NotAdmitted`; *config* with what all Burstable pods have then. What launchers
    had that were killed meanwhile is asked for only where it matters."""
    admission = Admission(store.run_root, store.state_root, config)
    need, uid, qos = pod_need(pod, config.limits.pids_max), pod.metadata.uid or "", qos_class(pod)
    if admission.admit(uid, need, qos):
        collect(store, wait=True)
        if shortages := admission.admit(uid, need, qos):
            raise NotAdmitted(pod.metadata.name, shortages)
    if qos != "Burstable":
        return config
    return replace(config, limits=replace(config.limits, burstable_cpu_milli=admission.burstable_cpu_milli()))


def collect(store: Store, wait: bool = False) -> None:
    """Take away what pods left whose pyrun was killed. What cannot be taken away does not keep this pod from running."""
    for uid, error in store.collect(wait):
        if error is None:
            say(f"removed what was left of pod {uid}, whose pyrun was killed")
        else:
            say(f"warning: left of pod {uid}, whose pyrun was killed: {describe_error(error)}")
    if store.find_orphans():
        from pyrun_runtime.cli.detached import adopt_orphans

        adopt_orphans(store)


def facts_of(pod: PodSpec) -> dict[str, str | int]:
    metadata = pod.metadata
    return {
        "name": metadata.name,
        "namespace": metadata.namespace,
        "uid": metadata.uid or "",
        "launcher_pid": os.getpid(),
        "containers": len(pod.containers),
    }
