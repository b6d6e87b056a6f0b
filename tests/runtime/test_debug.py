"""``pyrun debug``: one more container in a pod that runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.command import Done, Running, Store, pyrun
from fixtures.pods import shell

pytestmark = pytest.mark.root


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def pod(store: Store) -> Iterator[Running]:
    with store.running(
        store.manifest(shell("echo ready; exec sleep 1000"), terminationGracePeriodSeconds=1)
    ) as command:
        command.wait_for("ready")
        yield command
        command.process.terminate()
        assert command.finish().status == 137


def debug(store: Store, *arguments: str) -> Done:
    return pyrun("debug", *arguments, env=store.environment)


def test_it_sees_the_processes_of_its_target(store: Store, pod: Running) -> None:
    script = "tr '\\0' ' ' < /proc/1/cmdline; hostname"
    done = debug(store, "--target", "main", "--name", "look", "test", "--", "sh", "-c", script)
    assert (done.status, done.out) == (0, "look\n")
    pod.wait_for("look | sleep 1000 test")


def test_without_a_target_it_has_processes_of_its_own(store: Store, pod: Running) -> None:
    assert debug(store, "--name", "own", "test", "--", "sh", "-c", "readlink /proc/self; echo over").status == 0
    pod.wait_for("| over")
    assert "| 2\n" in pod.out  # the shell is 1


@pytest.mark.parametrize(
    ("arguments", "status", "wanted"),
    [
        (("--name", "main", "test", "--", "true"), 2, "'main' is the name of"),
        (("--target", "no", "test", "--", "true"), 2, "there is no container 'no'"),
        (("test", "--", "/no/such/program"), 1, "command not found"),
        (("--image", "rootfs:/no/such", "test", "--", "true"), 1, "No such file or directory"),
        (("test",), 2, "expected a POD, and behind -- a COMMAND"),
        (("nobody", "--", "true"), 1, "nobody"),
    ],
)
def test_what_cannot_be(store: Store, pod: Running, arguments: tuple[str, ...], status: int, wanted: str) -> None:
    done = debug(store, *arguments)
    assert done.status == status
    assert wanted in done.err
    assert "Traceback" not in done.err
    assert pod.process.poll() is None
