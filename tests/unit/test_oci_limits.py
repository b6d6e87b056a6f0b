"""OCI's resources as files of cgroup v2: the whole table of fields, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrun.container.oci_limits import InForce, oci_limits
from pyrun.errors import SpecError
from pyrun.kernel.cgroup_limits import CpuMax
from pyrun.spec.oci_parse import parse_oci_resources

MIB = 1 << 20
DISK = {"major": 8, "minor": 0}
NEW_GROUP = InForce()


def writes(resources: dict[str, Any], in_force: InForce = NEW_GROUP, bfq: bool = False) -> list[tuple[str, str]]:
    return oci_limits(parse_oci_resources(resources, "x"), in_force, bfq=bfq).writes()


@pytest.mark.parametrize(
    ("resources", "files"),
    [
        ({}, []),
        ({"cpu": {}, "memory": {}, "pids": {}, "blockIO": {}, "network": {}, "rdma": {}}, []),
        ({"cpu": {"shares": 1024}}, [("cpu.weight", "100")]),
        ({"cpu": {"shares": 0}}, []),
        ({"cpu": {"idle": 1, "shares": 1024}}, [("cpu.idle", "1")]),
        ({"cpu": {"idle": 0, "shares": 2}}, [("cpu.idle", "0"), ("cpu.weight", "1")]),
        ({"cpu": {"quota": 50_000, "period": 200_000}}, [("cpu.max", "50000 200000")]),
        ({"cpu": {"quota": 50_000}}, [("cpu.max", "50000 100000")]),
        ({"cpu": {"period": 50_000}}, [("cpu.max", "max 50000")]),
        ({"cpu": {"quota": -1}}, [("cpu.max", "max 100000")]),
        ({"cpu": {"quota": 0, "period": 100_000}}, [("cpu.max", "max 100000")]),
        ({"cpu": {"quota": 0, "period": 0}}, []),
        ({"cpu": {"quota": 50_000, "burst": 10_000}}, [("cpu.max", "50000 100000"), ("cpu.max.burst", "10000")]),
        ({"cpu": {"cpus": "0-1", "mems": "0"}}, [("cpuset.mems", "0"), ("cpuset.cpus", "0-1")]),
        ({"memory": {"limit": 64 * MIB}}, [("memory.max", str(64 * MIB))]),
        ({"memory": {"limit": -1}}, [("memory.swap.max", "max"), ("memory.max", "max")]),
        ({"memory": {"limit": 0}}, []),
        ({"memory": {"reservation": MIB}}, [("memory.low", str(MIB))]),
        (
            {"memory": {"limit": 64 * MIB, "swap": 96 * MIB}},
            [("memory.swap.max", str(32 * MIB)), ("memory.max", str(64 * MIB))],
        ),
        ({"memory": {"limit": 5, "swap": 5}}, [("memory.swap.max", "0"), ("memory.max", "5")]),
        ({"memory": {"limit": 5, "swap": -1}}, [("memory.swap.max", "max"), ("memory.max", "5")]),
        ({"memory": {"kernel": -1, "kernelTCP": 0, "useHierarchy": True, "disableOOMKiller": False}}, []),
        ({"pids": {"limit": 17}}, [("pids.max", "17")]),
        ({"pids": {"limit": -1}}, [("pids.max", "max")]),
        ({"pids": {"limit": 0}}, []),
        ({"blockIO": {"weight": 10}}, [("io.weight", "1")]),
        ({"blockIO": {"weight": 1000}}, [("io.weight", "10000")]),
        ({"blockIO": {"weight": 0, "leafWeight": 0}}, []),
        ({"blockIO": {"weightDevice": [DISK | {"weight": 500}]}}, [("io.weight", "8:0 4950")]),
        ({"blockIO": {"throttleReadBpsDevice": [DISK | {"rate": 600}]}}, [("io.max", "8:0 rbps=600")]),
        ({"blockIO": {"throttleWriteBpsDevice": [DISK | {"rate": 600}]}}, [("io.max", "8:0 wbps=600")]),
        ({"blockIO": {"throttleReadIOPSDevice": [DISK | {"rate": 600}]}}, [("io.max", "8:0 riops=600")]),
        ({"blockIO": {"throttleWriteIOPSDevice": [DISK | {"rate": 0}]}}, [("io.max", "8:0 wiops=max")]),
        (
            {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]},
            [("hugetlb.2MB.max", str(4 * MIB)), ("hugetlb.2MB.rsvd.max", str(4 * MIB))],
        ),
        (
            {"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10_000}, "mlx4_0": {"hcaObjects": 1}}},
            [("rdma.max", "mlx5_1 hca_handle=3 hca_object=10000"), ("rdma.max", "mlx4_0 hca_object=1")],
        ),
        (
            {"unified": {"memory.high": "5"}, "memory": {"limit": 7}},
            [("memory.max", "7"), ("memory.high", "5")],
        ),
        ({"devices": [{"allow": False, "access": "rwm"}]}, []),
    ],
)
def test_fields_become_files(resources: dict[str, Any], files: list[tuple[str, str]]) -> None:
    assert writes(resources) == files


def test_weights_of_block_io_are_bfqs_own_where_it_has_a_file() -> None:
    resources = {"blockIO": {"weight": 500, "weightDevice": [DISK | {"weight": 10}]}}
    assert writes(resources, bfq=True) == [("io.bfq.weight", "500"), ("io.bfq.weight", "8:0 10")]


IN_FORCE = InForce(memory_max_bytes=64 * MIB, cpu_max=CpuMax(20_000, 50_000))


@pytest.mark.parametrize(
    ("resources", "files"),
    [
        ({"cpu": {"period": 100_000}}, [("cpu.max", "20000 100000")]),
        ({"cpu": {"quota": 10_000}}, [("cpu.max", "10000 50000")]),
        ({"cpu": {"quota": -1}}, [("cpu.max", "max 50000")]),
        ({"memory": {"swap": 96 * MIB}}, [("memory.swap.max", str(32 * MIB))]),
        (
            {"memory": {"limit": 32 * MIB, "swap": 96 * MIB}},
            [("memory.swap.max", str(64 * MIB)), ("memory.max", str(32 * MIB))],
        ),
        ({"memory": {"limit": 32 * MIB}}, [("memory.max", str(32 * MIB))]),
    ],
)
def test_the_half_that_is_not_given_is_the_one_in_force(
    resources: dict[str, Any], files: list[tuple[str, str]]
) -> None:
    assert writes(resources, IN_FORCE) == files


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"cpu": {"realtimeRuntime": 1}}, "/linux/resources/cpu/realtimeRuntime: cgroup v2 has no such limit"),
        ({"cpu": {"realtimePeriod": 1}}, "/linux/resources/cpu/realtimePeriod: cgroup v2 has no such limit"),
        ({"memory": {"kernel": 1}}, "/linux/resources/memory/kernel: cgroup v2 has no such limit"),
        ({"memory": {"kernelTCP": 1}}, "/linux/resources/memory/kernelTCP: cgroup v2 has no such limit"),
        ({"memory": {"swappiness": 0}}, "/linux/resources/memory/swappiness: cgroup v2 has no such limit"),
        (
            {"memory": {"disableOOMKiller": True}},
            "/linux/resources/memory/disableOOMKiller: cgroup v2 has no such limit",
        ),
        ({"memory": {"useHierarchy": False}}, "/linux/resources/memory/useHierarchy: cgroup v2 has no such limit"),
        ({"blockIO": {"leafWeight": 10}}, "/linux/resources/blockIO/leafWeight: cgroup v2 has no such limit"),
        (
            {"blockIO": {"weightDevice": [DISK | {"leafWeight": 10}]}},
            "/linux/resources/blockIO/weightDevice/0/leafWeight: cgroup v2 has no such limit",
        ),
        ({"network": {"classID": 1}}, "/linux/resources/network/classID: cgroup v2 has no such limit"),
        (
            {"network": {"priorities": [{"name": "eth0", "priority": 1}]}},
            "/linux/resources/network/priorities: cgroup v2 has no such limit",
        ),
        (
            {"memory": {"swap": 5}},
            "/linux/resources/memory/swap: a limit of memory and swap together needs a limit of memory",
        ),
        (
            {"memory": {"limit": 6, "swap": 5}},
            "/linux/resources/memory/swap: memory and swap together (5) cannot be less than memory (6)",
        ),
        ({"unified": {"cgroup.procs": "1"}}, "/linux/resources/unified/cgroup.procs: is no limit: it moves processes"),
    ],
)
def test_what_cannot_be_is_refused_by_name(resources: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        writes(resources)
    assert str(caught.value) == message


def test_the_pointer_is_the_callers() -> None:
    resources = parse_oci_resources({"memory": {"kernel": 1}}, "x")
    with pytest.raises(SpecError, match=r"^/memory/kernel: "):
        oci_limits(resources, pointer="")


def _is_refused(limit: int, swap: int) -> bool:
    """Memory and swap together are a limit only beside one of memory, and cannot be less than that."""
    return swap > 0 and limit >= 0 and (limit == 0 or swap < limit)


amounts = st.none() | st.integers(-1, 2**63 - 1)


@given(amounts, amounts, amounts)
def test_memory_and_swap_never_make_a_file_that_the_kernel_refuses(
    limit: int | None, swap: int | None, in_force: int | None
) -> None:
    given_fields = {name: value for name, value in (("limit", limit), ("swap", swap)) if value is not None}
    in_group = InForce(memory_max_bytes=in_force or 0)
    if _is_refused(limit or in_force or 0, swap or 0):
        with pytest.raises(SpecError, match=r"^/linux/resources/memory/swap: "):
            writes({"memory": given_fields}, in_group)
        return
    files = dict(writes({"memory": given_fields}, in_group))
    assert all(text == "max" or int(text) >= 0 for text in files.values())
    if limit and limit > 0 and swap and swap > 0:
        assert int(files["memory.swap.max"]) == swap - limit
