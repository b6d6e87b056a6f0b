"""Writes src/pyrun/linux/syscall_table.py from kernel headers.

Not part of the build: the table is checked in, because a wheel must not depend on how new the headers of the machine are
that builds it, and because the numbers of a released kernel never change. Run it when a kernel adds system calls::

    apt-get download linux-libc-dev linux-libc-dev-arm64-cross linux-libc-dev-armhf-cross   # then dpkg -x each to DIR
    python3 csrc/make_syscall_table.py DIR/usr/include DIR/usr/aarch64-linux-gnu/include DIR/usr/arm-linux-gnueabihf/include

Calls that the headers do not have yet are in NEWER below.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

COLUMNS = ("x86_64", "i386", "x32", "aarch64", "arm")
TARGET = Path(__file__).parent.parent / "src" / "pyrun" / "linux" / "syscall_table.py"

# Since 424 a new call has the same number everywhere (arch/*/syscalls/*.tbl of Linux 6.18); name -> first number.
NEWER = {
    name: 451 + i
    for i, name in enumerate(
        """cachestat fchmodat2 map_shadow_stack futex_wake futex_wait futex_requeue statmount listmount lsm_get_self_attr
        lsm_set_self_attr lsm_list_modules mseal setxattrat getxattrat listxattrat removexattrat open_tree_attr
        file_getattr file_setattr""".split()
    )
}
NOT_X32 = "map_shadow_stack"  # "64", not "common", in syscall_64.tbl
# Called by the kernel's own trampolines of user-space probes, on x86-64 alone: Linux 6.11 and 6.18.
X86_64_ONLY = {"uretprobe": 335, "uprobe": 336}

HEADER = '''\
"""System call numbers by architecture. Written by csrc/make_syscall_table.py from kernel headers: do not edit by hand.

Each item is ``name=x86_64,i386,x32,aarch64,arm``; ``-`` where the architecture has no such call, and ``name=N`` where all
have it under one number. x32 numbers are given without their marker bit, 0x40000000.
"""

from __future__ import annotations

ARCHITECTURES = ("x86_64", "i386", "x32", "aarch64", "arm")

TABLE = """
'''

FOOTER = '''"""


def read_syscall_numbers(architecture: str) -> dict[str, int]:
    """Name to number of every system call of one of ARCHITECTURES.

    Kernel: up to Linux 6.18; a kernel may lack any of them.
    Affects: nothing.
    Raises: ValueError if *architecture* is none of them.
    """
    column = ARCHITECTURES.index(architecture)
    numbers: dict[str, int] = {}
    for item in TABLE.split():
        name, _, text = item.partition("=")
        fields = text.split(",")
        number = fields[column] if len(fields) > 1 else text
        if number != "-":
            numbers[name] = int(number)
    return numbers
'''


def macros(include: str, header: str, *defines: str) -> dict[str, str]:
    """All ``__NR_`` macros of *header* as the C preprocessor sees them."""
    command = ["gcc", "-E", "-dM", "-nostdinc", f"-I{include}", *defines, "-include", header, "-x", "c", "/dev/null"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return dict(re.findall(r"^#define (__(?:NR|ARM_NR|X32|NR3264)_?\w+) (.+)$", text, re.MULTILINE))


def numbers(include: str, header: str, *defines: str) -> dict[str, int]:
    """Name to number, with what only helps to define others left out."""
    found = macros(include, header, *defines)

    def value(text: str) -> int:
        text = re.sub(r"__\w+", lambda m: str(value(found[m[0]])), text)
        return int(eval(text, {"__builtins__": {}}))

    helpers = ("syscalls", "SYSCALL_BASE", "SYSCALL_MASK", "OABI_SYSCALL_BASE", "arch_specific_syscall", "BASE")
    result: dict[str, int] = {}
    for name, text in found.items():
        short = re.sub(r"^__(ARM_)?NR_", "", name)
        if short != name and short not in helpers:
            result[short] = value(text) & ~0x40000000
    return result


def render(tables: list[dict[str, int]]) -> str:
    """The module's text: items packed into lines of at most 120 columns."""
    items = []
    for name in sorted(set().union(*tables)):
        row = [str(table.get(name, "-")) for table in tables]
        items.append(f"{name}={row[0] if len(set(row)) == 1 else ','.join(row)}")
    lines = [""]
    for item in items:
        if len(lines[-1]) + len(item) >= 120:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + item
    return HEADER + "\n".join(lines) + "\n" + FOOTER


def main(x86: str, arm64: str, arm: str) -> None:
    multiarch = f"{x86}/x86_64-linux-gnu"
    tables = [
        numbers(multiarch, "asm/unistd_64.h") | X86_64_ONLY,
        numbers(multiarch, "asm/unistd_32.h"),
        numbers(multiarch, "asm/unistd_x32.h", "-D__X32_SYSCALL_BIT=0x40000000"),
        numbers(arm64, "asm/unistd.h"),
        numbers(arm, "asm/unistd.h", "-D__ARM_EABI__"),
    ]
    tables = [table | NEWER for table in tables]
    del tables[COLUMNS.index("x32")][NOT_X32]
    TARGET.write_text(render(tables))


if __name__ == "__main__":
    main(*sys.argv[1:4])
