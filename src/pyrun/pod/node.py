"""What the machine has for pods, what a pod needs of it, and whether that fits.

Amounts are by the names that Kubernetes has for them: ``cpu`` in thousandths, ``memory`` and ``ephemeral-storage`` in bytes,
``hugepages-2Mi`` and the like in bytes, ``pods`` and ``pids`` in numbers.
"""

from __future__ import annotations

import os

from pyrun.linux.file import read_bytes
from pyrun.spec.qos import effective_request
from pyrun.spec.quantity import format_bytes, parse_quantity, to_milli, to_units
from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import TypeAlias

    from pyrun.spec.pod import PodSpec

    Amounts: TypeAlias = Mapping[str, int]

PODS = "pods"
HUGEPAGES = "hugepages-"
# Where a node does not say otherwise. Kubernetes has 110, which its network and its kubelet bound and nothing here does.
DEFAULT_PODS = 2000


class Shortage(Value):
    """A resource that does not suffice for one more pod; the words are the kubelet's (``InsufficientResourceError``)."""

    resource: str
    requested: int
    used: int
    capacity: int

    @property
    def reason(self) -> str:
        """As in the status of the pod."""
        return f"OutOf{self.resource}"

    @property
    def message(self) -> str:
        numbers = f"requested: {self.requested}, used: {self.used}, capacity: {self.capacity}"
        return f"Node didn't have enough resource: {self.resource}, {numbers}"


def pod_need(pod: PodSpec, default_pids: int | None = None) -> dict[str, int]:
    """What *pod* takes from the node for as long as it is there. *default_pids* is the limit of a pod that has none of its own;
    a pod without any limit of processes reserves none."""
    request = effective_request(pod)
    pairs = (
        ("cpu", request.cpu_request_milli),
        ("memory", request.memory_request_bytes),
        ("ephemeral-storage", request.ephemeral_storage_request_bytes),
        ("pids", pod.pids_limit or default_pids),
    )
    need = {PODS: 1, **{name: amount for name, amount in pairs if amount}}
    need.update({page_resource(size): amount for size, amount in request.hugepages if amount})
    return need


def find_shortages(need: Amounts, used: Amounts, allocatable: Amounts) -> list[Shortage]:
    """What *need* has too much of beside *used*; in the kubelet's order: pods, cpu, memory, then the others."""
    names = [name for name in (PODS, "cpu", "memory") if name in need]
    names += [name for name in need if name not in names]
    looked = [Shortage(name, need[name], used.get(name, 0), allocatable.get(name, 0)) for name in names]
    return [each for each in looked if each.requested + each.used > each.capacity]


def allocatable(capacity: Amounts, reserved: Amounts) -> dict[str, int]:
    """What is left for pods, by resource, in its unit: never below 0."""
    return {name: max(0, amount - reserved.get(name, 0)) for name, amount in capacity.items()}


def read_capacity(names: Collection[str], storage: str) -> dict[str, int]:
    """What the machine has of *names*; *storage* is a path of the file system on which pods have their disk volumes.

    Only what is asked for is looked at. Of ``pods`` it is :data:`DEFAULT_PODS`; of what the machine does not have, nothing.
    """
    return {name: _read_one(name, storage) for name in names}


def resource_names() -> tuple[str, ...]:
    """All that this machine has capacity for."""
    from pyrun.pod.devices import read_page_sizes

    pages = [page_resource(size) for size in sorted(read_page_sizes())]
    return ("cpu", "memory", "ephemeral-storage", PODS, "pids", *pages)


def page_resource(size_bytes: int) -> str:
    """``hugepages-2Mi``."""
    return f"{HUGEPAGES}{format_bytes(size_bytes)}"


def parse_amount(name: str, text: str) -> int:
    """A quantity in the unit of resource *name*, rounded up. Raises ValueError."""
    nano = parse_quantity(text)
    return to_milli(nano) if name == "cpu" else to_units(nano)


def _read_one(name: str, storage: str) -> int:
    if name == "cpu":
        return os.sysconf("SC_NPROCESSORS_ONLN") * 1000
    if name == "memory":
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if name == PODS:
        return DEFAULT_PODS
    if name == "pids":
        return min([int(read_bytes(f"/proc/sys/kernel/{limit}")) for limit in ("pid_max", "threads-max")])
    if name == "ephemeral-storage":
        return _disk_bytes(storage)
    from pyrun.pod.devices import read_page_sizes

    return next((_page_pool(size) for size in read_page_sizes() if page_resource(size) == name), 0)


def _disk_bytes(path: str) -> int:
    """Of the file system; *path* itself may not be there yet."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    found = os.statvfs(path)
    return found.f_blocks * found.f_frsize


def _page_pool(size_bytes: int) -> int:
    return int(read_bytes(f"/sys/kernel/mm/hugepages/hugepages-{size_bytes // 1024}kB/nr_hugepages")) * size_bytes
