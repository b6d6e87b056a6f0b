"""Cgroup on any cgroup v2, controllers or not: make, be born, freeze, kill, remove, and all of it by many at once."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fixtures.machine import CONTROLLERS, cgroup2_root, patience
from pyrun.errors import AlreadyExists, KernelError, NotFound, StateError, Unsupported
from pyrun.kernel.cgroup import Cgroup, Limits
from pyrun.kernel.process import Process
from pyrun.kernel.program import program_fd
from pyrun.kernel.spawn import spawn
from pyrun.kernel.step import Exec, FindProgram
from pyrun.linux.cgroupfs import explain_missing, read_layout

pytestmark = pytest.mark.root

# Stays open for good once something is spawned: not a leak of the test that happens to be the first.
program_fd("pyrun-stage")

TOP = "pyrun-test"
SLEEP = (FindProgram("sleep", "/usr/bin:/bin"), Exec(("sleep", "1000")))


def shell(script: str) -> tuple[FindProgram, Exec]:
    return FindProgram("sh", "/usr/bin:/bin"), Exec(("sh", "-c", script), ("PATH=/usr/bin:/bin",))


@pytest.fixture
def group() -> Iterator[Cgroup]:
    with Cgroup.create(f"{TOP}/one") as made:
        yield made
    assert not top_exists()


@pytest.fixture
def sleeper(group: Cgroup) -> Iterator[Process]:
    with spawn(SLEEP, cgroup=group) as process:
        yield process


def top() -> Path:
    root = cgroup2_root()
    assert root is not None
    return root / TOP


def top_exists() -> bool:
    return top().exists()


# ---- making and opening ----------------------------------------------------------------------------------------------


def test_create_makes_the_directory_and_what_is_above_it(group: Cgroup) -> None:
    assert group.path == str(top() / "one")
    assert Path(group.path).is_dir()
    assert os.fstat(group.fileno()).st_ino == Path(group.path).stat().st_ino
    assert group.exists()


def test_create_of_what_exists(group: Cgroup) -> None:
    with pytest.raises(AlreadyExists, match=f"cgroup .*/{TOP}/one exists already"):
        Cgroup.create(f"{TOP}/one")
    assert group.exists()


def test_open_of_what_does_not_exist() -> None:
    with pytest.raises(NotFound, match="there is no cgroup"):
        Cgroup.open(f"{TOP}/none")
    with pytest.raises(NotFound):
        Cgroup.create("child", root="/sys/fs/cgroup/nowhere")


def test_open_does_not_destroy(group: Cgroup) -> None:
    with Cgroup.open(group.name) as again:
        assert again.path == group.path
    assert group.exists()


def test_child_goes_alone(group: Cgroup) -> None:
    with group.child("leaf") as leaf:
        assert leaf.path == f"{group.path}/leaf"
        assert leaf.name == f"{TOP}/one/leaf"
        with pytest.raises(AlreadyExists):
            group.child("leaf")
    assert not leaf.exists()
    assert group.exists()


def test_root_is_never_removed(group: Cgroup) -> None:
    with Cgroup.create("a/b", root=group.path) as below:
        assert below.path == f"{group.path}/a/b"
    assert os.listdir(group.path)
    assert not Path(f"{group.path}/a").exists()
    assert group.exists()


def test_a_parent_with_others_stays(group: Cgroup) -> None:
    with Cgroup.create(f"{TOP}/two"):
        pass
    assert group.exists()


def test_a_failed_create_leaves_no_parents() -> None:
    with pytest.raises(Unsupported):
        Cgroup.create(f"{TOP}/a/b", limits=Limits(unified=(("hugetlb.3MB.max", "0"),)))
    assert not top_exists()


def test_machine_without_cgroup2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrun.linux.cgroupfs.find_root", lambda: None)
    with pytest.raises(Unsupported, match=r"cgroup v2 is not available here: .*unified_cgroup_hierarchy=1"):
        Cgroup.create(f"{TOP}/one")


# ---- what it says ----------------------------------------------------------------------------------------------------


def test_every_group_has_processor_time_events_and_pressure(group: Cgroup) -> None:
    with spawn(shell("i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done"), cgroup=group) as process:
        process.wait()
    stats = group.read_cpu_stats()
    assert 0 < stats.usage_us < 60_000_000
    assert abs(stats.usage_us - stats.user_us - stats.system_us) <= 1
    assert group.wait_empty(patience(5))
    assert not group.read_events().populated
    assert not group.read_events().frozen
    pressure = group.read_pressure("cpu")
    assert pressure is None or (pressure.some is not None and pressure.some.total_us >= 0)


def test_without_controllers_their_statistics_are_none(group: Cgroup) -> None:
    assert group.read_memory_stats() is None
    assert group.read_memory_stat() is None
    assert group.read_memory_events() is None
    assert group.read_memory_peak_bytes() is None
    assert group.read_pids_stats() is None
    assert group.read_io_stats() is None


def test_files_by_name(group: Cgroup) -> None:
    group.write_file("cgroup.max.depth", "3")
    assert group.read_file("cgroup.max.depth") == "3\n"
    with pytest.raises(KernelError, match=r"open\(2\) '/.*/nothing'"):
        group.read_file("nothing")
    with pytest.raises(KernelError, match=r"write\(2\) '/.*/cgroup.max.depth'.*EINVAL"):
        group.write_file("cgroup.max.depth", "x")


def test_unified_is_written_as_it_stands(group: Cgroup) -> None:
    group.apply_limits(Limits(unified=(("cgroup.max.descendants", "7"),)))
    assert group.read_file("cgroup.max.descendants") == "7\n"
    with pytest.raises(Unsupported, match="no such cgroup file"):
        group.apply_limits(Limits(unified=(("cgroup.nothing", "7"),)))


def test_a_value_that_the_kernel_refuses_is_named(group: Cgroup) -> None:
    with pytest.raises(KernelError, match=r"cgroup.max.depth.*EINVAL") as caught:
        group.apply_limits(Limits(unified=(("cgroup.max.depth", "deep"),)))
    assert "'deep'" in caught.value.__notes__[0]


LIMITS = {
    "cpu.weight": Limits(cpu_weight=100),
    "memory.max": Limits(memory_max_bytes=1 << 30, memory_oom_group=True),
    "pids.max": Limits(pids_max=10),
    "io.weight": Limits(io_weight=100),
}


@pytest.mark.parametrize("file", LIMITS)
def test_a_limit_without_its_controller_is_an_error(group: Cgroup, file: str) -> None:
    """A group to which nothing is delegated has no controllers, whatever the machine has."""
    message = f"^{file} is not available here: {file.partition('.')[0]} controller is not available in cgroup v2 here: "
    with pytest.raises(Unsupported, match=message) as caught:
        Cgroup.create("leaf", root=group.path, limits=LIMITS[file])
    assert caught.value.feature == file
    assert caught.value.needs.endswith(", or remove the limit")
    assert not Path(f"{group.path}/leaf").exists()
    with Cgroup.create("leaf", root=group.path) as leaf, pytest.raises(Unsupported, match=message):
        leaf.apply_limits(LIMITS[file])


def test_the_reason_is_the_machine_s_own(group: Cgroup) -> None:
    layout = read_layout()
    for controller in CONTROLLERS - set(layout.controllers):
        with pytest.raises(Unsupported) as caught:
            group.child("leaf", controllers=(controller,))
        assert explain_missing(controller, layout) in caught.value.needs
    assert set(layout.controllers) == group.read_available_controllers()


def test_optional_controllers_are_taken_where_they_are() -> None:
    with Cgroup.create(f"{TOP}/one", optional_controllers=("memory", "pids", "hugetlb")) as group:
        have = set(group.read_file("cgroup.controllers").split())
        assert have == group.read_available_controllers() & {"memory", "pids", "hugetlb"}
        with group.child("leaf") as leaf:
            assert set(leaf.read_file("cgroup.controllers").split()) == have


def test_a_needed_controller_is_there_or_an_error() -> None:
    with pytest.raises(Unsupported, match="telepathy controller is not available here"):
        Cgroup.create(f"{TOP}/one", controllers=("telepathy",))
    assert not top_exists()


def test_a_group_with_processes_gives_its_children_no_controllers(group: Cgroup, sleeper: Process) -> None:
    # Others (cpu, cpuset, pids) the kernel enables all the same: they can be given to threads.
    usable = sorted(group.read_available_controllers() & {"memory", "io", "hugetlb"})
    if not usable:
        pytest.skip("this machine's cgroup v2 has no controller that is for processes")
    with pytest.raises(StateError, match="processes of its own"):
        group.child("leaf", controllers=usable)
    assert sleeper.poll() is None


# ---- processes -------------------------------------------------------------------------------------------------------


def test_a_process_is_born_in_the_group(group: Cgroup, sleeper: Process) -> None:
    assert group.read_procs() == (sleeper.pid,)
    assert group.read_events().populated
    assert Path(f"/proc/{sleeper.pid}/cgroup").read_text().endswith(f"/{TOP}/one\n")


def test_kill_reaches_everybody_below(group: Cgroup) -> None:
    with group.child("leaf") as leaf, spawn(shell("sleep 1000 & sleep 1000"), cgroup=leaf) as process:
        group.kill()
        status = process.wait(patience(5))
        assert status is not None
        assert status.signal == 9
        assert group.wait_empty(patience(5))
        assert leaf.read_procs() == ()


def test_kill_of_a_fork_bomb(group: Cgroup) -> None:
    bomb = shell("f() { while :; do (sleep 1000 &) ; done; }; f & f & wait")
    with spawn(bomb, cgroup=group) as process:
        deadline = time.monotonic() + patience(5)
        while len(group.read_procs()) < 20 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(group.read_procs()) >= 20
        group.kill()
        assert group.wait_empty(patience(20))
        assert process.wait(patience(5)) is not None


def test_wait_empty_waits(group: Cgroup, sleeper: Process) -> None:
    began = time.monotonic()
    assert not group.wait_empty(0.05)
    assert time.monotonic() - began >= 0.05
    ended = threading.Timer(0.1, sleeper.kill)
    ended.start()
    assert group.wait_empty(patience(5))
    ended.join()
    sleeper.wait()


def test_what_took_the_name_of_a_group_that_is_gone_is_left_alone() -> None:
    with Cgroup.create(f"{TOP}/same") as old:
        with Cgroup.open(f"{TOP}/same") as other:
            other.remove()
        with Cgroup.create(f"{TOP}/same") as new, spawn(SLEEP, cgroup=new) as process:
            old.kill()
            old.destroy()
            assert new.exists()
            assert process.poll() is None


def test_groups_below_each_other_beyond_what_recursion_takes(group: Cgroup) -> None:
    depth = sys.getrecursionlimit() + 100
    path = group.path
    here = os.open(path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("g", dir_fd=here)
        below = os.open("g", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    group.remove()
    assert not group.exists()


def test_a_killed_group_is_made_anew_for_the_next_process(group: Cgroup) -> None:
    """As the docstring of kill() says: some kernels kill whatever is born in a group that was killed before."""
    for _ in range(3):
        with group.child("leaf") as leaf, spawn(SLEEP, cgroup=leaf) as process:
            assert process.wait(0.01) is None
            leaf.kill()
            assert process.wait(patience(5)) is not None


def test_freeze_and_thaw(group: Cgroup, sleeper: Process) -> None:
    group.freeze(patience(5))
    assert group.read_events().frozen
    group.thaw(patience(5))
    assert not group.read_events().frozen
    assert sleeper.poll() is None


def test_frozen_processes_do_not_run(group: Cgroup, tmp_path: Path) -> None:
    ticks = tmp_path / "ticks"
    with spawn(shell(f"while :; do echo >>{ticks}; done"), cgroup=group) as process:
        while not ticks.exists() or ticks.stat().st_size < 3:
            time.sleep(0.01)
        group.freeze(patience(5))
        size = ticks.stat().st_size
        time.sleep(0.1)
        assert ticks.stat().st_size == size
        group.kill()  # a frozen group is killed too
        assert process.wait(patience(5)) is not None


def test_thaw_below_a_frozen_group_is_refused(group: Cgroup) -> None:
    with group.child("leaf") as leaf:
        group.freeze(patience(5))
        with pytest.raises(StateError, match=r"still frozen after 0\.05 s"):
            leaf.thaw(0.05)
        group.thaw(patience(5))


def test_attach_moves_a_process(group: Cgroup, sleeper: Process) -> None:
    with group.child("leaf") as leaf:
        leaf.attach(sleeper.pid)
        assert leaf.read_procs() == (sleeper.pid,)
        assert group.read_procs() == ()


# ---- removing --------------------------------------------------------------------------------------------------------


def test_remove_is_idempotent_and_closes(group: Cgroup) -> None:
    group.remove()
    group.remove()
    group.kill()
    group.destroy()
    assert group.wait_empty(0)
    assert not group.exists()
    assert "closed" in repr(group)
    with pytest.raises(StateError):
        group.read_events()


def test_remove_takes_the_subtree(group: Cgroup) -> None:
    for name in ("a", "b"):
        with Cgroup.open(group.name) as again:
            again.child(name).close()
    Path(f"{group.path}/a/deep/deeper").mkdir(parents=True)
    group.remove()
    assert not top_exists()


def test_remove_of_a_populated_group_is_an_error_that_says_so(group: Cgroup, sleeper: Process) -> None:
    with pytest.raises(StateError, match="is populated, but must be without processes: kill it first"):
        group.remove(0.05)
    assert sleeper.poll() is None
    group.destroy()


def test_remove_waits_for_the_killed(group: Cgroup) -> None:
    with group.child("leaf") as leaf:
        processes = [spawn(SLEEP, cgroup=leaf) for _ in range(20)]
        group.kill()
        group.remove()
    for process in processes:
        process.end()
    assert not top_exists()


def test_works_from_the_name_after_a_crash(group: Cgroup, sleeper: Process) -> None:
    group.close()
    with Cgroup.open(f"{TOP}/one") as found:
        found.destroy()
    assert not top_exists()
    assert sleeper.wait(patience(5)) is not None


def test_a_closed_one_can_be_destroyed(group: Cgroup, sleeper: Process) -> None:
    group.close()
    group.destroy()
    assert not top_exists()
    assert sleeper.wait(patience(5)) is not None


def test_destroyed_when_the_block_fails() -> None:
    processes = []

    def fail() -> None:
        with Cgroup.create(f"{TOP}/one") as group:
            processes.append(spawn(SLEEP, cgroup=group))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not top_exists()
    assert processes[0].wait_status().signal == 9
    processes[0].close()


# ---- many at once ----------------------------------------------------------------------------------------------------


def test_fifty_pods_make_and_remove_their_groups_at_once() -> None:
    """They share one parent, which each removes when it looks empty and makes again when it is gone."""

    def one(number: int) -> None:
        for turn in range(4):
            with Cgroup.create(f"{TOP}/deep/pod{number}") as pod, pod.child("pause") as pause:
                assert pause.exists()
                if turn == 0:
                    pod.kill()

    with ThreadPoolExecutor(50) as pool:
        assert len(list(pool.map(one, range(50)))) == 50
    assert not top_exists()


def test_one_name_for_fifty_is_made_once() -> None:
    made: list[Cgroup] = []

    def one(_number: int) -> bool:
        try:
            made.append(Cgroup.create(f"{TOP}/same"))
        except AlreadyExists:
            return False
        return True

    with ThreadPoolExecutor(50) as pool:
        results = list(pool.map(one, range(50)))
    assert sum(results) == len(made) == 1
    made[0].destroy()
    assert not top_exists()


def test_one_group_removed_by_fifty() -> None:
    groups = [Cgroup.create(f"{TOP}/same"), *[Cgroup.open(f"{TOP}/same") for _ in range(49)]]
    with spawn(SLEEP, cgroup=groups[0]) as process:
        with ThreadPoolExecutor(50) as pool:
            list(pool.map(Cgroup.destroy, groups))
        assert process.wait(patience(5)) is not None
    assert not top_exists()
