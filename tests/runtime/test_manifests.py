"""``pyrun manifests``: pods follow the files of a directory."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fixtures.command import PYRUN, Store, emptied_store
from fixtures.machine import patience
from fixtures.oci_command import wait_until
from fixtures.pods import FOREVER, Document, document, shell

pytestmark = pytest.mark.root


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    (tmp_path / "manifests").mkdir()
    yield from emptied_store(tmp_path)


def manifest(name: str, script: str = FOREVER, **fields: Any) -> Document:
    made = document(shell(script), **{"terminationGracePeriodSeconds": 1, **fields})
    made["metadata"]["name"] = name
    return made


def put(store: Store, name: str, content: Document | str) -> Path:
    """Whole at once, as an editor does it."""
    path = store.top / "manifests" / name
    path.with_name(f".{name}.new").write_text(content if isinstance(content, str) else json.dumps(content))
    path.with_name(f".{name}.new").rename(path)
    return path


def pods(store: Store) -> dict[str, str]:
    """Name to uid of those that run."""
    listed = json.loads(store.command("ps", "-o", "json").out)["items"]
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in listed if pod["status"]["phase"] == "Running"}


def once(store: Store) -> tuple[int, str]:
    done = store.command("manifests", "--once", f"--dir={store.top}/manifests")
    return done.status, done.err


@contextmanager
def following(store: Store, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [*PYRUN, "manifests", f"--dir={store.top}/manifests"]
    with (store.top / "told").open("ab") as told:
        process = subprocess.Popen(command, env={**store.environment, **environment}, stdout=told, stderr=told)
    with process:
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            assert process.wait(patience(20)) == 0
        finally:
            process.kill()


def test_once(store: Store) -> None:
    one = put(store, "one.json", manifest("one"))
    put(store, "two.yaml", json.dumps(manifest("two")))
    put(store, "notes.txt", "no manifest")
    assert once(store) == (0, "")
    before = pods(store)
    assert set(before) == {"one", "two"}
    assert once(store) == (0, "")
    assert pods(store) == before
    put(store, "one.json", manifest("one", f"echo changed; {FOREVER}"))
    assert once(store)[0] == 0
    after = pods(store)
    assert after["two"] == before["two"]
    assert after["one"] != before["one"]
    assert before["one"] not in store.uids()
    one.unlink()
    assert once(store)[0] == 0
    assert set(pods(store)) == {"two"}


def test_a_manifest_that_is_wrong_leaves_the_pod_of_the_one_before(store: Store) -> None:
    put(store, "one.json", manifest("one"))
    assert once(store)[0] == 0
    before = pods(store)
    for wrong in ("{", '{"kind": "Pod"}', "", json.dumps(manifest("one", spam=1))):
        put(store, "one.json", wrong)
        status, told = once(store)
        assert status == 2
        assert "one.json" in told
        assert pods(store) == before


def test_two_files_with_one_name(store: Store) -> None:
    put(store, "a.json", manifest("same"))
    put(store, "b.json", manifest("same"))
    status, told = once(store)
    assert status == 1
    assert "there is a pod default/same already" in told
    assert len(pods(store)) == 1


def test_one_that_has_ended_stays_so_until_its_file_changes(store: Store) -> None:
    put(store, "one.json", manifest("one", "exit 3", restartPolicy="Never"))
    assert once(store)[0] == 0
    (uid,) = store.uids()
    store.command("wait", uid)
    assert once(store)[0] == 0
    assert store.uids() == {uid}


def test_following_what_changes(store: Store) -> None:
    put(store, "one.json", manifest("one"))
    with following(store):
        wait_until(lambda: set(pods(store)) == {"one"})
        put(store, "two.json", manifest("two"))
        wait_until(lambda: set(pods(store)) == {"one", "two"})
        before = pods(store)
        put(store, "one.json", manifest("one", f"echo changed; {FOREVER}"))
        wait_until(lambda: pods(store).get("one", before["one"]) != before["one"])
        (store.top / "manifests" / "two.json").unlink()
        wait_until(lambda: set(pods(store)) == {"one"})
        put(store, "one.json", "{")
        wait_until(lambda: "one.json" in (store.top / "told").read_text())
        assert set(pods(store)) == {"one"}


def test_pods_outlive_it_and_are_found_again(store: Store) -> None:
    put(store, "one.json", manifest("one"))
    with following(store):
        wait_until(lambda: set(pods(store)) == {"one"})
        before = pods(store)
    assert pods(store) == before
    with following(store):
        put(store, "two.json", manifest("two"))
        wait_until(lambda: set(pods(store)) == {"one", "two"})
        assert pods(store)["one"] == before["one"]


def test_it_can_be_killed(store: Store) -> None:
    put(store, "one.json", manifest("one"))
    with following(store) as process:
        wait_until(lambda: set(pods(store)) == {"one"})
        before = pods(store)
        process.kill()
        process.wait()
        (store.top / "manifests" / "one.json").unlink()
        assert once(store)[0] == 0
        assert before["one"] not in store.uids()
        process.returncode = 0


def test_a_directory_that_comes_later(store: Store) -> None:
    (store.top / "manifests").rmdir()
    with following(store):
        wait_until(lambda: bool(list(store.top.glob("told"))))
        (store.top / "manifests").mkdir()
        put(store, "one.json", manifest("one"))
        wait_until(lambda: set(pods(store)) == {"one"})


def test_systemd_is_told(store: Store) -> None:
    path = str(store.top / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(path)
        channel.settimeout(patience(20))
        with following(store, NOTIFY_SOCKET=path):
            assert channel.recv(100) == b"READY=1"
        assert channel.recv(100) == b"STOPPING=1"


# ---- units ----


def test_units_are_right(store: Store) -> None:
    assert store.command("units", "--install", store.top / "units").status == 0
    names = sorted(os.listdir(store.top / "units"))
    assert names == ["pyrun.service", "pyrun@.service"]
    (store.top / "units/pyrun@.service").rename(store.top / "units/pyrun@srv-web.yaml.service")
    for name in ("pyrun.service", "pyrun@srv-web.yaml.service"):
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", store.top / "units" / name],
            capture_output=True,
            text=True,
            check=False,
        )
        told = [line for line in done.stderr.splitlines() if str(store.top) in line or name in line]
        assert (done.returncode, told) == (0, [])
    shown = store.command("units").out
    assert "# pyrun.service\n[Unit]" in shown
    assert "Delegate=yes" in shown


def test_a_wrong_command_line(store: Store) -> None:
    assert store.command("manifests", "x").status == 2
    assert store.command("units", "x").status == 2
