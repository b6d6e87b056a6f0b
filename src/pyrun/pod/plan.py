"""All that starting a pod does, planned. Pure: what ``pyrun plan`` prints is what :class:`pyrun.pod.pod.Pod` performs."""

from __future__ import annotations

from pyrun.container.layout import MESSAGE_PATH, PodPaths
from pyrun.container.lower import (
    cgroup_name,
    class_cgroup,
    is_in_sandbox,
    lower_container,
    shared_namespaces,
    volume_source,
)
from pyrun.container.plan import ContainerPlan, Setting, plan_container
from pyrun.container.security import capability_mask
from pyrun.errors import Unsupported
from pyrun.kernel.pause import PAUSE_STEPS
from pyrun.pod.facts import facts_of
from pyrun.pod.names import etc_files, kernel_hostname
from pyrun.pod.sandbox_plan import plan_sandbox
from pyrun.spec.environment import resolve_environment
from pyrun.value import Value, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrun.kernel.step import Plan
    from pyrun.pod.machine import Machine
    from pyrun.spec.environment import Facts
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
    """A pod's cgroup, the host paths that its launcher opens, pause, and the containers in the order of their creation: init
    containers first."""

    cgroup: str
    paths: PodPaths
    pause: ProcessPlan
    containers: tuple[ProcessPlan, ...]


def pod_paths(directory: str) -> PodPaths:
    """Where the things of a pod are whose directory is *directory*."""
    return PodPaths(sandbox=f"{directory}/sandbox", volumes=f"{directory}/volumes")


def plan_pod(
    pod: PodSpec, uid: str, directory: str, machine: Machine, death_signal: int = 0, parent: str | None = None
) -> PodPlan:
    """Plan the pod *uid* whose directory is *directory*, as for :meth:`Pod.create`. Its cgroup is below *parent*, or where pods
    of its class are.

    Raises :class:`Unsupported` for a pod that *machine* cannot have. What a manifest can say wrong, its parser has refused.
    """
    pause = plan_pause(pod, machine, death_signal)
    every = (*pod.init_containers, *pod.containers)
    containers = plan_containers(pod, every, uid, directory, machine, death_signal, parent)
    return PodPlan(cgroup_name(uid, parent or class_cgroup(pod)), pod_paths(directory), pause, containers)


def plan_pause(pod: PodSpec, machine: Machine, death_signal: int = 0, bare: bool = False) -> ProcessPlan:
    """The first process of the pod, which has to be on its way before the others are even planned; *bare* as for
    :func:`plan_sandbox`."""
    (plan,) = _remember((pod, machine, death_signal, bare), lambda: (_plan_pause(pod, machine, death_signal, bare),))
    return ProcessPlan("pause", PAUSE_CGROUP, plan.clone_namespaces, plan.steps)


def _plan_pause(pod: PodSpec, machine: Machine, death_signal: int, bare: bool) -> ContainerPlan:
    shared = _held_namespaces(pod, machine)
    files = etc_files(pod, machine)  # which tell a name of the pod's own from the machine's
    protect = bool(machine.capabilities & capability_mask(("CAP_SYS_RESOURCE",)))
    named = _named(pod, machine)
    steps = plan_sandbox(named, shared, files, death_signal, protect, machine.memory_bytes, bare)
    cloned = tuple([kind for kind in shared if kind == "pid" and pod.host_users])
    return ContainerPlan((*steps, *PAUSE_STEPS), cloned)


def plan_containers(
    pod: PodSpec,
    containers: tuple[Container, ...],
    uid: str,
    directory: str,
    machine: Machine,
    death_signal: int = 0,
    parent: str | None = None,
    facts: Facts | None = None,
) -> tuple[ProcessPlan, ...]:
    """Those *containers* of *pod*, in their order. Other arguments as for :func:`plan_pod`."""
    paths = pod_paths(directory)
    setting = Setting(
        joined=_held_namespaces(pod, machine),
        sandbox=paths.sandbox,
        opened=tuple(opened_paths(pod, paths).items()),
        lacking=machine.lacking,
        death_signal=death_signal,
    )
    named = _named(pod, machine)
    known = facts or facts_of(machine, uid)
    containers = tuple([resolve_environment(pod, each, known) for each in containers])
    specs = [
        lower_container(named, each, uid, paths, machine.memory_bytes, machine.capabilities, parent)
        for each in containers
    ]
    settings = [_setting_of(pod, each, setting) for each in containers]
    pairs = zip(specs, settings, strict=True)
    plans = _remember(
        (named, containers, machine, death_signal), lambda: tuple([plan_container(oci, how) for oci, how in pairs])
    )
    return tuple(
        [
            ProcessPlan(each.name, each.name, plan.clone_namespaces, plan.steps, oci)
            for each, oci, plan in zip(containers, specs, plans, strict=True)
        ]
    )


def _setting_of(pod: PodSpec, container: Container, setting: Setting) -> Setting:
    default = container.termination_message_path == MESSAGE_PATH
    return replace(setting, init=has_init(pod, container), message_file=default)


def has_init(pod: PodSpec, container: Container) -> bool:
    """Whether the container's program is to have an init above it. In a shared PID namespace pause is what reaps."""
    return container.init and not pod.share_process_namespace


def _named(pod: PodSpec, machine: Machine) -> PodSpec:
    """With the name that the kernel is told. A pod on the machine's network has the machine's, unless it has one of its own."""
    name = kernel_hostname(pod) or machine.hostname
    return pod if name == pod.hostname else replace(pod, hostname=name)


_remembered: dict[tuple[object, ...], tuple[ContainerPlan, ...]] = {}
REMEMBERED_MOST = 32


def _remember(key: tuple[object, ...], plan: Callable[[], tuple[ContainerPlan, ...]]) -> tuple[ContainerPlan, ...]:
    """What *plan* made for *key* before: whoever runs many pods runs them from a few manifests.

    Neither the pod's uid nor its directory is in the steps, which know volumes by their slots.
    """
    found = _remembered.get(key)
    if found is None:
        found = plan()
        if len(_remembered) >= REMEMBERED_MOST:
            _remembered.clear()
        _remembered[key] = found
    return found


def _held_namespaces(pod: PodSpec, machine: Machine) -> tuple[str, ...]:
    offsets = pod.time_offsets
    if "time" in machine.lacking and (offsets.monotonic_ns or offsets.boottime_ns):
        raise Unsupported("a time offset", "a kernel with CONFIG_TIME_NS, or no such annotation")
    return tuple([kind for kind in shared_namespaces(pod) if kind not in machine.lacking])


def opened_paths(pod: PodSpec, paths: PodPaths) -> dict[str, str]:
    """The paths of the host that the launcher opens for the pod's volumes, each once, with the slot that it is for."""
    found: dict[str, str] = {}
    for volume in pod.volumes:
        if not is_in_sandbox(volume):
            found.setdefault(volume_source(volume, paths), f"volume {volume.name}")
    return found
