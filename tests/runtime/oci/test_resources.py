"""``linux.resources`` of a container that pyrun-oci makes: on its cgroup before its program runs, or there is no container."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fixtures.held import GROUP, Held
from fixtures.machine import cgroup2_root

MIB = 1 << 20
DENY_ALL = {"allow": False, "access": "rwm"}
FUSE = {"type": "c", "major": 10, "minor": 229}
NODE = [{"path": "/dev/fuse", **FUSE, "fileMode": 0o666}]


def run(directory: Path, script: str, **linux: Any) -> int:
    """The exit status of a shell command in a container."""
    container = Held(directory, ("/bin/sh", "-c", script), **linux)
    done = container("run", "--bundle", str(container.bundle), container.id)
    assert "Traceback" not in done.err
    return done.status


def group_path() -> Path:
    root = cgroup2_root()
    assert root is not None
    return root / GROUP


@pytest.mark.root
@pytest.mark.parametrize(
    ("rules", "read", "both"),
    [
        ([], False, False),
        ([DENY_ALL], False, False),
        ([DENY_ALL, FUSE | {"allow": True, "access": "r"}], True, False),
        ([DENY_ALL, FUSE | {"allow": True, "access": "rw"}], True, True),
        ([{"allow": True, "access": "rwm"}, FUSE | {"allow": False, "access": "w"}], True, False),
    ],
)
def test_the_program_may_use_the_devices_that_the_rules_allow(
    tmp_path: Path, rules: list[dict[str, Any]], read: bool, both: bool
) -> None:
    script = (
        "(: < /dev/fuse) 2>/dev/null; a=$?; (: <> /dev/fuse) 2>/dev/null; b=$?; : <> /dev/null && exit $((2 * a + b))"
    )
    status = run(tmp_path, script, devices=NODE, resources={"devices": rules})
    assert status == 2 * (not read) + (not both)


@pytest.mark.root
def test_limits_are_there_before_the_program_runs(tmp_path: Path) -> None:
    """The one controller that every machine of ours has."""
    limits = [{"pageSize": "2MB", "limit": 4 * MIB}]
    with Held(tmp_path, resources={"hugepageLimits": limits, "unified": {"cgroup.max.depth": "3"}}) as container:
        assert container.read_group("hugetlb.2MB.max") == str(4 * MIB)
        assert container.read_group("cgroup.max.depth") == "3"


@pytest.mark.root
@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ({"memory": {"swappiness": 60}}, "/linux/resources/memory/swappiness: cgroup v2 has no such limit"),
        ({"unified": {"made.up": "1"}}, "made.up"),
        ({"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}, "hugetlb.3MB.max"),
        ({"unified": {"cgroup.max.depth": "deep"}}, "cgroup.max.depth"),
    ],
)
def test_what_cannot_be_had_leaves_nothing(tmp_path: Path, resources: dict[str, Any], said: str) -> None:
    container = Held(tmp_path, resources=resources)
    assert said in container.fails("create", "--bundle", str(container.bundle), container.id)
    assert not group_path().exists()
    assert "does not exist" in container.fails("state", container.id)


@pytest.mark.root
def test_a_frozen_cgroup_is_refused(tmp_path: Path) -> None:
    above = group_path()
    above.mkdir()
    try:
        (above / "cgroup.freeze").write_text("1")
        container = Held(tmp_path)
        assert "is frozen" in container.fails("create", "--bundle", str(container.bundle), container.id)
        assert [entry.name for entry in above.iterdir() if entry.is_dir()] == []
    finally:
        above.rmdir()


@pytest.mark.root
def test_the_cgroup_of_a_user_is_his_where_he_may_write_to_it(tmp_path: Path) -> None:
    container = Held(tmp_path, namespaces=[{"type": kind} for kind in ("pid", "mount", "cgroup")])
    mount = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "nodev"]}
    (container.bundle / "rootfs/sys/fs/cgroup").mkdir(parents=True)
    container.config["mounts"].append(mount)
    container.config["process"]["user"] = {"uid": 12_345, "gid": 12_345}
    container.write_config()
    with container:
        group = group_path() / container.id
        assert (group.stat().st_uid, (group / "cgroup.procs").stat().st_uid) == (12_345, 12_345)
        assert (group / "cgroup.freeze").stat().st_uid == 0


@pytest.mark.cgroup2
def test_every_controller(tmp_path: Path) -> None:
    resources = {
        "cpu": {"shares": 2048, "quota": 50_000, "period": 200_000, "cpus": "0", "mems": "0"},
        "memory": {"limit": 64 * MIB, "reservation": 32 * MIB, "swap": 64 * MIB},
        "pids": {"limit": 17},
        "blockIO": {"weight": 500},
        "unified": {"memory.oom.group": "1"},
    }
    with Held(tmp_path, resources=resources) as container:
        files = ("cpu.weight", "cpu.max", "cpuset.cpus", "memory.max", "memory.low", "pids.max", "memory.oom.group")
        found = [container.read_group(name) for name in files]
        assert found == ["174", "50000 200000", "0", str(64 * MIB), str(32 * MIB), "17", "1"]


@pytest.mark.cgroup2
def test_more_processes_than_the_limit_are_refused(tmp_path: Path) -> None:
    script = "for i in 1 2 3 4 5 6 7 8; do sleep 5 & done; exit 0"
    assert run(tmp_path / "few", script, resources={"pids": {"limit": 4}}) != 0
    assert run(tmp_path / "enough", script, resources={"pids": {"limit": 40}}) == 0
