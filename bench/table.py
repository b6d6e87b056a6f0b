"""The answers on a terminal. What stands in the cells is made here, without rich, which only draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.answer import Answer, Goal, Series, ratio_of
from bench.statistics import median, quantile

COLUMNS = ("case", "median", "p10", "p90", "p99", "ratio")
LEFT = 1  # columns that are words


def number(value: float) -> str:
    """As many digits as mean something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def series_row(series: Series, all_series: Sequence[Series]) -> tuple[str, ...]:
    values = series.values
    figures = [median(values), *[quantile(values, part) for part in (0.1, 0.9, 0.99)]]
    ratio = ratio_of(series, all_series)
    return (series.case, *map(number, figures), "" if ratio is None else f"{ratio:.2f}")


def groups(all_series: Sequence[Series]) -> list[list[Series]]:
    """The series that are compared with each other, in the order of measuring."""
    found: dict[tuple[str, str], list[Series]] = {}
    for each in all_series:
        found.setdefault((each.group, each.metric), []).append(each)
    return list(found.values())


def tables(answer: Answer) -> Iterator[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """Title, columns and rows of each table: one for each group and figure, then the sheets."""
    for members in groups(answer.series):
        first = members[0]
        rows = [series_row(each, answer.series) for each in members]
        yield f"{first.group}: {first.metric}, {first.unit}", COLUMNS, rows
    for sheet in answer.sheets:
        yield sheet.title, sheet.columns, list(sheet.rows)


def goal_row(goal: Goal) -> tuple[str, ...]:
    wanted = f"{'≥' if goal.at_least else '≤'} {goal.bound:g}"
    return (goal.what, f"{goal.ratio:.2f}", wanted, "reached" if goal.is_reached else "not reached")
