"""What may be limited in a cgroup, as a value, and the files that say so.

Pure: :meth:`Limits.writes` is a list of (file, text) in the order in which they are written;
:meth:`pyrun.kernel.cgroup.Cgroup.apply_limits` writes it.
"""

from __future__ import annotations

from pyrun.linux.cgroupfs import controller_of
from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Write: TypeAlias = tuple[str, str]

NO_LIMIT = -1
"""Takes a limit away: ``max`` in the group's file. (None leaves the file as it is.)"""

CPU_PERIOD_US = 100_000


class CpuMax(Value):
    """``cpu.max``: *quota_us* of processor time in every *period_us*, over all processors; :data:`NO_LIMIT` for no quota."""

    quota_us: int
    period_us: int = CPU_PERIOD_US


class IoMax(Value):
    """One device's line of ``io.max``: bytes and operations a second. None leaves a value as it is."""

    major: int
    minor: int
    read_bytes: int | None = None
    write_bytes: int | None = None
    read_operations: int | None = None
    write_operations: int | None = None


class IoWeight(Value):
    """One device's weight, in the unit of the group's own."""

    major: int
    minor: int
    weight: int


class RdmaMax(Value):
    """One device's line of ``rdma.max``. None leaves a value as it is."""

    device: str
    handles: int | None = None
    objects: int | None = None


class Limits(Value):
    """Limits of one group; None is left as it is, :data:`NO_LIMIT` takes a limit away.

    Each field is the file of cgroup v2 whose name it has. ``hugetlb`` are (page size as the kernel writes it, such as ``2MB``,
    bytes). With ``io_bfq`` weights of io go to the BFQ scheduler, which counts from 1 to 1000. ``unified`` are (file, text) for
    whatever has no field, written last and as they stand.
    """

    cpu_weight: int | None = None
    cpu_idle: bool | None = None
    cpu_max: CpuMax | None = None
    cpu_max_burst_us: int | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    memory_min_bytes: int | None = None
    memory_low_bytes: int | None = None
    memory_high_bytes: int | None = None
    memory_max_bytes: int | None = None
    memory_swap_max_bytes: int | None = None
    memory_oom_group: bool | None = None
    pids_max: int | None = None
    io_weight: int | None = None
    io_max: tuple[IoMax, ...] = ()
    hugetlb: tuple[tuple[str, int], ...] = ()
    unified: tuple[tuple[str, str], ...] = ()
    io_bfq: bool = False
    io_weights: tuple[IoWeight, ...] = ()
    rdma_max: tuple[RdmaMax, ...] = ()

    def writes(self) -> list[Write]:
        """The files and what to write into them, in order.

        Raises ValueError for a number or a file name that means nothing; what else is wrong, the kernel says.
        """
        return [*_cpu(self), *_cpuset(self), *_memory(self), *_rest(self), *_unified(self)]

    def controllers(self) -> frozenset[str]:
        """The controllers that have these files."""
        return frozenset([name for name in [controller_of(file) for file, _ in self.writes()] if name is not None])


def _number(file: str, value: int) -> Write:
    if value < NO_LIMIT:
        raise ValueError(f"{file}: {value} is no limit; {NO_LIMIT} is for none")
    return file, "max" if value == NO_LIMIT else str(value)


def _numbers(*pairs: tuple[str, int | None]) -> list[Write]:
    return [_number(file, value) for file, value in pairs if value is not None]


def _cpu(limits: Limits) -> list[Write]:
    writes: list[Write] = []
    if limits.cpu_idle is not None:
        writes.append(("cpu.idle", str(int(limits.cpu_idle))))
    # An idle group has no weight (EINVAL), and one that is idle no longer has the default first.
    if not limits.cpu_idle:
        writes += _numbers(("cpu.weight", limits.cpu_weight))
    if limits.cpu_max is not None:
        _, quota = _number("cpu.max", limits.cpu_max.quota_us)
        writes.append(("cpu.max", f"{quota} {limits.cpu_max.period_us}"))
    return writes + _numbers(("cpu.max.burst", limits.cpu_max_burst_us))


def _cpuset(limits: Limits) -> list[Write]:
    pairs = (("cpuset.mems", limits.cpuset_mems), ("cpuset.cpus", limits.cpuset_cpus))
    return [(file, text) for file, text in pairs if text is not None]


def _memory(limits: Limits) -> list[Write]:
    # Swap before memory.max: lowering that one first would push out what may then not be swapped (opencontainers/cgroups,
    # fs2/memory.go).
    writes = _numbers(
        ("memory.swap.max", limits.memory_swap_max_bytes),
        ("memory.min", limits.memory_min_bytes),
        ("memory.low", limits.memory_low_bytes),
        ("memory.high", limits.memory_high_bytes),
        ("memory.max", limits.memory_max_bytes),
    )
    if limits.memory_oom_group is not None:
        writes.append(("memory.oom.group", str(int(limits.memory_oom_group))))
    return writes


def _rest(limits: Limits) -> list[Write]:
    weight_file = "io.bfq.weight" if limits.io_bfq else "io.weight"
    writes = _numbers(("pids.max", limits.pids_max), (weight_file, limits.io_weight))
    writes += [(weight_file, f"{line.major}:{line.minor} {line.weight}") for line in limits.io_weights]
    writes += [("io.max", _io_line(line)) for line in limits.io_max]
    # The reserved counter as well: without it a process may reserve pages that it can then never touch (hugetlb.rst).
    for size, size_bytes in limits.hugetlb:
        writes += _numbers((f"hugetlb.{size}.max", size_bytes), (f"hugetlb.{size}.rsvd.max", size_bytes))
    return writes + [("rdma.max", _rdma_line(line)) for line in limits.rdma_max]


def _io_line(line: IoMax) -> str:
    values = (
        ("rbps", line.read_bytes),
        ("wbps", line.write_bytes),
        ("riops", line.read_operations),
        ("wiops", line.write_operations),
    )
    return " ".join([f"{line.major}:{line.minor}", *[f"{name}={text}" for name, text in _numbers(*values)]])


def _rdma_line(line: RdmaMax) -> str:
    values = _numbers(("hca_handle", line.handles), ("hca_object", line.objects))
    return " ".join([line.device, *[f"{name}={text}" for name, text in values]])


def _unified(limits: Limits) -> list[Write]:
    for file, _ in limits.unified:
        if not file or "/" in file or file.startswith(".") or "\0" in file:
            raise ValueError(f"{file!r} is not the name of a cgroup file")
    # Of several lines, such as those of io.max, the kernel takes one a write.
    return [(file, line) for file, text in limits.unified for line in text.splitlines() or [text]]
