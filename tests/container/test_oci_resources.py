"""OCI's resources on a real cgroup: what a new container gets, what update changes, and what stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.machine import patience
from pyrun.container.oci_delegation import delegate_cgroup
from pyrun.container.oci_resources import apply_resources, update_resources
from pyrun.errors import KernelError, SpecError, Unsupported
from pyrun.kernel.cgroup import Cgroup
from pyrun.kernel.device_access import count_device_filters
from pyrun.kernel.program import program_fd
from pyrun.kernel.spawn import spawn
from pyrun.kernel.step import Exec, FindProgram
from pyrun.spec.oci import OciResources, OciSpec
from pyrun.spec.oci_parse import parse_oci, parse_oci_resources

# Stays open for good once something is spawned: not a leak of the test that happens to be the first.
program_fd("pyrun-stage")

MIB = 1 << 20
READ_KMSG = ": < /dev/kmsg"


@pytest.fixture
def group() -> Iterator[Cgroup]:
    with Cgroup.create("pyrun-test/resources") as made:
        yield made


def resources(**fields: Any) -> OciResources:
    return parse_oci_resources(fields, "x")


def can(group: Cgroup, script: str) -> bool:
    plan = (FindProgram("sh", "/usr/bin:/bin"), Exec(("sh", "-c", f"({script}) 2>&-"), ("PATH=/usr/bin:/bin",)))
    with spawn(plan, cgroup=group) as process:
        status = process.wait(patience(20))
    assert status is not None
    return status.code == 0


def read(group: Cgroup, *files: str) -> list[str]:
    return [group.read_file(file).strip() for file in files]


# ---- devices, on any cgroup v2 ---------------------------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.parametrize("asked", [None, OciResources()])
def test_without_rules_a_container_has_the_default_devices_only(group: Cgroup, asked: OciResources | None) -> None:
    apply_resources(group, asked)
    assert not can(group, READ_KMSG)
    assert can(group, ": < /dev/null && : > /dev/zero")


@pytest.mark.root
def test_a_device_that_is_allowed_can_be_used(group: Cgroup) -> None:
    rules = [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}]
    apply_resources(group, resources(devices=rules))
    assert can(group, READ_KMSG)


@pytest.mark.root
def test_update_makes_the_filter_anew_only_for_rules(group: Cgroup) -> None:
    apply_resources(group, resources(devices=[{"allow": True, "access": "rwm"}]))
    update_resources(group, resources(unified={"cgroup.max.depth": "3"}))
    assert can(group, READ_KMSG)
    assert read(group, "cgroup.max.depth") == ["3"]
    update_resources(group, resources(devices=[{"allow": False, "access": "rwm"}]))
    assert not can(group, READ_KMSG)
    assert count_device_filters(group) == 1


@pytest.mark.root
def test_nothing_is_applied_of_what_is_refused(group: Cgroup) -> None:
    with pytest.raises(SpecError, match="/linux/resources/memory/kernel: cgroup v2 has no such limit"):
        apply_resources(group, resources(memory={"kernel": 5}, unified={"cgroup.max.depth": "3"}))
    assert count_device_filters(group) == 0
    assert read(group, "cgroup.max.depth") == ["max"]


@pytest.mark.root
def test_a_file_that_there_is_not_is_an_error(group: Cgroup) -> None:
    with pytest.raises(Unsupported, match=r"made\.up"):
        apply_resources(group, resources(unified={"made.up": "3"}))


@pytest.mark.root
def test_a_page_size_that_there_is_not_is_an_error(group: Cgroup) -> None:
    with pytest.raises(Unsupported, match=r"hugetlb\.3MB\.max"):
        apply_resources(group, resources(hugepageLimits=[{"pageSize": "3MB", "limit": MIB}]))


# ---- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.cgroup2
def test_everything_at_once(group: Cgroup) -> None:
    apply_resources(
        group,
        resources(
            cpu={"shares": 2048, "quota": 50_000, "period": 200_000, "burst": 10_000, "cpus": "0", "mems": "0"},
            memory={"limit": 64 * MIB, "reservation": 32 * MIB, "swap": 96 * MIB},
            pids={"limit": 17},
            hugepageLimits=[{"pageSize": "2MB", "limit": 4 * MIB}],
            unified={"memory.high": str(48 * MIB)},
        ),
    )
    files = ("cpu.weight", "cpu.max", "cpu.max.burst", "cpuset.cpus", "cpuset.mems", "pids.max", "hugetlb.2MB.max")
    assert read(group, *files) == ["174", "50000 200000", "10000", "0", "0", "17", str(4 * MIB)]
    files = ("memory.max", "memory.low", "memory.swap.max", "memory.high")
    assert read(group, *files) == [str(64 * MIB), str(32 * MIB), str(32 * MIB), str(48 * MIB)]


@pytest.mark.cgroup2
def test_update_changes_what_it_names_and_nothing_else(group: Cgroup) -> None:
    apply_resources(group, resources(cpu={"shares": 1024, "quota": 50_000, "period": 200_000}, pids={"limit": 17}))
    update_resources(group, resources(cpu={"quota": 40_000}))
    assert read(group, "cpu.max", "cpu.weight", "pids.max") == ["40000 200000", "100", "17"]
    update_resources(group, resources(cpu={"period": 100_000}))
    assert read(group, "cpu.max") == ["40000 100000"]
    update_resources(group, resources(cpu={"quota": -1}, pids={"limit": -1}))
    assert read(group, "cpu.max", "cpu.weight", "pids.max") == ["max 100000", "100", "max"]


@pytest.mark.cgroup2
def test_update_of_a_group_that_has_no_controllers_yet(group: Cgroup) -> None:
    apply_resources(group, None)
    update_resources(group, resources(memory={"limit": 64 * MIB, "swap": 64 * MIB}, cpu={"period": 50_000}))
    assert read(group, "memory.max", "memory.swap.max", "cpu.max") == [str(64 * MIB), "0", "max 50000"]


@pytest.mark.cgroup2
def test_swap_by_itself_is_counted_from_the_limit_in_force(group: Cgroup) -> None:
    apply_resources(group, resources(memory={"limit": 64 * MIB, "swap": 64 * MIB}))
    update_resources(group, resources(memory={"swap": 96 * MIB}))
    assert read(group, "memory.swap.max", "memory.max") == [str(32 * MIB), str(64 * MIB)]
    with pytest.raises(SpecError, match=r"^/memory/swap: memory and swap together"):
        update_resources(group, resources(memory={"swap": 32 * MIB}), pointer="")


@pytest.mark.cgroup2
def test_a_group_that_was_idle_gets_a_weight(group: Cgroup) -> None:
    apply_resources(group, resources(cpu={"idle": 1, "shares": 512}))
    assert read(group, "cpu.idle") == ["1"]
    update_resources(group, resources(cpu={"idle": 0, "shares": 2048}))
    assert read(group, "cpu.idle", "cpu.weight") == ["0", "174"]


@pytest.mark.cgroup2
def test_check_before_update_refuses_a_limit_below_what_is_in_use(group: Cgroup) -> None:
    apply_resources(group, resources(memory={"limit": 256 * MIB}))
    script = "x=$(head -c 20000000 /dev/zero | tr '\\0' x); sleep 1000"
    plan = (FindProgram("sh", "/usr/bin:/bin"), Exec(("sh", "-c", script), ("PATH=/usr/bin:/bin",)))
    with spawn(plan, cgroup=group) as process:
        used = 0
        while used < 20_000_000:
            assert process.wait(0.05) is None
            used = int(group.read_file("memory.current"))
        smaller = {"limit": 8 * MIB, "checkBeforeUpdate": True}
        with pytest.raises(SpecError, match=r"^/linux/resources/memory/limit: 8388608 is less than the \d+ bytes"):
            update_resources(group, resources(memory=smaller))
        assert read(group, "memory.max") == [str(256 * MIB)]
        assert process.wait(0) is None
        group.destroy()


@pytest.mark.cgroup2
def test_a_weight_of_block_io_is_written_where_this_kernel_has_it(group: Cgroup) -> None:
    apply_resources(group, resources(blockIO={"weight": 500}))
    if group.has_limit("io.bfq.weight"):
        assert "500" in group.read_file("io.bfq.weight").split()
    else:
        assert "4950" in group.read_file("io.weight").split()


@pytest.mark.cgroup2
def test_limits_of_devices_that_there_are_not_are_errors(group: Cgroup) -> None:
    disk = {"major": 4095, "minor": 4095, "rate": MIB}
    with pytest.raises(KernelError, match=r"io\.max"):
        apply_resources(group, resources(blockIO={"throttleReadBpsDevice": [disk]}))
    with pytest.raises(KernelError, match=r"rdma\.max"):
        apply_resources(group, resources(rdma={"mlx5_1": {"hcaHandles": 3}}))


# ---- whose it is -----------------------------------------------------------------------------------------------------


def spec_of(user: int, options: list[str]) -> OciSpec:
    mount = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options}
    return parse_oci(
        {
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs"},
            "process": {"cwd": "/", "args": ["sh"], "user": {"uid": user, "gid": 0}},
            "mounts": [mount],
            "linux": {"namespaces": [{"type": "cgroup"}]},
        },
        "x",
    )


@pytest.mark.root
def test_a_user_gets_what_the_kernel_lets_be_delegated_and_no_limit(group: Cgroup) -> None:
    delegate_cgroup(group, spec_of(12_345, []))
    owners = {entry.name: entry.stat().st_uid for entry in Path(group.path).iterdir() if entry.is_file()}
    assert Path(group.path).stat().st_uid == 12_345
    assert owners["cgroup.procs"] == owners["cgroup.subtree_control"] == 12_345
    assert owners["cgroup.freeze"] == owners["cgroup.max.depth"] == 0


@pytest.mark.root
def test_a_cgroup_that_is_mounted_read_only_stays_roots(group: Cgroup) -> None:
    delegate_cgroup(group, spec_of(12_345, ["ro"]))
    assert Path(group.path).stat().st_uid == 0
