"""The method: everything that is compared runs interleaved, A B C A B C, with pauses between.

In a tight loop some of the kernel's waits (RCU grace periods) vanish from what is measured, and what disturbs a machine hits
whole rounds; so each case pauses after it ran, and ratios are taken pair by pair within a round.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.answer import Series

PAUSE_S = 0.05
ROUNDS = 30
QUICK_ROUNDS = 7
WARM_UP = 1
WHOLE = "whole"

Figures = Mapping[str, float]


class CaseFailed(Exception):
    """A case cannot be measured, or not any more; the text says why."""


@dataclass(frozen=True)
class Case:
    """Something to measure. *run* returns its figures by name; None: the time it took is the figure."""

    group: str
    name: str
    run: Callable[[], Figures | None]
    unit: str = "µs"


@dataclass
class Measured:
    series: list[Series] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Rounds:
    """How measuring is done. Clock and sleep are parameters for the tests."""

    count: int = ROUNDS
    warm_up: int = WARM_UP
    pause_s: float = PAUSE_S
    clock_ns: Callable[[], int] = time.perf_counter_ns
    sleep: Callable[[float], None] = time.sleep

    def measure(self, cases: Sequence[Case], progress: Callable[[str], None] = lambda _case: None) -> Measured:
        """Run every case once per round, in turn. A case that fails is left out as a whole, and noted."""
        found = Measured()
        figures: dict[Case, list[Figures]] = {case: [] for case in cases}
        for number in range(self.warm_up + self.count):
            for case in list(figures):
                progress(f"{case.group}: {case.name}")
                try:
                    result = self._once(case)
                except CaseFailed as error:
                    del figures[case]
                    found.notes.append(f"{case.group}: {case.name} is not measured: {error}")
                    continue
                if number >= self.warm_up:
                    figures[case].append(result)
                self.sleep(self.pause_s)
        for case, rounds in figures.items():
            found.series += _series(case, rounds)
        return found

    def _once(self, case: Case) -> Figures:
        begin_ns = self.clock_ns()
        figures = case.run()
        return {WHOLE: (self.clock_ns() - begin_ns) / 1000} if figures is None else figures


def _series(case: Case, rounds: Sequence[Figures]) -> list[Series]:
    metrics = rounds[0] if rounds else {}
    return [
        Series(case.group, case.name, metric, tuple(each[metric] for each in rounds), case.unit) for metric in metrics
    ]
