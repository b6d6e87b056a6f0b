"""ruff and mypy, held to the series that pyproject.toml names."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fixtures.machine import ROOT

SOURCES = [
    name for name in ("src", "runtime", "tests", "bench", "examples", "csrc", "setup.py") if (ROOT / name).exists()
]


def check(*command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{' '.join(command)}\n{done.stdout}{done.stderr}", pytrace=False)


def test_ruff_finds_nothing() -> None:
    check("ruff", "check", "--quiet", *SOURCES)


def test_everything_is_formatted() -> None:
    check("ruff", "format", "--quiet", "--diff", *SOURCES)


def test_types_are_strict() -> None:
    check("mypy")
