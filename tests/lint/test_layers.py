"""Imports point down (docs/architecture.md), and runtime/ is written against the library's public names only.

Imports inside functions count as well: a lazy import that points up is still one.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.machine import ROOT

LIBRARY = ROOT / "src" / "pyrun"
RUNTIME = ROOT / "runtime" / "pyrun_runtime"

# May be used by everything, and use nothing of pyrun but each other.
GROUND = {"errors", "value", "version"}
# layer -> the layers it may import, besides GROUND and itself.
MAY_IMPORT = {
    "errors": set(),
    "value": set(),
    "version": {"_core"},  # compiled in
    "spec": set(),
    "_core": set(),
    "linux": {"_core"},
    "kernel": {"linux", "_core"},  # _core: the plan's encoding and the spawn of the child
    "image": {"linux", "kernel", "spec"},
    "container": {"linux", "kernel", "spec", "image"},
    "pod": {"linux", "kernel", "spec", "image", "container"},
    "aio": {"kernel", "spec", "container", "pod"},
}
# The façade: pyrun/__init__.py hands out names of every layer, and so is imported by none.
FACADE = "pyrun"


def python_files(top: Path) -> list[Path]:
    return sorted(top.rglob("*.py"))


def layer_of(path: Path) -> str:
    """``src/pyrun/linux/mount.py`` -> ``linux``; ``src/pyrun/errors.py`` -> ``errors``."""
    first = path.relative_to(LIBRARY).parts[0]
    return FACADE if first == "__init__.py" else first.removesuffix(".py")


def imported_names(path: Path) -> Iterator[tuple[int, str, str | None]]:
    """Every import in the file: line, module, and the name taken from it (None for a plain ``import``)."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, node.module or "", alias.name) for alias in node.names)


def imported_layers(path: Path) -> Iterator[tuple[int, str]]:
    """The layers of pyrun that the file imports. ``from pyrun import linux`` is an import of linux."""
    for line, module, name in imported_names(path):
        if module == "pyrun" or module.startswith("pyrun."):
            parts = [*module.split("."), *([name] if name else [])]
            is_layer = len(parts) > 1 and (parts[1] in MAY_IMPORT or (LIBRARY / parts[1]).is_dir())
            yield line, parts[1] if is_layer else FACADE
        elif module.startswith("pyrun_runtime"):
            yield line, "pyrun_runtime"


@pytest.mark.parametrize("path", python_files(LIBRARY), ids=lambda path: str(path.relative_to(LIBRARY)))
def test_imports_point_down(path: Path) -> None:
    layer = layer_of(path)
    if layer == FACADE:
        assert all(target != "pyrun_runtime" for _, target in imported_layers(path))
        return
    assert layer in MAY_IMPORT, f"{layer} is no layer yet: give it a place in MAY_IMPORT and in docs/architecture.md"
    allowed = MAY_IMPORT[layer] | GROUND | {layer}
    wrong = [
        f"{path}:{line}: {layer} imports {target}" for line, target in imported_layers(path) if target not in allowed
    ]
    assert not wrong


def public_names() -> set[str]:
    """``__all__`` of the façade, read without importing it; it must be a literal so that readers find it too."""
    for node in ast.parse((LIBRARY / "__init__.py").read_text()).body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets) and node.value:
                return set(ast.literal_eval(node.value))
    return set()


def attributes_of_pyrun(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "pyrun":
            yield node.lineno, node.attr


def private_uses(path: Path, public: set[str]) -> Iterator[str]:
    for line, module, name in imported_names(path):
        if module.startswith("pyrun.") or (module == "pyrun" and name is not None and name not in public):
            yield f"{path}:{line}: {module}{' ' + name if name else ''} is not a public name of pyrun"
    for line, name in attributes_of_pyrun(path):
        if name not in public:
            yield f"{path}:{line}: pyrun.{name} is not a public name of pyrun"


@pytest.mark.parametrize("path", python_files(RUNTIME), ids=lambda path: str(path.relative_to(RUNTIME)))
def test_runtime_uses_public_names_only(path: Path) -> None:
    assert not list(private_uses(path, public_names()))


def test_pyroute2_and_prctl_have_one_address_each() -> None:
    """pyroute2 costs ten interpreter starts, prctl is GPL and for the Python side only: one file each, in linux/."""
    users: dict[str, set[str]] = {"pyroute2": set(), "prctl": set()}
    for path in python_files(LIBRARY) + python_files(RUNTIME):
        for _, module, _ in imported_names(path):
            if module.split(".")[0] in users:
                users[module.split(".")[0]].add(str(path.relative_to(ROOT)))
    assert users["pyroute2"] <= {"src/pyrun/linux/netlink.py"}
    assert users["prctl"] <= {"src/pyrun/linux/process.py"}
