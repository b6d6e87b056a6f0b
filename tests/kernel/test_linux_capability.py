from __future__ import annotations

import re
from pathlib import Path

from pyrun.linux.capability import ALL_CAPABILITIES_MASK, CAPABILITY_NAMES, CAPABILITY_NUMBERS

HEADER = Path("/usr/include/linux/capability.h")


def test_names_and_numbers_are_those_of_the_header() -> None:
    found = {
        name: int(number) for name, number in re.findall(r"^#define\s+(CAP_\w+)\s+(\d+)\s*$", HEADER.read_text(), re.M)
    }
    assert found.items() <= CAPABILITY_NUMBERS.items()
    assert len(found) >= 41


def test_mask_has_one_bit_for_each() -> None:
    assert ALL_CAPABILITIES_MASK.bit_count() == len(CAPABILITY_NAMES) == len(set(CAPABILITY_NAMES))
