"""Layouts from mount tables, reasons, and the parsers of cgroup files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrun.linux import cgroupfs as c
from pyrun.linux.mountinfo import parse_mountinfo

UNIFIED_MOUNTS = b"""\
24 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
31 24 0:27 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
"""
HYBRID_MOUNTS = b"""\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
37 31 0:33 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
LEGACY_MOUNTS = b"".join([line for line in HYBRID_MOUNTS.splitlines(True) if b"cgroup2" not in line])
# A private mount namespace in which cgroup2 lies over the hybrid layout.
COVERED_MOUNTS = HYBRID_MOUNTS + b"50 31 0:38 / /sys/fs/cgroup rw,relatime - cgroup2 none rw\n"
ELSEWHERE_MOUNTS = b"31 24 0:27 / /cgroup rw - cgroup2 none rw\n"

KNOWN = b"""\
#subsys_name\thierarchy\tnum_cgroups\tenabled
cpuset\t0\t1\t1
memory\t4\t11\t1
blkio\t7\t1\t1
pids\t8\t1\t1
rdma\t0\t1\t0
hugetlb\t0\t1\t1
"""


def layout(mounts: bytes, known: bytes = b"") -> c.CgroupLayout:
    return c.detect_layout(parse_mountinfo(mounts), c.parse_known_controllers(known))


@pytest.mark.parametrize(
    ("mounts", "kind", "root"),
    [
        (UNIFIED_MOUNTS, c.UNIFIED, "/sys/fs/cgroup"),
        (HYBRID_MOUNTS, c.HYBRID, "/sys/fs/cgroup/unified"),
        (LEGACY_MOUNTS, c.LEGACY, None),
        (b"", c.LEGACY, None),
        (COVERED_MOUNTS, c.UNIFIED, "/sys/fs/cgroup"),
        (ELSEWHERE_MOUNTS, c.UNIFIED, "/cgroup"),
        (ELSEWHERE_MOUNTS + LEGACY_MOUNTS, c.HYBRID, "/cgroup"),
    ],
)
def test_layouts_are_told_apart(mounts: bytes, kind: str, root: str | None) -> None:
    found = layout(mounts)
    assert (found.kind, found.root) == (kind, root)


def test_a_named_v1_hierarchy_alone_leaves_v2_complete() -> None:
    named = b"40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
    assert layout(ELSEWHERE_MOUNTS + named).kind == c.UNIFIED


def test_v1_mounts_are_by_controller() -> None:
    assert dict(layout(HYBRID_MOUNTS).v1_mounts)["memory"] == "/sys/fs/cgroup/memory"
    assert dict(layout(HYBRID_MOUNTS).v1_mounts)["cpuacct"] == "/sys/fs/cgroup/cpu,cpuacct"


@pytest.mark.parametrize(
    ("controller", "mounts", "words"),
    [
        ("memory", HYBRID_MOUNTS, "mounted as v1; boot with systemd.unified_cgroup_hierarchy=1"),
        ("io", HYBRID_MOUNTS, "mounted as v1"),  # blkio there
        ("pids", HYBRID_MOUNTS, "a v1 hierarchy has it"),  # mounted where we cannot see it
        ("rdma", HYBRID_MOUNTS, "boot without cgroup_disable=rdma"),
        ("hugetlb", UNIFIED_MOUNTS, "does not delegate it"),
        ("misc", UNIFIED_MOUNTS, "CONFIG_CGROUP_MISC"),
        ("memory", LEGACY_MOUNTS, "there is no cgroup v2"),
    ],
)
def test_the_reason_is_the_true_one(controller: str, mounts: bytes, words: str) -> None:
    assert words in c.explain_missing(controller, layout(mounts, KNOWN))


@pytest.mark.parametrize(
    ("file", "controller"),
    [
        ("memory.max", "memory"),
        ("memory.oom.group", "memory"),
        ("cpu.max.burst", "cpu"),
        ("cpuset.cpus", "cpuset"),
        ("hugetlb.2MB.max", "hugetlb"),
        ("cpu.stat", None),
        ("memory.pressure", None),
        ("cgroup.max.depth", None),
        ("nothing", None),
    ],
)
def test_a_file_belongs_to_its_controller(file: str, controller: str | None) -> None:
    assert c.controller_of(file) == controller


def test_flat_keyed() -> None:
    data = b"usage_usec 12\nuser_usec 7\nsystem_usec 5\n"
    assert c.parse_flat(data) == {"usage_usec": 12, "user_usec": 7, "system_usec": 5}
    assert c.parse_flat(b"populated 1\nfrozen 0\n") == {"populated": 1, "frozen": 0}
    assert c.parse_flat(b"") == {}


def test_nested_keyed() -> None:
    io_max = b"8:16 rbps=2097152 wbps=max riops=max wiops=120\n254:0 rbps=1 wbps=2 riops=3 wiops=4\n"
    assert c.parse_nested(io_max) == {
        "8:16": {"rbps": 2097152, "wbps": None, "riops": None, "wiops": 120},
        "254:0": {"rbps": 1, "wbps": 2, "riops": 3, "wiops": 4},
    }
    assert c.parse_nested(b"254:1\n8:0 rbytes=9 cost.vrate=100.00\n") == {"254:1": {}, "8:0": {"rbytes": 9}}
    assert c.parse_nested(b"anon N0=4096 N1=0\n") == {"anon": {"N0": 4096, "N1": 0}}


def test_single_values() -> None:
    assert c.parse_limit(b"max\n") is None
    assert c.parse_limit(b"1073741824\n") == 1 << 30
    assert c.parse_cpu_max(b"max 100000\n") == (None, 100_000)
    assert c.parse_cpu_max(b"50000 100000\n") == (50_000, 100_000)
    assert c.parse_words(b"cpuset cpu io\n") == ("cpuset", "cpu", "io")
    assert c.parse_words(b"\n") == ()
    assert c.parse_numbers(b"1\n42\n") == (1, 42)


def test_pressure() -> None:
    data = b"some avg10=1.50 avg60=0.25 avg300=0.00 total=1234\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n"
    pressure = c.parse_pressure(data)
    assert pressure.some == c.PressureLine(1.5, 0.25, 0.0, 1234)
    assert pressure.full == c.PressureLine(0.0, 0.0, 0.0, 5)
    assert c.parse_pressure(data.splitlines()[0]).full is None
    assert c.parse_pressure(data.splitlines()[1]).some is None


@pytest.mark.parametrize(
    ("data", "numbers"), [(b"\n", ()), (b"0\n", (0,)), (b"0-2,5\n", (0, 1, 2, 5)), (b"7,9-10\n", (7, 9, 10))]
)
def test_ranges(data: bytes, numbers: tuple[int, ...]) -> None:
    assert c.parse_ranges(data) == numbers


@given(st.sets(st.integers(0, 300)))
def test_ranges_of_single_numbers(numbers: set[int]) -> None:
    assert set(c.parse_ranges(",".join([str(number) for number in sorted(numbers)]).encode())) == numbers


def test_known_controllers() -> None:
    known = {line.name: line for line in c.parse_known_controllers(KNOWN)}
    assert known["memory"] == c.KnownController("memory", 4, True)
    assert not known["rdma"].enabled
