"""The Chrome trace of a pod's start: one clock, one track per process, nothing that is not known."""

from __future__ import annotations

import json

from pyrun.kernel.step import Exec, Gate, JoinNamespaces, LoadFilter, NewSession, NewTimeNamespace
from pyrun.pod.trace import Phase, Track, step_times, trace_events

EXEC = Exec(("true",))


def test_phases_and_steps_are_spans_in_microseconds() -> None:
    track = Track("web", 7, (NewSession(), Gate()), ((3_000, 5_500), (6_000, 9_000)), ended_ns=20_000)
    document = trace_events(1, [Phase("start", 1_000, 10_000)], [track])
    assert json.loads(json.dumps(document)) == document
    events = document["traceEvents"]
    assert isinstance(events, list)
    spans = [(e["pid"], e["name"], e["ts"], e["dur"]) for e in events if e["ph"] == "X"]
    assert spans == [
        (1, "start", 0.0, 9.0),
        (7, "new session", 2.0, 2.5),
        (7, "wait at the gate", 5.0, 3.0),
        (7, "the program runs", 8.0, 11.0),
    ]
    names = [(e["pid"], e["args"]["name"]) for e in events if e["name"] == "process_name"]
    assert names == [(1, "launcher"), (7, "web")]


def test_a_process_that_runs_has_no_span_for_its_program() -> None:
    document = trace_events(1, [], [Track("web", 7, (NewSession(),), ((3_000, 5_000),))])
    assert "the program runs" not in json.dumps(document)


def test_what_has_no_time_has_none() -> None:
    """Not reached: 0; under the filter: 1; an exec that never came back has a beginning and no length."""
    steps = (NewSession(), LoadFilter(b"x" * 8), EXEC, Gate())
    track = Track("web", 7, steps, ((100, 200), (300, 1), (1, 1), (0, 0)))
    assert step_times(track) == [(100, 200), (300, 300), None, None]
    assert step_times(Track("pause", 7, (EXEC,), ((500, 0),))) == [(500, 500)]


def test_behind_the_time_namespace_stamps_are_of_another_clock() -> None:
    offset = 10**12
    stamps = ((100, 200), (300, 400 + offset), (500 + offset, 600 + offset))
    for enter in (NewTimeNamespace(offset, 0), JoinNamespaces("pause", ("mount", "time"))):
        track = Track("web", 7, (NewSession(), enter, Gate()), stamps, offset)
        assert step_times(track) == [(100, 200), (300, 400), (500, 600)]
    stays = Track("web", 7, (NewSession(), JoinNamespaces("pause", ("mount",))), ((100, 200), (300, 400)), offset)
    assert step_times(stays) == [(100, 200), (300, 400)]
