"""What a pod's life so far amounts to: its phase, its conditions, its containers' states."""

from __future__ import annotations

from pyrun.pod.lifecycle.status import Condition, ContainerState, PodStatus
from pyrun.spec.qos import qos_class

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.pod.lifecycle.container_life import ContainerLife
    from pyrun.pod.lifecycle.pod_life import PodLife
    from pyrun.pod.lifecycle.status import Phase


def pod_status(life: PodLife) -> PodStatus:
    """The status of the pod."""
    return PodStatus(
        phase=_phase(life),
        start_s=life.began_s,
        conditions=_conditions(life),
        containers=tuple([_container(each) for each in life.containers.values()]),
        reason=life.reason,
        message=life.message,
        qos_class=qos_class(life.spec),
    )


def _phase(life: PodLife) -> Phase:
    regular = life.of_role("regular")
    if life.over:
        return "Succeeded" if not life.failed and all([each.succeeded for each in regular]) else "Failed"
    ran = [each for each in regular if each.started_s or each.ended is not None or each.before is not None]
    return "Running" if life.initialized_s is not None and ran else "Pending"


def _conditions(life: PodLife) -> tuple[Condition, ...]:
    began_s = life.began_s
    since_s = began_s if life.ready_s is None else life.ready_s
    unready = [each.name for each in life.of_role("regular", "sidecar") if not each.ready]
    reason, message = "", ""
    if not life.was_ready:
        done = life.over and _phase(life) == "Succeeded"
        reason = "PodCompleted" if done else "ContainersNotReady"
        message = "" if done else f"containers with unready status: [{' '.join(unready)}]"
    incomplete = [each.name for each in life.of_role("init") if not each.ready]
    initialized = Condition("Initialized", True, life.initialized_s or began_s)
    if life.initialized_s is None:
        told = f"containers with incomplete status: [{' '.join(incomplete)}]"
        initialized = Condition("Initialized", False, began_s, "ContainersNotInitialized", told)
    return (
        Condition("PodScheduled", True, began_s),
        Condition("PodReadyToStartContainers", not life.over, began_s),
        initialized,
        Condition("ContainersReady", life.was_ready, since_s, reason, message),
        Condition("Ready", life.was_ready, since_s, reason, message),
    )


def _container(life: ContainerLife) -> ContainerState:
    return ContainerState(
        life.name,
        life.role,
        life.shown,
        life.shown_before,
        life.restart_count,
        life.ready,
        life.started and life.role != "init",
    )
