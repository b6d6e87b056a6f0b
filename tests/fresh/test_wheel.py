"""What a user installs: one wheel for every CPython from 3.11 on, static programs included, that runs where it lies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from fixtures.machine import ROOT

pytestmark = pytest.mark.slow

BUILD_INPUTS = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "csrc", "src", "runtime")
PROGRAMS = ("pyrun-stage", "pyrun-pause", "pyrun-sweep", "pyrun-monitor", "pyrun-init")
BUILT = shutil.ignore_patterns("__pycache__", "*.so", "*.egg-info", *PROGRAMS, "*.bpf", "_core.c")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built through a source distribution, from a copy without anything built: neither stale files nor the editable install's can
    slip in, and what the source distribution lacks is missed."""
    source = tmp_path_factory.mktemp("source")
    for name in BUILD_INPUTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=BUILT)
        else:
            shutil.copy(ROOT / name, source / name)
    out = tmp_path_factory.mktemp("wheel")
    code = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    run([sys.executable, "-c", code, str(out)], source)
    (archive,) = out.glob("*.tar.gz")
    build = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index"]
    run([*build, "-w", str(out), str(archive)], out)
    (path,) = out.glob("*.whl")
    return path


def run(command: list[str], directory: Path) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As pip lays it out: zipfile would lose the modes."""
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    subprocess.run(command, capture_output=True, check=True)
    return target


def test_one_wheel_for_all_pythons(wheel: Path) -> None:
    name, version, python, abi, _platform = wheel.stem.split("-")
    assert (name, python, abi) == ("pyrun", "cp311", "abi3")
    assert version == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_wheel_has_all_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    wanted = {
        "pyrun/_core.abi3.so",
        "pyrun/pyrun-stage",
        "pyrun/pyrun-pause",
        "pyrun/pyrun-sweep",
        "pyrun/pyrun-init",
        "pyrun/pyrun-monitor",
        "pyrun/py.typed",
        "pyrun/_core.pyi",
    }
    wanted |= {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src" / "pyrun").rglob("*.py")}
    wanted |= {str(path.relative_to(ROOT / "runtime")) for path in (ROOT / "runtime" / "pyrun_runtime").rglob("*.py")}
    assert wanted <= names
    scripts = {name.rpartition("/")[2] for name in names if ".data/scripts/" in name}
    assert scripts == {"pyrun-oci", "pyrun-oci-python"}
    assert {name.split("/")[0].split("-")[0] for name in names} == {"pyrun", "pyrun_runtime"}
    assert not [name for name in names if name.endswith((".c", ".h", ".o"))]


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_programs_can_be_executed(unpacked: Path, program: str) -> None:
    path = unpacked / "pyrun" / program
    assert path.stat().st_mode & 0o777 == 0o755
    assert path.read_bytes()[:4] == b"\x7fELF"


def test_the_front_of_the_oci_runtime_finds_what_it_hands_over_to(unpacked: Path) -> None:
    front = unpacked / "bin/pyrun-oci"
    assert front.stat().st_mode & 0o111 == 0o111
    assert front.read_bytes()[:4] == b"\x7fELF"
    done = subprocess.run(
        [front, "--version"], env={"PYTHONPATH": str(unpacked)}, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("pyrun-oci version ")


def test_the_installed_command_runs(unpacked: Path, tmp_path: Path) -> None:
    """From the unpacked wheel, not from the checkout: PYTHONPATH comes before an editable install's finder."""
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    code = "import pyrun, pyrun_runtime; print(pyrun.__file__, pyrun_runtime.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert all(Path(name).is_relative_to(unpacked) for name in done.stdout.split())
    command = [unpacked / "bin" / "pyrun", "--version"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] in done.stdout
