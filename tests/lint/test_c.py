"""clang-format, clang-tidy, gcc's own warnings, and what the child between clone and exec may not call."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

import pytest

from fixtures.machine import ROOT

CSRC = ROOT / "csrc"
SOURCES = sorted(CSRC.glob("*.c"))
# *.cdef.h is read by cffi, not by a compiler.
# Not part of the product: formatted as it is, compiled by the tests that use them.
OTHERS = [ROOT / "bench/limit/limit.c", ROOT / "tests/fixtures/look.c"]
HEADERS = sorted(path for path in CSRC.glob("*.h") if not path.name.endswith(".cdef.h"))

FLAGS = [
    "-std=gnu17",
    "-D_GNU_SOURCE",
    '-DPYRUN_VERSION="0"',
    "-ffreestanding",
    "-fno-stack-protector",
    "-I",
    str(CSRC),
]
WARNINGS = [
    *("-Wall", "-Wextra", "-Wshadow", "-Wstrict-prototypes", "-Wmissing-prototypes"),
    *("-Wswitch-enum", "-Wformat=2"),
]

# Runs without a C library: in the child no lock may be taken that another thread of the parent held, and pause is freestanding.
CHILD = [
    path
    for path in SOURCES
    if path.stem in ("child", "executable", "path", "stage", "pause", "init", "sweep", "spawn", "oci_front")
    or path.stem.startswith(("step_", "monitor"))
]


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], cwd=ROOT, capture_output=True, text=True, check=False)


def tool(name: str) -> str:
    """One of the wheels' programs: from the environment the tests run in, whatever the PATH has."""
    return str(Path(sysconfig.get_path("scripts")) / name)


def check(*command: str | Path) -> None:
    done = run(*command)
    if done.returncode:
        pytest.fail(f"{done.stdout}{done.stderr}", pytrace=False)


def test_there_is_c_to_check() -> None:
    assert {"child.c", "pause.c", "stage.c"} <= {path.name for path in CHILD}


@pytest.mark.parametrize("path", [*SOURCES, *HEADERS, *OTHERS], ids=lambda path: path.name)
def test_c_is_formatted(path: Path) -> None:
    check(tool("clang-format"), "--dry-run", "-Werror", path)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_clang_tidy_finds_nothing(path: Path) -> None:
    check(tool("clang-tidy"), "--quiet", path, "--", *FLAGS, *WARNINGS)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_gcc_warns_of_nothing(path: Path, tmp_path: Path) -> None:
    check("gcc", *FLAGS, *WARNINGS, "-O2", "-Werror", "-c", path, "-o", tmp_path / "out.o")


def test_the_child_calls_nothing_but_itself(tmp_path: Path) -> None:
    """What one of its objects leaves undefined, another defines: no malloc, no stdio, no pthread, no libc at all."""
    defined: set[str] = set()
    undefined: dict[str, set[str]] = {}
    for path in CHILD:
        out = tmp_path / f"{path.stem}.o"
        check("gcc", *FLAGS, "-O2", "-c", path, "-o", out)
        for line in run("nm", out).stdout.splitlines():
            kind, name = line.split()[-2:]
            if kind in "Uw":
                undefined.setdefault(name, set()).add(path.name)
            else:
                defined.add(name)
    # The linker's own name for the table that position-independent code finds its data by.
    foreign = {
        name: sorted(users) for name, users in undefined.items() if name not in defined | {"_GLOBAL_OFFSET_TABLE_"}
    }
    assert not foreign
