"""Hostile configurations on a real machine: ``create`` makes a container or says in one line why not; either way nothing stays.

They are changed as those of tests/unit/test_oci_fuzz.py are, but fewer, since each costs two commands, and with a root file
system that is there. The program is never started.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from random import Random
from typing import Any

import pytest

from fixtures.held import GROUP, PYRUN_OCI, Held
from fixtures.hostile import change
from fixtures.machine import cgroup2_root, patience

INPUTS = 40
# Kept as they are: where its root is and what it mounts over from outside, which could be the machine's own.
KEPT = ("root", "ociVersion")

PATHS = ["/", "//", "..", "/..", "a/../../b", "./..", "a\nb"]


def documents(container: Held) -> list[dict[str, Any]]:
    base = json.dumps(container.config | {"process": container.config["process"] | {"args": ["/bin/true"]}})
    found = []
    for number in range(INPUTS):
        dice = Random(number)
        document = json.loads(base)
        kept = {name: document.pop(name) for name in KEPT}
        for _ in range(dice.choice([1, 1, 2])):
            document = change(document, dice)
        found.append({**(document if isinstance(document, dict) else {}), **kept})
    return found


def create(container: Held, document: dict[str, Any]) -> str:
    """What it said, with the container removed again. It says one line, or nothing and made it."""
    container.config = document
    container.write_config()
    command = [*PYRUN_OCI, *container.options, "create", "--bundle", str(container.bundle), container.id]
    # Into a file: a container that is made keeps its standard output open.
    with (container.bundle / "said").open("w+") as file:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False, timeout=patience(30)
        )
        file.seek(0)
        said = file.read()
    container("delete", "--force", container.id)
    lines = [line for line in said.splitlines() if line.startswith("pyrun-oci: ")]
    assert len(lines) == (1 if done.returncode else 0), (said, document)
    assert "unexpected" not in said, (said, document)
    assert "Traceback" not in said, (said, document)
    return said


@pytest.mark.root
@pytest.mark.slow
def test_a_hostile_configuration_leaves_nothing(tmp_path: Path) -> None:
    container = Held(tmp_path)
    made = [create(container, document) for document in documents(container)]
    assert 5 < len([said for said in made if not said]) < INPUTS - 5
    assert list((tmp_path / "state").iterdir()) == []
    assert not Path(f"{cgroup2_root()}/{GROUP}").exists()


@pytest.mark.root
@pytest.mark.parametrize("path", PATHS)
def test_a_cgroup_that_cannot_be_the_containers_is_refused(tmp_path: Path, path: str) -> None:
    container = Held(tmp_path)
    container.config["linux"]["cgroupsPath"] = path
    assert create(container, container.config)
    assert not Path(f"{cgroup2_root()}/{GROUP}").exists()
