"""The raw layer costs little to import: what is dear comes in when it is called."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import _cffi_backend
import pytest

import pyrun
from fixtures.machine import ROOT

MODULES = sorted(path.stem for path in (ROOT / "src" / "pyrun" / "linux").glob("*.py") if path.stem != "__init__")
# What the run path must not pay for: each costs milliseconds.
DEAR = (
    *(
        "pyroute2",
        "prctl",
        "typing",
        "dataclasses",
        "pathlib",
        "logging",
        "subprocess",
        "socket",
        "argparse",
        "inspect",
    ),
    *("asyncio", "tempfile", "functools", "shutil", "re", "enum", "json", "collections"),
)


@pytest.mark.parametrize("module", MODULES)
def test_import_brings_in_nothing_dear(module: str) -> None:
    # Without site, whose .pth files import as they like.
    path = [Path(pyrun.__file__).parent.parent, Path(_cffi_backend.__file__).parent]
    code = f"import sys, pyrun.linux.{module}; print(*sorted(set(sys.modules) & {set(DEAR)!r}))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": os.pathsep.join(map(str, path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stdout.split()


def test_capability_table_needs_no_c_core() -> None:
    """The build of the package uses it before there is one."""
    code = "import sys; sys.modules['pyrun._core'] = None; import pyrun.linux.capability, pyrun.linux.bpf"
    subprocess.run([sys.executable, "-c", code], check=True)
