"""Admission: a pod has all that it needs or is refused, whoever else asks at the same time; and ``pyrun node``."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from fixtures.command import PYRUN, Store, pyrun
from fixtures.machine import patience
from fixtures.pods import FOREVER, document, host_path, mount, shell
from pyrun import SpecError
from pyrun_runtime.admission import Admission, parse_record, record_name, release
from pyrun_runtime.cli.node import read_node
from pyrun_runtime.config import NodeConfig, load_config, parse_config

NEED = {"pods": 1, "cpu": 500}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def admission(top: Path, **capacity: int) -> Admission:
    return Admission(str(top / "run"), str(top), NodeConfig(tuple({"pods": 100, **capacity}.items()), ()))


# ---- the record ------------------------------------------------------------------------------------------------------


def test_a_record_is_a_name() -> None:
    name = record_name("0a-1b", {"pods": 1, "hugepages-2Mi": 4 << 20})
    assert name == "0a-1b@pods=1,hugepages-2Mi=4194304"
    assert parse_record(name) == parse_record(f"{name},qos=Burstable") == {"pods": 1, "hugepages-2Mi": 4 << 20}
    assert parse_record("other") == {}
    assert parse_record("x@cpu=-1,memory=1k,pods=1") == {"pods": 1}


def test_all_or_nothing(tmp_path: Path) -> None:
    node = admission(tmp_path, cpu=1000, memory=10)
    assert node.admit("a", {**NEED, "memory": 5}) == []
    (shortage,) = node.admit("b", {**NEED, "memory": 6})
    assert (shortage.resource, shortage.requested, shortage.used, shortage.capacity) == ("memory", 6, 5, 10)
    assert node.reserved() == {"a": {**NEED, "memory": 5}}
    assert node.admit("b", NEED) == []
    assert [each.reason for each in node.admit("c", NEED)] == ["OutOfcpu"]
    release(str(tmp_path / "run"), "a")
    release(str(tmp_path / "run"), "a")
    assert node.admit("c", NEED) == []


def test_a_pod_may_change_what_it_has(tmp_path: Path) -> None:
    node = admission(tmp_path, cpu=1000)
    assert node.admit("a", {"pods": 1, "cpu": 900}) == []
    assert node.admit("a", {"pods": 1, "cpu": 1000}) == []
    assert [each.used for each in node.admit("a", {"pods": 1, "cpu": 1001})] == [0]
    assert node.reserved() == {"a": {"pods": 1, "cpu": 1000}}


def test_burstable_pods_are_summed_by_themselves(tmp_path: Path) -> None:
    node = admission(tmp_path, cpu=10_000)
    for uid, kind in (("a", "Burstable"), ("b", "Guaranteed"), ("c", "Burstable"), ("d", "BestEffort")):
        assert node.admit(uid, NEED, kind) == []
    assert node.burstable_cpu_milli() == 1000


def test_reserves_are_not_for_pods(tmp_path: Path) -> None:
    config = NodeConfig((("cpu", 1000), ("pods", 10)), (("cpu", 600),))
    node = Admission(str(tmp_path / "run"), str(tmp_path), config)
    assert node.allocatable(("cpu", "pods")) == {"cpu": 400, "pods": 10}
    assert [each.capacity for each in node.admit("a", NEED)] == [400]


# ---- the file --------------------------------------------------------------------------------------------------------


def test_config() -> None:
    text = b"""
[capacity]
pods = 110
cpu = "2"
[reserved]
memory = "1Gi"
cpu = 0.5
[limits]
pod-pids = 1024
memory-throttling-factor = 0.9
memory-reservation = true
"""
    config = parse_config(text, "x")
    assert config.capacity == (("pods", 110), ("cpu", 2000))
    assert dict(config.reserved) == {"memory": 1 << 30, "cpu": 500}
    assert (config.limits.pids_max, config.limits.memory_throttling_factor) == (1024, 0.9)
    assert config.limits.reserve_memory
    assert dict(parse_config(b"", "x").reserved) == {"memory": 100 << 20}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("[node]", "x.toml: /node: no such table; there is capacity, reserved, limits"),
        ("capacity = 1", "x.toml: /capacity: must be a table"),
        ("[capacity]\ngpu = 1", "x.toml: /capacity/gpu: no such setting; there is cpu"),
        ("[reserved]\ncpu = 'x'", "x.toml: /reserved/cpu: 'x' is not a quantity"),
        ("[reserved]\ncpu = -1", "x.toml: /reserved/cpu: '-1': must not be negative"),
        ("[reserved]\ncpu = true", "x.toml: /reserved/cpu: expected a quantity"),
        ("[limits]\npod-pids = 0", "x.toml: /limits/pod-pids: must be a whole number from 1 to"),
        ("[limits]\nmemory-throttling-factor = 2", "x.toml: /limits/memory-throttling-factor: must be above 0"),
        ("[limits]\nmemory-reservation = 1", "x.toml: /limits/memory-reservation: must be true or false"),
        ("[", "x.toml: not TOML: "),
    ],
)
def test_a_config_that_is_wrong(text: str, wanted: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_config(text.encode(), "x.toml")
    assert str(caught.value).startswith(wanted)


def test_a_config_that_is_named_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_config(str(tmp_path / "none.toml"))


# ---- pyrun run -------------------------------------------------------------------------------------------------------


def asking(cpu: str, script: str = "true", **fields: Any) -> dict[str, Any]:
    return shell(script, resources={"requests": {"memory": cpu}}, **fields)


def forever(store: Store, container: dict[str, Any]) -> Path:
    return store.write(document(container, terminationGracePeriodSeconds=0), "forever.json")


def write_config(top: Path, text: str) -> Path:
    path = top / "config.toml"
    path.write_text(text)
    return path


@pytest.mark.root
def test_a_pod_that_does_not_fit_is_refused_and_nothing_is_left(store: Store, tmp_path: Path) -> None:
    config = write_config(tmp_path, '[capacity]\nmemory = "1Gi"\n[reserved]\nmemory = 0\n')
    done = store.run("--config", config, store.manifest(asking("2Gi", "echo never")))
    assert done.status == 1
    numbers = f"requested: {2 << 30}, used: 0, capacity: {1 << 30}"
    wanted = f"Pod was rejected: Node didn't have enough resource: memory, {numbers}"
    assert done.error == f"pod test: OutOfmemory: {wanted}"
    assert done.out == ""
    shown = store.run("--config", config, "--output", "json", store.manifest(asking("2Gi", "echo never")))
    status = json.loads(shown.out)["status"]
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "OutOfmemory", wanted)
    assert list(store.run_root.glob("admitted/*")) == []


@pytest.mark.root
def test_no_more_pods_than_the_node_takes(store: Store, tmp_path: Path) -> None:
    config = write_config(tmp_path, "[capacity]\npods = 1\n")
    with store.running("--config", config, forever(store, shell(f"echo ready; {FOREVER}"))) as first:
        first.wait_for("ready")
        done = pyrun("run", "--config", config, store.manifest(shell("true")), env=store.environment)
        assert "pod test: OutOfpods: " in done.err
        assert "requested: 1, used: 1, capacity: 1" in done.err
        first.signal(15)
        first.finish()
    assert store.run("--config", config, store.manifest(shell("true"))).status == 0


@pytest.mark.root
def test_what_a_killed_launcher_had_is_free_for_the_next(store: Store, tmp_path: Path) -> None:
    config = write_config(tmp_path, "[capacity]\npods = 1\n")
    with store.running("--config", config, forever(store, shell(f"echo ready; {FOREVER}"))) as first:
        first.wait_for("ready")
        assert len(list(store.run_root.glob("admitted/*"))) == 1
        first.process.kill()
        first.process.wait()
    done = store.run("--config", config, store.manifest(shell("echo second")))
    assert done.status == 0, done.err
    assert list(store.run_root.glob("admitted/*")) == []


@pytest.mark.root
@pytest.mark.slow
def test_of_fifty_at_once_exactly_as_many_as_there_is_room_for(store: Store, tmp_path: Path) -> None:
    """Each needs memory and pods; there is memory for 20. The 20 wait until the other 30 have been refused."""
    config = write_config(tmp_path, '[capacity]\nmemory = "2000Mi"\n[reserved]\nmemory = 0\n')
    sync = tmp_path / "sync"
    sync.mkdir()
    waiting = "until [ -e /sync/go ]; do sleep 0.2; done; echo ran"
    container = asking("100Mi", waiting, volumeMounts=[mount("sync", "/sync")])
    spec = store.write(document(container, volumes=[host_path("sync", sync)]))
    command = [*PYRUN, "run", "--config", str(config), str(spec)]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=store.environment)
        for _ in range(50)
    ]
    try:
        deadline = time.monotonic() + patience(120)
        while sum(process.poll() is not None for process in started) < 30:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        (sync / "go").touch()
        outputs = [process.communicate(timeout=patience(60)) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    admitted = [out for process, (out, _) in zip(started, outputs) if process.returncode == 0]
    refused = [err for process, (_, err) in zip(started, outputs) if process.returncode == 1]
    assert (len(admitted), len(refused)) == (20, 30)
    assert all(out == b"main | ran\n" for out in admitted)
    assert all(b"OutOfmemory" in err and b"used: 2097152000, capacity: 2097152000" in err for err in refused)
    assert not store.entries()
    assert list(store.run_root.glob("admitted/*")) == []


# ---- pyrun node ------------------------------------------------------------------------------------------------------


@pytest.mark.root
def test_node_shows_what_is_there_and_what_is_taken(store: Store, tmp_path: Path) -> None:
    config = write_config(tmp_path, '[capacity]\ncpu = "4"\nmemory = "8Gi"\npods = 9\n[reserved]\nmemory = "1Gi"\n')
    arguments = ("--config", config)
    with store.running(*arguments, forever(store, asking("7Mi", f"echo ready; {FOREVER}"))) as it:
        it.wait_for("ready")
        table = pyrun("node", *arguments, env=store.environment).out.splitlines()
        assert table[0].split() == ["RESOURCE", "CAPACITY", "RESERVED", "ALLOCATABLE", "REQUESTED"]
        rows = {line.split()[0]: line.split()[1:] for line in table[1:] if line}
        assert rows["cpu"] == ["4", "0", "4", "0", "0%"]
        assert rows["memory"] == ["8.0Gi", "1.0Gi", "7.0Gi", "7.0Mi", "0%"]
        assert rows["pods"] == ["9", "0", "9", "1", "11%"]
        assert rows["test"] == ["memory", "7.0Mi"]
        shown = json.loads(pyrun("node", "--output", "json", *arguments, env=store.environment).out)
        assert shown == yaml.safe_load(pyrun("node", "--output", "yaml", *arguments, env=store.environment).out)
        assert (shown["kind"], shown["metadata"]["name"]) == ("Node", os.uname().nodename)
        assert shown["status"]["allocatable"]["memory"] == str(7 << 30)
        assert shown["requested"] == {"pods": "1", "memory": str(7 << 20)}
        (pod,) = shown["pods"]
        assert (pod["name"], pod["requests"]) == ("test", {"pods": "1", "memory": str(7 << 20)})
        it.signal(15)
        it.finish()


def test_who_may_not_see_the_record_sees_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    node = admission(tmp_path, cpu=1000)

    def refuse() -> dict[str, dict[str, int]]:
        raise PermissionError

    monkeypatch.setattr(node, "reserved", refuse)
    found = read_node(node, str(tmp_path))
    assert (found.capacity["cpu"], found.pods) == (1000, {})
    assert "only root sees which pods were admitted" in capfd.readouterr().err


def test_node_without_pods_and_as_anybody(store: Store) -> None:
    done = pyrun("node", env=store.environment)
    assert done.status == 0
    assert {line.split()[0] for line in done.out.splitlines()} >= {"cpu", "memory", "pods", "pids"}
    assert not store.run_root.exists()
    assert pyrun("node", "--output", "xml").error.startswith("--output xml: not one of json, yaml")
