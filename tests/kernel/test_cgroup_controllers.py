"""Limits: written, read back, and really enforced. Needs a cgroup v2 with its controllers."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.machine import cgroup2_root, patience
from pyrun.errors import KernelError, StateError, Unsupported
from pyrun.kernel.cgroup import NO_LIMIT, Cgroup, CpuMax, IoMax, Limits
from pyrun.kernel.process import ExitStatus
from pyrun.kernel.program import program_fd
from pyrun.kernel.spawn import spawn
from pyrun.kernel.step import Exec, FindProgram

pytestmark = pytest.mark.cgroup2

# Stays open for good once something is spawned: not a leak of the test that happens to be the first.
program_fd("pyrun-stage")

TOP = "pyrun-test"
MIB = 1 << 20
SLEEP = (FindProgram("sleep", "/usr/bin:/bin"), Exec(("sleep", "1000")))


@pytest.fixture
def pod() -> Iterator[Cgroup]:
    with Cgroup.create(f"{TOP}/pod") as made:
        yield made
    root = cgroup2_root()
    assert root is not None
    assert not (root / TOP).exists()


def python(script: str, group: Cgroup, timeout_s: float = 20) -> ExitStatus:
    """Run a script in *group*; how it ended."""
    interpreter = os.path.realpath("/usr/bin/python3")
    plan = (FindProgram(interpreter, ""), Exec((interpreter, "-I", "-S", "-c", script), ("PATH=/usr/bin",)))
    with spawn(plan, cgroup=group) as process:
        status = process.wait(patience(timeout_s))
        assert status is not None
        return status


# ---- written and read back -------------------------------------------------------------------------------------------

FILES = [
    (Limits(cpu_weight=17), "cpu.weight", "17"),
    (Limits(cpu_idle=True), "cpu.idle", "1"),
    (Limits(cpu_max=CpuMax(20_000)), "cpu.max", "20000 100000"),
    (Limits(cpu_max=CpuMax(5000, 50_000)), "cpu.max", "5000 50000"),
    (Limits(cpu_max=CpuMax(NO_LIMIT)), "cpu.max", "max 100000"),
    (Limits(cpu_max=CpuMax(20_000), cpu_max_burst_us=10_000), "cpu.max.burst", "10000"),
    (Limits(memory_min_bytes=MIB), "memory.min", str(MIB)),
    (Limits(memory_low_bytes=MIB), "memory.low", str(MIB)),
    (Limits(memory_high_bytes=64 * MIB), "memory.high", str(64 * MIB)),
    (Limits(memory_max_bytes=64 * MIB), "memory.max", str(64 * MIB)),
    (Limits(memory_max_bytes=NO_LIMIT), "memory.max", "max"),
    (Limits(memory_swap_max_bytes=MIB), "memory.swap.max", str(MIB)),
    (Limits(memory_oom_group=True), "memory.oom.group", "1"),
    (Limits(pids_max=17), "pids.max", "17"),
    (Limits(pids_max=NO_LIMIT), "pids.max", "max"),
    (Limits(cpuset_cpus="0"), "cpuset.cpus", "0"),
    (Limits(cpuset_mems="0"), "cpuset.mems", "0"),
    (Limits(hugetlb=(("2MB", 4 * MIB),)), "hugetlb.2MB.max", str(4 * MIB)),
    (Limits(hugetlb=(("2MB", 4 * MIB),)), "hugetlb.2MB.rsvd.max", str(4 * MIB)),
    (Limits(unified=(("memory.oom.group", "1"),)), "memory.oom.group", "1"),
]


@pytest.mark.parametrize(("limits", "file", "expected"), FILES, ids=[f"{row[1]}={row[2]}" for row in FILES])
def test_limit_is_read_back(pod: Cgroup, limits: Limits, file: str, expected: str) -> None:
    with pod.child("leaf", limits=limits) as leaf:
        assert leaf.read_file(file).strip() == expected


def test_limits_of_a_group_that_has_no_controllers_yet(pod: Cgroup) -> None:
    with pod.child("leaf") as leaf:
        assert "memory" not in leaf.read_file("cgroup.controllers").split()
        leaf.apply_limits(Limits(memory_max_bytes=64 * MIB, pids_max=5))
        assert leaf.read_file("memory.max").strip() == str(64 * MIB)
        assert leaf.read_file("pids.max").strip() == "5"


def test_only_what_is_needed_is_enabled(pod: Cgroup) -> None:
    with pod.child("leaf", limits=Limits(pids_max=5)) as leaf:
        assert leaf.read_file("cgroup.controllers").split() == ["pids"]
        assert leaf.read_memory_stats() is None
        assert leaf.read_pids_stats() is not None


def test_apply_limits_changes_and_takes_away(pod: Cgroup) -> None:
    with pod.child("leaf", limits=Limits(memory_max_bytes=64 * MIB)) as leaf:
        leaf.apply_limits(Limits(memory_max_bytes=32 * MIB))
        assert leaf.read_file("memory.max").strip() == str(32 * MIB)
        leaf.apply_limits(Limits(memory_max_bytes=NO_LIMIT))
        assert leaf.read_file("memory.max").strip() == "max"


def test_burst_and_quota_may_shrink_together(pod: Cgroup) -> None:
    """The burst may not exceed the quota at any moment, so which of the two goes first depends on what was there."""
    with pod.child("leaf", limits=Limits(cpu_max=CpuMax(50_000), cpu_max_burst_us=50_000)) as leaf:
        leaf.apply_limits(Limits(cpu_max=CpuMax(10_000), cpu_max_burst_us=5000))
        assert leaf.read_file("cpu.max").strip() == "10000 100000"
        assert leaf.read_file("cpu.max.burst").strip() == "5000"
        leaf.apply_limits(Limits(cpu_max=CpuMax(80_000), cpu_max_burst_us=80_000))
        assert leaf.read_file("cpu.max.burst").strip() == "80000"


def test_io_limits_of_a_disk(pod: Cgroup) -> None:
    disk = next(iter(sorted(Path("/sys/block").glob("[svn][dv]*"))), None)
    if disk is None:  # the guest of tests/vm has its root over 9p
        with pod.child("leaf", controllers=("io",)) as leaf, pytest.raises(KernelError, match=r"io\.max"):
            leaf.apply_limits(Limits(io_max=(IoMax(4095, 0, read_bytes=MIB),)))
        return
    major, minor = [int(number) for number in (disk / "dev").read_text().split(":")]
    with pod.child("leaf", limits=Limits(io_max=(IoMax(major, minor, read_bytes=MIB, write_operations=7),))) as leaf:
        assert leaf.read_file("io.max").strip() == f"{major}:{minor} rbps={MIB} wbps=max riops=max wiops=7"


def test_a_number_out_of_range_is_named(pod: Cgroup) -> None:
    with pytest.raises(KernelError, match=r"write\(2\) '/.*/cpu.weight'.*ERANGE") as caught:
        pod.child("leaf", limits=Limits(cpu_weight=100_000))
    assert "'100000'" in caught.value.__notes__[0]
    assert not Path(f"{pod.path}/leaf").exists()


def test_a_page_size_that_does_not_exist(pod: Cgroup) -> None:
    with pytest.raises(Unsupported, match=r"hugetlb\.3MB\.max"):
        pod.child("leaf", limits=Limits(hugetlb=(("3MB", 0),)))


def test_a_parent_with_processes_is_an_error_that_says_so(pod: Cgroup) -> None:
    with spawn(SLEEP, cgroup=pod), pytest.raises(StateError, match="one with processes of its own"):
        pod.child("leaf", limits=Limits(memory_max_bytes=MIB))
    assert pod.wait_empty(patience(5))


def test_a_root_without_the_controller_says_that_it_is_not_delegated(pod: Cgroup) -> None:
    with pytest.raises(
        Unsupported, match=f"memory.max .* it is not delegated to {pod.path}; name it in cgroup.subtree_control"
    ):
        Cgroup.create("leaf", root=pod.path, limits=Limits(memory_max_bytes=MIB))


def test_optional_controllers_account_without_a_limit() -> None:
    with (
        Cgroup.create(f"{TOP}/pod", optional_controllers=("memory", "pids", "telepathy")) as pod,
        pod.child("leaf") as leaf,
    ):
        assert python("x = bytearray(8 << 20)", leaf).code == 0
        peak = leaf.read_memory_peak_bytes()
        assert peak is None or peak > 8 * MIB
        assert leaf.read_memory_stats() is not None
        assert leaf.read_pids_stats() is not None


# ---- enforced --------------------------------------------------------------------------------------------------------

EAT = """
pages = []
while True:
    pages.append(bytearray(1 << 20))
"""


def test_memory_max_kills_and_is_counted(pod: Cgroup) -> None:
    limits = Limits(memory_max_bytes=32 * MIB, memory_swap_max_bytes=0)
    with pod.child("leaf", limits=limits) as leaf:
        assert python(EAT, leaf).signal == 9
        events = leaf.read_memory_events()
        assert events is not None
        assert events.oom_kill == 1
        assert events.oom >= 1
        assert events.max >= 1
        peak = leaf.read_memory_peak_bytes()
        assert peak is None or 16 * MIB < peak <= 32 * MIB
        local, above = leaf.read_memory_events(local=True), pod.read_memory_events()
        assert local is not None
        assert local.oom_kill == 1
        assert above is not None
        assert above.oom_kill == 1


def test_without_an_oom_kill_none_is_counted(pod: Cgroup) -> None:
    with pod.child("leaf", limits=Limits(memory_max_bytes=64 * MIB)) as leaf:
        assert python("pass", leaf).code == 0
        events = leaf.read_memory_events()
        assert events is not None
        assert events.oom_kill == 0
        stats = leaf.read_memory_stats()
        assert stats is not None
        assert 0 <= stats.anon_bytes <= 64 * MIB


def test_oom_group_takes_the_innocent_too(pod: Cgroup) -> None:
    limits = Limits(memory_max_bytes=32 * MIB, memory_swap_max_bytes=0, memory_oom_group=True)
    with pod.child("leaf", limits=limits) as leaf, spawn(SLEEP, cgroup=leaf) as innocent:
        assert python(EAT, leaf).signal == 9
        status = innocent.wait(patience(5))
        assert status is not None
        assert status.signal == 9
        events = leaf.read_memory_events()
        assert events is not None
        assert events.oom_kill >= 2


FORK = """
import os, signal
made = 0
try:
    while made < 50:
        if os.fork() == 0:
            signal.pause()
        made += 1
except BlockingIOError:
    os._exit(made)
os._exit(99)
"""


def test_pids_max_stops_forks(pod: Cgroup) -> None:
    with pod.child("leaf", limits=Limits(pids_max=8)) as leaf:
        assert python(FORK, leaf).code == 7
        stats = leaf.read_pids_stats()
        assert stats is not None
        assert stats.limit_hits >= 1
        assert stats.current == 7
        assert stats.peak in (8, None)
        leaf.kill()
        assert leaf.wait_empty(patience(5))


def test_cpu_max_throttles(pod: Cgroup) -> None:
    with pod.child("leaf", limits=Limits(cpu_max=CpuMax(5000))) as leaf:
        spin = "import time\nend = time.monotonic() + 1.5\nwhile time.monotonic() < end: pass"
        began = time.monotonic()
        assert python(spin, leaf, 60).code == 0
        wall_us = (time.monotonic() - began) * 1e6
        stats = leaf.read_cpu_stats()
        assert stats.throttled_periods > 3
        assert stats.throttled_us > 0
        assert stats.periods >= stats.throttled_periods
        assert stats.usage_us < 0.3 * wall_us  # 5 % and what fits into the first and last period


def test_cpuset_keeps_to_its_processor(pod: Cgroup) -> None:
    with pod.child("leaf", limits=Limits(cpuset_cpus="0")) as leaf:
        assert python("import os; os._exit(len(os.sched_getaffinity(0)))", leaf).code == 1


def test_statistics_of_io_and_pressure(pod: Cgroup) -> None:
    with pod.child("leaf", controllers=("io", "memory", "cpu")) as leaf:
        assert python("pass", leaf).code == 0
        assert leaf.read_io_stats() is not None
        for resource in ("cpu", "memory", "io"):
            pressure = leaf.read_pressure(resource)
            assert pressure is None or pressure.some is not None


def test_many_limited_groups_at_once() -> None:
    from concurrent.futures import ThreadPoolExecutor

    def one(number: int) -> None:
        limits = Limits(pids_max=number + 1, memory_max_bytes=MIB * (number + 8))
        with Cgroup.create(f"{TOP}/pod{number}") as group, group.child("leaf", limits=limits) as leaf:
            assert leaf.read_file("pids.max").strip() == str(number + 1)

    with ThreadPoolExecutor(20) as pool:
        assert len(list(pool.map(one, range(20)))) == 20
    root = cgroup2_root()
    assert root is not None
    assert not (root / TOP).exists()
