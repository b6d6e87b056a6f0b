"""Classic BPF as seccomp(2) takes it: an assembler that writes a program from its end to its beginning.

A jump of classic BPF goes forward only and reaches 255 instructions. Written back to front, every target exists already
when a jump to it is written, so its distance is known and one pass is enough: a target out of reach gets a bridge (an
unconditional jump with 32 bits, or a copy of the return instruction, which is cheaper) just behind the jump.
"""

from __future__ import annotations

import sys

from pyrun.value import Value

# Instruction codes of linux/bpf_common.h, only those that the kernel's seccomp_is_const_allow() understands: a filter made
# of them lets the kernel keep a bitmap of the calls that are always allowed and skip the filter for those (Linux 5.11).
LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
JUMP = 0x05  # BPF_JMP | BPF_JA
JEQ = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
JGT = 0x25  # BPF_JMP | BPF_JGT | BPF_K
JGE = 0x35  # BPF_JMP | BPF_JGE | BPF_K
JSET = 0x45  # BPF_JMP | BPF_JSET | BPF_K
RETURN = 0x06  # BPF_RET | BPF_K

MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS
INSTRUCTION_BYTES = 8  # sizeof(struct sock_filter)
REACH = 255

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    Instruction: TypeAlias = tuple[int, int, int, int]  # code, jt, jf, k, as in struct sock_filter
    Target: TypeAlias = "Label | Return"


class Return(Value):
    """The program ends with this SECCOMP_RET_* value."""

    value: int


class Label(Value):
    """A place in the program: ``position`` counts instructions from its end.

    ``word`` is the offset that the instruction there loads into the accumulator, -1 if it does something else. A jump that
    is taken with that very word in the accumulator skips the load.
    """

    position: int
    word: int = -1


class ProgramTooLong(ValueError):
    """More than BPF_MAXINSNS instructions: the kernel would refuse the program with EINVAL."""


class Assembler:
    """One program. Each method writes in front of what is there and returns where its code begins."""

    def __init__(self) -> None:
        self._reversed: list[Instruction] = []
        self._returns: dict[int, int] = {}

    def load(self, offset: int, then: Target) -> Label:
        """Loads the 32-bit word at *offset* of struct seccomp_data, then goes on at *then*."""
        self._fall_into(then)
        return self._write((LOAD, 0, 0, offset), word=offset)

    def mask(self, bits: int, then: Target) -> Label:
        """Keeps only *bits* of the accumulator, then goes on at *then*."""
        self._fall_into(then)
        return self._write((AND, 0, 0, bits))

    def jump(self, code: int, value: int, yes: Target, no: Target, word: int = -1) -> Label:
        """Compares the accumulator with *value*. *word* is the offset whose content the accumulator holds, if known."""
        yes_position = self._near(yes, word)
        no_position = self._near(no, word)
        here = len(self._reversed)
        return self._write((code, here - yes_position - 1, here - no_position - 1, value))

    def end(self, value: int) -> Label:
        """A return instruction here, whether or not there is one near."""
        self._returns[value] = len(self._reversed)
        return self._write((RETURN, 0, 0, value))

    def is_near(self, label: Label) -> bool:
        """Whether a jump written next reaches *label* without a bridge; one bridge may still come between."""
        return len(self._reversed) - label.position < REACH

    def finish(self, start: Target) -> bytes:
        """The program that begins at *start*, as an array of struct sock_filter in this machine's byte order."""
        self._fall_into(start)
        if len(self._reversed) > MAX_INSTRUCTIONS:
            raise ProgramTooLong(f"{len(self._reversed)} instructions, the kernel takes {MAX_INSTRUCTIONS}")
        return encode(reversed(self._reversed))

    def _write(self, instruction: Instruction, word: int = -1) -> Label:
        self._reversed.append(instruction)
        return Label(len(self._reversed) - 1, word)

    def _fall_into(self, target: Target) -> None:
        if isinstance(target, Return):
            self.end(target.value)
        elif target.position != len(self._reversed) - 1:
            self._bridge(target.position)

    def _bridge(self, position: int) -> int:
        return self._write((JUMP, 0, 0, len(self._reversed) - position - 1)).position

    def _near(self, target: Target, word: int) -> int:
        """The position of *target*, or of a bridge to it."""
        if isinstance(target, Return):
            position = self._returns.get(target.value)
            if position is None or not self.is_near(Label(position)):
                return self.end(target.value).position
            return position
        position = target.position - 1 if word >= 0 and target.word == word else target.position
        return position if self.is_near(Label(position)) else self._bridge(position)


def encode(instructions: Iterable[Instruction]) -> bytes:
    """An array of struct sock_filter.

    Kernel: linux/filter.h; native byte order.
    Affects: nothing.
    Raises: OverflowError if a field does not fit, which is a mistake of the caller.
    """
    order = sys.byteorder
    parts = []
    for code, yes, no, value in instructions:
        parts.append(code.to_bytes(2, order) + bytes((yes, no)) + value.to_bytes(4, order))
    return b"".join(parts)


def decode(program: bytes) -> list[Instruction]:
    """The inverse of :func:`encode`, for tests and for showing a filter.

    Kernel: linux/filter.h; native byte order.
    Affects: nothing.
    Raises: IndexError if *program* is not whole instructions.
    """
    order = sys.byteorder
    found = []
    for at in range(0, len(program), INSTRUCTION_BYTES):
        code = int.from_bytes(program[at : at + 2], order)
        found.append((code, program[at + 2], program[at + 3], int.from_bytes(program[at + 4 : at + 8], order)))
    return found
