"""``pyrun ps``: pods that run, that do not answer, and that are no more."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fixtures.command import Done, Running, Store, pyrun
from fixtures.pods import document, shell

pytestmark = pytest.mark.root

READY = "echo ready; exec sleep 1000"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@contextmanager
def pod(store: Store, name: str, *containers: str, namespace: str = "default") -> Iterator[Running]:
    manifest = document(*[shell(READY, each) for each in containers], terminationGracePeriodSeconds=0)
    manifest["metadata"].update({"name": name, "namespace": namespace})
    with store.running(store.write(manifest, f"{name}.json")) as running:
        running.wait_for("ready")
        yield running
        running.signal(signal.SIGTERM)
        running.finish()


def ps(store: Store, *arguments: str) -> Done:
    return pyrun("ps", *arguments, env=store.environment)


def rows(done: Done) -> list[list[str]]:
    assert (done.status, done.err) == (0, "")
    return [re.split(r" {3,}", line) for line in done.out.splitlines()]


def test_no_pods(store: Store) -> None:
    assert rows(ps(store)) == [["NAME", "READY", "STATUS", "RESTARTS", "AGE"]]
    assert ps(store, "--no-headers").out == ""
    assert json.loads(ps(store, "-o", "json").out) == {"apiVersion": "v1", "kind": "List", "items": []}


def test_pods_that_run(store: Store) -> None:
    with pod(store, "web", "a", "b") as web, pod(store, "api", "a", namespace="prod"):
        pyrun("wait", "--for=ready", "web", "api", env=store.environment)
        header, first, second = rows(ps(store))
        assert header == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
        assert (first[:4], second[:4]) == (["web", "2/2", "Running", "0"], ["api", "1/1", "Running", "0"])
        assert all(re.fullmatch(r"\d+s", row[4]) for row in (first, second))
        wide = rows(ps(store, "-o", "wide", "--no-headers", "web"))
        assert wide[0][5:] == ["default", wide[0][6], "BestEffort", str(web.process.pid)]
        assert wide[0][6] in store.uids()
        assert rows(ps(store, "-o", "name")) == [["pod/web"], ["pod/api"]]
        assert [row[0] for row in rows(ps(store, "-n", "prod", "--no-headers"))] == ["api"]
        listed = json.loads(ps(store, "--output", "json").out)["items"]
        assert [each["status"]["phase"] for each in listed] == ["Running", "Running"]
        assert 'phase: "Running"' in ps(store, "-o", "yaml").out


def test_one_whose_launcher_does_not_answer(store: Store) -> None:
    """A list does not hang, and the others are told as ever."""
    with pod(store, "still", "a") as still, pod(store, "other", "a"):
        still.signal(signal.SIGSTOP)
        try:
            told = rows(ps(store, "--no-headers"))
            assert [row[:3] for row in told] == [["other", "1/1", "Running"], ["still", "0/0", "Unknown"]]
            (item,) = json.loads(ps(store, "-o", "json", "still").out)["items"]
            assert item["status"] == {"phase": "Unknown", "message": "its pyrun does not answer"}
        finally:
            still.signal(signal.SIGCONT)


def test_one_whose_launcher_was_killed(store: Store) -> None:
    with pod(store, "gone", "a") as gone:
        gone.signal(signal.SIGKILL)
        gone.finish()
        (item,) = json.loads(ps(store, "-o", "json").out)["items"]
        assert item["status"] == {"phase": "Unknown", "message": "its pyrun was killed"}
        assert pyrun("rm", "gone", env=store.environment).status == 0
        assert rows(ps(store, "--no-headers")) == []


def test_what_is_wrong(store: Store) -> None:
    done = ps(store, "nobody")
    assert (done.status, done.out.splitlines()[1:]) == (1, [])
    assert "no pod 'nobody' runs" in done.err
    done = ps(store, "-o", "jsn")
    assert done.status == 2
    assert "--output jsn: not one of table, wide, json, yaml, name" in done.err
