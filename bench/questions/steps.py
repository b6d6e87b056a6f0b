"""Where does the time of a pod start go? From the stamps that every process sets before and after each of its steps."""

from __future__ import annotations

from bench.answer import Answer, Bars, Series
from bench.manifest import TRUE
from bench.question import Bench
from bench.rounds import Case, Figures
from bench.server import Worker
from bench.statistics import median

CONTAINERS = 2
MOST_PARTS = 14  # that a bar can show


def ask(bench: Bench) -> Answer:
    answer = Answer(compared=False)
    with bench.worker() as worker:
        cases = [Case("", "pod of 2", lambda: _trace(worker, str(bench.world.rootfs)))]
        bench.measure(answer, cases)
    answer.series = [_placed(series) for series in answer.series]
    answer.bars = [_bars(answer.series)]
    answer.notes.append("SECCOMP and EXEC are not timed: once the filter is on, the stage makes no call but the exec")
    answer.notes.append("the steps of pause and of the containers overlap in time: what one waits for, the other does")
    return answer


def _trace(worker: Worker, rootfs: str) -> Figures:
    """The time of each kind of step in each process, as ``process/kind``."""
    figures: Figures = worker.do("traced_pod", rootfs=rootfs, containers=CONTAINERS, program=TRUE)
    return figures


def _placed(series: Series) -> Series:
    """The kinds are the cases, and the process is the group."""
    process, kind = series.metric.split("/")
    return Series(process, kind, "time in all steps of a kind", series.values, series.unit)


def _bars(series: list[Series]) -> Bars:
    processes = list({each.group: None for each in series})
    kinds = list({each.case: None for each in series})
    times = {(each.group, each.case): median(each.values) for each in series}
    parts = {kind: tuple(times.get((process, kind), 0.0) for process in processes) for kind in kinds}
    ordered = sorted(parts, key=lambda kind: sum(parts[kind]), reverse=True)
    shown = {kind: parts[kind] for kind in ordered[:MOST_PARTS]}
    rest = [parts[kind] for kind in ordered[MOST_PARTS:]]
    if rest:
        shown["other"] = tuple(sum(column) for column in zip(*rest, strict=True))
    return Bars("where the time of a pod start goes", "µs", tuple(processes), shown)
