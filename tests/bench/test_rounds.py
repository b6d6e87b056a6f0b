"""The method, with a clock that only moves when somebody works or sleeps."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.rounds import PAUSE_S, ROUNDS, WHOLE, Case, CaseFailed, Rounds


class FakeMachine:
    """Its clock, and what happened on it in order."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.events: list[str] = []

    def clock_ns(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.events.append(f"sleep {seconds}")
        self.now_ns += int(seconds * 1e9)

    def work(self, name: str, us: int) -> Callable[[], None]:
        def run() -> None:
            self.events.append(name)
            self.now_ns += us * 1000

        return run

    def rounds(self, count: int, warm_up: int = 1) -> Rounds:
        return Rounds(count, warm_up, clock_ns=self.clock_ns, sleep=self.sleep)


def test_cases_run_in_turn_with_a_pause_after_each() -> None:
    machine = FakeMachine()
    machine.rounds(2).measure([Case("g", name, machine.work(name, 1)) for name in "ABC"])
    pause = f"sleep {PAUSE_S}"
    assert machine.events == [word for name in "ABC" * 3 for word in (name, pause)]


def test_the_first_round_is_not_counted() -> None:
    machine = FakeMachine()
    lengths = iter([1000, 5, 6, 7])

    def run() -> None:
        machine.now_ns += next(lengths) * 1000

    (series,) = machine.rounds(3).measure([Case("g", "A", run)]).series
    assert series.values == (5, 6, 7)
    assert (series.group, series.case, series.metric, series.unit) == ("g", "A", WHOLE, "µs")


def test_the_pause_is_in_no_figure() -> None:
    machine = FakeMachine()
    found = machine.rounds(2).measure([Case("g", name, machine.work(name, us)) for name, us in (("A", 3), ("B", 4))])
    assert [series.values for series in found.series] == [(3, 3), (4, 4)]


def test_a_case_that_measures_itself_gives_its_figures_by_name() -> None:
    machine = FakeMachine()
    found = machine.rounds(2).measure([Case("g", "A", lambda: {"created": 1.0, "removed": 2.0})])
    assert {series.metric: series.values for series in found.series} == {"created": (1, 1), "removed": (2, 2)}


def test_a_case_that_fails_is_left_out_and_noted() -> None:
    machine = FakeMachine()
    left = iter([True, True, False])

    def run() -> None:
        if not next(left):
            raise CaseFailed("no room")

    found = machine.rounds(2).measure([Case("g", "A", run), Case("g", "B", machine.work("B", 1))])
    assert [series.case for series in found.series] == ["B"]
    assert found.notes == ["g: A is not measured: no room"]


def test_any_other_error_is_ours_and_ends_the_run() -> None:
    machine = FakeMachine()

    def run() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        machine.rounds(2).measure([Case("g", "A", run)])


def test_progress_is_told_before_each_case() -> None:
    machine = FakeMachine()
    told: list[str] = []
    machine.rounds(1).measure([Case("g", "A", machine.work("A", 1))], told.append)
    assert told == ["g: A", "g: A"]


def test_as_many_rounds_as_the_method_says() -> None:
    assert ROUNDS >= 30
    assert PAUSE_S == 0.05
