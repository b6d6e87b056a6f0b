"""Ephemeral storage of a pod that runs: volumes on disk and what containers write into their own layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fixtures.machine import patience
from fixtures.pods import FOREVER, Running, created, mount, pod_spec, python, running, shell
from pyrun.pod import storage
from pyrun.pod.driver import Driver
from pyrun.pod.lifecycle.event import StopAsked
from pyrun.pod.plan import pod_paths
from pyrun.pod.storage import INTERVAL_S, StorageWatch

pytestmark = pytest.mark.root


def data(size: str) -> dict[str, Any]:
    return {"volumes": [{"name": "data", "emptyDir": {"sizeLimit": size}}]}


@contextmanager
def watching(it: Running) -> Iterator[StorageWatch]:
    watch = StorageWatch(it.pod.spec, pod_paths(str(it.directory)), 0.0)
    for name, container in it.pod.containers.items():
        watch.keep_root(name, container.process)
    try:
        yield watch
    finally:
        watch.close()


def look(watch: StorageWatch) -> StopAsked | None:
    """A whole look."""
    now_s = watch.due_s
    while True:
        stop = watch.look(now_s)
        if stop is not None or watch.due_s > now_s:
            return stop


def test_a_volume_that_grows_over_its_limit(tmp_path: Path) -> None:
    script = f"head -c 300K /dev/zero >/data/a; echo small; until [ -e /dev/shm/go ]; do sleep 0.01; done; \
        head -c 3M /dev/zero >/data/b; echo big; {FOREVER}"
    spec = pod_spec(shell(script, volumeMounts=[mount("data", "/data")]), **data("1Mi"))
    with running(spec, tmp_path) as it, watching(it) as watch:
        it.wait_for("small")
        assert watch.due_s == INTERVAL_S
        assert watch.look(INTERVAL_S - 1) is None
        assert look(watch) is None
        (it.proc() / "root/dev/shm/go").write_text("")
        it.wait_for("big")
        stop = look(watch)
        assert stop is not None
        assert (stop.reason, stop.grace_s) == ("Evicted", 1)
        assert stop.message == 'Usage of EmptyDir volume "data" exceeds the limit "1Mi".'


def test_a_container_that_writes_over_its_limit_into_its_own_layer(tmp_path: Path) -> None:
    limited = {"resources": {"limits": {"ephemeral-storage": "1Mi"}}}
    one = shell(f"head -c 2M /dev/zero >/big; echo big; {FOREVER}", "one", **limited)
    two = shell(FOREVER, "two", resources={"limits": {"ephemeral-storage": "8Mi"}})
    with running(pod_spec(one, two), tmp_path) as it, watching(it) as watch:
        it.wait_for("big", "one")
        stop = look(watch)
        assert stop is not None
        assert stop.message == 'Container one exceeded its local ephemeral storage limit "1Mi".'


def test_a_program_cannot_hide_in_another_root(tmp_path: Path) -> None:
    limited = {"resources": {"limits": {"ephemeral-storage": "1Mi"}}}
    script = """
import os, time
print("ready", flush=True)
while not os.path.exists("/dev/shm/go"):
    time.sleep(0.01)
with open("/big", "wb") as file:
    file.write(bytes(2 << 20))
os.mkdir("/dev/x")
os.chroot("/dev/x")
print("away", flush=True)
time.sleep(1000)
"""
    with running(pod_spec(python(script, **limited)), tmp_path) as it, watching(it) as watch:
        it.wait_for("ready")
        (it.proc() / "root/dev/shm/go").write_text("")
        it.wait_for("away")
        assert look(watch) is not None


def test_a_pod_that_writes_too_much_is_evicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "INTERVAL_S", 0.2)
    limited = {"resources": {"limits": {"ephemeral-storage": "1Mi"}}}
    spec = pod_spec(shell(f"head -c 2M /dev/zero >/big; {FOREVER}", **limited), restartPolicy="Always")
    told: list[tuple[str, str]] = []
    with created(spec, tmp_path) as it:
        driver = Driver(it.pod, lambda action, _at_s: told.append((action.reason, action.message)))
        driver.begin()
        assert driver.run(patience(30))
        status = driver.life.status()
        message = "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi."
        assert (status.phase, status.reason, status.message) == ("Failed", "Evicted", message)
    assert ("Evicted", message) in told


def test_a_pod_within_its_limits_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "INTERVAL_S", 0.01)
    limited = {"resources": {"limits": {"ephemeral-storage": "4Mi"}}}
    script = "head -c 1M /dev/zero >/data/file; head -c 1M /dev/zero >/file; sleep 0.3"
    spec = pod_spec(shell(script, volumeMounts=[mount("data", "/data")], **limited), **data("2Mi"))
    with created(spec, tmp_path) as it:
        driver = Driver(it.pod)
        driver.begin()
        assert driver.run(patience(30))
        assert driver.life.status().phase == "Succeeded"
