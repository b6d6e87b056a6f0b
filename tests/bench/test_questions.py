"""The list of questions, the files that ask them, and the page that names them are one."""

from __future__ import annotations

import ast
import re

import pytest

from bench.questions import NAMES
from fixtures.machine import ROOT

BENCH = ROOT / "bench"


def test_one_file_per_question() -> None:
    files = {path.stem for path in (BENCH / "questions").glob("*.py")} - {"__init__"}
    assert files == set(NAMES)
    assert len(NAMES) == len(set(NAMES))


@pytest.mark.parametrize("name", NAMES)
def test_the_first_line_of_each_is_its_question(name: str) -> None:
    docstring = ast.get_docstring(ast.parse((BENCH / f"questions/{name}.py").read_text())) or ""
    assert "?" in docstring.splitlines()[0]


def test_the_page_names_every_question() -> None:
    table = (BENCH / "README.md").read_text().partition("## Questions")[2].partition("\n## ")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == NAMES
