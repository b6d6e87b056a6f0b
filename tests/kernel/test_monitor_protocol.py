"""kernel/monitor_protocol.py and csrc/monitor.h say the same."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from struct import Struct

import pytest

from fixtures.machine import ROOT
from pyrun.kernel import monitor_protocol as monitor
from pyrun.kernel.monitor_protocol import ANSWERS, HEAD, REQUESTS, Layout, pack_request, unpack_answer

HEADER = (ROOT / "csrc/monitor.h").read_text()
ROW = re.compile(r"X\((\w+), (\d+), struct (monitor_\w+)\)")
TABLE = {name: (int(number), body) for name, number, body in ROW.findall(HEADER)}
CONSTANTS = {
    "MONITOR_VERSION": monitor.VERSION,
    "MONITOR_NAME_BYTES": monitor.NAME_BYTES,
    "MONITOR_OUTPUT_BYTES": monitor.OUTPUT_BYTES,
    "MONITOR_MESSAGE_BYTES": monitor.MESSAGE_BYTES,
    "MONITOR_FDS_MOST": monitor.FDS_MOST,
    "MONITOR_STDIN": monitor.STDIN,
    "MONITOR_STDOUT": monitor.STDOUT,
    "MONITOR_STDERR": monitor.STDERR,
    "MONITOR_CONSOLE": monitor.CONSOLE,
    "MONITOR_STDIN_ONCE": monitor.STDIN_ONCE,
    "MONITOR_UNKNOWN": monitor.UNKNOWN,
    "sizeof(struct monitor_head)": HEAD.size,
}


def evaluate(top: Path, expressions: list[str]) -> list[int]:
    """What the compiler makes of them."""
    lines = "".join(f'printf("%llu\\n", (unsigned long long)({each}));' for each in expressions)
    source = top / "values.c"
    source.write_text(
        f'#include <stddef.h>\n#include <stdio.h>\n#include "monitor.h"\nint main(void) {{ {lines} return 0; }}\n'
    )
    subprocess.run(["gcc", f"-I{ROOT / 'csrc'}", "-o", top / "values", source], check=True)
    return [int(line) for line in subprocess.run([top / "values"], capture_output=True, check=True).stdout.split()]


def offsets(layout: Layout) -> dict[str, int]:
    """Where struct puts each field: up to it, everything else is packed."""
    units = re.findall(r"\d*[a-zA-Z]", layout.format)
    found, before, names = {}, "=", iter(layout.fields)
    for unit in units:
        count, kind = unit[:-1], unit[-1]
        for _ in range(1 if kind in "sx" else int(count or 1)):
            if kind != "x":
                found[next(names)] = Struct(before).size
            before += unit if kind in "sx" else kind
    return found


def test_the_kinds() -> None:
    assert {name: layout.number for name, layout in (*REQUESTS.items(), *ANSWERS.items())} == {
        name: number for name, (number, _) in TABLE.items()
    }


def test_the_constants(tmp_path: Path) -> None:
    assert dict(zip(CONSTANTS, evaluate(tmp_path, list(CONSTANTS)), strict=True)) == CONSTANTS


def test_sizes_and_offsets(tmp_path: Path) -> None:
    expected: dict[str, int] = {}
    for name, layout in (*REQUESTS.items(), *ANSWERS.items()):
        body = TABLE[name][1]
        expected[f"sizeof(struct {body})"] = Struct("=" + layout.format).size
        for field, offset in offsets(layout).items():
            expected[f"offsetof(struct {body}, {field})"] = offset
    assert dict(zip(expected, evaluate(tmp_path, list(expected)), strict=True)) == expected
    assert len(expected) > 40


def test_what_is_packed() -> None:
    data = pack_request("WINDOW", {"rows": 24, "columns": 80})
    assert data == b"\x0c\0\0\0" + b"\x18\0\0\0" + bytes(8) + b"\x18\0\x50\0\0\0\0\0"
    assert (
        len(pack_request("SPAWN", {**dict.fromkeys(REQUESTS["SPAWN"].fields, 0), "name": "a"}, 7, b"map"))
        == 16 + 96 + 3
    )


@pytest.mark.parametrize("name", ["x" * 64, "é" * 32, "a\0b"])
def test_names_that_do_not_fit(name: str) -> None:
    with pytest.raises(ValueError, match="no name of up to 63 bytes"):
        pack_request("ATTACH", {"has": 0, "name": name})


@pytest.mark.parametrize("data", [b"", b"\x41\0\0\0", HEAD.pack(65, 17, 0), HEAD.pack(1, 16, 0), HEAD.pack(66, 16, 0)])
def test_what_no_monitor_says(data: bytes) -> None:
    with pytest.raises(ValueError, match="a message of"):
        unpack_answer(data)
