"""What a pod needs of a node, and whether the node has it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.pods import pod_spec, shell
from pyrun.pod.node import (
    DEFAULT_PODS,
    Shortage,
    allocatable,
    find_shortages,
    page_resource,
    parse_amount,
    pod_need,
    read_capacity,
    resource_names,
)

MIB = 1 << 20


def test_need_of_a_pod_that_asks_for_nothing_is_a_place() -> None:
    assert pod_need(pod_spec(shell("true"))) == {"pods": 1}


def test_need_is_the_effective_request() -> None:
    one = shell("true", "one", resources={"limits": {"cpu": "250m", "memory": "1Mi", "hugepages-2Mi": "4Mi"}})
    two = shell("true", "two", resources={"requests": {"cpu": "1"}})
    need = pod_need(pod_spec(one, two, overhead={"cpu": "50m"}))
    assert need == {"pods": 1, "cpu": 1300, "memory": MIB, "hugepages-2Mi": 4 * MIB}


def test_processes_are_reserved_where_they_are_limited() -> None:
    assert pod_need(pod_spec(shell("true")), 100) == {"pods": 1, "pids": 100}
    own = pod_spec(shell("true"), annotations={"pyrun.dev/pids-limit": "7"})
    assert pod_need(own, 100) == {"pods": 1, "pids": 7}


def test_a_refusal_reads_like_the_kubelets() -> None:
    (shortage,) = find_shortages({"pods": 1, "cpu": 1000}, {"pods": 3, "cpu": 1500}, {"pods": 110, "cpu": 2000})
    assert shortage == Shortage("cpu", 1000, 1500, 2000)
    assert shortage.reason == "OutOfcpu"
    assert shortage.message == "Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000"


def test_what_the_machine_does_not_have_is_short() -> None:
    (shortage,) = find_shortages({"hugepages-2Mi": 1}, {}, {})
    assert (shortage.reason, shortage.capacity) == ("OutOfhugepages-2Mi", 0)


AMOUNTS = st.dictionaries(st.sampled_from(["pods", "cpu", "memory", "pids"]), st.integers(0, 100))


@given(AMOUNTS, AMOUNTS, AMOUNTS)
def test_nothing_is_short_exactly_if_all_fits(need: dict[str, int], used: dict[str, int], has: dict[str, int]) -> None:
    fits = all(amount + used.get(name, 0) <= has.get(name, 0) for name, amount in need.items())
    assert (not find_shortages(need, used, has)) == fits


def test_allocatable_is_never_below_nothing() -> None:
    assert allocatable({"cpu": 2000, "pods": 5}, {"cpu": 3000, "memory": 1}) == {"cpu": 0, "pods": 5}


def test_capacity_is_that_of_the_machine(tmp_path: Path) -> None:
    found = read_capacity(resource_names(), str(tmp_path / "not" / "there"))
    assert found["cpu"] == os.sysconf("SC_NPROCESSORS_ONLN") * 1000
    meminfo = Path("/proc/meminfo").read_text().split()
    assert found["memory"] == int(meminfo[1]) * 1024
    assert found["pods"] == DEFAULT_PODS
    assert 0 < found["pids"] <= 2**22
    disk = os.statvfs(tmp_path)
    assert found["ephemeral-storage"] == disk.f_blocks * disk.f_frsize
    assert read_capacity(["hugepages-3Mi", "cpu"], "/")["hugepages-3Mi"] == 0


@pytest.mark.parametrize(
    ("size", "name"), [(2 * MIB, "hugepages-2Mi"), (1 << 30, "hugepages-1Gi"), (1 << 16, "hugepages-64Ki")]
)
def test_names_of_page_sizes(size: int, name: str) -> None:
    assert page_resource(size) == name


def test_amounts() -> None:
    assert parse_amount("cpu", "1.5") == 1500
    assert parse_amount("memory", "1Gi") == 1 << 30
    with pytest.raises(ValueError, match="not a quantity"):
        parse_amount("pods", "many")
