"""Asking a pod's launcher: the pipe, and ``pyrun resize`` over it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fixtures.command import Store, pyrun
from fixtures.machine import patience
from fixtures.pods import FOREVER, document, shell
from pyrun_runtime.cli.main import explain
from pyrun_runtime.cli.message import CommandError
from pyrun_runtime.control import CONTROL, Control, Refused, ask


@contextmanager
def answering(directory: Path, handlers: Mapping[str, Any]) -> Iterator[None]:
    """A launcher that has nothing else to do."""
    stop = threading.Event()

    def serve(control: Control) -> None:
        while not stop.is_set():
            control.turn()
            stop.wait(0.005)

    with Control(str(directory), handlers, explain) as control:
        thread = threading.Thread(target=serve, args=(control,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def test_question_and_answer(tmp_path: Path) -> None:
    with answering(tmp_path, {"add": lambda request: {"sum": request["a"] + request["b"]}, "none": lambda _: None}):
        assert ask(str(tmp_path), {"verb": "add", "a": 1, "b": 2}) == {"sum": 3}
        assert ask(str(tmp_path), {"verb": "none"}) == {}
        assert os.listdir(tmp_path) == [CONTROL]


def test_many_ask_at_once_and_each_gets_its_own_answer(tmp_path: Path) -> None:
    answers: dict[int, int] = {}
    with answering(tmp_path, {"echo": lambda request: {"it": request["it"], "pad": "x" * 2000}}):

        def one(number: int) -> None:
            answers[number] = ask(str(tmp_path), {"verb": "echo", "it": number, "pad": "y" * 20000})["it"]

        threads = [threading.Thread(target=one, args=(number,)) for number in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(patience(30))
    assert answers == {number: number for number in range(30)}


def test_an_answer_is_longer_than_a_pipe(tmp_path: Path) -> None:
    with answering(tmp_path, {"long": lambda _: {"it": "x" * 900_000}}):
        assert ask(str(tmp_path), {"verb": "long"}) == {"it": "x" * 900_000}


def fail(_request: Mapping[str, Any]) -> None:
    raise CommandError("it cannot be")


def test_what_goes_wrong_is_told_to_who_asked_and_goes_no_further(tmp_path: Path) -> None:
    with answering(tmp_path, {"fail": fail, "fine": lambda _: None}):
        with pytest.raises(Refused, match="it cannot be") as caught:
            ask(str(tmp_path), {"verb": "fail"})
        assert caught.value.status == 1
        with pytest.raises(Refused):
            ask(str(tmp_path), {"verb": "unknown"})
        (tmp_path / CONTROL).write_text("../../x\nnot-there\n\xff\n0a1b\n", "latin-1")
        assert ask(str(tmp_path), {"verb": "fine"}) == {}


def test_without_a_launcher_nobody_waits(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="nobody runs this pod"):
        ask(str(tmp_path), {"verb": "x"})
    os.mkfifo(tmp_path / CONTROL)  # of one that was killed
    with pytest.raises(CommandError, match="nobody runs this pod"):
        ask(str(tmp_path), {"verb": "x"})
    assert os.listdir(tmp_path) == [CONTROL]
    with pytest.raises(CommandError, match="the pod is over"):
        ask(str(tmp_path / "gone"), {"verb": "x"})


@pytest.mark.root
def test_resize_from_another_command(tmp_path: Path) -> None:
    """Of what is no limit, which is all that this machine may have; limits are in tests/pod/test_resource_limits.py."""
    store = Store(tmp_path)
    container = shell(f"echo ready; {FOREVER}", "main", resources={"requests": {"memory": "10Mi"}})
    spec = store.write(document(container, terminationGracePeriodSeconds=0))
    with store.running("--events", "--output", "json", spec) as it:
        it.wait_for("ready")
        (uid,) = store.uids()

        def resize(*arguments: str) -> tuple[int, str]:
            done = pyrun("resize", *arguments, env=store.environment)
            return done.status, done.err.strip()

        assert resize("test", "--requests", "memory=20Mi") == (0, "")
        assert resize(uid, "--container", "main", "--requests", "memory=30Mi") == (0, "")
        it.wait_for("ResizeCompleted")
        shown = json.loads(pyrun("node", "--output", "json", env=store.environment).out)
        assert shown["requested"]["memory"] == str(30 << 20)
        wanted = "pyrun: /spec/containers/0/resources/requests/memory: 'much' is not a quantity"
        status, text = resize("test", "--requests", "memory=much")
        assert (status, text[: len(wanted)]) == (2, wanted)
        assert resize("test", "--container", "x", "--requests", "memory=1") == (1, "pyrun: pod test has no container x")
        status, text = resize("test", "--requests", "memory=1000Ti")
        assert status == 1
        assert "Node didn't have enough resource: memory, requested: 1099511627776000, used: 0" in text
        assert resize("other", "--requests", "memory=1")[1].startswith("pyrun: no pod 'other' runs")
        it.signal(15)
        (main,) = json.loads(it.finish().out)["status"]["containerStatuses"]
        assert main["resources"] == {"requests": {"memory": "30Mi"}}
    assert not store.entries()
    assert resize("test", "--requests", "memory=1")[0] == 1
