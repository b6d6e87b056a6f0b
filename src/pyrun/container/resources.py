"""From what a Pod or an OCI specification asks for to the numbers of cgroup v2. Formulas only: no files, no spec classes.

Whole numbers stay whole: where the source divides integers, so does this. Sources: *kubelet* is Kubernetes' kubelet, *cgroups*
is opencontainers/cgroups, KEP-n is an enhancement proposal of Kubernetes.
"""

from __future__ import annotations

import math

# kubelet, pkg/kubelet/cm/helpers_linux.go
MIN_SHARES = 2
MAX_SHARES = 262_144
SHARES_PER_CPU = 1024
MILLI_PER_CPU = 1000
PERIOD_US = 100_000
MIN_QUOTA_US = 1000

MIN_WEIGHT = 1
MAX_WEIGHT = 10_000

# kubelet, pkg/kubelet/qos/policy.go; containerd's defaultSandboxOOMAdj.
PAUSE_OOM_SCORE_ADJ = -998
GUARANTEED_OOM_SCORE_ADJ = -997
BEST_EFFORT_OOM_SCORE_ADJ = 1000

NO_LIMIT = -1
"""As in OCI's memory fields; ``max`` in a file."""


# ---- cpu -------------------------------------------------------------------------------------------------------------


def milli_cpu_to_shares(milli_cpu: int) -> int:
    """cpu.shares of cgroup v1, the unit of OCI, for a cpu request (kubelet, MilliCPUToShares)."""
    return min(MAX_SHARES, max(MIN_SHARES, milli_cpu * SHARES_PER_CPU // MILLI_PER_CPU))


def shares_to_weight(shares: int) -> int:
    """cpu.weight for cpu.shares, as runc has it since 1.3.2 and crun since 1.23; 0 stays 0, which means unset.

    Of the second degree in log2(shares), so that 2 gives 1, 1024 (one processor) gives 100, the default of cgroup v2, and 262144
    gives 10000 (cgroups, utils.go, ConvertCPUSharesToCgroupV2Value; kubernetes#131216 has the reason).
    """
    if shares == 0:
        return 0
    if shares <= MIN_SHARES:
        return MIN_WEIGHT
    if shares >= MAX_SHARES:
        return MAX_WEIGHT
    log = math.log2(shares)
    # In this order of operations the exponent for 1024 is 2.0 exactly; another one may give 101.
    return math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34))


def shares_to_weight_linear(shares: int) -> int:
    """cpu.weight as the kubelet still writes it for the groups of pods and QoS classes (KEP-2254; getCPUWeight)."""
    clamped = min(MAX_SHARES, max(MIN_SHARES, shares))
    return 1 + (clamped - 2) * 9999 // 262_142


def milli_cpu_to_quota_us(milli_cpu: int, period_us: int = PERIOD_US) -> int:
    """Processor time in every period for a cpu limit; 0 for 0, no limit (kubelet, MilliCPUToQuota)."""
    if milli_cpu == 0:
        return 0
    return max(MIN_QUOTA_US, milli_cpu * period_us // MILLI_PER_CPU)


# ---- memory ----------------------------------------------------------------------------------------------------------


def swap_to_swap_max_bytes(swap_bytes: int, limit_bytes: int) -> int | None:
    """memory.swap.max for OCI's ``memory.swap``, which is memory and swap together; None leaves it as it is.

    *limit_bytes* is ``memory.limit``. In both 0 means unset and -1 no limit (cgroups, utils.go,
    ConvertMemorySwapToCgroupV2Value; a swap of 0 is unset as in runc, where crun writes 0). Raises ValueError for a swap
    that cannot be.
    """
    if limit_bytes == NO_LIMIT and swap_bytes == 0:
        return NO_LIMIT
    if swap_bytes == 0:
        return None
    if swap_bytes == NO_LIMIT or limit_bytes == NO_LIMIT:
        return swap_bytes
    if swap_bytes < NO_LIMIT or limit_bytes < NO_LIMIT:
        raise ValueError(f"{min(swap_bytes, limit_bytes)} is no amount of memory")
    if limit_bytes == 0:
        raise ValueError("a limit of memory and swap together needs a limit of memory")
    if swap_bytes < limit_bytes:
        raise ValueError(f"memory and swap together ({swap_bytes}) cannot be less than memory ({limit_bytes})")
    return swap_bytes - limit_bytes


def limited_swap_max_bytes(request_bytes: int, node_memory_bytes: int, pod_swap_bytes: int) -> int:
    """memory.swap.max of a Burstable container under LimitedSwap: its part of the swap for pods (KEP-2400)."""
    return request_bytes * pod_swap_bytes // node_memory_bytes


def memory_high_bytes(
    request_bytes: int, limit_bytes: int | None, node_memory_bytes: int, factor: float, page_bytes: int = 4096
) -> int | None:
    """memory.high of a container: *factor* of the way from request to limit, in whole pages (KEP-2570).

    Without a limit the node's memory takes its place. None where it would not be above the request.
    """
    limit = node_memory_bytes if limit_bytes is None else limit_bytes
    high = math.floor((request_bytes + factor * (limit - request_bytes)) / page_bytes) * page_bytes
    return high if high > request_bytes else None


def memory_volume_size_bytes(size_limit_bytes: int | None, limit_bytes: int | None, node_memory_bytes: int) -> int:
    """The size of an emptyDir in memory: the least of what is set (KEP-1967); 0 for nothing. *limit_bytes* is the pod's."""
    return min([size for size in (size_limit_bytes, limit_bytes, node_memory_bytes) if size], default=0)


def oom_score_adj(qos_class: str, memory_request_bytes: int, node_memory_bytes: int) -> int:
    """How soon the kernel kills a container when memory is short (kubelet, GetContainerOOMScoreAdjust).

    A Burstable one the later the more of the node's memory it has asked for, between Guaranteed and BestEffort.
    """
    if qos_class == "Guaranteed":
        return GUARANTEED_OOM_SCORE_ADJ
    if qos_class == "BestEffort":
        return BEST_EFFORT_OOM_SCORE_ADJ
    adjust = 1000 - 1000 * memory_request_bytes // node_memory_bytes
    return min(BEST_EFFORT_OOM_SCORE_ADJ - 1, max(1000 + GUARANTEED_OOM_SCORE_ADJ, adjust))


def page_size_name(size_bytes: int) -> str:
    """A size of huge pages as the files of hugetlb have it: ``2MB``, ``1GB`` (mm/hugetlb_cgroup.c, mem_fmt)."""
    for shift, unit in ((30, "GB"), (20, "MB"), (10, "KB")):
        if size_bytes >= 1 << shift:
            return f"{size_bytes >> shift}{unit}"
    return f"{size_bytes}B"


# ---- io --------------------------------------------------------------------------------------------------------------


def blkio_weight_to_io_weight(weight: int) -> int:
    """io.weight (1 to 10000) for OCI's blockIO.weight (10 to 1000); 0 stays 0, which means unset (cgroups, utils.go)."""
    return 0 if weight == 0 else 1 + (weight - 10) * 9999 // 990
