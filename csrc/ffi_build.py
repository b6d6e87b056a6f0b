"""Builds ``pyrun._core``: cffi in API mode, from the one declaration in core.cdef.h."""

import re
import tomllib
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent

PREAMBLE = """
#include "bpf.h"
#include "plan.h"
#include "spawn.h"
#include "syscalls.h"
#include "version.h"
#include "wait.h"

#include <linux/seccomp.h>
#include <signal.h>
#include <sys/wait.h>

#ifndef MNT_DETACH /* <sys/mount.h> has it and clashes with <linux/mount.h> */
#define MNT_DETACH 2
#endif
"""


def declaration() -> str:
    """core.cdef.h with the step kinds of plan.h filled in."""
    kinds = re.findall(r"^\s*X\((\w+), \d+\)", (HERE / "plan.h").read_text(), re.MULTILINE)
    constants = "\n".join(f"#define PLAN_{kind} ..." for kind in kinds)
    return (HERE / "core.cdef.h").read_text().replace("@PLAN_KINDS@", constants)


def version() -> str:
    """The project's version; pyproject.toml is its one place."""
    return str(tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]["version"])


ffi = FFI()
ffi.cdef(declaration())
ffi.set_source(
    "pyrun._core",
    PREAMBLE,
    sources=["csrc/spawn.c", "csrc/version.c", "csrc/wait.c"],
    include_dirs=["csrc"],
    define_macros=[("_GNU_SOURCE", None), ("PYRUN_VERSION", f'"{version()}"')],
    # spawn.c runs code in a clone that shares the caller's memory: no canary from thread-local storage, no call into a library.
    extra_compile_args=["-std=gnu17", "-O2", "-fno-stack-protector", "-fno-tree-loop-distribute-patterns"],
    py_limited_api=True,
)
