"""Namespaces as objects, on real processes."""

from __future__ import annotations

import os
import select

import pytest

import pyrun
from pyrun import steps
from pyrun.kernel.namespace import Namespace, NamespaceSet

SLEEP = steps.Exec(("sleep", "60"), program="/bin/sleep")


def test_a_namespace_is_known_by_its_inode() -> None:
    with Namespace.open("uts") as ours, Namespace.open("uts") as again:
        assert ours == again
        assert hash(ours) == hash(again)
        assert f"uts:[{ours.id}]" == os.readlink("/proc/self/ns/uts")
        assert repr(ours) == f"<Namespace uts:[{ours.id}]>"


@pytest.mark.root
def test_what_two_processes_share_is_told() -> None:
    process = pyrun.spawn([SLEEP], namespaces=("uts", "network"))
    with process, NamespaceSet.open() as ours, NamespaceSet.open(process) as theirs:
        assert set(ours) == set(theirs)
        assert set(ours) - set(ours.shared_with(theirs)) == {"uts", "network"}


@pytest.mark.root
def test_a_plan_joins_what_a_process_is_in() -> None:
    kinds = ("uts", "network", "ipc", "mount", "time")
    process = pyrun.spawn([steps.SetHostname("joined"), SLEEP], namespaces=kinds)
    with process, NamespaceSet.open(process, kinds) as namespaces:
        second = pyrun.spawn([*namespaces.join_steps(), SLEEP], fds=namespaces.fds())
        with second, NamespaceSet.open(second, kinds) as joined:
            assert set(joined.shared_with(namespaces)) == set(kinds)


@pytest.mark.root
def test_a_namespace_outlives_its_process() -> None:
    with pyrun.spawn([steps.SetHostname("survivor"), SLEEP], namespaces=("uts",)) as process:
        held = NamespaceSet.open(process, ("uts",))
    read_end, write_end = os.pipe()
    with held, open(read_end, encoding="ascii") as output:
        show = steps.Exec(("uname", "-n"), program="/bin/uname")
        plan = [*held.join_steps(), steps.Duplicate("out", 1), show]
        with pyrun.spawn(plan, fds={**held.fds(), "out": write_end}) as reader:
            os.close(write_end)
            assert output.read() == "survivor\n"
            assert reader.wait_status().code == 0


@pytest.mark.root
def test_a_process_that_has_ended_has_no_namespaces() -> None:
    process = pyrun.spawn([steps.Exec(("true",), program="/bin/true")])
    process.wait()
    with pytest.raises(pyrun.NotFound, match="has ended"):
        Namespace.open("uts", process)
    process.close()


@pytest.mark.root
def test_all_of_a_process_can_be_joined() -> None:
    """Whatever it shares with us: the user namespace that we are in already cannot be entered again."""
    process = pyrun.spawn([steps.SetHostname("joined"), SLEEP], namespaces=("uts", "network", "mount"))
    with process, NamespaceSet.open(process) as namespaces:
        assert "user" in namespaces
        with (
            pyrun.spawn([*namespaces.join_steps(), SLEEP], fds=namespaces.fds()) as second,
            NamespaceSet.open(second) as joined,
        ):
            assert set(joined.shared_with(namespaces)) == set(namespaces)


@pytest.mark.root
def test_a_process_that_nobody_has_reaped_yet_has_none_either() -> None:
    with pyrun.spawn([steps.Exec(("true",), program="/bin/true")]) as process:
        select.select([process], [], [])
        for kind in ("uts", "mount"):
            with pytest.raises(pyrun.NotFound, match="has ended"):
                Namespace.open(kind, process)
