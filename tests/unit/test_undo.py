"""Undo: all of it, in reverse, whatever fails, and again what failed."""

from __future__ import annotations

import pytest

from pyrun.errors import CleanupErrors, describe_error
from pyrun.kernel.undo import Undo


class Log(list[str]):
    """Calls that write down their names; those in ``failing`` fail."""

    def __init__(self) -> None:
        super().__init__()
        self.failing: set[str] = set()

    def call(self, name: str) -> None:
        self.append(name)
        if name in self.failing:
            raise OSError(f"cannot {name}")


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def undo(log: Log) -> Undo:
    made = Undo("thing")
    for name in ("a", "b", "c"):
        made.push(f"undo {name}", log.call, name)
    return made


def test_in_reverse_and_once(undo: Undo, log: Log) -> None:
    undo.run()
    assert log == ["c", "b", "a"]
    undo.run()
    assert log == ["c", "b", "a"]


def test_everything_is_done_and_every_failure_is_told(undo: Undo, log: Log) -> None:
    log.failing = {"a", "c"}
    with pytest.raises(CleanupErrors) as caught:
        undo.run()
    assert log == ["c", "b", "a"]
    assert [str(error) for error in caught.value.exceptions] == ["cannot c", "cannot a"]
    assert [error.__notes__ for error in caught.value.exceptions] == [["undo c"], ["undo a"]]
    assert str(caught.value) == "thing: could not be undone: cannot c; cannot a"


def test_what_failed_is_tried_again_in_the_same_order(undo: Undo, log: Log) -> None:
    log.failing = {"a", "c"}
    with pytest.raises(CleanupErrors):
        undo.run()
    log.clear()
    log.failing = set()
    undo.run()
    assert log == ["c", "a"]


def test_a_block_that_fails_is_undone_and_keeps_its_error(undo: Undo, log: Log) -> None:
    with pytest.raises(ValueError, match="why"), undo:
        raise ValueError("why")
    assert log == ["c", "b", "a"]


def test_a_block_that_succeeds_is_not(undo: Undo, log: Log) -> None:
    with undo:
        pass
    assert log == []


def test_a_failure_within_a_failure_is_a_note_of_the_first(undo: Undo, log: Log) -> None:
    log.failing = {"b"}
    error = ValueError("why")
    with pytest.raises(ValueError, match="why"), undo:
        raise error
    assert error.__notes__ == ["thing: could not be undone: cannot b"]
    assert describe_error(error) == "why: thing: could not be undone: cannot b"


def test_an_interrupt_undoes_too(undo: Undo, log: Log) -> None:
    with pytest.raises(KeyboardInterrupt), undo:
        raise KeyboardInterrupt
    assert log == ["c", "b", "a"]


def test_what_is_forgotten_stays(undo: Undo, log: Log) -> None:
    undo.forget()
    undo.run()
    assert log == []


def test_what_is_pushed_while_it_runs_is_done_as_well(log: Log) -> None:
    undo = Undo("thing")
    undo.push("outer", lambda: undo.push("inner", log.call, "inner"))
    undo.run()
    assert log == ["inner"]


class Interrupted:
    """A step that Ctrl-C interrupts so many times."""

    def __init__(self, log: Log, times: int) -> None:
        self.log = log
        self.times = times

    def call(self) -> None:
        self.log.append("interrupted")
        self.times -= 1
        if self.times >= 0:
            raise KeyboardInterrupt


def test_a_step_that_is_interrupted_is_done_again_and_the_others_too(undo: Undo, log: Log) -> None:
    undo.push("it", Interrupted(log, 1).call)
    with pytest.raises(KeyboardInterrupt):
        undo.run()
    assert log == ["interrupted", "interrupted", "c", "b", "a"]
    undo.run()
    assert len(log) == 5


def test_a_second_interrupt_leaves_the_rest_for_another_try(undo: Undo, log: Log) -> None:
    undo.push("it", Interrupted(log, 2).call)
    log.failing = {"d"}
    undo.push("undo d", log.call, "d")
    with pytest.raises(KeyboardInterrupt):
        undo.run()
    assert log == ["d", "interrupted", "interrupted"]
    log.clear()
    log.failing = set()
    undo.run()
    assert log == ["d", "interrupted", "c", "b", "a"]
