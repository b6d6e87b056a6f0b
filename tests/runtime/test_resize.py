"""Resizing: the node is asked first, and what it holds is what the pod has in the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fixtures.machine import patience
from fixtures.pods import FOREVER, created, pod_spec, shell
from pyrun import Driver, SpecError
from pyrun_runtime.admission import Admission
from pyrun_runtime.config import NodeConfig
from pyrun_runtime.resize import NoRoom, parse_amounts, resize_pod

MIB = 1 << 20


@contextmanager
def driven(top: Path, memory: str) -> Iterator[tuple[Driver, Admission]]:
    """A pod that runs, and a node with 100 MiB. Requests of memory are no limits, so this works everywhere."""
    spec = pod_spec(shell(FOREVER, resources={"requests": {"memory": memory}}), restartPolicy="Always")
    admission = Admission(str(top / "run"), str(top), NodeConfig((("memory", 100 * MIB), ("pods", 9)), ()))
    with created(spec, top) as it:
        driver = Driver(it.pod)
        assert (
            admission.admit(it.pod.uid, {"pods": 1, "memory": spec.containers[0].resources.memory_request_bytes or 0})
            == []
        )
        driver.begin()
        yield driver, admission
        driver.stop(0)
        assert driver.run(patience(20))


def held(driver: Driver, admission: Admission) -> int:
    return admission.reserved()[driver.pod.uid]["memory"] // MIB


@pytest.mark.root
def test_the_node_holds_what_the_pod_has(tmp_path: Path) -> None:
    with driven(tmp_path, "10Mi") as (driver, admission):
        for wanted in (90, 20):
            resize_pod(driver, admission, None, "main", {"memory": f"{wanted}Mi"}, {})
            assert held(driver, admission) == wanted
            assert driver.pod.spec.containers[0].resources.memory_request_bytes == wanted * MIB


@pytest.mark.root
def test_without_room_nothing_changes(tmp_path: Path) -> None:
    with driven(tmp_path, "10Mi") as (driver, admission):
        assert admission.admit("other", {"pods": 1, "memory": 50 * MIB}) == []
        with pytest.raises(
            NoRoom, match=r"pod test: Node didn't have enough resource: memory, requested: 62914560, used: 52428800"
        ):
            resize_pod(driver, admission, None, "main", {"memory": "60Mi"}, {})
        assert held(driver, admission) == 10
        assert driver.pod.spec.containers[0].resources.memory_request_bytes == 10 * MIB


@pytest.mark.root
def test_what_cannot_be_leaves_the_record(tmp_path: Path) -> None:
    with driven(tmp_path, "10Mi") as (driver, admission):
        with pytest.raises(SpecError):
            resize_pod(driver, admission, None, "main", {"memory": "lots"}, {})
        assert held(driver, admission) == 10


def test_amounts_of_the_command_line() -> None:
    assert parse_amounts("limits", "cpu=500m, memory=1Gi") == {"cpu": "500m", "memory": "1Gi"}
    for text in ("cpu", "cpu=", "=1", "cpu=1,cpu=2", ""):
        with pytest.raises(ValueError, match="--limits"):
            parse_amounts("limits", text)
