"""Other resources for a container of a pod that runs, as Kubernetes' ``resize`` of a pod allows them (KEP-1287). Pure."""

from __future__ import annotations

from pyrun.errors import NotFound, SpecError
from pyrun.spec.parse import quote
from pyrun.spec.qos import is_sidecar, qos_class
from pyrun.spec.quantity import parse_quantity, to_milli, to_units
from pyrun.spec.resources_parse import RESIZABLE, check_resources
from pyrun.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyrun.spec.pod import Container, PodSpec, Resources

FIELDS = {
    ("requests", "cpu"): "cpu_request_milli",
    ("limits", "cpu"): "cpu_limit_milli",
    ("requests", "memory"): "memory_request_bytes",
    ("limits", "memory"): "memory_limit_bytes",
}


def resize_container(
    pod: PodSpec, name: str, requests: Mapping[str, str] | None = None, limits: Mapping[str, str] | None = None
) -> PodSpec:
    """*pod* with other *requests* and *limits* (quantities, by ``cpu`` and ``memory``) of container *name*; what is not named
    stays.

    Raises :class:`NotFound` for a container that the pod does not have, :class:`SpecError` for what may not be changed: other
    resources, an init container that is no sidecar, the pod's QoS class; and for a request above its limit.
    """
    kind, index, container = _find(pod, name)
    pointer = f"/spec/{kind}/{index}/resources"
    changes: dict[str, int] = {}
    for word, wanted in (("requests", requests or {}), ("limits", limits or {})):
        for resource, text in wanted.items():
            changes[_field(pointer, word, resource)] = _amount(pointer, word, resource, text)
    resized = replace(container.resources, **changes)
    _check_pairs(pointer, resized)
    containers = tuple([replace(each, resources=resized) if each is container else each for each in _all(pod, kind)])
    new = replace(pod, **{"init_containers" if kind == "initContainers" else "containers": containers})
    check_resources(new)
    if qos_class(new) != qos_class(pod):
        raise SpecError(
            pointer, f"the QoS class {qos_class(pod)} may not change, and this would make it {qos_class(new)}"
        )
    return new


def needs_restart(old: PodSpec, new: PodSpec, name: str) -> tuple[str, ...]:
    """The resources of container *name* whose change its ``resizePolicy`` has a restart for."""
    before, after = _find(old, name)[2], _find(new, name)[2]
    changed = {
        resource
        for (_, resource), field in FIELDS.items()
        if getattr(before.resources, field) != getattr(after.resources, field)
    }
    return tuple([name for name, policy in after.resize_policy if policy == "RestartContainer" and name in changed])


def _find(pod: PodSpec, name: str) -> tuple[str, int, Container]:
    for kind in ("containers", "initContainers"):
        for index, container in enumerate(_all(pod, kind)):
            if container.name == name:
                if kind == "initContainers" and not is_sidecar(container):
                    raise SpecError(
                        f"/spec/initContainers/{index}", "only sidecars among init containers can be resized"
                    )
                return kind, index, container
    raise NotFound(f"pod {pod.metadata.name} has no container {name}")


def _all(pod: PodSpec, kind: str) -> tuple[Container, ...]:
    return pod.init_containers if kind == "initContainers" else pod.containers


def _field(pointer: str, word: str, resource: str) -> str:
    if resource not in RESIZABLE:
        raise SpecError(f"{pointer}/{word}", f"{quote(resource)} cannot be resized: only cpu and memory can")
    return FIELDS[word, resource]


def _amount(pointer: str, word: str, resource: str, text: str) -> int:
    try:
        nano = parse_quantity(text)
    except ValueError as error:
        raise SpecError(f"{pointer}/{word}/{resource}", str(error)) from None
    return to_milli(nano) if resource == "cpu" else to_units(nano)


def _check_pairs(pointer: str, resources: Resources) -> None:
    for resource in RESIZABLE:
        request, limit = [getattr(resources, FIELDS[word, resource]) for word in ("requests", "limits")]
        if request is not None and limit is not None and request > limit:
            raise SpecError(f"{pointer}/requests/{resource}", "the request is more than the limit")
