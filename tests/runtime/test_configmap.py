"""ConfigMaps, Secrets and claims with ``pyrun run``: beside the pod, in files that change, in directories that stay."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from fixtures.command import Store
from fixtures.pods import document, mount, shell
from pyrun import SpecError
from pyrun_runtime.cli.watch import ObjectFiles

pytestmark = pytest.mark.root


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def config(**data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf"}, "data": data}


def test_beside_the_pod_in_one_file(store: Store) -> None:
    body = shell("echo $A", env=[{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "a"}}}])
    text = "\n---\n".join([json.dumps(config(a="one")), json.dumps(document(body))])
    path = store.top / "both.yaml"
    path.write_text(text)
    assert store.run(str(path)).out == "main | one\n"


def test_a_file_that_changes(store: Store) -> None:
    script = 'cat /v/a; echo; until [ "$(cat /v/a)" = two ]; do sleep 0.05; done; echo changed'
    volumes = [{"name": "v", "configMap": {"name": "conf"}}]
    beside = store.top / "conf.json"
    beside.write_text(json.dumps(config(a="one")))
    spec = store.manifest(shell(script, volumeMounts=[mount("v", "/v")]), volumes=volumes)
    with store.running("--configmap", str(beside), spec) as command:
        command.wait_for("one")
        beside.write_text("{")  # somebody is writing it
        command.wait_for("stay as they were")
        beside.write_text(json.dumps(config(a="two")))
        done = command.finish()
    assert (done.status, done.out) == (0, "main | one\nmain | changed\n")
    assert "the ConfigMaps and Secrets have changed" in done.err


def test_a_claim_outlives_its_pod(store: Store) -> None:
    volumes = [{"name": "c", "persistentVolumeClaim": {"claimName": "data"}}]
    write = store.manifest(shell("echo kept > /c/f", volumeMounts=[mount("c", "/c")]), volumes=volumes)
    assert store.run(write).status == 0
    read_only = [{"name": "c", "persistentVolumeClaim": {"claimName": "data", "readOnly": True}}]
    script = "cat /c/f; touch /c/g 2>/dev/null || echo read-only"
    read = store.manifest(shell(script, volumeMounts=[mount("c", "/c")]), volumes=read_only)
    assert store.run(read).out == "main | kept\nmain | read-only\n"


def test_variables_from_a_file_of_an_init_container(store: Store) -> None:
    init = shell("echo \"WHO='wide world'\" > /e/env", "init", volumeMounts=[mount("e", "/e")])
    ref = {"volumeName": "e", "path": "env", "key": "WHO"}
    body = shell("echo hello $WHO", env=[{"name": "WHO", "valueFrom": {"fileKeyRef": ref}}])
    done = store.run(store.manifest(body, initContainers=[init], volumes=[{"name": "e", "emptyDir": {}}]))
    assert done.out == "main | hello wide world\n"


@pytest.mark.parametrize(
    ("write", "wanted"),
    [
        ("ln -s /etc/passwd /e/env", "Too many levels of symbolic links"),
        ("mkfifo /e/env", "not a regular file"),
        ("echo B=1 > /e/env", "there is no 'WHO'"),
        ("head -c 100000 /dev/zero > /e/env", "more than 65536 bytes"),
    ],
)
def test_files_of_variables_that_are_none(store: Store, write: str, wanted: str) -> None:
    init = shell(write, "init", volumeMounts=[mount("e", "/e")])
    ref = {"volumeName": "e", "path": "env", "key": "WHO"}
    body = shell("true", env=[{"name": "WHO", "valueFrom": {"fileKeyRef": ref}}])
    done = store.run(store.manifest(body, initContainers=[init], volumes=[{"name": "e", "emptyDir": {}}]))
    assert done.status in (1, 2)
    assert wanted in done.err
    assert "Traceback" not in done.err
    assert not store.entries()


def test_a_pipe_is_read_once(store: Store) -> None:
    """A second look would find it empty, or wait for another writer and hear no signal meanwhile."""
    volumes = [{"name": "v", "configMap": {"name": "conf"}}]
    spec = store.manifest(shell("cat /v/a; echo", volumeMounts=[mount("v", "/v")]), volumes=volumes)
    done = store.run("--configmap", "-", spec, stdin=json.dumps(config(a="one")).encode())
    assert (done.status, done.out) == (0, "main | one\n")
    pipe = store.top / "pipe"
    os.mkfifo(pipe)
    with store.running("--configmap", str(pipe), spec) as command:
        pipe.write_text(json.dumps(config(a="two")))
        assert command.finish().out == "main | two\n"


def test_a_change_while_the_pod_comes_up_is_seen(tmp_path: Path) -> None:
    """Also beside a file that somebody is just writing."""
    path, other = tmp_path / "conf.json", tmp_path / "other.json"
    path.write_text(json.dumps(config(a="one")))
    other.write_text(json.dumps({**config(b="1"), "metadata": {"name": "other"}}))
    files = ObjectFiles([str(other), str(path)])
    other.write_text("{")
    path.write_text(json.dumps(config(a="three")))
    with pytest.raises(SpecError):
        files.look()
    files.look()
    assert [each.data for each in files.objects()] == [(("b", b"1"),), (("a", b"three"),)]
