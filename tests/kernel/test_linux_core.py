"""The stub of the C core says what the built module is."""

from __future__ import annotations

import ast

import pytest

from fixtures.machine import ROOT
from pyrun._core import ffi, lib

STUB = ROOT / "src" / "pyrun" / "_core.pyi"


def class_body(name: str) -> list[ast.stmt]:
    for node in ast.parse(STUB.read_text()).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return node.body
    raise AssertionError(f"no class {name} in {STUB}")


def declared_functions() -> dict[str, list[str]]:
    """Name -> annotations of the arguments."""
    return {
        node.name: [ast.unparse(arg.annotation) for arg in node.args.posonlyargs[1:] if arg.annotation]
        for node in class_body("Lib")
        if isinstance(node, ast.FunctionDef)
    }


def declared_attributes() -> dict[str, str]:
    """Name -> annotation."""
    return {
        ast.unparse(node.target): ast.unparse(node.annotation)
        for node in class_body("Lib")
        if isinstance(node, ast.AnnAssign)
    }


def built_functions() -> set[str]:
    # callable() does not tell: any C object has a slot for calls.
    others = {name for name in dir(lib) if not isinstance(getattr(lib, name), int)}
    return {name for name in others if ffi.typeof(getattr(lib, name)).kind == "function"}  # type: ignore[attr-defined]


def annotation_of(argument: object) -> str:
    """How the stub writes an argument of this C type."""
    if argument.kind == "primitive":  # type: ignore[attr-defined]
        return "int"
    return "Pointer" if argument.cname in ("char *", "void *") else "CData"  # type: ignore[attr-defined]


def test_functions_are_those_of_the_module() -> None:
    assert set(declared_functions()) == built_functions()


def test_constants_are_those_of_the_module() -> None:
    built = set(dir(lib)) - built_functions()
    assert declared_attributes() == {name: "int" if isinstance(getattr(lib, name), int) else "CData" for name in built}


@pytest.mark.parametrize("name", sorted(declared_functions()))
def test_arguments_are_those_of_the_module(name: str) -> None:
    kind = ffi.typeof(getattr(lib, name))  # type: ignore[attr-defined]
    assert declared_functions()[name] == [annotation_of(argument) for argument in kind.args]
    assert kind.result.cname == "long"


def test_functions_of_ffi_exist() -> None:
    for node in class_body("FFI"):
        if isinstance(node, ast.FunctionDef):
            assert callable(getattr(ffi, node.name))
