"""Compiled filters against the profile read rule by rule, for arbitrary profiles."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.bpf_machine import AUDIT, ERRNO, KILL_PROCESS, X32_BIT, action_value, judge, run_filter
from pyrun.container.seccomp_compile import MACHINES, compile_filter
from pyrun.container.seccomp_rules import OPERATORS, parse_flags
from pyrun.errors import SpecError, Unsupported
from pyrun.linux.bpf import INSTRUCTION_BYTES
from pyrun.linux.syscall_table import read_syscall_numbers

NAMES = [*sorted(set().union(*[read_syscall_numbers(column) for column in AUDIT])), "no_such_call"]
EDGES = [0, 1, 2, 38, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 32, (1 << 32) + 1, (5 << 32) + 38, 2**63, 2**64 - 1]

values = st.one_of(st.sampled_from(EDGES), st.integers(0, 2**64 - 1), st.integers(0, 63).map(lambda bit: 1 << bit))
arguments = st.fixed_dictionaries(
    {"index": st.integers(0, 5), "value": values, "valueTwo": values, "op": st.sampled_from(sorted(OPERATORS))}
)
actions = st.sampled_from(
    [
        ("SCMP_ACT_ALLOW", None),
        ("SCMP_ACT_ERRNO", None),
        ("SCMP_ACT_ERRNO", 38),
        ("SCMP_ACT_KILL", None),
        ("SCMP_ACT_KILL_PROCESS", None),
        ("SCMP_ACT_TRAP", None),
        ("SCMP_ACT_TRACE", 7),
        ("SCMP_ACT_LOG", None),
        ("SCMP_ACT_NOTIFY", None),
    ]
)


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    action, errno = draw(actions)
    names = draw(st.lists(st.sampled_from(NAMES[:40] + NAMES[-5:]), min_size=1, max_size=8, unique=True))
    return {"names": names, "action": action, "errnoRet": errno, "args": draw(st.lists(arguments, max_size=3))}


@st.composite
def profiles(draw: st.DrawFn, machine: str) -> dict[str, Any]:
    action, errno = draw(actions)
    return {
        "defaultAction": action,
        "defaultErrnoRet": errno,
        "architectures": draw(st.lists(st.sampled_from([*MACHINES[machine], "SCMP_ARCH_S390X"]), unique=True)),
        "syscalls": draw(st.lists(rules(), max_size=12)),
    }


def columns_judged(profile: dict[str, Any], machine: str) -> set[str]:
    native = next(iter(MACHINES[machine]))
    return {found.column for name, found in MACHINES[machine].items() if name in (native, *profile["architectures"])}


def expect(profile: dict[str, Any], judged: set[str], column: str, number: int, args: list[int]) -> int:
    if column not in judged:
        return KILL_PROCESS
    return judge(profile, column, number, args)


def interesting_args(profile: dict[str, Any], draw: st.DataObject) -> list[list[int]]:
    near = {v for rule in profile["syscalls"] for a in rule["args"] for v in (a["value"], a["valueTwo"])}
    pool = sorted({(v + d) % 2**64 for v in near for d in (-1, 0, 1)} | set(EDGES))
    return draw.draw(st.lists(st.lists(st.sampled_from(pool), min_size=6, max_size=6), min_size=1, max_size=6))


@pytest.mark.parametrize("machine", sorted(MACHINES))
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_a_filter_says_what_its_profile_says(machine: str, data: st.DataObject) -> None:
    profile = data.draw(profiles(machine))
    program = compile_filter(profile, machine, newer_is_enosys=False)
    judged = columns_judged(profile, machine)
    samples = interesting_args(profile, data)
    mentioned = {name for rule in profile["syscalls"] for name in rule["names"]}
    for found in MACHINES[machine].values():
        numbers = {n for name, n in read_syscall_numbers(found.column).items() if name in mentioned}
        marker = X32_BIT if found.column == "x32" else 0
        for number in sorted({max(n + d, 0) for n in numbers for d in (-1, 0, 1)} | {0, 600}):
            for args in samples:
                wanted = expect(profile, judged, found.column, number, args)
                assert run_filter(program, marker | number, found.audit, args) == wanted, (found.column, number, args)


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_a_long_filter_jumps_right(data: st.DataObject) -> None:
    """Hundreds of rules with conditions: nothing is within 255 instructions of its target any more."""
    picked = data.draw(st.lists(st.sampled_from(NAMES), min_size=60, max_size=150, unique=True))
    syscalls = [
        {
            "names": [name],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": i + 2,
            "args": data.draw(st.lists(arguments, max_size=1)),
        }
        for i, name in enumerate(picked)
    ]
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": syscalls,
    }
    program = compile_filter(profile, "x86_64")
    args = interesting_args(profile, data)[0]
    for column in ("x86_64", "i386", "x32"):
        marker = X32_BIT if column == "x32" else 0
        for name in picked:
            number = read_syscall_numbers(column).get(name)
            if number is not None:
                wanted = judge(profile, column, number, args)
                assert run_filter(program, marker | number, AUDIT[column], args) == wanted, (column, name)


def test_an_unknown_architecture_is_killed() -> None:
    program = compile_filter({"defaultAction": "SCMP_ACT_ALLOW"}, "x86_64")
    assert run_filter(program, 39, AUDIT["x86_64"]) == action_value("SCMP_ACT_ALLOW", None)
    for audit in (AUDIT["i386"], AUDIT["aarch64"], 0):
        assert run_filter(program, 39, audit) == KILL_PROCESS


def test_x32_is_killed_where_the_profile_does_not_name_it() -> None:
    program = compile_filter({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 7}, "x86_64")
    assert run_filter(program, X32_BIT | 39, AUDIT["x32"]) == KILL_PROCESS
    # A tracer that cancels a call makes its number -1; that is not a call of x32.
    assert run_filter(program, 0xFFFFFFFF, AUDIT["x86_64"]) == ERRNO | 7


def allow(*names: str, **more: Any) -> dict[str, Any]:
    return {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": list(names), "action": "SCMP_ACT_ALLOW"}], **more}


def test_numbers_above_all_that_the_profile_mentions_do_not_exist() -> None:
    program = compile_filter(allow("read", "openat2"), "x86_64")
    assert run_filter(program, 436, AUDIT["x86_64"]) == ERRNO | 1
    assert run_filter(program, 437, AUDIT["x86_64"]) == action_value("SCMP_ACT_ALLOW", None)
    assert run_filter(program, 438, AUDIT["x86_64"]) == ERRNO | 38
    for default in ("SCMP_ACT_LOG", "SCMP_ACT_ALLOW", "SCMP_ACT_TRACE", "SCMP_ACT_NOTIFY"):
        program = compile_filter({**allow("read"), "defaultAction": default}, "x86_64")
        assert run_filter(program, 438, AUDIT["x86_64"]) == action_value(default, None)


def test_arms_private_numbers_are_not_the_newest() -> None:
    program = compile_filter({**allow("read", "openat2", "set_tls"), "architectures": ["SCMP_ARCH_ARM"]}, "aarch64")
    assert run_filter(program, 983045, AUDIT["arm"]) == action_value("SCMP_ACT_ALLOW", None)
    assert run_filter(program, 438, AUDIT["arm"]) == ERRNO | 38


def test_a_condition_twice_on_one_argument_is_an_or() -> None:
    args = [{"index": 0, "value": v, "op": "SCMP_CMP_EQ"} for v in (3, 5)]
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["dup"], "action": "SCMP_ACT_ALLOW", "args": args}],
    }
    program = compile_filter(profile, "x86_64")
    found = [run_filter(program, 32, AUDIT["x86_64"], (v,)) == ERRNO | 1 for v in (3, 4, 5)]
    assert found == [False, True, False]


def test_neighbouring_rules_keep_their_own_actions_and_order() -> None:
    syscalls = [
        {
            "names": ["dup"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": errno,
            "args": [{"index": index, "value": value, "op": "SCMP_CMP_EQ"}],
        }
        for errno, index, value in [
            (2, 0, 3),
            (3, 0, 5),
            (3, 0, 6),
            (4, 0, 6),
            (5, 0, 1 << 32 | 6),
            (6, 1, 6),
            (6, 1, 3),
        ]
    ]
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": syscalls}
    program = compile_filter(profile, "x86_64")
    for first in (3, 4, 5, 6, 1 << 32 | 6, 1 << 32 | 3):
        for second in (0, 3, 6):
            args = (first, second, 0, 0, 0, 0)
            assert run_filter(program, 32, AUDIT["x86_64"], args) == judge(profile, "x86_64", 32, args)


PLACES = [
    ({"defaultAction": "ALLOW"}, "/linux/seccomp/defaultAction"),
    ({}, "/linux/seccomp/defaultAction"),
    ({"defaultAction": ["SCMP_ACT_ALLOW"]}, "/linux/seccomp/defaultAction"),
    ({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 5}, "/linux/seccomp/defaultErrnoRet"),
    ({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}, "/linux/seccomp/defaultErrnoRet"),
    ({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["VAX"]}, "/linux/seccomp/architectures/0"),
    ({"defaultAction": "SCMP_ACT_ALLOW", "architectures": "SCMP_ARCH_X86"}, "/linux/seccomp/architectures"),
    (allow(), "/linux/seccomp/syscalls/0/names"),
    ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [3]}, "/linux/seccomp/syscalls/0"),
    (
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [1], "action": "SCMP_ACT_LOG"}]},
        "/linux/seccomp/syscalls/0/names/0",
    ),
]
ARGUMENT_PLACES = [
    ({"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}, "index"),
    ({"index": 0, "value": -1, "op": "SCMP_CMP_EQ"}, "value"),
    ({"index": 0, "value": 1 << 64, "op": "SCMP_CMP_EQ"}, "value"),
    ({"index": 0, "value": True, "op": "SCMP_CMP_EQ"}, "value"),
    ({"value": 0, "op": "SCMP_CMP_EQ"}, "index"),
    ({"index": 0, "op": "SCMP_CMP_EQ"}, "value"),
    ({"index": 0, "value": 0, "op": "=="}, "op"),
    ({"index": 0, "value": 0, "op": {}}, "op"),
]


@pytest.mark.parametrize(("profile", "pointer"), PLACES)
def test_what_is_wrong_is_named_with_its_place(profile: dict[str, Any], pointer: str) -> None:
    with pytest.raises(SpecError) as caught:
        compile_filter(profile, "x86_64")
    assert caught.value.pointer == pointer


@pytest.mark.parametrize(("argument", "key"), ARGUMENT_PLACES)
def test_a_wrong_argument_is_named_with_its_place(argument: dict[str, Any], key: str) -> None:
    profile = allow("read")
    profile["syscalls"][0]["args"] = [argument]
    with pytest.raises(SpecError) as caught:
        compile_filter(profile, "x86_64")
    assert caught.value.pointer == f"/linux/seccomp/syscalls/0/args/0/{key}"


def test_a_filter_too_long_for_the_kernel_is_refused() -> None:
    args = [{"index": 1, "value": v << 32 | v, "op": "SCMP_CMP_GT"} for v in range(1, 1500)]
    with pytest.raises(SpecError, match="4096"):
        compile_filter(
            {
                "defaultAction": "SCMP_ACT_KILL",
                "syscalls": [{"names": ["read"], "action": "SCMP_ACT_LOG", "args": args}],
            },
            "x86_64",
        )


def test_flags() -> None:
    assert parse_flags({}) == 0
    assert parse_flags({"flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]}) == 6
    with pytest.raises(SpecError):
        parse_flags({"flags": ["FAST"]})


def test_a_machine_that_is_not_known_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="riscv64"):
        compile_filter(allow("read"), "riscv64")


def test_a_filter_is_whole_instructions() -> None:
    assert len(compile_filter(allow("read"), "x86_64")) % INSTRUCTION_BYTES == 0
