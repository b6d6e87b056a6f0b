"""Being told of changes in a cgroup, and who lives in and below it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fixtures.machine import patience
from pyrun.kernel.cgroup import Cgroup
from pyrun.kernel.program import program_fd
from pyrun.kernel.spawn import spawn
from pyrun.kernel.step import Exec, FindProgram

pytestmark = pytest.mark.root

program_fd("pyrun-stage")  # stays open for good once something is spawned
SLEEP = (FindProgram("sleep", "/usr/bin:/bin"), Exec(("sleep", "1000")))


@pytest.fixture
def group() -> Iterator[Cgroup]:
    with Cgroup.create("pyrun-test-watch/one") as made:
        yield made


def test_a_change_is_told_once(group: Cgroup) -> None:
    with group.watch("cgroup.events", "no.such.file") as watch:
        assert not watch.wait(0)
        group.freeze()
        assert watch.wait(patience(5))
        assert not watch.wait(0.05)


def test_the_end_of_the_last_process_is_told(group: Cgroup) -> None:
    with spawn(SLEEP, cgroup=group) as process, group.watch("cgroup.events") as watch:
        assert group.read_events().populated
        process.end()
        assert watch.wait(patience(5))
    assert not group.read_events().populated


def test_a_group_that_is_removed_is_told(group: Cgroup) -> None:
    child = group.child("short")
    with child, child.watch("cgroup.events") as watch:
        child.remove()
        assert watch.wait(patience(5))


def test_no_file_that_changes(group: Cgroup) -> None:
    with group.watch("no.such.file") as watch:
        assert not watch.wait(0.01)


def test_processes_in_groups_below_are_counted(group: Cgroup) -> None:
    below = group.child("below")
    with below, below.child("deeper") as deeper, spawn(SLEEP, cgroup=group) as one, spawn(SLEEP, cgroup=deeper) as two:
        assert group.read_all_procs() == tuple(sorted((one.pid, two.pid)))
        assert group.read_procs() == (one.pid,)
    assert group.read_all_procs() == ()
