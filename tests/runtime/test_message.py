"""Termination messages, as ``pyrun run --output json`` tells them."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from fixtures.command import Store
from fixtures.pods import created, host_path, mount, pod_spec, shell
from pyrun.pod.message import open_message
from pyrun.value import replace

pytestmark = pytest.mark.root


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def ended(store: Store, script: str, **fields: Any) -> dict[str, Any]:
    """How the container's last run ended."""
    spec = fields.pop("spec", {})
    done = store.run("--output", "json", store.manifest(shell(script, **fields), **spec))
    state: dict[str, Any] = json.loads(done.out)["status"]["containerStatuses"][0]["state"]["terminated"]
    return state


def test_at_the_default_path_for_every_user(store: Store) -> None:
    found = ended(store, "printf bye > /dev/termination-log; exit 3", securityContext={"runAsUser": 1234})
    assert (found["message"], found["exitCode"]) == ("bye", 3)


@pytest.mark.parametrize("host_users", [True, False])
def test_at_a_path_of_its_own(store: Store, host_users: bool) -> None:
    path = "/tmp/deep/message"
    script = f"printf hello > {path}"
    spec = {"hostUsers": host_users}
    found = ended(store, script, terminationMessagePath=path, securityContext={"runAsUser": 7}, spec=spec)
    assert found["message"] == "hello"


def test_no_more_than_4096_bytes(store: Store) -> None:
    script = "head -c 5000 /dev/zero | tr '\\0' x > /dev/termination-log"
    assert ended(store, script)["message"] == "x" * 4096


def test_nothing_is_no_message(store: Store) -> None:
    assert "message" not in ended(store, "echo output; exit 1")


def test_the_end_of_the_output_stands_in_on_an_error(store: Store) -> None:
    how = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    lines = [f"line {number}" for number in range(200)]
    found = ended(store, "i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); done; exit 1", **how)
    assert found["message"].splitlines() == lines[-80:]
    assert "message" not in ended(store, "echo fine", **how)
    assert ended(store, "echo log; printf mine > /dev/termination-log; exit 1", **how)["message"] == "mine"


def test_a_second_run_has_a_message_of_its_own(store: Store) -> None:
    script = "if [ -e /v/twice ]; then exit 0; fi; touch /v/twice; printf first > /m; exit 1"
    spec = {"restartPolicy": "OnFailure", "volumes": [{"name": "v", "emptyDir": {}}]}
    body = shell(script, volumeMounts=[mount("v", "/v")], terminationMessagePath="/m")
    done = store.run("--output", "json", store.manifest(body, **spec))
    found = json.loads(done.out)["status"]["containerStatuses"][0]
    assert "message" not in found["state"]["terminated"]
    assert found["lastState"]["terminated"]["message"] == "first"


def test_a_link_there_leads_nowhere_else(store: Store) -> None:
    """What the container makes of the file's place after its start does not matter: the file is held."""
    script = "rm /dev/termination-log; ln -s /etc/passwd /dev/termination-log"
    assert "message" not in ended(store, script)


def test_a_link_that_another_run_has_left_is_not_followed(store: Store) -> None:
    """Root empties the file: in a /dev that is a volume a link could name one that the container may only read."""
    data, dev = store.top / "data", store.top / "dev"
    data.mkdir()
    dev.mkdir()
    os.mknod(dev / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.chmod(dev, 0o777)
    (data / "kept").write_text("precious")
    script = "if [ -L /dev/termination-log ]; then exit 0; fi; ln -s /data/kept /dev/termination-log; exit 1"
    mounts = [mount("dev", "/dev"), mount("data", "/data")]
    body = shell(script, volumeMounts=mounts, securityContext={"runAsUser": 1000})
    volumes = [host_path("dev", dev), host_path("data", data)]
    done = store.run(store.manifest(body, restartPolicy="OnFailure", volumes=volumes))
    assert done.status == 0, done.err
    assert (data / "kept").read_text() == "precious"


def test_only_the_file_that_was_made_is_emptied(store: Store) -> None:
    """The path may lead elsewhere by now: a neighbour can turn a directory in a shared volume into a link."""
    kept = store.top / "kept"
    kept.write_text("precious")
    volume = {"volumes": [host_path("top", store.top)], "hostUsers": True}
    body = shell("exit 1", terminationMessagePath="/m", volumeMounts=[mount("top", "/top")])
    with created(pod_spec(body, **volume), store.top) as it:
        container, sandbox = it.pod.spec.containers[0], it.pod.sandbox.root
        elsewhere = replace(container, termination_message_path="/top/kept")
        assert open_message(elsewhere, it["main"].process, sandbox) is None
        assert kept.read_text() == "precious"
        file = open_message(container, it["main"].process, sandbox)
        assert file is not None
        file.close()
