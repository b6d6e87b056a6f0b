"""What a cgroup has used, as values."""

from __future__ import annotations

from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class CgroupEvents(Value):
    """``cgroup.events``: whether a process lives in the group or below it, and whether all of them are frozen."""

    populated: bool
    frozen: bool


class CpuStats(Value):
    """``cpu.stat``. The counts of periods and throttling are 0 without the cpu controller, which keeps them."""

    usage_us: int
    user_us: int
    system_us: int
    periods: int = 0
    throttled_periods: int = 0
    throttled_us: int = 0


class MemoryEvents(Value):
    """``memory.events``: how often each limit was met. ``oom_kill`` counts processes killed, ``oom_group_kill`` groups
    (Linux 5.17)."""

    low: int
    high: int
    max: int
    oom: int
    oom_kill: int
    oom_group_kill: int = 0


class MemoryStats(Value):
    """Memory in use. ``peak_bytes`` is None before Linux 5.19, swap where it is not accounted."""

    current_bytes: int
    peak_bytes: int | None
    swap_bytes: int | None
    anon_bytes: int
    file_bytes: int
    kernel_bytes: int
    shmem_bytes: int


class PidsStats(Value):
    """Processes and threads: how many now, at most so far (None before Linux 6.1), and how often a fork failed at the limit."""

    current: int
    peak: int | None
    limit_hits: int


class IoStats(Value):
    """One device's line of ``io.stat``."""

    major: int
    minor: int
    read_bytes: int
    write_bytes: int
    reads: int
    writes: int
    discarded_bytes: int
    discards: int


def cpu_stats(fields: Mapping[str, int]) -> CpuStats:
    """Of a parsed cpu.stat."""
    return CpuStats(
        usage_us=fields["usage_usec"],
        user_us=fields["user_usec"],
        system_us=fields["system_usec"],
        periods=fields.get("nr_periods", 0),
        throttled_periods=fields.get("nr_throttled", 0),
        throttled_us=fields.get("throttled_usec", 0),
    )


def memory_events(fields: Mapping[str, int]) -> MemoryEvents:
    """Of a parsed memory.events."""
    return MemoryEvents(
        low=fields["low"],
        high=fields["high"],
        max=fields["max"],
        oom=fields["oom"],
        oom_kill=fields["oom_kill"],
        oom_group_kill=fields.get("oom_group_kill", 0),
    )


def io_stats(lines: Mapping[str, Mapping[str, int | None]]) -> tuple[IoStats, ...]:
    """Of a parsed io.stat."""
    found = []
    for device, values in lines.items():
        major, _, minor = device.partition(":")
        names = ("rbytes", "wbytes", "rios", "wios", "dbytes", "dios")
        numbers = [values.get(name) or 0 for name in names]
        found.append(IoStats(int(major), int(minor), *numbers))
    return tuple(found)
