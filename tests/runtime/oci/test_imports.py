"""What starting ``pyrun-oci`` costs, as a list. A container's life is three commands or more, and each starts an interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import _cffi_backend
import pytest

import pyrun
import pyrun_runtime
from fixtures.held import Held

START = "from pyrun_runtime.oci.main import main; main()"
# Without site, whose .pth files import as they like.
PLACES = [Path(module.__file__ or "").parent.parent for module in (pyrun, pyrun_runtime)]
SEARCH_PATH = os.pathsep.join(map(str, [*PLACES, Path(_cffi_backend.__file__).parent]))

# What the interpreter itself loads before the first line of ours, and what `import os` has brought.
INTERPRETER = frozenset(
    "abc builtins codecs encodings encodings.aliases encodings.ascii encodings.latin_1 encodings.utf_8 genericpath io "
    "marshal os posix posixpath stat sys time zipimport".split()
)
# Parts of the interpreter that are written in C: microseconds each.
BUILT_IN = frozenset("errno fcntl itertools math pwd select struct".split())
CHOSEN = frozenset(["__future__"])
# What no verb that callers wait for may load of ours: it is for pods.
FOR_PODS = ("pyrun.pod", "pyrun.kernel.pause", "pyrun.container.lower", "pyrun.spec.pod", "pyrun.spec.expand")
# What only some containers need: a terminal's or systemd's socket, a machine with cgroups in an unusual place.
RARE = ("pyrun_runtime.unix_socket", "pyrun.linux.mountinfo", "pyrun.kernel.cgroup_watch", "_socket")
# What only a verb that makes a process needs.
FOR_PROCESSES = ("pyrun.kernel.spawn", "pyrun.kernel.step", "pyrun.container", "pyrun.spec.oci")


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    with Held(tmp_path) as container:
        yield container


def imported(log: Path, *words: str) -> set[str]:
    """The modules that the command loads. It says so into a file: a container that it makes would keep a pipe open."""
    with log.open("w") as errors:
        command = [sys.executable, "-S", "-X", "importtime", "-c", START, *words]
        done = subprocess.run(
            command,
            env={"PYTHONPATH": SEARCH_PATH, "PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            check=False,
        )
    assert done.returncode == 0, log.read_text()
    lines = [line for line in log.read_text().splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines} - {"imported package"}


def standard(modules: set[str]) -> set[str]:
    """Without ours, what is written in C or part of another (an underscore), and what is there anyway."""
    ours = {name for name in modules if name.split(".")[0] in ("pyrun", "pyrun_runtime")}
    return {name for name in modules - ours - INTERPRETER if not name.startswith("_") or name == "__future__"}


def those_in(modules: set[str], packages: tuple[str, ...]) -> set[str]:
    return {name for name in modules if name.startswith(packages)}


@pytest.mark.root
@pytest.mark.parametrize("verb", ["state", "kill", "list", "pause"])
def test_who_only_looks_loads_nothing_that_makes_a_process(held: Held, tmp_path: Path, verb: str) -> None:
    arguments = {"list": (), "kill": (held.id, "9")}.get(verb, (held.id,))
    modules = imported(tmp_path / "log", *held.options, verb, *arguments)
    assert standard(modules) <= CHOSEN | BUILT_IN
    assert not those_in(modules, FOR_PODS + FOR_PROCESSES + RARE)


@pytest.mark.root
def test_create_start_and_delete_load_no_more_than_they_need(tmp_path: Path) -> None:
    container = Held(tmp_path)
    try:
        for verb, *arguments in (
            ("create", "--bundle", str(container.bundle), container.id),
            ("start", container.id),
            ("delete", "--force", container.id),
        ):
            modules = imported(tmp_path / "log", *container.options, verb, *arguments)
            assert standard(modules) <= CHOSEN | BUILT_IN, verb
            assert not those_in(modules, FOR_PODS + RARE), verb
            if verb != "create":
                assert not those_in(modules, FOR_PROCESSES), verb
    finally:
        container("delete", "--force", container.id)


@pytest.mark.parametrize("word", ["--version", "--help"])
def test_help_loads_next_to_nothing(tmp_path: Path, word: str) -> None:
    modules = imported(tmp_path / "log", word)
    assert standard(modules) <= CHOSEN | BUILT_IN
    assert not those_in(modules, ("pyrun.kernel.cgroup", *FOR_PROCESSES))
