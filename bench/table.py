"""The answers on a terminal. What stands in the cells is made here, without rich, which only draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.answer import Answer, Goal, Series, ratio_of
from bench.statistics import median, quantile

COLUMNS = ("of", "case", "median", "p10", "p90", "p99", "ratio")
GOAL_COLUMNS = ("what to reach", "ratio", "wanted", "")
WORDS = frozenset(("of", "case", "module", "what", *GOAL_COLUMNS[::3]))  # their columns begin at the left


def number(value: float) -> str:
    """As many digits as mean something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def series_row(series: Series, answer: Answer) -> tuple[str, ...]:
    values = series.values
    figures = [median(values), *[quantile(values, part) for part in (0.1, 0.9, 0.99)]]
    ratio = ratio_of(series, answer.series) if answer.compared else None
    return (series.case, *map(number, figures), "" if ratio is None else f"{ratio:.2f}")


def groups(all_series: Sequence[Series]) -> list[list[Series]]:
    """The series that are compared with each other, in the order of measuring."""
    found: dict[tuple[str, str], list[Series]] = {}
    for each in all_series:
        found.setdefault((each.group, each.metric), []).append(each)
    return list(found.values())


def tables(answer: Answer) -> Iterator[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """Title, columns and rows of each table: one for each figure, in which what is compared stands together; then the sheets."""
    for metric, unit in {(each.metric, each.unit): None for each in answer.series}:
        rows: list[tuple[str, ...]] = []
        for members in groups(answer.series):
            if (members[0].metric, members[0].unit) == (metric, unit):
                names = [members[0].group, *[""] * (len(members) - 1)]
                rows += [(name, *series_row(each, answer)) for name, each in zip(names, members, strict=True)]
        yield f"{metric}, {unit}", COLUMNS, rows
    for sheet in answer.sheets:
        yield sheet.title, sheet.columns, list(sheet.rows)


def goal_row(goal: Goal) -> tuple[str, ...]:
    wanted = f"{'≥' if goal.at_least else '≤'} {goal.bound:g}"
    return (goal.what, f"{goal.ratio:.2f}", wanted, "reached" if goal.is_reached else "not reached")
