"""Where the time of a pod's start goes, as a Chrome trace that Perfetto opens.

The format is the JSON array form of "Trace Event Format": complete events (``ph: "X"``) in microseconds, one track per process.
"""

from __future__ import annotations

from pyrun.kernel.step import JoinNamespaces, NewTimeNamespace
from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyrun.kernel.step import Plan
    from pyrun.pod.pod import Pod

    Event = dict[str, object]

UNTIMED_NS = 1  # a stamp that only says that the step began: see decode_stamps


class Phase(Value):
    """Something that the launcher did, in nanoseconds of CLOCK_MONOTONIC."""

    name: str
    begin_ns: int
    end_ns: int


class Track(Value):
    """A process with its steps and when each began and ended (:func:`pyrun.kernel.encode.decode_stamps`).

    ``clock_offset_ns`` is that of the time namespace which the steps enter: from there on the process reads another clock.
    ``ended_ns`` is when it ended, on the launcher's clock; 0 while it runs.
    """

    name: str
    pid: int
    steps: Plan
    stamps: tuple[tuple[int, int], ...]
    clock_offset_ns: int = 0
    ended_ns: int = 0


def trace_pod(pod: Pod, launcher_pid: int, phases: Sequence[Phase]) -> dict[str, object]:
    """The trace of *pod*, once it has been started: what its launcher did, and each process's steps. Ready for ``json.dump``."""
    offset_ns = pod.spec.time_offsets.monotonic_ns
    pause = pod.sandbox.pause
    tracks = [Track("pause", pause.process.pid, pod.sandbox.plan.steps, tuple(pause.stamps), offset_ns)]
    for name, container in pod.containers.items():
        ended_ns = int(container.status.finished_s * 1e9) if container.status is not None else 0
        steps, stamps = container.plan.steps, tuple(container.stamps)
        tracks.append(Track(name, container.process.pid, steps, stamps, offset_ns, ended_ns))
    return trace_events(launcher_pid, phases, tracks)


def trace_events(launcher_pid: int, phases: Sequence[Phase], tracks: Sequence[Track]) -> dict[str, object]:
    """The trace as a JSON document."""
    zero_ns = min([phase.begin_ns for phase in phases], default=0)
    events = list(_name_track(launcher_pid, "launcher", 0))
    for phase in phases:
        events.append(_event(phase.name, "launcher", launcher_pid, phase.begin_ns - zero_ns, phase.end_ns - zero_ns))
    for order, track in enumerate(tracks, 1):
        events += _name_track(track.pid, track.name, order)
        events += _track_events(track, zero_ns)
    return {"traceEvents": events, "displayTimeUnit": "ns"}


def step_times(track: Track) -> list[tuple[int, int] | None]:
    """When each step began and ended on the launcher's clock; None for one without times.

    The last step of a process, its exec, never comes back to say that it ended: it has no length.
    """
    times: list[tuple[int, int] | None] = []
    shift_ns = 0
    for step, (begin_ns, end_ns) in zip(track.steps, track.stamps):
        begins_ns = begin_ns - shift_ns
        if isinstance(step, NewTimeNamespace) or (isinstance(step, JoinNamespaces) and "time" in step.kinds):
            shift_ns = track.clock_offset_ns
        ends_ns = end_ns - shift_ns if end_ns > UNTIMED_NS else begins_ns
        times.append((begins_ns, ends_ns) if begin_ns > UNTIMED_NS else None)
    return times


def _track_events(track: Track, zero_ns: int) -> Iterator[Event]:
    last_ns = 0
    for index, (step, time) in enumerate(zip(track.steps, step_times(track))):
        if time is not None:
            begin_ns, last_ns = time
            event = _event(step.describe(), step.kind, track.pid, begin_ns - zero_ns, last_ns - zero_ns)
            yield {**event, "args": {"step": index, "kind": step.kind, "reason": step.reason}}
    if last_ns and track.ended_ns:
        yield _event("the program runs", "program", track.pid, last_ns - zero_ns, track.ended_ns - zero_ns)


def _event(name: str, category: str, pid: int, begin_ns: int, end_ns: int) -> Event:
    times = {"ts": begin_ns / 1000, "dur": max(0, end_ns - begin_ns) / 1000}
    return {"name": name, "cat": category, "ph": "X", "pid": pid, "tid": pid, **times}


def _name_track(pid: int, name: str, order: int) -> Iterator[Event]:
    for event, args in (("process_name", {"name": name}), ("process_sort_index", {"sort_index": order})):
        yield {"name": event, "ph": "M", "pid": pid, "tid": pid, "args": args}
