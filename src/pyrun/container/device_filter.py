"""OCI's device rules as a BPF program of a cgroup. Pure.

The rules are taken in order, as the runtime specification says: of two that match the later one counts. They are counted for each
kind of access by itself, so that after "allow rw" and "deny w" of one device an open for both is refused. The program asks from
the last rule to the first, and strikes out what an allowing one allows; it is done as soon as nothing is left, or a rule denies
what is left. What no rule allows is denied.
"""

from __future__ import annotations

import sys

from pyrun.linux.bpf_program import ACCESS_MKNOD, ACCESS_READ, ACCESS_WRITE, DEVICE_BLOCK, DEVICE_CHARACTER
from pyrun.spec.oci import OciDeviceRule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    Instruction: TypeAlias = tuple[int, int, int, int, int]  # code, target, source, offset, immediate

ACCESSES = {"m": ACCESS_MKNOD, "r": ACCESS_READ, "w": ACCESS_WRITE}
ALL_ACCESSES = ACCESS_MKNOD | ACCESS_READ | ACCESS_WRITE
TYPES = {"b": DEVICE_BLOCK, "c": DEVICE_CHARACTER}

# What every container gets at the end of its rules, as runc and crun have it: a node of any device may be made (it cannot be
# opened for that), and the specification's default devices, the console and pseudoterminals may be used.
DEFAULT_RULES = (
    OciDeviceRule(True, "c", None, None, "m"),
    OciDeviceRule(True, "b", None, None, "m"),
    *[OciDeviceRule(True, "c", 1, minor, "rwm") for minor in (3, 5, 7, 8, 9)],  # null zero full random urandom
    *[OciDeviceRule(True, "c", 5, minor, "rwm") for minor in (0, 1, 2)],  # tty console ptmx
    OciDeviceRule(True, "c", 136, None, "rwm"),  # pts
)

# Instruction codes of linux/bpf.h.
LOAD_WORD = 0x61  # BPF_LDX | BPF_MEM | BPF_W
MOVE = 0xB4  # BPF_ALU | BPF_MOV | BPF_K
MOVE_REGISTER = 0xBC  # BPF_ALU | BPF_MOV | BPF_X
AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
SHIFT_RIGHT = 0x74  # BPF_ALU | BPF_RSH | BPF_K
JUMP = 0x05  # BPF_JMP | BPF_JA
JUMP_EQUAL = 0x16  # BPF_JMP32 | BPF_JEQ | BPF_K
JUMP_NOT_EQUAL = 0x56  # BPF_JMP32 | BPF_JNE | BPF_K
JUMP_IF_SET = 0x46  # BPF_JMP32 | BPF_JSET | BPF_K
EXIT = 0x95  # BPF_JMP | BPF_EXIT

# Registers: the answer, the context (struct bpf_cgroup_dev_ctx), and what is read out of it.
ANSWER, CONTEXT, TYPE, LEFT, MAJOR, MINOR = range(6)

START: tuple[Instruction, ...] = (
    (LOAD_WORD, TYPE, CONTEXT, 0, 0),
    (MOVE_REGISTER, LEFT, TYPE, 0, 0),
    (AND, TYPE, 0, 0, 0xFFFF),
    (SHIFT_RIGHT, LEFT, 0, 0, 16),
    (LOAD_WORD, MAJOR, CONTEXT, 4, 0),
    (LOAD_WORD, MINOR, CONTEXT, 8, 0),
)


def device_filter(rules: Iterable[OciDeviceRule]) -> bytes:
    """The program for *rules* and, after them, the default ones: an array of struct bpf_insn."""
    program = list(START)
    for rule in reversed((*rules, *DEFAULT_RULES)):
        if _is_for_all(rule):
            # Nothing before it counts, and the kernel takes no program with a part that cannot be reached.
            return _encode([*program, *_end(rule.allow)])
        program += _ask(rule)
    return _encode([*program, *_end(False)])


def _is_for_all(rule: OciDeviceRule) -> bool:
    return rule.type == "a" and rule.major is None and rule.minor is None and _access(rule) == ALL_ACCESSES


def _access(rule: OciDeviceRule) -> int:
    """The bits of the rule's accesses, which are all if it names none."""
    return sum([ACCESSES[letter] for letter in rule.access]) or ALL_ACCESSES


def _ask(rule: OciDeviceRule) -> list[Instruction]:
    then = _allow(_access(rule)) if rule.allow else _deny(_access(rule))
    wanted = [(TYPE, TYPES.get(rule.type)), (MAJOR, rule.major), (MINOR, rule.minor)]
    compared = [(register, number) for register, number in wanted if number is not None]
    asked: list[Instruction] = []
    for i, (register, number) in enumerate(compared):
        # The kernel's checker follows first what does not jump. That must be "no match", which teaches it nothing: what it then
        # knows from a match is a case of what it has seen, and it need not follow the rest again. The other way round 400 rules
        # take it a second, and 1000 are refused as too complex.
        rest = 2 * (len(compared) - i - 1) + len(then)
        asked += [(JUMP_EQUAL, register, 0, 1, number), (JUMP, 0, 0, rest, 0)]
    return asked + then


def _allow(access: int) -> list[Instruction]:
    end = _end(True)
    return [(AND, LEFT, 0, 0, ALL_ACCESSES & ~access), (JUMP_NOT_EQUAL, LEFT, 0, len(end), 0), *end]


def _deny(access: int) -> list[Instruction]:
    end = _end(False)
    return [(JUMP_IF_SET, LEFT, 0, 1, access), (JUMP, 0, 0, len(end), 0), *end]


def _end(answer: bool) -> list[Instruction]:
    return [(MOVE, ANSWER, 0, 0, int(answer)), (EXIT, 0, 0, 0, 0)]


def _encode(instructions: Iterable[Instruction]) -> bytes:
    """An array of struct bpf_insn in this machine's byte order."""
    order = sys.byteorder
    parts = []
    for code, target, source, offset, immediate in instructions:
        registers = target | source << 4 if order == "little" else target << 4 | source
        parts.append(bytes((code, registers)) + offset.to_bytes(2, order) + immediate.to_bytes(4, order))
    return b"".join(parts)
