"""All that starting a pod does, planned. Pure: what ``pyrun plan`` prints is what :class:`pyrun.pod.pod.Pod` performs."""

from __future__ import annotations

from pyrun.container.layout import PodPaths
from pyrun.container.lower import PARENT_CGROUP, cgroup_name, lower_container, shared_namespaces, volume_source
from pyrun.container.plan import Setting, plan_container
from pyrun.container.security import capability_mask
from pyrun.errors import Unsupported
from pyrun.kernel.pause import PAUSE_STEPS
from pyrun.pod.sandbox_plan import etc_files, plan_sandbox
from pyrun.spec.pod import EmptyDir
from pyrun.value import Value, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.kernel.step import Plan
    from pyrun.pod.machine import Machine
    from pyrun.spec.oci import OciSpec
    from pyrun.spec.pod import Container, PodSpec

PAUSE_CGROUP = "_pause"  # not a DNS label, so no container can have this name


class ProcessPlan(Value):
    """How one process of a pod comes to be: born in ``cgroup`` (below the pod's) with ``namespaces`` of its own, it
    does ``steps``.

    ``oci`` is the container's specification; pause has none.
    """

    name: str
    cgroup: str
    namespaces: tuple[str, ...]
    steps: Plan
    oci: OciSpec | None = None


class PodPlan(Value):
    """A pod's cgroup, the host paths that its launcher opens, pause, and the containers in the order of their creation."""

    cgroup: str
    paths: PodPaths
    pause: ProcessPlan
    containers: tuple[ProcessPlan, ...]


def pod_paths(directory: str) -> PodPaths:
    """Where the things of a pod are whose directory is *directory*."""
    return PodPaths(sandbox=f"{directory}/sandbox", volumes=f"{directory}/volumes")


def plan_pod(
    pod: PodSpec, uid: str, directory: str, machine: Machine, death_signal: int = 0, parent: str = PARENT_CGROUP
) -> PodPlan:
    """Plan the pod *uid* whose directory is *directory*, as for :meth:`Pod.create`. Its cgroup is below *parent*.

    Raises :class:`Unsupported` for a pod that *machine* cannot have. What a manifest can say wrong, its parser has refused.
    """
    pause = plan_pause(pod, machine, death_signal)
    containers = plan_containers(pod, uid, directory, machine, death_signal, parent)
    return PodPlan(cgroup_name(uid, parent), pod_paths(directory), pause, containers)


def plan_pause(pod: PodSpec, machine: Machine, death_signal: int = 0, bare: bool = False) -> ProcessPlan:
    """The first process of the pod, which has to be on its way before the others are even planned; *bare* as for
    :func:`plan_sandbox`."""
    shared = _held_namespaces(pod, machine)
    files = etc_files(pod, machine)  # which tell a name of the pod's own from the machine's
    protect = bool(machine.capabilities & capability_mask(("CAP_SYS_RESOURCE",)))
    return ProcessPlan(
        name="pause",
        cgroup=PAUSE_CGROUP,
        namespaces=tuple([kind for kind in shared if kind == "pid"]),
        steps=(
            *plan_sandbox(_named(pod, machine), shared, files, death_signal, protect, machine.memory_bytes, bare),
            *PAUSE_STEPS,
        ),
    )


def plan_containers(
    pod: PodSpec, uid: str, directory: str, machine: Machine, death_signal: int = 0, parent: str = PARENT_CGROUP
) -> tuple[ProcessPlan, ...]:
    """The containers, in the order of their creation. Arguments as for :func:`plan_pod`."""
    paths = pod_paths(directory)
    setting = Setting(
        joined=_held_namespaces(pod, machine),
        sandbox=paths.sandbox,
        opened=_host_paths(pod, paths),
        lacking=machine.lacking,
        death_signal=death_signal,
    )
    named = _named(pod, machine)
    return tuple([_plan_container(named, each, uid, paths, machine, setting, parent) for each in pod.containers])


def _named(pod: PodSpec, machine: Machine) -> PodSpec:
    """A pod on the machine's network has the machine's name, unless it has one of its own."""
    return pod if pod.hostname else replace(pod, hostname=machine.hostname)


def _plan_container(
    pod: PodSpec, container: Container, uid: str, paths: PodPaths, machine: Machine, setting: Setting, parent: str
) -> ProcessPlan:
    oci = lower_container(pod, container, uid, paths, machine.memory_bytes, machine.capabilities, parent)
    plan = plan_container(oci, setting)
    return ProcessPlan(container.name, container.name, plan.clone_namespaces, plan.steps, oci)


def _held_namespaces(pod: PodSpec, machine: Machine) -> tuple[str, ...]:
    offsets = pod.time_offsets
    if "time" in machine.lacking and (offsets.monotonic_ns or offsets.boottime_ns):
        raise Unsupported("a time offset", "a kernel with CONFIG_TIME_NS, or no such annotation")
    return tuple([kind for kind in shared_namespaces(pod) if kind not in machine.lacking])


def _host_paths(pod: PodSpec, paths: PodPaths) -> tuple[str, ...]:
    """The paths of the host that the launcher opens for the pod's volumes, each once."""
    on_host = [
        each for each in pod.volumes if not (isinstance(each.source, EmptyDir) and each.source.medium == "Memory")
    ]
    return tuple({volume_source(volume, paths): None for volume in on_host})
