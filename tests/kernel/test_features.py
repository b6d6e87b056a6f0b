"""Probes: true on this machine, harmless, and honest about what they could not try."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from fixtures.machine import cgroup2_root
from pyrun.errors import KernelError, StateError
from pyrun.kernel import features as kernel_features
from pyrun.kernel.features import can_run_pods, read_features
from pyrun.kernel.program import program_fd
from pyrun.kernel.step import NewMount
from pyrun.linux import cgroupfs
from pyrun.linux.features import (
    Feature,
    cgroup_features,
    probe,
    read_kernel_features,
    read_namespace_features,
)

# Stays open for good once something is spawned: not a leak of the test that happens to be the first.
program_fd("pyrun-stage")


def fail(number: int) -> None:
    raise KernelError(number, "call(2)")


def test_a_probe_that_returns_is_available() -> None:
    assert probe("area", "name", "needs", lambda: None) == Feature("area", "name", True, "", "", True)
    assert probe("area", "name", "needs", lambda: "seen").detail == "seen"


def test_a_probe_that_fails_says_how_and_what_it_needs() -> None:
    found = probe("area", "name", "Linux 9", lambda: fail(errno.ENOSYS), required=False)
    assert found.available is False
    assert found.needs == "Linux 9"
    assert not found.required
    assert found.detail == "call(2): Function not implemented (ENOSYS)"


def test_a_probe_that_may_not_try_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert probe("area", "name", "needs", lambda: fail(errno.EPERM)).available is None
    assert probe("area", "name", "needs", lambda: fail(errno.ENOSYS)).available is False
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert probe("area", "name", "needs", lambda: fail(errno.EPERM)).available is False


def test_a_probe_whose_child_died_is_not_available() -> None:
    def died() -> None:
        raise StateError("process", "dead", "alive")

    assert probe("area", "name", "needs", died).available is False


def test_pods_run_where_all_that_is_required_is_there() -> None:
    yes, optional = Feature("a", "yes", True, required=True), Feature("a", "no", False)
    assert can_run_pods((yes, optional))
    assert not can_run_pods((yes, Feature("a", "no", False, required=True)))
    assert not can_run_pods((yes, Feature("a", "unknown", None, required=True)))


@pytest.mark.parametrize(
    ("layout", "available"),
    [
        (cgroupfs.CgroupLayout(cgroupfs.LEGACY, None), set()),
        (cgroupfs.CgroupLayout(cgroupfs.HYBRID, "/u", ("hugetlb",)), {"cgroup v2", "hugetlb controller"}),
        (
            cgroupfs.CgroupLayout(cgroupfs.UNIFIED, "/c", ("cpu", "memory", "pids")),
            {"cgroup v2", "cpu controller", "memory controller", "pids controller"},
        ),
    ],
)
def test_each_layout_offers_its_controllers(layout: cgroupfs.CgroupLayout, available: set[str]) -> None:
    found = cgroup_features(layout)
    assert {feature.name for feature in found if feature.available} == available
    assert all([feature.needs for feature in found if not feature.available])
    assert [feature.name for feature in found if feature.required] == ["cgroup v2"]


@pytest.mark.root
def test_this_machine_runs_pods() -> None:
    found = read_features()
    missing = [feature for feature in found if feature.required and not feature.available]
    assert not missing
    assert can_run_pods(found)
    assert all([feature.available is not None for feature in found])


@pytest.mark.root
def test_every_missing_feature_says_what_it_needs() -> None:
    assert [feature for feature in read_features() if not feature.available and not feature.needs] == []


@pytest.mark.root
def test_names_are_unique() -> None:
    names = [(feature.area, feature.name) for feature in read_features()]
    assert len(set(names)) == len(names)


@pytest.mark.root
def test_controllers_are_those_of_the_kernel() -> None:
    root = cgroup2_root()
    assert root is not None
    words = (root / "cgroup.controllers").read_text().split()
    for feature in read_features():
        if feature.name.endswith(" controller"):
            assert feature.available == (feature.name.removesuffix(" controller") in words)


@pytest.mark.root
def test_a_missing_kernel_call_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_features, "OVERLAY_ON_TMPFS", (NewMount("nosuchfs", "tree"),))
    found = {feature.name: feature for feature in read_features()}["overlay on tmpfs"]
    assert found.available is False
    assert "ENODEV" in found.detail
    assert "CONFIG_OVERLAY_FS" in found.needs


def test_probes_without_root_know_what_they_do_not_know() -> None:
    """In a process that has given up root."""
    script = (
        "import os; from pyrun.kernel.features import read_features\n"
        # All modules are in by then: the checkout may lie where only root can read.
        "read_features(); os.setgid(65534); os.setuid(65534)\n"
        "found = {f.name: f.available for f in read_features()}\n"
        "print(found['network'], found['pidfd'], found['openat2'], found['CAP_SYS_ADMIN'])"
    )
    if os.geteuid() != 0:
        script = script.replace("os.setgid(65534); os.setuid(65534)", "")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout == "None True True None\n"


def test_namespaces_are_known_without_root() -> None:
    kinds = {feature.name: feature for feature in read_namespace_features()}
    assert set(kinds) == {"mount", "uts", "ipc", "network", "pid", "user", "cgroup", "time"}
    assert all([feature.available is None for feature in kinds.values()])


def test_kernel_features_name_the_calls() -> None:
    names = {feature.name for feature in read_kernel_features()}
    assert {"pidfd", "openat2", "open_tree", "seccomp", "sealed memfd", "CAP_SYS_RESOURCE"} <= names
