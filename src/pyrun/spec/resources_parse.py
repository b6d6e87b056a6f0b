"""``resources`` of a container and of a pod, ``overhead`` and ``resizePolicy``: quantities, and the rules between them.

The rules are those of Kubernetes' API server (core/validation, ``ValidateResourceRequirements``, ``validatePodResources``).
"""

from __future__ import annotations

from pyrun.errors import SpecError
from pyrun.spec.parse import did_you_mean, quote, shorten
from pyrun.spec.pod import Resources
from pyrun.spec.pod_fields import object_of
from pyrun.spec.qos import containers_request
from pyrun.spec.quantity import is_whole, parse_quantity, read_quantity, to_milli, to_units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.parse import Reader
    from pyrun.spec.pod import Container, Pairs, PodSpec

HUGEPAGES = "hugepages-"
CONTAINER_RESOURCES = ("cpu", "memory", "ephemeral-storage")
POD_RESOURCES = ("cpu", "memory")
RESIZABLE = ("cpu", "memory")
RESIZE_POLICIES = ("NotRequired", "RestartContainer")


def read_resources(reader: Reader | None, warnings: list[str]) -> Resources:
    """``resources`` of a container."""
    return _read_requirements(reader, warnings, CONTAINER_RESOURCES)


def read_pod_resources(reader: Reader | None, warnings: list[str]) -> Resources:
    """``spec.resources``; what it has to do with those of the containers,
    :func:`check_resources` looks at."""
    return _read_requirements(reader, warnings, POD_RESOURCES)


def read_overhead(reader: Reader | None, warnings: list[str]) -> Resources:
    """``spec.overhead``: what the pod costs beside its containers, as requests."""
    if reader is None:
        return Resources()
    return _resources(_read_amounts(reader, warnings, CONTAINER_RESOURCES), {})


def read_resize_policy(items: list[Reader]) -> Pairs:
    """``resizePolicy``: pairs of resource and what its change needs."""
    policies: dict[str, str] = {}
    for item in items:
        fields = object_of(item, "ContainerResizePolicy")
        name = fields.need("resourceName").one_of(RESIZABLE)
        if name in policies:
            raise item.member_error("resourceName", f"{name!r} has a policy already")
        policies[name] = fields.need("restartPolicy").one_of(RESIZE_POLICIES)
    return tuple(policies.items())


# ---- one object ----


def _read_requirements(reader: Reader | None, warnings: list[str], names: tuple[str, ...]) -> Resources:
    if reader is None:
        return Resources()
    fields = object_of(reader, "ResourceRequirements")
    requests, limits = fields.get("requests"), fields.get("limits")
    requested = _read_amounts(requests, warnings, names) if requests is not None else {}
    limited = _read_amounts(limits, warnings, names) if limits is not None else {}
    if requests is not None:
        for name, amount in requested.items():
            _check_request(requests, limits, name, amount, limited)
    _check_hugepages(reader, {**requested, **limited}, names)
    return _resources(requested, limited)


def _check_request(requests: Reader, limits: Reader | None, name: str, amount: int, limited: dict[str, int]) -> None:
    huge = name.startswith(HUGEPAGES)
    if name not in limited:
        if huge:
            raise requests.member_error(
                name, "pages that are reserved for it cannot be overcommitted: set the limit too"
            )
        return
    if limits is None or amount == limited[name] or (amount < limited[name] and not huge):
        return
    request, limit = _written(requests, name), _written(limits, name)
    is_wrong = "must be equal to" if huge else "is more than"
    raise requests.member_error(name, f"the request {request} {is_wrong} the limit {limit}")


def _check_hugepages(reader: Reader, amounts: dict[str, int], names: tuple[str, ...]) -> None:
    huge = [name for name in amounts if name.startswith(HUGEPAGES)]
    # Of a pod's own resources the containers may bring the cpu and memory.
    if huge and names is CONTAINER_RESOURCES and not {"cpu", "memory"} & amounts.keys():
        raise reader.error(f"{huge[0]} needs a cpu or memory request beside it")


def _resources(requested: dict[str, int], limited: dict[str, int]) -> Resources:
    huge = {_page_size(name): amount for name, amount in (requested | limited).items() if name.startswith(HUGEPAGES)}
    return Resources(
        cpu_request_milli=requested.get("cpu"),
        cpu_limit_milli=limited.get("cpu"),
        memory_request_bytes=requested.get("memory"),
        memory_limit_bytes=limited.get("memory"),
        ephemeral_storage_request_bytes=requested.get("ephemeral-storage"),
        ephemeral_storage_limit_bytes=limited.get("ephemeral-storage"),
        hugepages=tuple(sorted(huge.items())),
    )


def _written(amounts: Reader, name: str) -> str:
    value = amounts.value
    return shorten(str(value[name])) if isinstance(value, dict) else ""


def _read_amounts(reader: Reader, warnings: list[str], names: tuple[str, ...]) -> dict[str, int]:
    """``{"cpu": milli-CPUs, "memory": bytes, …}``, each rounded up."""
    amounts: dict[str, int] = {}
    for member in reader.members():
        if member.value is None:
            continue
        if member.key == "cpu":
            amounts["cpu"] = to_milli(read_quantity(member))
        elif member.key.startswith(HUGEPAGES):
            amounts[member.key] = _read_hugepages(member)
        elif member.key in names:
            nano = read_quantity(member)
            amounts[member.key] = to_units(nano)
            if not is_whole(nano):
                warnings.append(f"{member.pointer}: {quote(str(member.value))} is no whole number of bytes, rounded up")
        else:
            raise member.error(_refused_resource(member.key, names))
    return amounts


def _read_hugepages(member: Reader) -> int:
    try:
        page_bytes = _page_size(member.key)
    except ValueError as error:
        raise member.error(f"hugepages-SIZE, as in hugepages-2Mi: {error}") from None
    if page_bytes <= 0 or page_bytes & (page_bytes - 1):
        raise member.error(f"{quote(member.key)}: no size of a page")
    nano = read_quantity(member)
    if not is_whole(nano) or to_units(nano) % page_bytes:
        raise member.error(f"{quote(str(member.value))} is no whole number of pages of {page_bytes} bytes")
    return to_units(nano)


def _page_size(name: str) -> int:
    return to_units(parse_quantity(name.removeprefix(HUGEPAGES)))


def _refused_resource(name: str, names: tuple[str, ...]) -> str:
    from pyrun.spec.kubernetes import RESOURCES

    if name in CONTAINER_RESOURCES:
        return "a pod as a whole has no such resource: its containers have"
    if name in RESOURCES:
        return "no resource of a container"
    if "/" in name:
        return "an extended resource, and this machine offers none"
    return "no such resource" + did_you_mean(name, (*names, "hugepages-2Mi", "hugepages-1Gi"))


# ---- between containers and pod ----


def check_resources(pod: PodSpec) -> None:
    """Raises SpecError where the pod's own resources do not suffice for its containers, or a change of a container's would need a
    restart that is forbidden. *pod* has its defaults."""
    needed = containers_request(pod)
    for name, field, unit in (("cpu", "cpu_request_milli", "m"), ("memory", "memory_request_bytes", " bytes")):
        own, least = getattr(pod.resources, field), getattr(needed, field)
        if own is not None and least is not None and own < least:
            message = f"must be at least what the containers request together, {least}{unit}"
            raise SpecError(f"/spec/resources/requests/{name}", message)
    _check_pod_pages(dict(pod.resources.hugepages), dict(needed.hugepages))
    for kind, containers in (("initContainers", pod.init_containers), ("containers", pod.containers)):
        for index, container in enumerate(containers):
            pointer = f"/spec/{kind}/{index}"
            _check_limits(pointer, container.resources, pod.resources)
            _check_resize_policy(pointer, container, pod.restart_policy)


def _check_pod_pages(own: dict[int, int], needed: dict[int, int]) -> None:
    for size, amount in needed.items():
        if size in own and own[size] < amount:
            message = f"the containers need {amount} bytes in pages of {size} together"
            raise SpecError("/spec/resources/limits", message)


def _check_limits(pointer: str, own: Resources, pod: Resources) -> None:
    for name, field in (("cpu", "cpu_limit_milli"), ("memory", "memory_limit_bytes")):
        limit, most = getattr(own, field), getattr(pod, field)
        if limit is not None and most is not None and limit > most:
            raise SpecError(
                f"{pointer}/resources/limits/{name}", "is more than the limit of the pod in /spec/resources"
            )


def _check_resize_policy(pointer: str, container: Container, pod_policy: str) -> None:
    if (container.restart_policy or pod_policy) != "Never":
        return
    for index, (_, policy) in enumerate(container.resize_policy):
        if policy == "RestartContainer":
            message = "must be NotRequired where restartPolicy is Never"
            raise SpecError(f"{pointer}/resizePolicy/{index}/restartPolicy", message)
