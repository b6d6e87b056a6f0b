"""What a container's cgroup has used, in runc's words: opencontainers/runc ``types/events.go``, which containerd decodes.

Those were made for cgroup v1. What v2 counts otherwise is put into the nearest field, as runc does: ``swap`` is memory and swap
together, ``failcnt`` how often the limit was hit, a limit that there is not is 2**64 - 1 (of pids: 0). Times are in nanoseconds.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Json: TypeAlias = dict[str, object]
    Read: TypeAlias = Callable[[str], str | None]
    """The text of a file of the group, None if there is none."""

NO_LIMIT = 2**64 - 1
IO_OPERATIONS = (("Read", "rbytes", "rios"), ("Write", "wbytes", "wios"), ("Discard", "dbytes", "dios"))
# What v1 has and v2 has not; runc's field is never left out.
CPUSET_V1 = (
    *("cpu_exclusive", "mem_hardwall", "mem_exclusive", "memory_migrate", "memory_spread_page", "memory_spread_slab"),
    *("memory_pressure", "sched_load_balance", "sched_relax_domain_level"),
)


def event(kind: str, container: str, data: Json | None = None) -> Json:
    """One line of ``events``."""
    return {"type": kind, "id": container, **({"data": data} if data is not None else {})}


def read_stats(read: Read, page_sizes: list[str]) -> Json:
    """The ``data`` of a ``stats`` event; *page_sizes* are those of huge pages, as the kernel writes them: ``2MB``."""
    return {
        "cpu": _cpu(read),
        "cpuset": _cpuset(read),
        "memory": _memory(read),
        "pids": _pids(read),
        "blkio": _blkio(read),
        "hugetlb": {size: _hugetlb(read, size) for size in page_sizes if read(f"hugetlb.{size}.current") is not None},
        "intel_rdt": {},
        "network_interfaces": None,
    }


def _cpu(read: Read) -> Json:
    stat = _flat(read("cpu.stat"))
    usage = {
        "total": stat.get("usage_usec", 0) * 1000,
        "kernel": stat.get("system_usec", 0) * 1000,
        "user": stat.get("user_usec", 0) * 1000,
    }
    throttling = {
        "periods": stat.get("nr_periods", 0),
        "throttledPeriods": stat.get("nr_throttled", 0),
        "throttledTime": stat.get("throttled_usec", 0) * 1000,
    }
    found = {name: value for name, value in throttling.items() if value}
    return {"usage": usage, "throttling": found, **_pressure(read("cpu.pressure"))}


def _cpuset(read: Read) -> Json:
    found: Json = {}
    for name, file in (("cpus", "cpuset.cpus.effective"), ("mems", "cpuset.mems.effective")):
        numbers = parse_ranges(read(file) or "")
        if numbers:
            found[name] = numbers
    return {**found, **dict.fromkeys(CPUSET_V1, 0)}


def _memory(read: Read) -> Json:
    raw = _flat(read("memory.stat"))
    events = _flat(read("memory.events"))
    usage = _entry(read, "memory")
    usage["failcnt"] = events.get("max", 0)
    swap = _entry(read, "memory.swap")
    both = {"limit": NO_LIMIT, "usage": usage["usage"] + swap["usage"], "failcnt": swap["failcnt"]}
    if NO_LIMIT not in (usage["limit"], swap["limit"]):
        both["limit"] = usage["limit"] + swap["limit"]
    return {
        "cache": raw.get("file", 0),
        "usage": usage,
        "swap": both,
        "kernel": {"limit": 0, "usage": raw.get("kernel", 0), "failcnt": 0},
        "kernelTCP": {"limit": 0, "usage": raw.get("sock", 0), "failcnt": 0},
        "raw": raw,
        **_pressure(read("memory.pressure")),
        "event_count": {name: events.get(name, 0) for name in ("low", "high", "max", "oom", "oom_kill")},
    }


def _entry(read: Read, prefix: str) -> dict[str, int]:
    """Without the controller there is no limit, and nothing is known of the use."""
    peak = _number(read(f"{prefix}.peak"))
    found = {"limit": _limit(read(f"{prefix}.max")), "usage": _number(read(f"{prefix}.current"))}
    return {**found, **({"max": peak} if peak else {}), "failcnt": 0}


def _pids(read: Read) -> Json:
    limit = _limit(read("pids.max"))
    return {"current": _number(read("pids.current")), "limit": 0 if limit == NO_LIMIT else limit}


def _blkio(read: Read) -> Json:
    bytes_moved: list[Json] = []
    operations: list[Json] = []
    for line in (read("io.stat") or "").splitlines():
        device, *pairs = line.split()
        major, _, minor = device.partition(":")
        values = dict([pair.partition("=")[::2] for pair in pairs])
        if not (major.isdecimal() and minor.isdecimal() and values):
            continue
        place = {"major": int(major), "minor": int(minor)}
        for name, amount, count in IO_OPERATIONS:
            bytes_moved.append({**place, "op": name, "value": _number(values.get(amount))})
            operations.append({**place, "op": name, "value": _number(values.get(count))})
    found = (("ioServiceBytesRecursive", bytes_moved), ("ioServicedRecursive", operations))
    return {**{name: rows for name, rows in found if rows}, **_pressure(read("io.pressure"))}


def _hugetlb(read: Read, size: str) -> Json:
    events = _flat(read(f"hugetlb.{size}.events"))
    # What is reserved counts: a process may be refused pages that nobody touches.
    usage = read(f"hugetlb.{size}.rsvd.current") or read(f"hugetlb.{size}.current")
    return {"usage": _number(usage), "failcnt": events.get("max", 0)}


def _pressure(text: str | None) -> Json:
    """``psi``, where the kernel measures it."""
    if not text:
        return {}
    found: Json = {}
    for line in text.splitlines():
        kind, *pairs = line.split()
        values = dict([pair.partition("=")[::2] for pair in pairs])
        averages = {name: float(values.get(name, "0")) for name in ("avg10", "avg60", "avg300")}
        found[kind] = {**averages, "total": _number(values.get("total"))}
    return {"psi": found}


def _flat(text: str | None) -> dict[str, int]:
    rows = [line.split() for line in (text or "").splitlines()]
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdecimal()}


def _number(text: str | None) -> int:
    text = (text or "").strip()
    return int(text) if text.isdecimal() else 0


def _limit(text: str | None) -> int:
    text = (text or "max").strip()
    return int(text) if text.isdecimal() else NO_LIMIT


def parse_ranges(text: str) -> list[int]:
    """``0-2,5`` is 0, 1, 2, 5."""
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first.isdecimal():
            numbers += range(int(first), int(last or first) + 1)
    return numbers
