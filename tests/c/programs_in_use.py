"""For the runs that test_sanitizers.py starts: what they run is what it has built. Not collected by name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import fixtures.child  # noqa: F401  # puts the programs in their place
from pyrun.kernel.program import program_fd


@pytest.mark.parametrize(
    ("name", "variable"),
    [("pyrun-stage", "PYRUN_TEST_STAGE"), ("pyrun-pause", "PYRUN_TEST_PAUSE"), ("pyrun-monitor", "PYRUN_TEST_MONITOR")],
)
def test_the_programs_are_those_that_were_built(name: str, variable: str) -> None:
    assert Path(f"/proc/self/fd/{program_fd(name)}").read_bytes() == Path(os.environ[variable]).read_bytes()
