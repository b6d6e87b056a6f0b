"""``import pyrun``: each name once, from where it lives, and only when it is used."""

from __future__ import annotations

import ast
import inspect
import json
from importlib import import_module
from pathlib import Path

import pytest

import pyrun
from fixtures.interpreter import run_python
from fixtures.machine import ROOT
from fixtures.pods import document, shell

SOURCE = ROOT / "src" / "pyrun"


def imports_for_type_checkers() -> dict[str, str]:
    """name -> module, as the block under TYPE_CHECKING has it."""
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    found = {}
    for block in [node for node in tree.body if isinstance(node, ast.If)]:
        for node in [node for node in block.body if isinstance(node, ast.ImportFrom)]:
            for alias in node.names:
                assert alias.asname is not None, f"{alias.name}: without `as` it is not exported"
                module = f"{node.module}.{alias.name}" if alias.asname in pyrun._MODULES else node.module
                found[alias.asname] = module or ""
    return found


def test_the_two_lists_say_the_same() -> None:
    lazily = {name: f"pyrun.{module}" for name, module in (pyrun._HOME | pyrun._MODULES).items()}
    assert imports_for_type_checkers() == lazily
    assert sorted(lazily) == sorted(pyrun.__all__)


def test_each_name_is_exported_once_and_sorted() -> None:
    assert len(pyrun.__all__) == len(set(pyrun.__all__))
    assert pyrun.__all__ == sorted(pyrun.__all__)


@pytest.mark.parametrize("name", pyrun.__all__)
def test_each_name_is_there_and_documented(name: str) -> None:
    value = getattr(pyrun, name)
    if name in pyrun._HOME:
        assert value is getattr(import_module(f"pyrun.{pyrun._HOME[name]}"), name)
    if isinstance(value, type) or inspect.isfunction(value):
        assert value.__doc__, name
        assert value.__module__.startswith("pyrun.")


def test_dir_and_unknown_names() -> None:
    assert set(dir(pyrun)) == set(pyrun.__all__)
    with pytest.raises(AttributeError, match="module 'pyrun' has no attribute 'nothing'"):
        _ = pyrun.nothing


def test_from_pyrun_import_star_gives_just_these() -> None:
    printed = run_python(
        """
        import sys
        sys.path.insert(0, sys.argv[1])
        names = {}
        exec("from pyrun import *", names)
        import pyrun
        print(sorted(set(names) - {"__builtins__"}) == sorted(pyrun.__all__))
        """,
        SOURCE.parent,
    )
    assert printed == "True\n"


def test_import_alone_imports_nothing_else() -> None:
    printed = run_python(
        """
        import sys
        sys.path.insert(0, sys.argv[1])
        before = set(sys.modules)
        import pyrun
        print(sorted(set(sys.modules) - before))
        """,
        SOURCE.parent,
    )
    assert printed.replace("'__future__', ", "") == "['pyrun']\n"  # an editable install has loaded that already


def test_using_a_name_imports_what_it_needs() -> None:
    printed = run_python(
        """
        import sys
        sys.path.insert(0, sys.argv[1])
        import pyrun
        pyrun.SpecError
        print(sorted(name for name in sys.modules if name.startswith("pyrun")))
        """,
        SOURCE.parent,
    )
    assert printed == "['pyrun', 'pyrun.errors']\n"


# What limits.md and design.md call dear; a pod is planned, made and ended without them.
DEAR = (
    "dataclasses",
    "typing",
    "pathlib",
    "logging",
    "subprocess",
    "inspect",
    "asyncio",
    "socket",
    "json",
    "argparse",
    "pyroute2",
)


@pytest.mark.root
def test_a_pod_costs_no_dear_import(tmp_path: Path) -> None:
    path = tmp_path / "pod.json"
    path.write_text(json.dumps(document(shell("true"))))
    printed = run_python(
        """
        import sys
        sys.path.insert(0, sys.argv[1])
        before = set(sys.modules)
        import pyrun
        with open(sys.argv[2], "rb") as file:
            spec = pyrun.load_pod(file.read(), "pod.json")
        with pyrun.Pod.create(spec, directory=sys.argv[3]) as pod:
            pod.start()
            pod.wait()
        print(sorted((set(sys.modules) - before) & set(sys.argv[4:])))
        """,
        SOURCE.parent,
        path,
        tmp_path / "pod",
        *DEAR,
    )
    assert printed == "[]\n"
