"""The machine that tests marked cgroup2 can rely on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fixtures.machine import CONTROLLERS, cgroup2_root

pytestmark = [pytest.mark.cgroup2, pytest.mark.smoke]


@pytest.fixture
def group() -> Path:
    root = cgroup2_root()
    assert root is not None
    return root


def test_the_controllers_are_there(group: Path) -> None:
    assert set((group / "cgroup.controllers").read_text().split()) >= CONTROLLERS


def test_a_limit_can_be_set(group: Path) -> None:
    (group / "cgroup.subtree_control").write_text("+cpu +memory +pids +io")
    leaf = group / "pyrun-test-machine"
    leaf.mkdir()
    try:
        (leaf / "memory.max").write_text("64M")
        assert (leaf / "memory.max").read_text() == f"{64 << 20}\n"
        (leaf / "pids.max").write_text("7")
        assert (leaf / "pids.max").read_text() == "7\n"
        (leaf / "cpu.max").write_text("50000 100000")
        assert (leaf / "cpu.max").read_text() == "50000 100000\n"
    finally:
        leaf.rmdir()


def test_root_has_every_capability() -> None:
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    status = dict(line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines())
    assert int(status["CapEff"], 16) == (1 << (last + 1)) - 1
    score = Path("/proc/self/oom_score_adj")
    before = score.read_text()
    score.write_text("-998")
    score.write_text(before)


def test_every_namespace_is_there() -> None:
    assert {"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"} <= set(os.listdir("/proc/self/ns"))
