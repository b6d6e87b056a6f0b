"""The raw layer tells of every public function which kernel call it is, what it affects and how it fails."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.machine import ROOT

LINUX = ROOT / "src" / "pyrun" / "linux"
REQUIRED = ("Kernel:", "Affects:", "Raises:")
KNOWN = (*REQUIRED, "Units:", "Owns:", "Order:")


def public_functions() -> Iterator[tuple[Path, ast.FunctionDef]]:
    for path in sorted(LINUX.glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                yield path, node


def labels(docstring: str) -> list[str]:
    """The known labels that begin a line, in the order in which they stand."""
    words = [line.split(maxsplit=1)[0] for line in docstring.splitlines() if line.strip()]
    return [word for word in words if word in KNOWN]


FUNCTIONS = list(public_functions())


@pytest.mark.parametrize(("path", "function"), FUNCTIONS, ids=[f"{p.stem}.{f.name}" for p, f in FUNCTIONS])
def test_raw_function_has_its_labels(path: Path, function: ast.FunctionDef) -> None:
    docstring = ast.get_docstring(function)
    assert docstring, f"{path}:{function.lineno}: {function.name} has no docstring"
    found = labels(docstring)
    missing = [label for label in REQUIRED if label not in found]
    assert not missing, f"{path}:{function.lineno}: {function.name} lacks {' '.join(missing)}"
    assert len(set(found)) == len(found), f"{path}:{function.lineno}: {function.name} has a label twice"
