"""Compiles an OCI seccomp profile to classic BPF.

The program first looks at the architecture of the call, then finds the call's number in a binary search over *ranges* of
numbers that are treated alike, then looks at arguments where a rule has conditions. Ranges instead of single numbers make
the filter short: the kernel checks, translates and runs it once over all numbers when it is loaded, and that time grows with
its length (measured: the default profile's 265 instructions load in 0.11 ms, the 1,014 that libseccomp makes of the same
profile in 0.78 ms; x86-64 alone is 76 instructions and 0.065 ms).

A call of an architecture that the profile does not name kills the process, as does an x32 call where x32 is not named.
"""

from __future__ import annotations

from pyrun.container.seccomp_rules import (
    POINTER,
    RET_ALLOW,
    RET_ERRNO,
    RET_KILL_PROCESS,
    RET_LOG,
    RET_NOTIFY,
    RET_TRACE,
    Condition,
    Rules,
    parse_rules,
)
from pyrun.errors import SpecError, Unsupported
from pyrun.linux.bpf import JEQ, JGE, JGT, JSET, Assembler, Label, ProgramTooLong, Return
from pyrun.linux.syscall_table import read_syscall_numbers
from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    from pyrun.linux.bpf import Target

    Goal: TypeAlias = "Return | Block"
    Segment: TypeAlias = tuple[int, Goal]  # the first number of a range, and what becomes of its calls

ENOSYS = 38
# struct seccomp_data (linux/seccomp.h): nr at 0, arch at 4, six arguments of 64 bits from 16. Little endian: low word first.
NUMBER = 0
ARCHITECTURE = 4
ARGUMENTS = 16
X32_BIT = 0x40000000
SKIPPED_NUMBER = 0xFFFFFFFF  # a tracer that cancels a call sets its number to -1
PRIVATE_NUMBERS = 0xF0000  # Arm's own calls (cacheflush, set_tls) lie far above the common ones


class Architecture(Value):
    """One SCMP_ARCH_*: its AUDIT_ARCH_* number (linux/audit.h), its column of numbers, whether arguments are 64 bits wide.

    x32 counts as 32 bits although its registers are wider: its int and pointer arguments are, and libseccomp judges it so.
    """

    audit: int
    column: str
    wide: bool


# What a kernel of each machine can run; the first is native and judged whether or not the profile names it.
MACHINES: dict[str, dict[str, Architecture]] = {
    "x86_64": {
        "SCMP_ARCH_X86_64": Architecture(0xC000003E, "x86_64", True),
        "SCMP_ARCH_X86": Architecture(0x40000003, "i386", False),
        "SCMP_ARCH_X32": Architecture(0xC000003E, "x32", False),
    },
    "aarch64": {
        "SCMP_ARCH_AARCH64": Architecture(0xC00000B7, "aarch64", True),
        "SCMP_ARCH_ARM": Architecture(0x40000028, "arm", False),
    },
}
# Known to the OCI specification but never seen by these kernels: a rule for them has no effect.
FOREIGN = """SCMP_ARCH_MIPS SCMP_ARCH_MIPS64 SCMP_ARCH_MIPS64N32 SCMP_ARCH_MIPSEL SCMP_ARCH_MIPSEL64 SCMP_ARCH_MIPSEL64N32
SCMP_ARCH_PPC SCMP_ARCH_PPC64 SCMP_ARCH_PPC64LE SCMP_ARCH_S390 SCMP_ARCH_S390X SCMP_ARCH_PARISC SCMP_ARCH_PARISC64
SCMP_ARCH_RISCV64 SCMP_ARCH_LOONGARCH64 SCMP_ARCH_M68K SCMP_ARCH_SH SCMP_ARCH_SHEB"""


class Block(Value):
    """Rules with conditions for one call: (action, conditions) in order, then the default action."""

    rules: tuple[tuple[int, tuple[Condition, ...]], ...]
    default: int
    wide: bool


def compile_filter(profile: Mapping[str, object], machine: str, newer_is_enosys: bool = True) -> bytes:
    """The filter, as an array of struct sock_filter, for a kernel of *machine* (as uname(1) prints it).

    With *newer_is_enosys* a number above all that the profile mentions fails with ENOSYS where the default action would
    be an error or a kill: who wrote the profile could not know such a call, and libraries fall back on ENOSYS but give
    up on EPERM. runc does the same.
    """
    try:
        return compile_rules(parse_rules(profile), machine, newer_is_enosys)
    except ProgramTooLong as error:
        raise SpecError(POINTER, f"the filter is too long for the kernel: {error}") from None


def compile_rules(rules: Rules, machine: str, newer_is_enosys: bool = True) -> bytes:
    """As :func:`compile_filter`, from rules that are parsed already."""
    if machine not in MACHINES:
        raise Unsupported(f"seccomp on {machine}", f"pyrun knows the system calls of {' and '.join(MACHINES)}")
    chosen = _architectures(rules, MACHINES[machine])
    program = Assembler()
    entries: dict[int, Target] = {}
    for architecture in reversed(
        chosen
    ):  # what is written last stands first: the native calls, which are the common ones
        segments = _segments(rules, architecture, newer_is_enosys)
        tree = _tree(program, segments)
        if architecture.column == "x86_64":
            x32 = entries.pop(architecture.audit) if architecture.audit in entries else _no_x32(program, rules)
            tree = program.jump(JGE, X32_BIT, x32, tree)
        if architecture.column != "x32":
            tree = program.load(NUMBER, tree)
        entries[architecture.audit] = tree
    start: Target = Return(RET_KILL_PROCESS)
    for audit, entry in entries.items():
        start = program.jump(JEQ, audit, entry, start)
    return program.finish(program.load(ARCHITECTURE, start))


def _no_x32(program: Assembler, rules: Rules) -> Target:
    """Where x32 is not named its calls kill, all but the number that is no call at all."""
    return program.jump(JEQ, SKIPPED_NUMBER, Return(rules.default), Return(RET_KILL_PROCESS))


def _architectures(rules: Rules, machine: dict[str, Architecture]) -> list[Architecture]:
    known = {name for others in MACHINES.values() for name in others} | set(FOREIGN.split())
    for i, name in enumerate(rules.architectures):
        if name not in known:
            raise SpecError(f"{POINTER}/architectures/{i}", f"{name!r} is not an architecture")
    native = next(iter(machine))
    return [found for name, found in machine.items() if name == native or name in rules.architectures]


def _segments(rules: Rules, architecture: Architecture, newer_is_enosys: bool) -> list[Segment]:
    """All numbers of one architecture in ranges with one goal each; neighbours differ."""
    marker = X32_BIT if architecture.column == "x32" else 0
    default = Return(rules.default)
    goals = _goals(rules, architecture)
    newest = max([number for number in goals if number < PRIVATE_NUMBERS], default=0)
    above = Return(RET_ERRNO | ENOSYS) if newer_is_enosys and goals and _is_refusal(rules.default) else default
    segments: list[Segment] = [(marker, default)]

    def add(start: int, goal: Goal) -> None:
        if segments[-1][0] == start:
            segments.pop()
        if not segments or segments[-1][1] != goal:
            segments.append((start, goal))

    expected = 0
    for number in sorted(goals):
        if number > expected:
            add(marker + expected, default if expected <= newest else above)
        add(marker + number, goals[number])
        expected = number + 1
    add(marker + expected, above)
    return segments


def _is_refusal(action: int) -> bool:
    return action not in (RET_ALLOW, RET_LOG, RET_NOTIFY) and action >> 16 != RET_TRACE >> 16


def _goals(rules: Rules, architecture: Architecture) -> dict[int, Goal]:
    """What becomes of each number that the profile mentions."""
    numbers = read_syscall_numbers(architecture.column)
    plain: dict[int, int] = {}
    conditional: dict[int, list[tuple[int, tuple[Condition, ...]]]] = {}
    for rule in rules.rules:
        for name in rule.names:
            if name not in numbers:
                continue
            if rule.conditions:
                conditional.setdefault(numbers[name], []).append((rule.action, rule.conditions))
            else:
                plain.setdefault(numbers[name], rule.action)
    goals: dict[int, Goal] = {n: Block(tuple(r), rules.default, architecture.wide) for n, r in conditional.items()}
    goals.update({number: Return(action) for number, action in plain.items()})
    return goals


def _tree(program: Assembler, segments: list[Segment]) -> Target:
    """A balanced search over chunks; inside a chunk single numbers are picked out one by one."""
    chunks: list[list[Segment]] = []
    i = 0
    while i < len(segments):
        # A single number between two ranges of the same goal costs one comparison by itself, but two as a range.
        size = 1
        while size < 7 and i + size + 1 < len(segments):
            number, around = segments[i + size][0], segments[i + size + 1]
            if around[0] != number + 1 or around[1] != segments[i][1]:
                break
            size += 2
        chunks.append(segments[i : i + size])
        i += size
    return _search(program, chunks)


def _search(program: Assembler, chunks: list[list[Segment]]) -> Target:
    if len(chunks) == 1:
        found = _place(program, chunks[0][0][1])
        for number, goal in chunks[0][1::2]:
            found = program.jump(JEQ, number, _place(program, goal), found)
        return found
    half = len(chunks) // 2
    right = _search(program, chunks[half:])
    left = _search(program, chunks[:half])
    return program.jump(JGE, chunks[half][0][0], right, left)


def _place(program: Assembler, goal: Goal) -> Target:
    """A return is made where it is needed; a block of rules is written here."""
    if isinstance(goal, Return):
        return goal
    target: Target = Return(goal.default)
    for action, conditions in reversed(_merged(goal)):
        success: Target = Return(action)
        for condition in reversed(conditions):
            success = _compare(program, condition, goal.wide, success, target)
        target = success
    return target


class Among(Value):
    """The argument is one of *values*, which share their upper 32 bits: several EQ rules in one."""

    index: int
    values: tuple[int, ...]


def _merged(block: Block) -> list[tuple[int, tuple[Condition | Among, ...]]]:
    """Neighbouring rules that only compare one argument for equality become one."""
    merged: list[tuple[int, tuple[Condition | Among, ...]]] = []
    for action, conditions in block.rules:
        only = conditions[0]
        if len(conditions) > 1 or only.operator != "EQ":
            merged.append((action, conditions))
            continue
        among = Among(only.index, (only.value,))
        if merged:
            last_action, last = merged[-1]
            same = last_action == action and isinstance(last[0], Among) and last[0].index == only.index
            if same and isinstance(last[0], Among) and (last[0].values[0] ^ only.value) >> 32 == 0:
                among = Among(only.index, (*last[0].values, only.value))
                merged.pop()
        merged.append((action, (among,)))
    return merged


def _compare(program: Assembler, condition: Condition | Among, wide: bool, yes: Target, no: Target) -> Target:
    """Code that goes to *yes* if the condition holds, else to *no*. Without *wide* only the low word counts."""
    low = ARGUMENTS + 8 * condition.index
    if isinstance(condition, Among):
        return _equal(program, low, condition.values, wide, yes, no)
    operator, value = condition.operator, condition.value
    if operator == "EQ":
        return _equal(program, low, (value,), wide, yes, no)
    if operator == "NE":
        return _equal(program, low, (value,), wide, no, yes)
    if operator == "MASKED_EQ":
        found = _masked(program, low, value & 0xFFFFFFFF, condition.expected & 0xFFFFFFFF, yes, no)
        return _masked(program, low + 4, value >> 32, condition.expected >> 32, found, no) if wide else found
    if operator in ("LT", "LE"):
        yes, no = no, yes
    return _greater(program, low, JGE if operator in ("GE", "LT") else JGT, value, wide, yes, no)


def _equal(program: Assembler, low: int, values: tuple[int, ...], wide: bool, yes: Target, no: Target) -> Label:
    test: Target = no
    for value in reversed(values):
        test = program.jump(JEQ, value & 0xFFFFFFFF, yes, test, word=low)
    found = program.load(low, test)
    if not wide:
        return found
    return program.load(low + 4, program.jump(JEQ, values[0] >> 32, found, no, word=low + 4))


def _greater(program: Assembler, low: int, code: int, value: int, wide: bool, yes: Target, no: Target) -> Label:
    found = program.load(low, program.jump(code, value & 0xFFFFFFFF, yes, no, word=low))
    if not wide:
        return found
    high = value >> 32
    below = no if high else yes  # nothing is below 0, so what is not equal to it is above
    same = program.jump(JEQ, high, found, below, word=low + 4)
    return program.load(low + 4, program.jump(JGT, high, yes, same, word=low + 4) if high else same)


def _masked(program: Assembler, offset: int, mask: int, expected: int, yes: Target, no: Target) -> Target:
    """``(word & mask) == expected``; *expected* has no bit outside *mask*."""
    if mask == 0:
        return yes
    if mask == 0xFFFFFFFF:
        return program.load(offset, program.jump(JEQ, expected, yes, no, word=offset))
    if expected == 0:
        return program.load(offset, program.jump(JSET, mask, no, yes, word=offset))
    if expected == mask and mask & (mask - 1) == 0:
        return program.load(offset, program.jump(JSET, mask, yes, no, word=offset))
    return program.load(offset, program.mask(mask, program.jump(JEQ, expected, yes, no)))
