"""Metrics of pods in the terms of Prometheus' client library."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from pyrun_runtime.cli.choice import container_statuses
from pyrun_runtime.cli.pod_word import seconds_of
from pyrun_runtime.cli.reach import STATUS_S, reach
from pyrun_runtime.store import list_uids
from pyrun_runtime.usage_rows import Samples

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from prometheus_client.core import Metric

    from pyrun import Sample
    from pyrun_runtime.cli.options import Options

LABELS = ("namespace", "pod", "uid", "container")
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# Name, what it is, and the field of a sample with its divisor.
COUNTERS = (
    ("pyrun_cpu_usage_seconds", "Processor time used.", "cpu_us", 1e6),
    ("pyrun_cpu_throttled_seconds", "Time in which the cpu limit kept it from running.", "throttled_us", 1e6),
    ("pyrun_oom_kills", "Processes killed because of the memory limit.", "oom_kills", 1),
    ("pyrun_io_read_bytes", "Bytes read from devices.", "read_bytes", 1),
    ("pyrun_io_written_bytes", "Bytes written to devices.", "written_bytes", 1),
    ("pyrun_io_reads", "Read operations on devices.", "reads", 1),
    ("pyrun_io_writes", "Write operations on devices.", "writes", 1),
)
GAUGES = (
    ("pyrun_memory_usage_bytes", "Memory in use.", "memory_bytes"),
    ("pyrun_memory_working_set_bytes", "Memory in use without files that were not used lately.", "working_set_bytes"),
    ("pyrun_memory_peak_bytes", "The most memory in use at a time.", "memory_peak_bytes"),
    ("pyrun_memory_limit_bytes", "The memory limit.", "memory_limit_bytes"),
    ("pyrun_pids", "Processes and threads.", "pids"),
    ("pyrun_pids_limit", "How many there may be.", "pids_limit"),
)


def registry(run_root: str, options: Options) -> CollectorRegistry:
    """One that looks at the pods below *run_root* whenever it is asked."""
    made = CollectorRegistry()
    made.register(_Collector(run_root, options))
    return made


class _Collector:
    def __init__(self, run_root: str, options: Options) -> None:
        self._run_root = run_root
        self._options = options

    def describe(self) -> list[Metric]:
        """Nothing in advance: what there is is told when it is collected."""
        return []

    def collect(self) -> Iterator[Metric]:
        samples = [
            ((pod.namespace, pod.name, pod.uid, name), sample)
            for pod in Samples(self._run_root, []).look()
            for name, sample, _ in pod.samples()
        ]
        yield from _counters(samples)
        yield from _gauges(samples)
        yield from _pressure(samples)
        yield from _states(self._documents())

    def _documents(self) -> list[Mapping[str, Any]]:
        """The pods that are known, with their status."""
        uids = list_uids(self._run_root)
        every = reach(self._options, uids, {"verb": "status"}, STATUS_S) if uids else []
        return [each.answer for each in every if each.answer is not None]


def _counters(samples: Sequence[tuple[tuple[str, ...], Sample]]) -> Iterator[Metric]:
    for name, what, field, divisor in COUNTERS:
        family = CounterMetricFamily(name, what, labels=LABELS)
        for labels, sample in samples:
            value = getattr(sample, field)
            if value is not None:
                family.add_metric(labels, value / divisor)
        yield family


def _gauges(samples: Sequence[tuple[tuple[str, ...], Sample]]) -> Iterator[Metric]:
    for name, what, field in GAUGES:
        family = GaugeMetricFamily(name, what, labels=LABELS)
        for labels, sample in samples:
            value = getattr(sample, field)
            if value is not None:
                family.add_metric(labels, value)
        yield family


def _pressure(samples: Sequence[tuple[tuple[str, ...], Sample]]) -> Iterator[Metric]:
    family = CounterMetricFamily(
        "pyrun_pressure_waiting_seconds", "Time in which some of it waited (PSI).", labels=(*LABELS, "resource")
    )
    for labels, sample in samples:
        for resource, stalled_us in sample.stalled_us:
            family.add_metric((*labels, resource), stalled_us / 1e6)
    yield family


def _states(pods: list[Mapping[str, Any]]) -> Iterator[Metric]:
    """Restarts and phases, and how long starting took."""
    restarts = CounterMetricFamily("pyrun_container_restarts", "How often it was started again.", labels=LABELS)
    phases = GaugeMetricFamily("pyrun_pod_phase", "1 for the phase it is in.", labels=(*LABELS[:3], "phase"))
    times = []
    for pod in pods:
        metadata = pod["metadata"]
        labels = (metadata["namespace"], metadata["name"], metadata["uid"])
        phases.add_metric((*labels, pod["status"]["phase"]), 1)
        for name, status in container_statuses(pod).items():
            restarts.add_metric((*labels, name), status.get("restartCount", 0))
        took_s = _start_s(pod["status"])
        times += [] if took_s is None else [took_s]
    yield restarts
    yield phases
    buckets = [(str(bound), float(sum([took <= bound for took in times]))) for bound in BUCKETS_S]
    family = HistogramMetricFamily(
        "pyrun_pod_start_seconds", "From a pod's beginning to its first regular container's."
    )
    family.add_metric([], [*buckets, ("+Inf", float(len(times)))], sum(times))
    yield family


def _start_s(status: Mapping[str, Any]) -> float | None:
    """None for a pod none of whose regular containers has run, or whose first runs are not known any more."""
    if "startTime" not in status:
        return None
    starts = []
    for each in status.get("containerStatuses", ()):
        state = each["state"].get("running") or each["state"].get("terminated") or {}
        if state.get("startedAt") and not each.get("restartCount"):
            starts.append(seconds_of(state["startedAt"]))
    return max(0.0, min(starts) - seconds_of(status["startTime"])) if starts else None
