"""How a pod ended: the closing table and the exit status of ``pyrun run``. Pure."""

from __future__ import annotations

import time

from pyrun import signal_name
from pyrun_runtime.cli.message import FAILED, TIMED_OUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from pyrun import ContainerStatus, Driver, PodLife, PodSpec, Usage

HEADER = ("CONTAINER", "EXIT", "REASON", "RUN TIME")


def exit_status(statuses: Sequence[ContainerStatus], timed_out: Collection[str]) -> int:
    """124 if the time was over, as timeout(1); the status of a single container, 128 and the signal if one killed it; else 0 if
    all exited 0, or 1."""
    if timed_out:
        return TIMED_OUT
    codes = [status.exit.exit_code for status in statuses]
    if len(codes) == 1:
        return codes[0]
    return FAILED if any(codes) else 0


def closing_table(
    statuses: Sequence[ContainerStatus], timed_out: Collection[str], restarts: Mapping[str, int] | None = None
) -> str:
    """A line per container, about its last run, under a header, in columns. *restarts* are told where there were any."""
    rows = [HEADER] + [
        (
            status.name,
            str(status.exit.exit_code),
            reason(status, status.name in timed_out) + _restarted((restarts or {}).get(status.name, 0)),
            format_duration(status.run_time_s),
        )
        for status in statuses
    ]
    widths = [max([len(row[column]) for row in rows]) for column in range(len(HEADER))]
    lines = [
        f"{name:{widths[0]}}  {code:>{widths[1]}}  {why:{widths[2]}}  {run_time:>{widths[3]}}"
        for name, code, why, run_time in rows
    ]
    return "\n".join(lines) + "\n"


def _restarted(count: int) -> str:
    if not count:
        return ""
    return f" ({count} restart{'s' if count > 1 else ''})"


def pod_document(driver: Driver) -> dict[str, object]:
    """The pod of *driver*, see :func:`life_report`."""
    pod = driver.pod
    pids = {name: pod.containers[name].process.pid for name in driver.running}
    return life_report(pod.spec, pod.uid, driver.life, driver.usages, pids)


def life_report(
    spec: PodSpec, uid: str, life: PodLife, usages: Mapping[str, Usage], pids: Mapping[str, int]
) -> dict[str, object]:
    """The pod and its status, as Kubernetes shapes them, and what Kubernetes does not tell: ``usage``, and the ``pid`` of the
    first process of a container that runs. *spec*: resized, it is another than the manifest's."""
    from pyrun import resources_document, status_document
    from pyrun_runtime.cli.document import date

    offset_s = time.time() - time.monotonic()
    status = status_document(life.status(), lambda at_s: date(at_s + offset_s))
    in_force = {each.name: resources_document(each.resources) for each in (*spec.init_containers, *spec.containers)}
    for key in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        for container in status.get(key, ()):
            usage = usages.get(container["name"])
            if usage is not None:
                container["usage"] = usage_document(usage)
            if resources := in_force.get(container["name"]):
                container["resources"] = resources
            if container["name"] in pids:
                container["pid"] = pids[container["name"]]
    if spec.ignored:
        status["ignoredFields"] = list(spec.ignored)
    return _document(spec, uid, status)


def rejected_document(pod: PodSpec, reason: str, message: str) -> dict[str, object]:
    """The pod and the status of one that the node has no room for."""
    from pyrun import qos_class
    from pyrun_runtime.cli.document import date

    status = {"phase": "Failed", "reason": reason, "message": message, "startTime": date(time.time())}
    return _document(pod, pod.metadata.uid or "", {**status, "qosClass": qos_class(pod)})


def _document(pod: PodSpec, uid: str, status: dict[str, object]) -> dict[str, object]:
    metadata = pod.metadata
    known = {"name": metadata.name, "namespace": metadata.namespace, "uid": uid}
    pairs = {"labels": dict(metadata.labels), "annotations": dict(metadata.annotations)}
    named = {key: value for key, value in pairs.items() if value}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {**known, **named}, "status": status}


def usage_document(usage: Usage) -> dict[str, object]:
    """What was measured."""
    document: dict[str, object] = {
        "cpuMicroseconds": usage.cpu_us,
        "throttledMicroseconds": usage.throttled_us,
        "memoryPeakBytes": usage.memory_peak_bytes,
        "memoryLimitHits": usage.memory_limit_hits,
        "oomKills": usage.oom_kills,
        "pidsPeak": usage.pids_peak,
        "pidsLimitHits": usage.pids_limit_hits,
        "stalledMicroseconds": dict(usage.stalled_us) or None,
    }
    return {key: value for key, value in document.items() if value is not None}


def reason(status: ContainerStatus, timed_out: bool = False) -> str:
    """``Completed``, ``Error``, ``OOMKilled``, ``Timeout``, or the signal that ended it."""
    if timed_out:
        return "Timeout"
    if status.exit.signal is None or status.reason == "OOMKilled":
        return status.reason
    return signal_name(status.exit.signal) + (" (core dumped)" if status.exit.core_dumped else "")


def format_duration(seconds: float) -> str:
    """``0.042 s``, ``12.3 s``, ``2 min 05 s``, ``1 h 02 min``: three digits or so, whatever the size."""
    if seconds < 10:
        return f"{seconds:.3f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, whole_s = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {whole_s:02} s"
    return "{} h {:02} min".format(*divmod(round(seconds / 60), 60))
