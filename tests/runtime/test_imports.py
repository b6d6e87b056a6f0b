"""What starting ``pyrun`` costs, as a list: every module beyond it is milliseconds for every pod."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import _cffi_backend
import pytest

import pyrun
import pyrun_runtime
from fixtures.command import Store
from fixtures.pods import document, shell

START = "from pyrun_runtime.cli.main import main; main()"
# Without site, whose .pth files import as they like.
PLACES = [Path(module.__file__ or "").parent.parent for module in (pyrun, pyrun_runtime)]
SEARCH_PATH = os.pathsep.join(map(str, [*PLACES, Path(_cffi_backend.__file__).parent]))

# What the interpreter itself loads before the first line of ours, and what `import os` has brought.
INTERPRETER = frozenset(
    "abc builtins codecs encodings encodings.aliases encodings.ascii encodings.latin_1 encodings.utf_8 genericpath io "
    "marshal os posix posixpath stat sys time zipimport".split()
)
# Parts of the interpreter that are written in C: microseconds each.
BUILT_IN = frozenset("errno fcntl itertools math select struct".split())
# What we have chosen to pay for: __future__ and importlib for themselves; signal, by way of the library, with what enum needs.
CHOSEN = frozenset(
    "__future__ importlib warnings signal enum types operator functools collections keyword reprlib".split()
)
FORBIDDEN = frozenset(
    "argparse getopt gettext re json typing dataclasses inspect ast pathlib subprocess tempfile shutil logging socket selectors "
    "asyncio threading contextlib traceback difflib random hashlib uuid datetime yaml pyroute2 prctl".split()
)


def imported(*arguments: str | Path, **environment: str) -> set[str]:
    """The modules that the command loads. Those that begin with an underscore are parts of others, or written in C."""
    done = subprocess.run(
        [sys.executable, "-S", "-X", "importtime", "-c", START, *map(str, arguments)],
        env={**environment, "PYTHONPATH": SEARCH_PATH, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines} - {"imported package"}


def standard(modules: Iterable[str]) -> set[str]:
    """Without ours, the hidden ones, and what is there anyway."""
    ours = {name for name in modules if name.split(".")[0] in ("pyrun", "pyrun_runtime")}
    return {name for name in set(modules) - ours - INTERPRETER if not name.startswith("_") or name == "__future__"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.mark.root
def test_run_imports_no_more_than_it_needs(store: Store) -> None:
    spec = store.write(document(shell("true")))
    modules = imported("run", spec, PYRUN_ROOT=str(store.run_root), PYRUN_STATE=str(store.state_root))
    assert not standard(modules) & FORBIDDEN
    assert standard(modules) <= CHOSEN | BUILT_IN
    ours = {name for name in modules if name.startswith("pyrun_runtime.cli.")}
    assert not ours & {f"pyrun_runtime.cli.{verb}" for verb in ("plan", "validate", "check")}


def test_validate_imports_neither_the_kernel_side_nor_the_core(store: Store) -> None:
    modules = imported("validate", store.write(document(shell("true"))))
    assert standard(modules) <= {"__future__", "importlib", "warnings"}
    assert not {
        name for name in modules if name.startswith(("pyrun.kernel", "pyrun.linux", "pyrun._core", "pyrun.pod."))
    }


def test_plan_imports_no_more_than_it_needs(store: Store) -> None:
    modules = imported("plan", store.write(document(shell("true"))))
    assert standard(modules) <= CHOSEN | BUILT_IN


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_help_imports_next_to_nothing(word: str) -> None:
    modules = imported(word)
    assert standard(modules) <= {"__future__", "importlib", "warnings"}
    assert not {name for name in modules if name.startswith("pyrun.") and name not in ("pyrun.version", "pyrun._core")}
