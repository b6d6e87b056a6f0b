"""Statistics in runc's types, from the files of a cgroup."""

from __future__ import annotations

import json

import pytest

from pyrun_runtime.oci.stats import event, parse_ranges, read_stats

PRESSURE = "some avg10=1.50 avg60=0.25 avg300=0.00 total=42\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"
FILES = {
    "cpu.stat": "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 5\nnr_throttled 2\nthrottled_usec 3\n",
    "cpu.pressure": PRESSURE,
    "cpuset.cpus.effective": "0-1,4\n",
    "cpuset.mems.effective": "0\n",
    "memory.stat": "anon 1000\nfile 2000\nkernel 300\nsock 40\n",
    "memory.current": "4000\n",
    "memory.peak": "5000\n",
    "memory.max": "8000\n",
    "memory.swap.current": "100\n",
    "memory.swap.max": "200\n",
    "memory.events": "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\n",
    "pids.current": "7\n",
    "pids.max": "10\n",
    "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n259:0 \n",
    "hugetlb.2MB.current": "0\n",
    "hugetlb.2MB.rsvd.current": "4096\n",
    "hugetlb.2MB.events": "max 9\n",
}


def stats(**changes: str | None) -> dict[str, dict[str, object]]:
    files: dict[str, str | None] = {**FILES, **{name.replace("_", "."): text for name, text in changes.items()}}
    data = read_stats(files.get, ["2MB", "1GB"])
    return json.loads(json.dumps(data))  # type: ignore[no-any-return]


def test_processor_time_is_in_nanoseconds() -> None:
    cpu = stats()["cpu"]
    assert cpu["usage"] == {"total": 30_000, "kernel": 10_000, "user": 20_000}
    assert cpu["throttling"] == {"periods": 5, "throttledPeriods": 2, "throttledTime": 3000}
    assert cpu["psi"] == {
        "some": {"avg10": 1.5, "avg60": 0.25, "avg300": 0.0, "total": 42},
        "full": {"avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "total": 7},
    }


def test_swap_is_memory_and_swap() -> None:
    memory = stats()["memory"]
    assert memory["usage"] == {"limit": 8000, "usage": 4000, "max": 5000, "failcnt": 3}
    assert memory["swap"] == {"limit": 8200, "usage": 4100, "failcnt": 0}
    assert memory["cache"] == 2000
    assert memory["raw"] == {"anon": 1000, "file": 2000, "kernel": 300, "sock": 40}
    assert memory["kernel"] == {"limit": 0, "usage": 300, "failcnt": 0}
    assert memory["event_count"] == {"low": 1, "high": 2, "max": 3, "oom": 4, "oom_kill": 5}


@pytest.mark.parametrize("name", ["memory_max", "memory_swap_max"])
def test_without_one_limit_both_together_have_none(name: str) -> None:
    memory = stats(**{name: "max\n"})["memory"]
    assert memory["swap"]["limit"] == 2**64 - 1  # type: ignore[index]


def test_processes_and_their_limit() -> None:
    assert stats()["pids"] == {"current": 7, "limit": 10}
    assert stats(pids_max="max\n")["pids"] == {"current": 7, "limit": 0}


def test_input_and_output_by_device() -> None:
    blkio = stats()["blkio"]
    place = {"major": 8, "minor": 0}
    assert blkio["ioServiceBytesRecursive"] == [
        {**place, "op": "Read", "value": 1},
        {**place, "op": "Write", "value": 2},
        {**place, "op": "Discard", "value": 5},
    ]
    assert [row["value"] for row in blkio["ioServicedRecursive"]] == [3, 4, 6]  # type: ignore[attr-defined]


def test_huge_pages_that_are_reserved_count() -> None:
    assert stats()["hugetlb"] == {"2MB": {"usage": 4096, "failcnt": 9}}


def test_sets() -> None:
    cpuset = stats()["cpuset"]
    assert cpuset["cpus"] == [0, 1, 4]
    assert cpuset["mems"] == [0]
    assert parse_ranges("") == []


def test_a_group_without_controllers_has_them_all_empty() -> None:
    data = json.loads(json.dumps(read_stats({"cpu.stat": FILES["cpu.stat"]}.get, ["2MB"])))
    assert data["memory"]["usage"] == {"limit": 2**64 - 1, "usage": 0, "failcnt": 0}
    assert data["pids"] == {"current": 0, "limit": 0}
    assert data["blkio"] == {}
    assert data["hugetlb"] == {}
    assert data["intel_rdt"] == {}
    assert data["network_interfaces"] is None


def test_an_event_without_data_has_none() -> None:
    assert event("oom", "web") == {"type": "oom", "id": "web"}
    assert event("stats", "web", {})["data"] == {}
