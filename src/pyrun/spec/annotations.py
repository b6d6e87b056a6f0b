"""Annotations under ``pyrun.dev/``: what Kubernetes' API has no field for (docs/extensions.md).

``pyrun.dev/NAME`` is about the pod, or a default for all its containers; ``pyrun.dev/NAME.CONTAINER`` about one of them.
"""

from __future__ import annotations

from pyrun.spec.limit_annotations import read_io_max, read_pids_limit, read_ulimits, read_weight
from pyrun.spec.parse import did_you_mean, quote
from pyrun.spec.pod import TimeOffsets
from pyrun.spec.pod_fields import ANNOTATION_PREFIX as PREFIX
from pyrun.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pyrun.spec.parse import Reader
    from pyrun.spec.pod import Container, PodSpec

MONOTONIC = "time-offset-monotonic"
BOOTTIME = "time-offset-boottime"
NETWORK = "network"
NETWORKS = ("loopback", "none")

# The kernel refuses a clock that would pass half of KTIME_SEC_MAX (kernel/time/namespace.c, proc_timens_set_offset).
MAX_OFFSET_S = (2**63 - 1) // 1_000_000_000 // 2


def apply_annotations(pod: PodSpec, annotations: Reader, warnings: list[str]) -> PodSpec:
    """*pod* with what its annotations say; one of ours that is not known is an error, others are not ours to judge."""
    ours = [member for member in annotations.members() if member.key.startswith(PREFIX)]
    of_pod: dict[str, Reader] = {}
    of_container: dict[tuple[str, str], Reader] = {}
    for member in ours:
        name, dot, container = member.key.removeprefix(PREFIX).partition(".")
        _check_name(member, name, dot, container, pod)
        if dot:
            of_container[name, container] = member
        else:
            of_pod[name] = member
    return _apply(pod, of_pod, of_container, warnings)


def _check_name(member: Reader, name: str, dot: str, container: str, pod: PodSpec) -> None:
    if name not in OF_POD and name not in OF_CONTAINER:
        raise member.error("no such annotation" + did_you_mean(PREFIX + name, KNOWN))
    if dot and name not in OF_CONTAINER:
        raise member.error(f"{name} is of the pod, not of one container")
    if dot:
        names = [each.name for each in (*pod.init_containers, *pod.containers, *pod.ephemeral_containers)]
        if container not in names:
            raise member.error(f"there is no container {quote(container)}{did_you_mean(container, names)}")


def _apply(
    pod: PodSpec, of_pod: dict[str, Reader], of_container: dict[tuple[str, str], Reader], warnings: list[str]
) -> PodSpec:
    changes: dict[str, object] = {}
    for name, read in OF_POD.items():
        if name in of_pod and read is not None:
            changes[FIELDS[name]] = read(of_pod[name])
    if MONOTONIC in of_pod or BOOTTIME in of_pod:
        offsets = [_read_seconds(of_pod[name]) if name in of_pod else 0 for name in (MONOTONIC, BOOTTIME)]
        changes["time_offsets"] = TimeOffsets(*offsets)
    if changes.get("loopback") is False and pod.host_network:
        raise of_pod[NETWORK].error("cannot be 'none' together with hostNetwork")
    for kind in ("init_containers", "containers", "ephemeral_containers"):
        changes[kind] = tuple([_annotated(each, of_pod, of_container) for each in getattr(pod, kind)])
    annotated = replace(pod, **changes)
    if pod.share_process_namespace and any([each.init for each in annotated.containers]):
        warnings.append(f"/metadata/annotations: {PREFIX}init: pause is the first process of the shared PID namespace")
    return annotated


def _annotated(
    container: Container, of_pod: dict[str, Reader], of_container: dict[tuple[str, str], Reader]
) -> Container:
    """Its own annotation, else the pod's where that is a default for containers; of ulimits each by itself."""
    changes: dict[str, object] = {}
    for name, read in OF_CONTAINER.items():
        own = of_container.get((name, container.name))
        default = None if name in OF_POD else of_pod.get(name)
        if name == "ulimits":
            both = [read_ulimits(place) for place in (default, own) if place is not None]
            changes["rlimits"] = tuple({each.resource: each for limits in both for each in limits}.values())
        elif own is not None or default is not None:
            changes[FIELDS[name]] = read(own or default)  # type: ignore[arg-type]
    return replace(container, **changes)


def _read_network(reader: Reader) -> bool:
    if reader.value == "host":
        raise reader.error("'host' is what hostNetwork: true says")
    return reader.one_of(NETWORKS) == "loopback"


def _read_truth(reader: Reader) -> bool:
    """Annotations are strings."""
    return reader.one_of(("true", "false")) == "true"


def _read_seconds(reader: Reader) -> int:
    """Decimal seconds, e.g. ``"86400"`` or ``"-1.5"``, in nanoseconds."""
    text = reader.string()
    whole, _, fraction = text.removeprefix("-").partition(".")
    digits = whole + fraction
    if not whole or not digits.isascii() or not digits.isdigit() or len(fraction) > 9 or text.endswith("."):
        raise reader.error(f"expected seconds such as '86400' or '-1.5', with at most 9 decimals, found {quote(text)}")
    if len(whole) > 12 or int(whole) >= MAX_OFFSET_S:
        raise reader.error(f"must be less than {MAX_OFFSET_S} seconds either way")
    nanoseconds = int(whole) * 1_000_000_000 + int(fraction.ljust(9, "0"))
    return -nanoseconds if text[0] == "-" else nanoseconds


# About the pod itself; those of the container's table that are not here are defaults for all containers.
OF_POD: Mapping[str, Callable[[Reader], object] | None] = {
    MONOTONIC: None,  # the two together are one value
    BOOTTIME: None,
    NETWORK: _read_network,
    "pids-limit": read_pids_limit,
    "io-weight": read_weight,
    "io-max": read_io_max,
}
OF_CONTAINER: Mapping[str, Callable[[Reader], object]] = {
    "ulimits": read_ulimits,
    "oom-group": _read_truth,
    "init": _read_truth,
    "pids-limit": read_pids_limit,
    "io-weight": read_weight,
    "io-max": read_io_max,
}
FIELDS = {
    NETWORK: "loopback",
    "pids-limit": "pids_limit",
    "io-weight": "io_weight",
    "io-max": "io_max",
    "ulimits": "rlimits",
    "oom-group": "oom_group",
    "init": "init",
}
KNOWN = tuple([PREFIX + name for name in {**OF_POD, **OF_CONTAINER}])
