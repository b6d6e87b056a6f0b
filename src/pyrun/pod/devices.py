"""What limits name on this machine: sizes of huge pages, and block devices."""

from __future__ import annotations

import os

from pyrun.errors import SpecError


def read_page_sizes() -> list[int]:
    """The sizes of huge pages that this kernel has, in bytes."""
    try:
        names = os.listdir("/sys/kernel/mm/hugepages")
    except OSError:
        return []
    return [int(name.removeprefix("hugepages-").removesuffix("kB")) * 1024 for name in names]


def read_block_device(path: str) -> tuple[int, int]:
    """Numbers of the block device that *path* is, or that its file system is on. io.max knows whole disks only."""
    pointer = "/metadata/annotations"
    try:
        found = os.stat(path)
    except OSError as error:
        raise SpecError(pointer, f"io-max: {path}: {error.strerror}") from None
    device = found.st_rdev if found.st_mode & 0o170000 == 0o060000 else found.st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    directory = f"/sys/dev/block/{number}"
    if not os.path.isdir(directory):
        raise SpecError(pointer, f"io-max: {path} is on no block device ({number})")
    if os.path.exists(f"{directory}/partition"):
        with open(f"{os.path.realpath(directory)}/../dev", encoding="ascii") as file:
            number = file.read().strip()
    major, _, minor = number.partition(":")
    return int(major), int(minor)
