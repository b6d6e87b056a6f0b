"""Device rules as a BPF program: the program run in Python says what the rules say."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrun.container.device_filter import DEFAULT_RULES, device_filter
from pyrun.spec.oci import OciDeviceRule

BITS = {"m": 1, "r": 2, "w": 4}  # BPF_DEVCG_ACC_*
TYPES = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_*
DENY_ALL = OciDeviceRule(False, "a", None, None, "rwm")

some_numbers = st.sampled_from([0, 1, 3, 5, 8, 11, 2**31, 2**32 - 1])
numbers = st.none() | some_numbers
accesses = st.lists(st.sampled_from("rwm"), unique=True, max_size=3).map("".join)
rules = st.lists(
    st.builds(OciDeviceRule, st.booleans(), st.sampled_from("acb"), numbers, numbers, accesses), max_size=6
)
wanted = st.tuples(st.sampled_from("cb"), some_numbers, some_numbers)
asked = st.lists(st.sampled_from("rwm"), unique=True, min_size=1).map("".join)


def run(program: bytes, kind: str, major: int, minor: int, access: str) -> int:
    """What the program answers; whatever is no instruction of ours, or reads what was not written, is an error."""
    context = {0: sum(BITS[letter] for letter in access) << 16 | TYPES[kind], 4: major, 8: minor}
    registers: dict[int, int] = {}
    at = 0
    while True:
        code, registers_byte = program[at], program[at + 1]
        target, source = registers_byte & 15, registers_byte >> 4
        offset = int.from_bytes(program[at + 2 : at + 4], "little")
        immediate = int.from_bytes(program[at + 4 : at + 8], "little")
        at += 8
        if code == 0x61:
            assert source == 1
            registers[target] = context[offset]
        elif code == 0xB4:
            registers[target] = immediate
        elif code == 0xBC:
            registers[target] = registers[source]
        elif code == 0x54:
            registers[target] &= immediate
        elif code == 0x74:
            registers[target] >>= immediate
        elif code == 0x05:
            at += offset * 8
        elif code == 0x16:
            at += offset * 8 if registers[target] == immediate else 0
        elif code == 0x56:
            at += offset * 8 if registers[target] != immediate else 0
        elif code == 0x46:
            at += offset * 8 if registers[target] & immediate else 0
        else:
            assert code == 0x95, f"{code:#x}"
            return registers[0]


def judge(found: Sequence[OciDeviceRule], kind: str, major: int, minor: int, letter: str) -> bool:
    """The last rule that speaks of it decides; without one it is denied."""
    for rule in reversed(found):
        if rule.type not in ("a", kind) or letter not in (rule.access or "rwm"):
            continue
        if rule.major in (None, major) and rule.minor in (None, minor):
            return rule.allow
    return False


@given(rules, wanted, asked)
def test_the_program_says_what_the_rules_say(
    found: list[OciDeviceRule], device: tuple[str, int, int], access: str
) -> None:
    expected = all(judge([*found, *DEFAULT_RULES], *device, letter) for letter in access)
    assert run(device_filter(found), *device, access) == expected


@pytest.mark.parametrize("access", ["r", "w", "m", "rw", "rwm"])
@pytest.mark.parametrize("minor", [3, 5, 7, 8, 9])
def test_the_default_devices_are_there_whatever_the_rules_say(minor: int, access: str) -> None:
    assert run(device_filter([DENY_ALL]), "c", 1, minor, access) == 1


@pytest.mark.parametrize(
    ("device", "access", "allowed"),
    [
        (("c", 5, 0), "rw", 1),  # tty
        (("c", 5, 2), "rw", 1),  # ptmx
        (("c", 136, 77), "rw", 1),  # pts
        (("c", 1, 11), "r", 0),  # kmsg
        (("c", 1, 1), "r", 0),  # mem
        (("b", 8, 0), "r", 0),
        (("b", 8, 0), "m", 1),
        (("b", 8, 0), "rm", 0),
        (("b", 1, 3), "r", 0),  # a block device with the numbers of null
    ],
)
@pytest.mark.parametrize("found", [[], [DENY_ALL]])
def test_without_a_rule_that_allows_it_a_device_is_denied(
    found: list[OciDeviceRule], device: tuple[str, int, int], access: str, allowed: int
) -> None:
    assert run(device_filter(found), *device, access) == allowed


def test_an_open_for_both_is_refused_when_one_is_denied() -> None:
    program = device_filter([OciDeviceRule(True, "b", 8, 0, "rw"), OciDeviceRule(False, "b", 8, 0, "w")])
    assert [run(program, "b", 8, 0, access) for access in ("r", "w", "rw")] == [1, 0, 0]


def test_rules_before_one_for_all_leave_no_trace() -> None:
    """The kernel refuses a program with instructions that cannot be reached."""
    before = [OciDeviceRule(True, "b", 8, 0, "rw")] * 3
    assert device_filter([*before, DENY_ALL]) == device_filter([DENY_ALL])
