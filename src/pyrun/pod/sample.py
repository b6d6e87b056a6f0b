"""What a pod uses at a moment, read from its control groups by its uid alone: for whoever looks on."""

from __future__ import annotations

import time

from pyrun.container.lower import CLASS_CGROUPS, cgroup_name
from pyrun.errors import KernelError, NotFound, Unsupported
from pyrun.kernel.cgroup import Cgroup
from pyrun.kernel.cgroup_tree import names_below
from pyrun.pod.plan import PAUSE_CGROUP
from pyrun.pod.pod import MONITOR_GROUP
from pyrun.value import Value

NO_LIMIT = "max"


class Sample(Value):
    """What a group with those below it uses, and how it is. None: not measured on this machine, or no limit.

    ``at_s`` is CLOCK_MONOTONIC. ``working_set_bytes`` is what the kubelet calls so: memory in use without what is in files and
    was not used lately. ``pressure`` is, by resource (cpu, memory, io), the share of the last ten seconds in which some of it
    waited, in per cent; ``stalled_us`` the sum of these times.
    """

    at_s: float
    cpu_us: int
    throttled_us: int | None = None
    memory_bytes: int | None = None
    working_set_bytes: int | None = None
    memory_peak_bytes: int | None = None
    memory_limit_bytes: int | None = None
    oom_kills: int | None = None
    pids: int | None = None
    pids_limit: int | None = None
    read_bytes: int | None = None
    written_bytes: int | None = None
    reads: int | None = None
    writes: int | None = None
    pressure: tuple[tuple[str, float], ...] = ()
    stalled_us: tuple[tuple[str, int], ...] = ()


class PodSample(Value):
    """A pod and its containers, by name."""

    uid: str
    pod: Sample
    containers: tuple[tuple[str, Sample], ...]


def sample_pod(uid: str) -> PodSample | None:
    """What pod *uid* uses; None if it has no group, or one that is just going."""
    for parent in CLASS_CGROUPS.values():
        try:
            with Cgroup.open(cgroup_name(uid, parent)) as group:
                return PodSample(uid, read_sample(group), _containers(group))
        except (NotFound, Unsupported):
            continue
        except KernelError:  # ENODEV: it went while we looked
            return None
    return None


def _containers(above: Cgroup) -> tuple[tuple[str, Sample], ...]:
    found = []
    for name in sorted(names_below(above.path)):
        if name in (PAUSE_CGROUP, MONITOR_GROUP):
            continue
        try:
            with Cgroup.open(f"{above.name}/{name}", root=above.root) as group:
                found.append((name, read_sample(group)))
        except (NotFound, KernelError):
            continue
    return tuple(found)


def read_sample(group: Cgroup) -> Sample:
    """Of *group* and those below it. Raises :class:`KernelError` for one that is gone."""
    cpu, memory, pids, io = (
        group.read_cpu_stats(),
        group.read_memory_stat(),
        group.read_pids_stats(),
        group.read_io_stats(),
    )
    current = _number(group, "memory.current") if memory is not None else None
    events = group.read_memory_events() if memory is not None else None
    lines = [(name, each.some) for name in ("cpu", "memory", "io") if (each := group.read_pressure(name)) is not None]
    return Sample(
        at_s=time.monotonic(),
        cpu_us=cpu.usage_us,
        throttled_us=cpu.throttled_us if cpu.periods else None,
        memory_bytes=current,
        working_set_bytes=None
        if current is None or memory is None
        else max(0, current - memory.get("inactive_file", 0)),
        memory_peak_bytes=group.read_memory_peak_bytes(),
        memory_limit_bytes=_number(group, "memory.max") if memory is not None else None,
        oom_kills=None if events is None else events.oom_kill,
        pids=None if pids is None else pids.current,
        pids_limit=_number(group, "pids.max") if pids is not None else None,
        read_bytes=None if io is None else sum([each.read_bytes for each in io]),
        written_bytes=None if io is None else sum([each.write_bytes for each in io]),
        reads=None if io is None else sum([each.reads for each in io]),
        writes=None if io is None else sum([each.writes for each in io]),
        pressure=tuple([(name, some.avg10) for name, some in lines if some is not None]),
        stalled_us=tuple([(name, some.total_us) for name, some in lines if some is not None]),
    )


def _number(group: Cgroup, name: str) -> int | None:
    """None for no limit, and where there is no such file."""
    try:
        text = group.read_file(name).strip()
    except KernelError:
        return None
    return None if text == NO_LIMIT else int(text)
