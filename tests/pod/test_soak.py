"""Many pods at a time, and many one after the other: nothing grows. ``./dev soak`` is the long edition."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fixtures.machine import ROOT, in_virtual_machine, patience

pytestmark = pytest.mark.root

SECONDS = float(os.environ.get("PYRUN_SOAK_S", "15"))
MEMORY_MORE = 0.02


def run(program: str, *arguments: object) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "fixtures" / program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
        timeout=patience(120) + SECONDS * 2,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    print(program, told)
    return told


def test_many_at_once(tmp_path: Path) -> None:
    count = 10 if in_virtual_machine() else 60
    told = run("many_pods.py", tmp_path, count)
    assert told["alive"] == count
    assert {key: value for key, value in told.items() if key.startswith("left")} == {
        "left_pods": 0,
        "left_descriptors": 0,
        "left_processes": 0,
    }


def test_many_after_each_other(tmp_path: Path) -> None:
    told = run("soak.py", tmp_path, SECONDS, 7)
    before, after = told["before"], told["after"]
    assert told["pods"] > 5
    more = after.pop("memory") / before.pop("memory") - 1
    assert after == before
    assert more < (MEMORY_MORE if SECONDS >= 300 else 0.1), f"{more:.1%} more memory"
