"""OCI's ``linux.resources`` as limits of cgroup v2. Pure. (Formulas: :mod:`pyrun.container.resources`.)

The fields were made for cgroup v1. What v2 has no file for is refused, since the container would run without it; a value that
asks for nothing (0 or -1 as callers send them) is no limit to refuse. Where runc and crun differ:

- ``pids.limit`` 0 is unset as in crun, and ``memory.swap`` 0 as in runc;
- ``memory.kernel``, ``kernelTCP``, ``swappiness``, ``disableOOMKiller``, ``cpu.realtime…``, ``blockIO.leafWeight`` and
  ``network`` are errors as in crun, where runc leaves them aside.
"""

from __future__ import annotations

from pyrun.container.resources import NO_LIMIT, blkio_weight_to_io_weight, shares_to_weight, swap_to_swap_max_bytes
from pyrun.errors import SpecError
from pyrun.kernel.cgroup_limits import CpuMax, IoMax, IoWeight, Limits, RdmaMax
from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.oci import OciBlockIo, OciCpu, OciMemory, OciResources

POINTER = "/linux/resources"
# Files that move processes: of the host, too.
NO_LIMITS = ("cgroup.procs", "cgroup.threads")


class InForce(Value):
    """What a group has already: the other half of a pair of which only one is given. The defaults are those of a new group."""

    memory_max_bytes: int = 0
    cpu_max: CpuMax = CpuMax(NO_LIMIT)


NEW_GROUP = InForce()


def oci_limits(
    resources: OciResources, in_force: InForce = NEW_GROUP, *, bfq: bool = False, pointer: str = POINTER
) -> Limits:
    """The limits that *resources* ask for. ``devices`` are none: :mod:`pyrun.container.device_filter`.

    *bfq* tells that the group has ``io.bfq.weight``, which then takes weights of block io. Raises :class:`SpecError` below
    *pointer* for what cgroup v2 does not have, and for a value that cannot be.
    """
    _refuse(resources, pointer)
    cpu, memory, block_io = resources.cpu, resources.memory, resources.block_io
    pids = resources.pids.limit if resources.pids is not None else None
    return Limits(
        cpu_weight=shares_to_weight(cpu.shares) if cpu is not None and cpu.shares else None,
        cpu_idle=bool(cpu.idle) if cpu is not None and cpu.idle is not None else None,
        cpu_max=_cpu_max(cpu, in_force.cpu_max),
        cpu_max_burst_us=cpu.burst_us if cpu is not None else None,
        cpuset_cpus=(cpu.cpus or None) if cpu is not None else None,
        cpuset_mems=(cpu.mems or None) if cpu is not None else None,
        memory_low_bytes=(memory.reservation or None) if memory is not None else None,
        memory_max_bytes=(memory.limit or None) if memory is not None else None,
        memory_swap_max_bytes=_swap_max(memory, in_force, f"{pointer}/memory/swap"),
        pids_max=pids or None,
        io_bfq=bfq,
        io_weight=_io_weight(block_io.weight, bfq) if block_io is not None else None,
        io_weights=_io_weights(block_io, bfq) if block_io is not None else (),
        io_max=_io_max(block_io) if block_io is not None else (),
        hugetlb=tuple([(limit.page_size, limit.limit) for limit in resources.hugepage_limits]),
        rdma_max=tuple([RdmaMax(limit.device, limit.hca_handles, limit.hca_objects) for limit in resources.rdma]),
        unified=resources.unified,
    )


# ---- what cannot be had ----


def _refuse(resources: OciResources, pointer: str) -> None:
    asked: list[tuple[str, object]] = []
    if resources.cpu is not None:
        asked.append(("cpu/realtimeRuntime", resources.cpu.realtime_runtime))
        asked.append(("cpu/realtimePeriod", resources.cpu.realtime_period))
    if resources.memory is not None:
        asked += _memory_of_v1(resources.memory)
    if resources.block_io is not None:
        asked.append(("blockIO/leafWeight", resources.block_io.leaf_weight))
        devices = resources.block_io.weight_device
        asked += [(f"blockIO/weightDevice/{i}/leafWeight", device.leaf_weight) for i, device in enumerate(devices)]
    if resources.network is not None:
        asked.append(("network/classID", resources.network.class_id))
        asked.append(("network/priorities", resources.network.priorities))
    for name, value in asked:
        if value:
            raise SpecError(f"{pointer}/{name}", "cgroup v2 has no such limit")
    for name, _ in resources.unified:
        if name in NO_LIMITS:
            raise SpecError(f"{pointer}/unified/{name}", "is no limit: it moves processes")


def _memory_of_v1(memory: OciMemory) -> list[tuple[str, object]]:
    return [
        # -1, no limit, is what v2 has.
        ("memory/kernel", (memory.kernel or 0) > 0),
        ("memory/kernelTCP", (memory.kernel_tcp or 0) > 0),
        ("memory/swappiness", memory.swappiness is not None),
        ("memory/disableOOMKiller", memory.disable_oom_killer),
        ("memory/useHierarchy", memory.use_hierarchy is False),
    ]


# ---- cpu and memory ----


def _cpu_max(cpu: OciCpu | None, in_force: CpuMax) -> CpuMax | None:
    if cpu is None or not (cpu.quota or cpu.period):
        return None
    quota = in_force.quota_us if cpu.quota is None else cpu.quota
    return CpuMax(quota if quota > 0 else NO_LIMIT, cpu.period or in_force.period_us)


def _swap_max(memory: OciMemory | None, in_force: InForce, pointer: str) -> int | None:
    if memory is None:
        return None
    try:
        return swap_to_swap_max_bytes(memory.swap or 0, memory.limit or in_force.memory_max_bytes)
    except ValueError as error:
        raise SpecError(pointer, str(error)) from None


# ---- block io ----


def _io_weight(weight: int | None, bfq: bool) -> int | None:
    if not weight:
        return None
    return weight if bfq else blkio_weight_to_io_weight(weight)


def _io_weights(block_io: OciBlockIo, bfq: bool) -> tuple[IoWeight, ...]:
    found = [(device, _io_weight(device.weight, bfq)) for device in block_io.weight_device]
    return tuple([IoWeight(device.major, device.minor, weight) for device, weight in found if weight is not None])


def _io_max(block_io: OciBlockIo) -> tuple[IoMax, ...]:
    kinds = (
        ("read_bytes", block_io.throttle_read_bps_device),
        ("write_bytes", block_io.throttle_write_bps_device),
        ("read_operations", block_io.throttle_read_iops_device),
        ("write_operations", block_io.throttle_write_iops_device),
    )
    # A rate of 0 takes a limit away, as it does in the files of v1.
    return tuple(
        [
            IoMax(device.major, device.minor, **{name: device.rate or NO_LIMIT})
            for name, devices in kinds
            for device in devices
        ]
    )
