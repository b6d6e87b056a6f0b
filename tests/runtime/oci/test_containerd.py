"""Debian's containerd, with pyrun-oci as what its shim for runc calls."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fixtures.bundles import LOOK
from fixtures.engines import CONTAINERD, PYRUN_OCI, Ctr, containerd, wait_until

pytestmark = [
    pytest.mark.cgroup2,
    pytest.mark.slow,
    pytest.mark.skipif(not (CONTAINERD / "ctr").exists(), reason="needs Debian's containerd, which ./dev unpacks"),
]


@pytest.fixture(scope="module")
def engine() -> Iterator[Ctr]:
    with containerd() as it:
        yield it


def test_a_life(engine: Ctr) -> None:
    """run, exec, pause, resume, metrics, ps, kill, delete."""

    def status() -> str:
        rows = [line.split() for line in engine("task", "ls").splitlines()]
        return next(row[2] for row in rows if row[0] == "one")

    limits = ("--memory-limit", str(64 << 20))
    engine("run", "--detach", "--runc-binary", PYRUN_OCI, *limits, "--rootfs", engine.root, "one", LOOK, "wait")
    assert engine("task", "exec", "--exec-id", "more", "one", "/bin/id", "-u") == "0\n"
    engine("task", "exec", "--exec-id", "again", "one", LOOK, "exit", "5", status=5)
    engine("task", "pause", "one")
    assert status() == "PAUSED"
    engine("task", "resume", "one")
    metrics = dict(line.split()[:2] for line in engine("task", "metrics", "one").splitlines() if len(line.split()) == 2)
    assert metrics["pids.current"] == "1"
    assert metrics["memory.usage_limit"] == str(64 << 20)
    assert len(engine("task", "ps", "one").splitlines()) == 2
    engine("task", "kill", "--signal", "SIGTERM", "one")
    wait_until(lambda: status() == "STOPPED", "it has not ended")
    engine("task", "delete", "one")
    assert "exit code 7" in engine.warnings
    engine("container", "delete", "one")
    assert engine("container", "ls", "--quiet") == ""
