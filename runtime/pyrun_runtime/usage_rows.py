"""What pods and containers use, as rows for people and objects for programs."""

from __future__ import annotations

from pyrun import sample_pod
from pyrun_runtime.store import find_pod, list_uids, read_facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun import PodSample, Sample

HEADER = ("POD", "CONTAINER", "CPU", "MEMORY", "LIMIT", "PIDS", "READ", "WRITTEN", "PRESSURE")
WIDE = (*HEADER, "NAMESPACE", "UID", "THROTTLED", "PEAK", "OOM KILLS")
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
UNKNOWN = "-"


class Pod:
    """One pod at a moment, and the moment before, which what is used of the processor is told from."""

    def __init__(self, facts: dict[str, object], now: PodSample, before: PodSample | None) -> None:
        self.name = str(facts.get("name", ""))
        self.namespace = str(facts.get("namespace", ""))
        self.uid = now.uid
        self.now = now
        self._before = before

    def samples(self) -> list[tuple[str, Sample, float | None]]:
        """The pod itself, without a name, and its containers: (name, what it uses, processors)."""
        before = {"": self._before.pod, **dict(self._before.containers)} if self._before is not None else {}
        every = [("", self.now.pod), *self.now.containers]
        return [(name, sample, _cores(sample, before.get(name))) for name, sample in every]


class Samples:
    """Looks at all pods of *run_root*, or at those that *words* name."""

    def __init__(self, run_root: str, words: list[str]) -> None:
        self._run_root = run_root
        self._uids = [find_pod(run_root, word) for word in words]
        self._before: dict[str, PodSample] = {}

    def look(self) -> list[Pod]:
        """How they are now; pods that are over use nothing, and are not among them."""
        found = {uid: now for uid in self._uids or list_uids(self._run_root) if (now := sample_pod(uid)) is not None}
        pods = [Pod(read_facts(self._run_root, uid), now, self._before.get(uid)) for uid, now in found.items()]
        self._before = found
        return sorted(pods, key=lambda pod: (pod.namespace, pod.name, pod.uid))


def _cores(now: Sample, before: Sample | None) -> float | None:
    """None for a run that has just begun: its group counts anew."""
    if before is None or now.at_s <= before.at_s or now.cpu_us < before.cpu_us:
        return None
    return (now.cpu_us - before.cpu_us) / 1e6 / (now.at_s - before.at_s)


def rows_of(pod: Pod, wide: bool = False) -> list[tuple[str, ...]]:
    """A line for the pod, and one for each container."""
    return [_row(pod, *each, wide) for each in pod.samples()]


def _row(pod: Pod, name: str, sample: Sample, cores: float | None, wide: bool) -> tuple[str, ...]:
    row = (
        pod.name,
        name,
        UNKNOWN if cores is None else f"{round(cores * 1000)}m",
        bytes_word(sample.working_set_bytes),
        bytes_word(sample.memory_limit_bytes),
        _of(sample.pids, sample.pids_limit),
        bytes_word(sample.read_bytes),
        bytes_word(sample.written_bytes),
        "/".join([f"{share:.0f}%" for _, share in sample.pressure]) or UNKNOWN,
    )
    throttled = UNKNOWN if sample.throttled_us is None else f"{sample.throttled_us / 1e6:.1f}s"
    kills = UNKNOWN if sample.oom_kills is None else str(sample.oom_kills)
    more = (pod.namespace, pod.uid, throttled, bytes_word(sample.memory_peak_bytes), kills)
    return (*row, *more) if wide else row


def _of(count: int | None, limit: int | None) -> str:
    if count is None:
        return UNKNOWN
    return str(count) if limit is None else f"{count}/{limit}"


def bytes_word(count: int | None) -> str:
    """``12.3MiB``; ``-`` for what is not known, or no limit."""
    if count is None:
        return UNKNOWN
    value, unit = float(count), UNITS[0]
    for unit in UNITS:
        if value < 1024 or unit == UNITS[-1]:
            break
        value /= 1024
    return f"{value:.0f}{unit}" if value >= 100 or unit == "B" else f"{value:.1f}{unit}"


def document_of(pod: Pod) -> dict[str, Any]:
    """The same for programs; what is not known is not there."""
    (_, own, cores), *containers = pod.samples()
    return {
        "name": pod.name,
        "namespace": pod.namespace,
        "uid": pod.uid,
        **_fields(own, cores),
        "containers": [{"name": name, **_fields(sample, each)} for name, sample, each in containers],
    }


def _fields(sample: Sample, cores: float | None) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "cpuCores": None if cores is None else round(cores, 4),
        "cpuMicroseconds": sample.cpu_us,
        "throttledMicroseconds": sample.throttled_us,
        "memoryBytes": sample.memory_bytes,
        "workingSetBytes": sample.working_set_bytes,
        "memoryPeakBytes": sample.memory_peak_bytes,
        "memoryLimitBytes": sample.memory_limit_bytes,
        "oomKills": sample.oom_kills,
        "pids": sample.pids,
        "pidsLimit": sample.pids_limit,
        "readBytes": sample.read_bytes,
        "writtenBytes": sample.written_bytes,
        "reads": sample.reads,
        "writes": sample.writes,
        "pressurePercent": dict(sample.pressure) or None,
    }
    return {name: value for name, value in fields.items() if value is not None}
