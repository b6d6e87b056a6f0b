"""What a launcher keeps of its pod for other commands: the manifest as it was read, and the status when it is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fixtures.command import Store
from fixtures.pods import FOREVER, document, shell
from pyrun_runtime.cli.manifest import InputError, keep_sources, load_kept, load_manifest, read_source
from pyrun_runtime.control import ask
from pyrun_runtime.store import Store as Directories

YAML = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: beside}
data: {a: "1"}
---
apiVersion: v1
kind: Pod
metadata: {name: test}
spec:
  containers:
  - {name: main, image: "host:", command: ["sleep", "1000"]}
"""
OBJECT = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "beside"}, "stringData": {"key": "hidden"}}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.mark.parametrize("manifest", [document(shell("true")), YAML, "\ufeff{apiVersion: v1}"])
def test_the_same_pod_comes_from_what_is_kept(store: Store, manifest: object) -> None:
    path = str(store.write(manifest if isinstance(manifest, dict) else str(manifest)))
    if str(manifest).startswith("\ufeff"):
        path = str(store.write("\ufeff" + json.dumps(document(shell("true")))))
    # More than nine: their order is that of numbers.
    objects = [
        str(store.write({**OBJECT, "metadata": {"name": f"object-{number}"}}, f"object-{number}"))
        for number in range(12)
    ]
    with Directories(str(store.run_root), str(store.state_root)).claim("0a") as claim:
        keep_sources(claim, [read_source(each) for each in (path, *objects)])
        assert load_kept(claim.directory) == load_manifest(path, objects)
        files = list(Path(claim.directory).iterdir())
        assert {file.name for file in files} == {"lock", "manifest", *[f"objects-{number}" for number in range(1, 13)]}
        assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
        directory = claim.directory
    with pytest.raises(InputError, match="No such file"):
        load_kept(directory)


@pytest.mark.root
def test_a_pod_that_runs_tells_its_status_and_has_its_manifest(store: Store) -> None:
    spec = store.write(YAML.replace('["sleep", "1000"]', f'["/bin/sh", "-c", "echo ready; {FOREVER}"]'))
    secret = store.write(OBJECT, "secret.json")
    with store.running("--configmap", secret, spec) as it:
        it.wait_for("ready")
        (uid,) = store.uids()
        directory = f"{store.run_root}/pods/{uid}"
        assert load_kept(directory) == load_manifest(str(spec), [str(secret)])
        answer = ask(directory, {"verb": "status"})
        assert answer["metadata"] == {"name": "test", "namespace": "default", "uid": uid}
        assert answer["status"]["phase"] == "Running"
        (main,) = answer["status"]["containerStatuses"]
        assert (main["name"], main["ready"], main["restartCount"]) == ("main", True, 0)
        assert Path(f"/proc/{main['pid']}/cmdline").read_bytes().startswith(b"sleep\0")
        it.signal(3)
        it.finish()
    assert not store.entries()
