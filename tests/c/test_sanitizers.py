"""The C programs built with AddressSanitizer and UndefinedBehaviorSanitizer, and damaged plans.

The stage and pause are the real sources with an ordinary main() (PYRUN_HOSTED). The tests of tests/kernel then run once more with
them: each step, and each way to fail. Any report of a sanitizer ends the process, so that the test fails that looked at it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.machine import ROOT, patience
from pyrun.kernel import encode
from pyrun.kernel.program import program_path
from pyrun.kernel.step import (
    Attach,
    ChangeDirectory,
    Duplicate,
    Exec,
    FindProgram,
    Gate,
    LoadFilter,
    MaskPath,
    NewMount,
    OpenDirectory,
    OpenTree,
    SetHostname,
    SetUser,
    Step,
    WriteFile,
)

CSRC = ROOT / "csrc"
HERE = Path(__file__).parent
CHILD = [CSRC / "child.c", CSRC / "executable.c", CSRC / "path.c", *sorted(CSRC.glob("step_*.c"))]
FLAGS = ["-std=gnu17", "-D_GNU_SOURCE", "-DPYRUN_HOSTED", '-DPYRUN_VERSION="0.1.0"', "-g", "-O1", f"-I{CSRC}"]
FLAGS += ["-Wall", "-Wextra", "-Werror", "-fno-omit-frame-pointer"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-static-libasan", "-static-libubsan"]


def build(out: Path, *sources: Path, flags: list[str]) -> Path:
    subprocess.run(["gcc", *FLAGS, *flags, "-o", out, *sources], check=True)
    return out


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sanitized")


@pytest.fixture(scope="module")
def programs(built: Path) -> dict[str, str]:
    """Environment for fixtures/child.py."""
    options = HERE / "sanitizer_options.c"
    stage = build(built / "stage", CSRC / "stage.c", *CHILD, options, flags=SANITIZERS)
    pause = build(built / "pause", CSRC / "pause.c", options, flags=SANITIZERS)
    # Its child begins on a stack of its own, in memory that it shares: nothing that a sanitizer could follow.
    spawn = build(built / "spawn.o", CSRC / "spawn.c", flags=["-c"])
    monitor = build(built / "monitor", *sorted(CSRC.glob("monitor*.c")), spawn, options, flags=SANITIZERS)
    variables = {"STAGE": stage, "PAUSE": pause, "MONITOR": monitor}
    return {f"PYRUN_TEST_{name}": str(path) for name, path in variables.items()}


KERNEL = ("spawn", "mount_steps", "tree_steps", "file_steps", "process_steps", "fallback", "pause", "monitor")
CONTAINER = ("namespaces", "process", "terminal")
ABOUT_THE_SHIPPED = "not few_kilobytes"


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [*[f"kernel/test_{name}" for name in KERNEL], *[f"container/test_{name}" for name in CONTAINER]]
)
def test_all_steps_with_sanitizers(programs: dict[str, str], name: str) -> None:
    options = ["--noconftest", "-p", "no:cacheprovider", "-q", "-rA", "-k", ABOUT_THE_SHIPPED]
    files = [HERE / "programs_in_use.py", ROOT / f"tests/{name}.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *files],
        cwd=ROOT,
        env={**os.environ, **programs, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=patience(300),
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[output.find("= FAILURES =") :][:8000]
    assert "PASSED tests/c/programs_in_use.py::test_the_programs_are_those_that_were_built" in output
    assert "SKIPPED" not in output
    assert "Sanitizer" not in output
    assert "runtime error" not in output


def test_the_sanitizers_are_on(built: Path) -> None:
    """A program that does wrong is ended: else the tests above would show nothing."""
    for name, body, message in (
        ("address", "char *volatile a = malloc(1); free(a); return a[argc - 1];", "AddressSanitizer"),
        ("undefined", "int a = 0x7fffffff; return a + argc < 0;", "runtime error"),
    ):
        source = built / f"{name}.c"
        source.write_text(f"#include <stdlib.h>\nint main(int argc, char **argv) {{ (void)argv; {body} }}\n")
        program = build(built / name, source, HERE / "sanitizer_options.c", flags=SANITIZERS)
        done = subprocess.run([program], env={}, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert message in done.stderr


# ---- damaged plans -----------------------------------------------------------------------------------------------------------


def plans() -> list[tuple[Step, ...]]:
    full: tuple[Step, ...] = (
        NewMount("tmpfs", "t", ("mode=0755", "size=1m"), ("nosuid",), source="none"),
        Attach("t", "/mnt"),
        OpenDirectory("/mnt", "root"),
        OpenTree("/", "u", at="root", attributes=("ro",)),
        MaskPath("/x", at="root", root="root"),
        WriteFile("/y", b"\0\1\2", at="root", create_mode=0o600),
        ChangeDirectory("/", at="root"),
        Duplicate("out", 1),
        SetUser(1, 1, tuple(range(20))),
        FindProgram("sh", "/bin:/usr/bin"),
        Gate(),
        LoadFilter(b"\x06\0\0\0\0\0\xff\x7f"),
        Exec(("sh", "-c", "exit"), ("A=1", "B=2")),
    )
    return [full, full[8:], (SetHostname("x"),), (Exec(("a",)), Exec(tuple("abcdefgh"), tuple("ABC"))), ()]


def write_plans(directory: Path) -> list[Path]:
    paths = []
    for number, plan in enumerate(plans()):
        given = dict.fromkeys(("out",), 1)
        paths.append(directory / f"plan-{number}")
        paths[-1].write_bytes(encode.encode_plan(plan, given, report_fd=3, gate_fd=4))
    return paths


@pytest.fixture(scope="module")
def fuzzer(built: Path) -> Path:
    sources = [HERE / "fuzz_plan.c", *CHILD[1:], HERE / "sanitizer_options.c"]
    return build(built / "fuzz_plan", *sources, flags=[*SANITIZERS, "-O2", "-Wno-unused-function"])


@pytest.mark.parametrize("seed", [1, 20240229])
def test_no_damaged_plan_gets_past_the_check(fuzzer: Path, tmp_path: Path, seed: int) -> None:
    command = [fuzzer, str(seed), "100000", *write_plans(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=patience(120), check=False)
    assert (done.returncode, done.stderr) == (0, "")
    # Many kinds of damage do no harm (another number, another letter). If none or all passed, nothing would have been tried.
    assert 1_000 < int(done.stdout) < 99_000


# ---- spawn -------------------------------------------------------------------------------------------------------------------


@pytest.mark.root
def test_spawn_from_many_threads_in_c(built: Path, tmp_path: Path) -> None:
    program = build(
        built / "spawn_threads",
        HERE / "spawn_threads.c",
        CSRC / "spawn.c",
        CSRC / "wait.c",
        HERE / "sanitizer_options.c",
        # Not AddressSanitizer: it keeps its books on stacks that it knows, and the clone runs in our memory on one of its own.
        flags=["-fsanitize=undefined", "-fno-sanitize-recover=all", "-static-libubsan", "-pthread"],
    )
    plan = tmp_path / "plan"
    plan.write_bytes(encode.encode_plan((Exec(("true",), program="/bin/true"),), {}, report_fd=-1, gate_fd=-1))
    command = [program, program_path("pyrun-stage"), plan, "8", "40"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=patience(120), check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 failures, with signals\n", "")
