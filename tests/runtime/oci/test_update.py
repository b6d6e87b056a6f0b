"""``pyrun-oci update``: from options and files to limits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.held import Held
from pyrun_runtime.cli.message import UsageError
from pyrun_runtime.oci.options import Options
from pyrun_runtime.oci.update import parse_size, read_resources, resources_of


def given(**values: str) -> Options:
    options = Options()
    for name, value in values.items():
        options.add(name.replace("_", "-"), value)
    return options


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({}, {}),
        ({"memory": "64m"}, {"memory": {"limit": 64 << 20}}),
        ({"memory": "-1"}, {"memory": {"limit": -1, "swap": -1}}),
        ({"memory": "-1", "memory_swap": "1g"}, {"memory": {"limit": -1, "swap": 1 << 30}}),
        ({"memory_reservation": "5"}, {"memory": {"reservation": 5}}),
        ({"cpu_period": "100000", "cpu_quota": "-1"}, {"cpu": {"period": 100_000, "quota": -1}}),
        ({"cpu_share": "512", "cpu_burst": "7", "cpu_idle": "0"}, {"cpu": {"shares": 512, "burst": 7, "idle": 0}}),
        ({"cpuset_cpus": "0-1", "cpuset_mems": "0"}, {"cpu": {"cpus": "0-1", "mems": "0"}}),
        ({"pids_limit": "10", "blkio_weight": "500"}, {"pids": {"limit": 10}, "blockIO": {"weight": 500}}),
        ({"pids_limit": "0", "blkio_weight": "0"}, {}),
        ({"pids_limit": "-1"}, {"pids": {"limit": -1}}),
    ],
)
def test_options_are_resources(values: dict[str, str], found: dict[str, Any]) -> None:
    assert resources_of(given(**values)) == found
    read_resources(given(**values))  # and are taken as such


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1", 1),
        ("1b", 1),
        ("2k", 2048),
        ("2K", 2048),
        ("3mb", 3 << 20),
        ("1GiB", 1 << 30),
        ("1.5g", 3 << 29),
        ("1t", 1 << 40),
    ],
)
def test_sizes_are_powers_of_1024(text: str, size: int) -> None:
    assert parse_size("memory", text) == size


@pytest.mark.parametrize("text", ["", "x", "m", "-2", "1x", "1 m", "1..5g", ".5g", "99999999p", "٣"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="--memory"):
        parse_size("memory", text)


@pytest.mark.parametrize(
    "values", [{"cpu_quota": "many"}, {"pids_limit": "1.5"}, {"cpu_share": ""} | {"cpu_share": "x"}]
)
def test_what_is_no_number(values: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="not a number"):
        resources_of(given(**values))


@pytest.mark.parametrize("name", ["l3_cache_schema", "mem_bw_schema"])
def test_intel_rdt_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="Intel RDT is not supported"):
        read_resources(given(**{name: "L3:0=f"}))


def test_with_a_file_other_options_mean_nothing(tmp_path: Path) -> None:
    path = tmp_path / "resources.json"
    path.write_text(json.dumps({"pids": {"limit": 3}}))
    resources = read_resources(given(resources=str(path), memory="1g"))
    assert resources.pids is not None
    assert resources.pids.limit == 3
    assert resources.memory is None


# ---- on a container --------------------------------------------------------------------------------------------------


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    with Held(tmp_path) as container:
        yield container


@pytest.mark.root
def test_huge_pages_from_standard_input(held: Held) -> None:
    """The one controller that every machine of ours has."""
    limits = {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]}
    held.ok("update", "--resources", "-", held.id, stdin=json.dumps(limits).encode())
    assert held.read_group("hugetlb.2MB.max") == str(4 << 20)


@pytest.mark.root
def test_what_is_wrong_is_one_line(held: Held, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('{"memory": {"limit": "much"}}')
    said = held.fails("update", f"--resources={tmp_path}/bad.json", held.id)
    assert "bad.json: /memory/limit: expected an integer" in said
    assert "standard input" in held.fails("update", "-r", "-", held.id, stdin=b"{")
    assert "No such file" in held.fails("update", "-r", f"{tmp_path}/none", held.id)
    assert "/cpu/realtimeRuntime" in held.fails("update", "--cpu-rt-runtime", "5", held.id)
    assert "does not exist" in held.fails("update", "--memory", "1g", "other")


@pytest.mark.root
def test_a_container_that_has_ended_cannot_be(held: Held) -> None:
    held.ok("kill", held.id, "KILL")
    while held.state()["status"] != "stopped":
        pass
    assert "container not running" in held.fails("update", "--pids-limit", "5", held.id)


@pytest.mark.root
def test_kernel_memory_is_told_to_mean_nothing(held: Held) -> None:
    done = held("update", "--kernel-memory", "5m", held.id)
    assert done.status == 0
    assert "--kernel-memory means nothing with cgroup v2" in done.err


@pytest.mark.cgroup2
def test_every_kind_of_limit(held: Held) -> None:
    words = "--memory 64m --memory-swap 96m --memory-reservation 32m --pids-limit 20 --cpu-quota 50000 --cpu-share 512"
    held.ok("update", *words.split(), "--cpuset-cpus", "0", held.id)
    assert held.read_group("memory.max") == str(64 << 20)
    assert held.read_group("memory.swap.max") in (str(32 << 20), "")
    assert held.read_group("memory.low") == str(32 << 20)
    assert held.read_group("pids.max") == "20"
    assert held.read_group("cpu.max") == "50000 100000"
    assert held.read_group("cpu.weight") == "59"
    assert held.read_group("cpuset.cpus") == "0"
    held.ok("update", "--memory", "-1", "--pids-limit", "-1", "--cpu-period", "200000", held.id)
    assert held.read_group("memory.max") == "max"
    assert held.read_group("pids.max") == "max"
    assert held.read_group("cpu.max") == "50000 200000"
    assert held.read_group("memory.low") == str(32 << 20)
