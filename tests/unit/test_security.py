"""Capabilities and hidden paths against the kernel's own header and this process."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pyrun.container.security import (
    ALL_CAPABILITIES_MASK,
    CAPABILITY_NAMES,
    CAPABILITY_NUMBERS,
    DEFAULT_CAPABILITIES,
    DEFAULT_CAPABILITY_MASK,
    MASKED_PATHS,
    READONLY_PATHS,
    available_capabilities,
    capability_mask,
    capability_names,
)
from pyrun.errors import SpecError


def test_the_numbers_are_those_of_the_kernel_header() -> None:
    header = Path("/usr/include/linux/capability.h").read_text()
    defined = {name: int(number) for name, number in re.findall(r"^#define (CAP_[A-Z_]+)\s+(\d+)$", header, re.M)}
    assert defined == CAPABILITY_NUMBERS


def test_names_and_masks_are_inverse() -> None:
    assert capability_names(ALL_CAPABILITIES_MASK) == CAPABILITY_NAMES
    assert capability_mask(CAPABILITY_NAMES) == ALL_CAPABILITIES_MASK == 0x1FFFFFFFFFF
    assert set(capability_names(DEFAULT_CAPABILITY_MASK)) == set(DEFAULT_CAPABILITIES)
    assert capability_names(1 << 63 | 1) == ("CAP_CHOWN",)
    assert capability_mask(()) == 0


def test_the_default_set_is_the_one_of_containerd_without_mknod() -> None:
    # The CapBnd of a container without further options under Docker and containerd.
    assert 0x00000000A80425FB & ~(1 << CAPABILITY_NUMBERS["CAP_MKNOD"]) == DEFAULT_CAPABILITY_MASK


def test_an_unknown_name_is_refused_with_its_place() -> None:
    with pytest.raises(SpecError) as caught:
        capability_mask(["CAP_CHOWN", "CHOWN"], "/process/capabilities/bounding")
    assert caught.value.pointer == "/process/capabilities/bounding/1"


def test_what_is_available_is_what_the_status_says(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tx\nCapPrm:\t000000000000000f\nCapEff:\t0\nCapBnd:\t0000000000000035\nCapAmb:\t0\n")
    assert available_capabilities(str(status)) == 0x5
    assert available_capabilities() & ~ALL_CAPABILITIES_MASK == 0


def test_hidden_paths_are_absolute_and_distinct() -> None:
    paths = MASKED_PATHS + READONLY_PATHS
    assert len(set(paths)) == len(paths)
    assert all(path.startswith(("/proc/", "/sys/")) and not path.endswith("/") for path in paths)
