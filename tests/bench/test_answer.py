"""Answers, what is told of them in tables, and the JSON document."""

from __future__ import annotations

import json

import pytest

from bench.answer import SCHEMA, Answer, Bars, Goal, Lines, Series, Sheet, document, read_document
from bench.table import COLUMNS, goal_row, number, tables

LIMIT = Series("pod", "limit", "removed", (100.0, 200.0, 300.0))
PYRUN = Series("pod", "pyrun", "removed", (150.0, 300.0, 900.0))


def full_answer() -> Answer:
    return Answer(
        series=[LIMIT, Series("pod", "limit", "created", (1.0,)), PYRUN],
        sheets=[Sheet("imports", ("module", "µs"), (("os", "3"),))],
        lines=[Lines("over pods", "pods", "ms", (1.0, 100.0), {"start": (2.0, 3.0)})],
        bars=[Bars("steps", "µs", ("pause", "c0"), {"mount": (1.0, 2.0)})],
        goals=[Goal("near the limit", 1.4, 1.5)],
        notes=["podman is left out: it is not installed"],
    )


def test_a_document_is_read_as_it_was_written() -> None:
    answers = {"pod_start": full_answer()}
    text = json.dumps(document({"kernel": "6.18"}, 30, answers))
    found = json.loads(text)
    assert read_document(found) == answers
    assert (found["schema"], found["machine"], found["rounds"]) == (SCHEMA, {"kernel": "6.18"}, 30)


def test_the_schema_of_the_document() -> None:
    """What a reader of the file relies on; whoever changes it raises SCHEMA."""
    found = document({}, 30, {"pod_start": full_answer()})
    assert set(found) == {"schema", "machine", "rounds", "questions"}
    answer = found["questions"]["pod_start"]
    assert set(answer) == {"series", "sheets", "lines", "bars", "goals", "notes", "compared"}
    assert set(answer["series"][0]) == {"group", "case", "metric", "values", "unit"}
    assert set(answer["goals"][0]) == {"what", "ratio", "bound", "at_least"}


def test_no_ratio_where_nothing_is_compared() -> None:
    answer = Answer(series=[LIMIT, PYRUN], compared=False)
    ((_, _, rows),) = tables(answer)
    assert [row[-1] for row in rows] == ["", ""]


def test_a_document_of_another_schema_is_refused() -> None:
    with pytest.raises(ValueError, match="schema 0"):
        read_document({"schema": 0, "questions": {}})


def test_a_table_for_each_figure() -> None:
    found = list(tables(full_answer()))
    assert [title for title, _, _ in found] == ["removed, µs", "created, µs", "imports"]
    _, columns, rows = found[0]
    assert columns == COLUMNS
    assert rows == [
        ("pod", "limit", "200", "120", "280", "298", "1.00"),
        ("", "pyrun", "300", "180", "780", "888", "1.50"),
    ]


def test_no_ratio_where_other_rounds_were_measured() -> None:
    answer = Answer(series=[LIMIT, Series("pod", "pyrun", "removed", (1.0,))])
    ((_, _, rows),) = tables(answer)
    assert rows[1][-1] == ""


@pytest.mark.parametrize(("value", "text"), [(0.123, "0.12"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12,346")])
def test_number_has_the_digits_that_mean_something(value: float, text: str) -> None:
    assert number(value) == text


def test_a_goal_is_judged_by_the_ratio_of_pairs() -> None:
    answer = full_answer()
    answer.aim("at most twice", 2, ("pod", "pyrun", "removed"), ("pod", "limit", "removed"))
    answer.aim("three times faster", 3, ("pod", "limit", "removed"), ("pod", "pyrun", "removed"), at_least=True)
    assert [goal_row(goal)[1:] for goal in answer.goals[1:]] == [
        ("1.50", "≤ 2", "reached"),
        ("1.50", "≥ 3", "not reached"),
    ]


def test_a_goal_whose_figures_are_missing_is_noted() -> None:
    answer = full_answer()
    answer.aim("a tenth of podman", 0.1, ("pod", "pyrun", "removed"), ("pod", "podman", "removed"))
    assert answer.notes[-1] == "not judged: a tenth of podman: no figure of podman (pod, removed)"
