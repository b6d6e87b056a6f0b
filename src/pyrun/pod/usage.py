"""What a container has used, read from its cgroup before that is gone: what Kubernetes does not tell."""

from __future__ import annotations

import errno

from pyrun.errors import KernelError
from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.kernel.cgroup import Cgroup
    from pyrun.pod.status import ContainerStatus


class Usage(Value):
    """What one run of a container has used, and how often it met its limits. None: not measured on this machine.

    ``stalled_us`` is the time in which some process waited for cpu, memory or io (PSI), by resource.
    """

    cpu_us: int | None = None
    throttled_us: int | None = None
    memory_peak_bytes: int | None = None
    memory_limit_hits: int | None = None
    oom_kills: int | None = None
    pids_peak: int | None = None
    pids_limit_hits: int | None = None
    stalled_us: tuple[tuple[str, int], ...] = ()


def read_usage(cgroup: Cgroup) -> Usage:
    """Of *cgroup* and those below it. Nothing is known of a group that is gone."""
    try:
        return _read(cgroup)
    except KernelError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV):
            raise
        return Usage()


def _read(cgroup: Cgroup) -> Usage:
    has = cgroup.read_available_controllers()
    cpu = cgroup.read_cpu_stats()
    memory = cgroup.read_memory_events() if "memory" in has else None
    pids = cgroup.read_pids_stats() if "pids" in has else None
    pressures = [(name, cgroup.read_pressure(name)) for name in ("cpu", "memory", "io")]
    return Usage(
        cpu_us=cpu.usage_us,
        throttled_us=cpu.throttled_us if "cpu" in has else None,
        memory_peak_bytes=cgroup.read_memory_peak_bytes() if "memory" in has else None,
        memory_limit_hits=memory.max if memory is not None else None,
        oom_kills=memory.oom_kill if memory is not None else None,
        pids_peak=pids.peak if pids is not None else None,
        pids_limit_hits=pids.limit_hits if pids is not None else None,
        stalled_us=tuple([(name, each.some.total_us) for name, each in pressures if each is not None and each.some]),
    )


def tell_limits(usage: Usage, status: ContainerStatus) -> str:
    """Which limits were met, as a sentence; empty if none was."""
    told = []
    if usage.oom_kills:
        whom = "the container's first among them" if status.exit.signal == 9 else "not the container's first"
        told.append(f"memory limit: processes killed by the kernel: {usage.oom_kills}, {whom}")
    if usage.pids_limit_hits:
        told.append(f"pids limit: {usage.pids_limit_hits} forks refused")
    if usage.throttled_us:
        told.append(f"cpu limit: throttled for {usage.throttled_us / 1e6:.3f} s")
    return "; ".join(told)
