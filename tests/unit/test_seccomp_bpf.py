"""The assembler: jumps over any distance, and the bytes of the result."""

from __future__ import annotations

import struct

import pytest

from fixtures.bpf_machine import run_filter
from pyrun.linux.bpf import JEQ, JGE, MAX_INSTRUCTIONS, Assembler, Label, ProgramTooLong, Return, decode, encode


def test_the_bytes_are_an_array_of_struct_sock_filter() -> None:
    instructions = [(0x20, 0, 0, 4), (0x15, 1, 255, 0xC000003E), (0x06, 0, 0, 0x7FFF0000)]
    assert encode(instructions) == b"".join([struct.pack("=HBBI", *one) for one in instructions])
    assert decode(encode(instructions)) == instructions


@pytest.mark.parametrize("distance", [0, 1, 252, 253, 254, 255, 256, 257, 258, 300, 1000])
def test_a_jump_reaches_over_any_distance(distance: int) -> None:
    program = Assembler()
    far = program.load(8, program.jump(JEQ, 5, Return(111), Return(222)))
    near: Label | Return = Return(333)
    for _ in range(distance):
        near = program.load(0, near)
    start = program.load(0, program.jump(JGE, 7, far, near))
    code = program.finish(start)
    assert run_filter(code, 7, 0) == 222
    assert run_filter(code, 6, 0) == 333
    assert run_filter(code, 7, 0, ()) == 222


@pytest.mark.parametrize("distance", range(245, 265))
def test_both_sides_of_a_jump_may_be_far(distance: int) -> None:
    program = Assembler()
    yes = program.load(0, program.jump(JEQ, 9, Return(1), Return(2)))
    no = program.load(0, program.jump(JEQ, 3, Return(4), Return(5)))
    program.end(6)
    for _ in range(distance):
        program.end(7)
    code = program.finish(program.load(0, program.jump(JGE, 8, yes, no)))
    assert [run_filter(code, number, 0) for number in (9, 8, 3, 2)] == [1, 2, 4, 5]


def test_a_load_of_what_is_loaded_already_is_skipped() -> None:
    program = Assembler()
    second = program.load(16, program.jump(JEQ, 2, Return(20), Return(30), word=16))
    code = program.finish(program.load(16, program.jump(JEQ, 1, Return(10), second, word=16)))
    assert [run_filter(code, 0, 0, (value,)) for value in (1, 2, 3)] == [10, 20, 30]
    loads_run = decode(code)[1][2]
    assert decode(code)[2 + loads_run][0] == JEQ


def test_a_program_of_one_return() -> None:
    assert decode(Assembler().finish(Return(5))) == [(0x06, 0, 0, 5)]


def test_too_long_is_refused() -> None:
    program = Assembler()
    for _ in range(MAX_INSTRUCTIONS):
        program.end(0)
    with pytest.raises(ProgramTooLong, match="4097"):
        program.finish(program.end(1))
