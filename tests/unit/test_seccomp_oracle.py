"""libseccomp as an oracle: it compiles the same profile, and both filters are asked the same questions.

libseccomp is what runc and crun compile with, so agreeing with it is what makes ``pyrun plan --oci`` mean the same there.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.bpf_machine import AUDIT, X32_BIT, action_value, run_filter
from fixtures.podman import PODMAN_PROFILE, needs_podman_profile
from pyrun.container.seccomp_compile import compile_filter
from pyrun.container.seccomp_profile import default_profile_oci
from pyrun.container.seccomp_rules import OPERATORS
from pyrun.container.security import CAPABILITY_NAMES, DEFAULT_CAPABILITIES
from pyrun.linux.bpf import decode
from pyrun.linux.syscall_table import read_syscall_numbers

if TYPE_CHECKING:
    from pyrun.linux.bpf import Instruction

libseccomp = pytest.importorskip("pyseccomp", reason="needs the PyPI package pyseccomp", exc_type=ImportError)

EDGES = [0, 1, 8, 17, 37, 38, 39, 40, 45, 46, 0x20000, 0x20008, 0x7E020000, 0xFFFFFFFF]
WIDE_EDGES = [1 << 32, 1 << 32 | 38, 2**63, 2**64 - 1]
COLUMNS = ("x86_64", "i386", "x32")
KILLS = {0x00000000, 0x80000000}


def known(name: str) -> bool:
    """Whether this libseccomp has heard of the call: Debian 12's is older than the newest of them."""
    return any(
        libseccomp.resolve_syscall(arch, name) >= 0
        for arch in (libseccomp.Arch.X86_64, libseccomp.Arch.X86, libseccomp.Arch.X32)
    )


def only_known(profile: dict[str, Any]) -> dict[str, Any]:
    syscalls = [{**rule, "names": [name for name in rule["names"] if known(name)]} for rule in profile["syscalls"]]
    return {**profile, "syscalls": [rule for rule in syscalls if rule["names"]]}


def oracle(profile: dict[str, Any]) -> list[Instruction]:
    """The profile as libseccomp compiles it, rule by rule as an OCI runtime hands it over."""
    default = action_value(profile["defaultAction"], profile.get("defaultErrnoRet"))
    built = libseccomp.SyscallFilter(default)
    for name in profile["architectures"]:
        arch = getattr(libseccomp.Arch, name.removeprefix("SCMP_ARCH_"))
        if arch != libseccomp.Arch.X86_64:
            built.add_arch(arch)
    for rule in profile["syscalls"]:
        action = action_value(rule["action"], rule.get("errnoRet"))
        if action == default:
            continue
        args = [
            libseccomp.Arg(a["index"], a_operator(a), a["value"], a.get("valueTwo", 0)) for a in rule.get("args") or ()
        ]
        for name in rule["names"]:
            built.add_rule(action, name, *args)
    memory = os.memfd_create("filter")
    with os.fdopen(memory, "w+b") as file:
        built.export_bpf(file)
        file.seek(0)
        return decode(file.read())


def a_operator(argument: dict[str, Any]) -> Any:
    return getattr(libseccomp, OPERATORS[argument["op"]])


def same(ours: int, theirs: int) -> bool:
    """Equal, or both a kill: for a foreign architecture libseccomp kills the thread, we the process."""
    return ours == theirs or {ours, theirs} <= KILLS


def compare(profile: dict[str, Any], conditional: set[str], samples: list[int]) -> int:
    """Asks both filters about every number; the calls in *conditional* with every argument of *samples* too."""
    mine, theirs = decode(compile_filter(profile, "x86_64", newer_is_enosys=False)), oracle(profile)
    asked = 0
    for column in COLUMNS:
        table = {n: name for name, n in read_syscall_numbers(column).items()}
        for number in [*range(560), 2000]:
            marked = number | (X32_BIT if column == "x32" else 0)
            values = samples if table.get(number) in conditional else [0]
            if column == "i386":
                values = [value & 0xFFFFFFFF for value in values]  # the kernel never passes more
            for value in values:
                args = (value,) * 6
                answers = run_filter(mine, marked, AUDIT[column], args), run_filter(theirs, marked, AUDIT[column], args)
                assert same(*answers), (column, number, table.get(number), hex(value), [hex(a) for a in answers])
                asked += 1
    return asked


def conditional_names(profile: dict[str, Any]) -> set[str]:
    return {name for rule in profile["syscalls"] if rule.get("args") for name in rule["names"]}


@pytest.mark.parametrize("capabilities", [DEFAULT_CAPABILITIES, (), ("CAP_SYS_ADMIN",), CAPABILITY_NAMES])
def test_the_default_profile_is_compiled_like_libseccomp_does(capabilities: tuple[str, ...]) -> None:
    profile = only_known(default_profile_oci(capabilities, "x86_64"))
    assert compare(profile, conditional_names(profile), EDGES + WIDE_EDGES) > 1600


def test_an_unknown_architecture_is_judged_alike() -> None:
    profile = only_known(default_profile_oci(DEFAULT_CAPABILITIES, "x86_64"))
    native = {**profile, "architectures": ["SCMP_ARCH_X86_64"]}
    for asked, column in ((profile, "aarch64"), (native, "i386"), (native, "x32")):
        mine, theirs = compile_filter(asked, "x86_64"), oracle(asked)
        marker = X32_BIT if column == "x32" else 0
        for number in (0, 1, 39, 435):
            answers = [run_filter(program, marker | number, AUDIT[column]) for program in (mine, theirs)]
            assert same(*answers)


# Calls that i386 reaches through socketcall(2) and ipc(2) are left out: libseccomp adds rules for those behind the
# profile's back, and lets a call with conditions through there unconditionally.
PLAIN_NAMES = [
    "read",
    "write",
    "open",
    "dup",
    "dup2",
    "ioctl",
    "personality",
    "clone",
    "prctl",
    "mmap",
    "kill",
    "openat2",
]


@st.composite
def profiles(draw: st.DrawFn) -> dict[str, Any]:
    """One rule for each call, or alternatives that all compare the same arguments for equality.

    More than that libseccomp 2.5 does not get right: of ``arg0 > 1``, ``arg0 == 0`` and ``arg1 == 0 and arg0 <= 2**32`` it
    makes a filter that lets the first one hold when all arguments are 1.
    """
    syscalls = []
    for name in draw(st.lists(st.sampled_from(PLAIN_NAMES), min_size=1, max_size=6, unique=True)):
        errno = draw(st.integers(1, 200))
        alternatives = draw(st.integers(1, 3))
        operators = st.sampled_from(sorted(OPERATORS) if alternatives == 1 else ["SCMP_CMP_EQ"])
        indexes = draw(st.lists(st.integers(0, 5), max_size=3, unique=True))
        for _ in range(alternatives):
            value = st.sampled_from(EDGES + WIDE_EDGES)
            args = [{"index": i, "value": draw(value), "valueTwo": draw(value), "op": draw(operators)} for i in indexes]
            syscalls.append({"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": errno, "args": args})
    return {
        "defaultAction": draw(st.sampled_from(["SCMP_ACT_ALLOW", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_LOG"])),
        "architectures": draw(st.lists(st.sampled_from(["SCMP_ARCH_X86", "SCMP_ARCH_X32"]), unique=True)),
        "syscalls": syscalls,
    }


@settings(max_examples=120, deadline=None)
@given(profile=profiles())
def test_any_profile_is_compiled_like_libseccomp_does(profile: dict[str, Any]) -> None:
    near = sorted({(v + d) % 2**64 for v in EDGES + WIDE_EDGES for d in (-1, 0, 1)})
    compare(profile, conditional_names(profile), near)


@needs_podman_profile
def test_podmans_profile_is_compiled_like_libseccomp_does() -> None:
    source = json.loads(PODMAN_PROFILE.read_text())
    chosen = [r for r in source["syscalls"] if not (r.get("includes") or {}).get("caps")]
    profile = only_known({**source, "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"], "syscalls": chosen})
    compare(profile, conditional_names(profile) - {"socket"}, EDGES)
