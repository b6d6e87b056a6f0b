"""What a question is answered with, and the JSON document of it all, of which table and report are made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.statistics import median, ratio

SCHEMA = 1
LIMIT = "limit"  # the case that others are told as a ratio to


@dataclass(frozen=True)
class Series:
    """One figure of one case, measured once a round. ``group`` holds what is comparable; its first case is the reference."""

    group: str
    case: str
    metric: str
    values: tuple[float, ...]
    unit: str = "µs"


@dataclass(frozen=True)
class Sheet:
    """A table of other shape."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Lines:
    """A plot of lines over ``x``."""

    title: str
    x_label: str
    y_label: str
    x: tuple[float, ...]
    lines: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Bars:
    """Stacked bars: one bar per name, with the parts of each in ``parts``."""

    title: str
    unit: str
    bars: tuple[str, ...]
    parts: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Goal:
    """What the issue wants reached: a ratio, at most (or, with ``at_least``, at least) the bound."""

    what: str
    ratio: float
    bound: float
    at_least: bool = False

    @property
    def is_reached(self) -> bool:
        return self.ratio >= self.bound if self.at_least else self.ratio <= self.bound


@dataclass
class Answer:
    """All that one question brought to light. ``notes`` say what is not there, and why, and what is not equal.

    ``compared``: the cases of a group do the same, so ratios mean something.
    """

    series: list[Series] = field(default_factory=list)
    sheets: list[Sheet] = field(default_factory=list)
    lines: list[Lines] = field(default_factory=list)
    bars: list[Bars] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    compared: bool = True

    def find(self, group: str, case: str, metric: str) -> Series | None:
        wanted = (group, case, metric)
        return next((each for each in self.series if (each.group, each.case, each.metric) == wanted), None)

    def aim(
        self,
        what: str,
        bound: float,
        of: tuple[str, str, str],
        to: tuple[str, str, str],
        *,
        at_least: bool = False,
    ) -> None:
        """Add the goal that *of* be at most *bound* times *to*, both as (group, case, metric).

        With *at_least* it is *to* that is to be at least *bound* times *of*. Where one was not measured, a note says so.
        """
        one, other = self.find(*of), self.find(*to)
        if one is None or other is None:
            missing = of if one is None else to
            self.notes.append(f"not judged: {what}: no figure of {missing[1]} ({missing[0]}, {missing[2]})")
            return
        pair = (other.values, one.values) if at_least else (one.values, other.values)
        self.goals.append(Goal(what, ratio(*pair), bound, at_least))


def reference_of(series: Series, all_series: Iterable[Series]) -> Series:
    """The first case of the same group with the same metric."""
    return next(each for each in all_series if (each.group, each.metric) == (series.group, series.metric))


def ratio_of(series: Series, all_series: Iterable[Series]) -> float | None:
    """To the reference, pair by pair; None where not the same rounds were measured."""
    reference = reference_of(series, all_series)
    if len(reference.values) != len(series.values) or median(reference.values) == 0:
        return None
    return ratio(series.values, reference.values)


# ---- JSON ------------------------------------------------------------------------------------------------------------


def document(machine: Mapping[str, Any], rounds: int, answers: Mapping[str, Answer]) -> dict[str, Any]:
    questions = {name: asdict(answer) for name, answer in answers.items()}
    return {"schema": SCHEMA, "machine": dict(machine), "rounds": rounds, "questions": questions}


def read_document(found: Mapping[str, Any]) -> dict[str, Answer]:
    """The answers of a document, as they were. Raises ValueError for one of another schema."""
    if found.get("schema") != SCHEMA:
        raise ValueError(f"the document has schema {found.get('schema')}, and this program reads {SCHEMA}")
    return {name: _read_answer(answer) for name, answer in found["questions"].items()}


def _read_answer(found: Mapping[str, Any]) -> Answer:
    return Answer(
        [Series(**{**each, "values": tuple(each["values"])}) for each in found["series"]],
        [Sheet(each["title"], tuple(each["columns"]), _rows(each["rows"])) for each in found["sheets"]],
        [Lines(**{**each, "x": tuple(each["x"]), "lines": _tuples(each["lines"])}) for each in found["lines"]],
        [Bars(**{**each, "bars": tuple(each["bars"]), "parts": _tuples(each["parts"])}) for each in found["bars"]],
        [Goal(**each) for each in found["goals"]],
        list(found["notes"]),
        found["compared"],
    )


def _rows(rows: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(row) for row in rows)


def _tuples(parts: Mapping[str, Sequence[float]]) -> dict[str, tuple[float, ...]]:
    return {name: tuple(values) for name, values in parts.items()}
