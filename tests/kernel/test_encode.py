"""kernel/encode.py against csrc/plan.h: both sides must lay the plan out alike; and what is no plan is refused at once."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from fixtures.machine import ROOT
from pyrun._core import lib
from pyrun.errors import PyrunError
from pyrun.kernel import encode
from pyrun.kernel import step as steps
from pyrun.kernel.spawn import REPORT
from pyrun.kernel.step import (
    Attach,
    Checkpoint,
    Close,
    Duplicate,
    Exec,
    Gate,
    NewMount,
    OpenDirectory,
    OpenTree,
    SetHostname,
    Step,
)

PLAN_H = ROOT / "csrc/plan.h"
KINDS = {name: int(number) for name, number in re.findall(r"^\s*X\((\w+), (\d+)\)", PLAN_H.read_text(), re.MULTILINE)}
STRUCTS = {
    "plan_header": encode.HEADER,
    "plan_step": encode.STEP,
    "plan_stamp": encode.STAMP,
    "plan_slot": encode.SLOT,
    "plan_report": REPORT,
}


def compiled(tmp_path: Path, body: str) -> list[str]:
    source, program = tmp_path / "sizes.c", tmp_path / "sizes"
    source.write_text(
        f'#include "plan.h"\n#include <stddef.h>\n#include <stdio.h>\nint main(void) {{ {body} return 0; }}\n'
    )
    subprocess.run(["gcc", "-I", PLAN_H.parent, "-o", program, source], check=True)
    return subprocess.run([program], check=True, capture_output=True, text=True).stdout.split()


@pytest.mark.parametrize("name", STRUCTS)
def test_struct_has_the_size_and_the_offsets_of_plan_h(name: str, tmp_path: Path) -> None:
    body = re.search(rf"struct {name} {{(.*?)}};", PLAN_H.read_text(), re.DOTALL)
    assert body
    members = re.findall(r"__[su]\d+ (\w+)(?:\[(\d+)\])?;", body[1])
    offsets = "".join([f'printf("%zu ", offsetof(struct {name}, {member}));' for member, _ in members])
    size, *found = map(int, compiled(tmp_path, f'printf("%zu ", sizeof(struct {name}));{offsets}'))
    assert STRUCTS[name].size == size
    # A Struct tells no offsets: pack ones where the member is, and look where they land.
    flat = [index for index, (_, count) in enumerate(members) for _ in range(int(count or 1))]
    for index, offset in enumerate(found):
        packed = STRUCTS[name].pack(*[1 if member == index else 0 for member in flat])
        assert next(at for at, byte in enumerate(packed) if byte) == offset, members[index]


def test_every_kind_has_its_number_on_both_sides() -> None:
    assert len(KINDS) == len(set(KINDS.values())) > 30
    for name, number in KINDS.items():
        assert getattr(lib, f"PLAN_{name}") == number


def test_every_kind_has_a_row_in_the_tables_of_the_child() -> None:
    text = (ROOT / "csrc/child.c").read_text()
    assert set(re.findall(r"\[PLAN_(\w+)\] = step_", text)) == set(KINDS)
    rows = re.findall(r"\{\.kind = PLAN_(\w+)", text)
    assert rows == sorted(KINDS, key=KINDS.__getitem__), "shapes[] is indexed by kind"


def test_block_is_laid_out_as_the_child_reads_it() -> None:
    plan = (SetHostname("one"), SetHostname("two"), SetHostname("one"))
    block = encode.encode_plan(plan, {"a": 7}, report_fd=5, gate_fd=6, fault=(2, 5))
    magic, size, step_count, slot_count, data_size, *rest = encode.HEADER.unpack_from(block)
    assert (magic, size, step_count, slot_count) == (lib.PLAN_MAGIC, len(block), 3, 1)
    assert rest == [5, 6, 2, 5, 0]
    at, length = encode.stamps_offset(3)
    assert block[at : at + length] == bytes(length)
    assert encode.SLOT.unpack_from(block, at + length) == (7, 0)
    assert data_size == len(block) - at - length - encode.SLOT.size
    data = block[-data_size:]
    unpacked = [encode.STEP.unpack_from(block, encode.HEADER.size + i * encode.STEP.size) for i in range(3)]
    names = [data[step[5] - 1 :].split(b"\0")[0] for step in unpacked]
    assert names == [b"one", b"two", b"one"]
    assert unpacked[0] == unpacked[2], "equal strings are stored once"


def test_numbers_are_aligned_in_the_data() -> None:
    encoder = encode.Encoder({})
    encoder.text("x")
    assert (encoder.data(b"1234") - 1) % 8 == 0


def test_negative_numbers_wrap_as_the_child_expects() -> None:
    packed = encode.encode_step(steps.SetRlimit("nofile", 7, -1, -1), encode.Encoder({}))
    assert encode.STEP.unpack(packed)[-3:] == (2**64 - 1, 2**64 - 1, 0)


def test_stamps_are_read_back() -> None:
    assert encode.decode_stamps(encode.STAMP.pack(1, 2) + encode.STAMP.pack(3, 4)) == [(1, 2), (3, 4)]


@pytest.mark.parametrize("text", ["a\0b", "\0"])
def test_nul_in_a_string_is_refused(text: str) -> None:
    with pytest.raises(PyrunError, match="NUL"):
        encode.encode_plan((SetHostname(text),), {}, 3, -1)
    with pytest.raises(PyrunError, match="NUL"):
        encode.encode_plan((Exec(("a", text)),), {}, 3, -1)


def test_bytes_that_are_no_text_survive() -> None:
    encoder = encode.Encoder({})
    encoder.texts(("/tmp/\udcff",))
    assert encoder.block().startswith(b"/tmp/\xff\0")


# ---- slots: a plan that cannot work is an error before anything is cloned -----------------------------------------------


@pytest.mark.parametrize(
    "plan",
    [
        (Attach("tree", "/mnt"),),
        (Attach("tree", "/mnt"), NewMount("tmpfs", "tree")),
        (OpenTree("", "tree", at="tree"),),
        (OpenDirectory("x", "dir", at="dir"),),
        (NewMount("tmpfs", "tree"), Attach("tree", "/", at="root")),
        (Duplicate("out", 1),),
        (Close("out"),),
        (Exec(("true",), file="program"),),
    ],
    ids=lambda plan: plan[-1].describe(),
)
def test_a_slot_that_nobody_fills_is_refused(plan: tuple[Step, ...]) -> None:
    with pytest.raises(PyrunError, match=r"slot '(tree|dir|root|out|program)' is used, but no descriptor"):
        encode.encode_plan(plan, {}, 3, -1)


def test_slots_that_are_given_or_filled_are_taken() -> None:
    plan = (OpenDirectory("/", "dir"), NewMount("tmpfs", "tree"), Attach("tree", "tmp", at="dir"), Duplicate("out", 1))
    assert encode.encode_plan(plan, {"out": 4}, 3, -1)


def test_the_message_names_the_step() -> None:
    with pytest.raises(PyrunError, match="attach tree at /mnt: slot 'tree'"):
        encode.encode_plan((Attach("tree", "/mnt"),), {}, 3, -1)


def test_a_negative_descriptor_is_refused() -> None:
    with pytest.raises(PyrunError, match="'out' was given -100"):
        encode.encode_plan((Duplicate("out", 1),), {"out": -100}, 3, -1)


def test_two_gates_of_one_name_are_refused() -> None:
    with pytest.raises(PyrunError, match="two gates"):
        encode.encode_plan((Gate(), Gate()), {}, 3, 4)


def test_gates_are_told_in_their_order() -> None:
    plan = (Checkpoint("first"), SetHostname("x"), Gate(source="fifo"))
    assert [(gate.name, gate.source) for gate in encode.gates_of(plan, ("fifo",))] == [
        ("first", None),
        ("start", "fifo"),
    ]


def test_a_plan_beyond_what_the_child_takes_is_refused() -> None:
    encode.encode_plan((Gate(), *[SetHostname("x")] * (lib.PLAN_MAX_STEPS - 1)), {}, 3, 4)
    with pytest.raises(PyrunError, match="4097 steps"):
        encode.encode_plan([SetHostname("x")] * (lib.PLAN_MAX_STEPS + 1), {}, 3, -1)
    with pytest.raises(PyrunError, match="slots"):
        encode.encode_plan((), {str(i): 1 for i in range(lib.PLAN_MAX_SLOTS + 1)}, 3, -1)


def test_what_was_encoded_is_remembered_by_the_plan_itself() -> None:
    """An equal plan of other descriptors gets its own numbers; a plan with other slots, or another plan, its own encoding."""
    plan = (steps.ChangeDirectory(".", at="a"), steps.MakeDirectory("x", at="b"))
    slots = len(plan) * (encode.STEP.size + encode.STAMP.size) + encode.HEADER.size
    for numbers in ((7, 8), (9, 10)):
        block = encode.encode_plan(plan, dict(zip("ab", numbers, strict=True)), 3, 4)
        assert [encode.SLOT.unpack_from(block, slots + i * encode.SLOT.size)[0] for i in range(2)] == list(numbers)
        assert encode.encode_plan((plan[0], plan[1]), dict(zip("ab", numbers, strict=True)), 3, 4) == block
    swapped = encode.encode_plan(plan, {"b": 7, "a": 8}, 3, 4)
    assert encode.STEP.unpack_from(swapped, encode.HEADER.size)[2] == 1
    for count in range(200):  # more than are remembered
        other = (steps.MakeDirectory(f"{count}", at="a"),)
        assert f"{count}\0".encode() in encode.encode_plan(other, {"a": 5}, 3, 4)
    assert [encode.SLOT.unpack_from(encode.encode_plan(plan, {"a": 7, "b": 8}, 3, 4), slots)[0]] == [7]
