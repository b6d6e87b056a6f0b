"""Every block of docs/library.md runs as it stands, and prints what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.machine import ROOT, patience

PAGE = ROOT / "docs" / "library.md"
MARKER = "# needs controllers\n"
LIMIT_S = 120.0


def blocks() -> list[tuple[str, str, str]]:
    """(heading and number, program, output) of each block; all of its output follows a program."""
    found = []
    heading, number = "", 0
    pattern = r"^## ([^\n]*)\n|^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?"
    for match in re.finditer(pattern, PAGE.read_text(), re.MULTILINE | re.DOTALL):
        if match[1] is not None:
            heading, number = match[1].lower().replace(" ", "-"), 0
        else:
            number += 1
            found.append((f"{heading}-{number}", match[2], match[3] or ""))
    return found


def parameters() -> list[object]:
    return [
        pytest.param(
            program, output, id=name, marks=pytest.mark.cgroup2 if program.startswith(MARKER) else pytest.mark.root
        )
        for name, program, output in blocks()
    ]


@pytest.mark.parametrize(("program", "output"), parameters())
def test_block(program: str, output: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONWARNINGS": "error", "PYTHONUNBUFFERED": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=patience(LIMIT_S),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == output


def test_every_fence_is_looked_at() -> None:
    text = PAGE.read_text()
    assert len(blocks()) == text.count("```python\n") == text.count("```text\n")
    assert text.count("\n```") == 2 * 2 * len(blocks())
    assert sum(program.startswith(MARKER) for _, program, _ in blocks()) == text.count("```python\n" + MARKER)


def test_every_name_of_aio_is_on_the_page() -> None:
    from pyrun import aio

    text = PAGE.read_text()
    assert [name for name in aio.__all__ if name not in text] == ["open_reader", "open_writer"]
