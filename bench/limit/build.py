"""limit.c as a static program without a C library, as pyrun's own stage and pause are built (setup.py)."""

from __future__ import annotations

import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("limit.c")
INCLUDE = Path(__file__).parents[2] / "csrc"
FLAGS = (
    *("-std=gnu17", "-O2", "-D_GNU_SOURCE", "-ffreestanding", "-fno-stack-protector", "-fno-pie"),
    *("-fno-tree-loop-distribute-patterns", "-fno-asynchronous-unwind-tables", "-Wall", "-Wextra", "-Werror"),
    *("-static", "-nostdlib", "-no-pie", "-s", "-Wl,--build-id=none", "-Wl,-z,noseparate-code"),
)


def build_limit(program: Path) -> Path:
    """Compile and link it as *program*."""
    subprocess.run(["gcc", *FLAGS, f"-I{INCLUDE}", str(SOURCE), "-o", str(program)], check=True)
    return program
