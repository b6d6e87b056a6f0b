"""Which files a Limits value means, in which order."""

from __future__ import annotations

import pytest

from pyrun.kernel.cgroup_limits import NO_LIMIT, CpuMax, IoMax, IoWeight, Limits, RdmaMax
from pyrun.kernel.cgroup_tree import split_name


def test_nothing_asked_is_nothing_written() -> None:
    assert Limits().writes() == []
    assert Limits().controllers() == frozenset()


def test_every_field_has_its_file() -> None:
    limits = Limits(
        cpu_weight=100,
        cpu_idle=False,
        cpu_max=CpuMax(50_000),
        cpu_max_burst_us=1000,
        cpuset_cpus="0-1",
        cpuset_mems="0",
        memory_min_bytes=1,
        memory_low_bytes=2,
        memory_high_bytes=3,
        memory_max_bytes=4,
        memory_swap_max_bytes=0,
        memory_oom_group=True,
        pids_max=10,
        io_weight=200,
        io_max=(IoMax(8, 16, read_bytes=1, write_operations=NO_LIMIT),),
        hugetlb=(("2MB", 1 << 21),),
        unified=(("cgroup.max.depth", "3"),),
        rdma_max=(RdmaMax("mlx4_0", 2, NO_LIMIT),),
    )
    assert dict(limits.writes()) == {
        "cpu.weight": "100",
        "cpu.idle": "0",
        "cpu.max": "50000 100000",
        "cpu.max.burst": "1000",
        "cpuset.cpus": "0-1",
        "cpuset.mems": "0",
        "memory.min": "1",
        "memory.low": "2",
        "memory.high": "3",
        "memory.max": "4",
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "10",
        "io.weight": "200",
        "io.max": "8:16 rbps=1 wiops=max",
        "hugetlb.2MB.max": "2097152",
        "hugetlb.2MB.rsvd.max": "2097152",
        "rdma.max": "mlx4_0 hca_handle=2 hca_object=max",
        "cgroup.max.depth": "3",
    }
    assert limits.controllers() == {"cpu", "cpuset", "memory", "pids", "io", "hugetlb", "rdma"}


def test_swap_is_written_before_memory() -> None:
    files = [file for file, _ in Limits(memory_max_bytes=1, memory_swap_max_bytes=1).writes()]
    assert files == ["memory.swap.max", "memory.max"]


def test_no_limit_is_max() -> None:
    limits = Limits(memory_max_bytes=NO_LIMIT, pids_max=NO_LIMIT, cpu_max=CpuMax(NO_LIMIT, 50_000))
    assert dict(limits.writes()) == {"memory.max": "max", "pids.max": "max", "cpu.max": "max 50000"}


def test_other_negative_numbers_mean_nothing() -> None:
    with pytest.raises(ValueError, match=r"memory\.max: -2 is no limit"):
        Limits(memory_max_bytes=-2).writes()


@pytest.mark.parametrize("file", ["", "../cgroup.procs", "child/memory.max", ".", "memory.max\0"])
def test_a_file_is_one_of_the_group(file: str) -> None:
    with pytest.raises(ValueError, match="not the name of a cgroup file"):
        Limits(unified=((file, "1"),)).writes()


@pytest.mark.parametrize("name", ["", "/", "a//b", "../a", "a/..", "a/./b", "a\nb", "a\0"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ValueError, match="not the name of a cgroup"):
        split_name(name)


def test_names() -> None:
    assert split_name("/pyrun/pod1/web") == ("pyrun", "pod1", "web")
    assert split_name("a") == ("a",)


def test_an_idle_group_gets_no_weight_and_one_that_is_idle_no_longer_gets_it_last() -> None:
    assert Limits(cpu_idle=True, cpu_weight=17).writes() == [("cpu.idle", "1")]
    assert Limits(cpu_idle=False, cpu_weight=17).writes() == [("cpu.idle", "0"), ("cpu.weight", "17")]


def test_weights_of_devices_follow_the_groups_own() -> None:
    weights = (IoWeight(8, 0, 7), IoWeight(8, 16, 8))
    assert Limits(io_weight=5, io_weights=weights).writes() == [
        ("io.weight", "5"),
        ("io.weight", "8:0 7"),
        ("io.weight", "8:16 8"),
    ]
    assert Limits(io_weight=5, io_bfq=True).writes() == [("io.bfq.weight", "5")]


def test_of_several_lines_each_is_a_write() -> None:
    limits = Limits(unified=(("io.max", "259:0 rbps=2097152\n253:0 wiops=120\n"), ("cpuset.cpus", "")))
    assert limits.writes() == [
        ("io.max", "259:0 rbps=2097152"),
        ("io.max", "253:0 wiops=120"),
        ("cpuset.cpus", ""),
    ]
