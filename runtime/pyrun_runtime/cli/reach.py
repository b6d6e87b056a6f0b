"""Reaching several running pods at once: what is asked of each, who answered, and what became of the others."""

from __future__ import annotations

import os
import select
import time

from pyrun import PyrunError, describe_error
from pyrun_runtime.cli.message import FAILED, CommandError, UsageError, say, show
from pyrun_runtime.cli.options import setting
from pyrun_runtime.control import NoLauncher, Question, Refused, wait_answers
from pyrun_runtime.store import RUN_ROOT, STATE, STATE_ROOT, STATUS, Store, find_pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun_runtime.cli.options import Options, OptionTable
    from pyrun_runtime.control import Answer, Request

ROOT_OPTIONS: OptionTable = {"root": "DIR", "state": "DIR"}
ROOT_HELP = f"""\
  --root DIR             where running pods are known (PYRUN_ROOT; {RUN_ROOT})
  --state DIR            where emptyDirs on disk are (PYRUN_STATE; {STATE_ROOT})
"""
# How long a launcher that has removed its pod may take to let go of its directory: its own reader may hold it up.
GONE_S = 5.0
LOOK_S = 0.005
STATUS_S = (
    2.0  # what a launcher that is busy, or was stopped by a signal, is waited for when it is asked how its pod is
)


class Reached:
    """One pod that was asked: ``answer``, or ``error``. ``gone``: it has no launcher any more, or never had."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.directory = ""
        self.answer: Answer | None = None
        self.error: Exception | None = None

    @property
    def gone(self) -> bool:
        return isinstance(self.error, NoLauncher)


def find_directory(options: Options, word: str) -> str:
    """The run directory of the pod that *word* names; one that has lost its supervisor has another one then."""
    store = store_of(options)
    uid = find_pod(store.run_root, word)
    if store.is_orphan(uid):
        from pyrun_runtime.cli.detached import adopt_orphan

        adopt_orphan(store, uid)
    return f"{store.run_root}/pods/{uid}"


def store_of(options: Options) -> Store:
    run_root = setting(options, "root", "PYRUN_ROOT", RUN_ROOT)
    return Store(run_root, setting(options, "state", "PYRUN_STATE", STATE_ROOT))


def reach(options: Options, words: list[str], request: Request, timeout_s: float | None = None) -> list[Reached]:
    """Ask the same of each pod, and wait for all; where the time runs out first there is neither answer nor error. Who loses its
    supervisor meanwhile is asked again when it has another one."""
    if not words:
        raise UsageError("expected a POD")
    every = [Reached(word) for word in dict.fromkeys(words)]
    _ask_all(options, every, request, timeout_s)
    for each in every:
        deadline_s = time.monotonic() + GONE_S
        while each.gone and time.monotonic() < deadline_s and _is_detached(each.directory):
            select.select([], [], [], LOOK_S)  # a killed one lets go of its lock, or one that has ended writes how
            _ask_all(options, [each], request, timeout_s)
    return every


def _is_detached(directory: str) -> bool:
    """Of one that nobody answers for: whether somebody will."""
    return os.path.exists(f"{directory}/{STATE}")


def _ask_all(options: Options, every: list[Reached], request: Request, timeout_s: float | None) -> None:
    asked: list[tuple[Reached, Question]] = []
    try:
        for each in every:
            each.error = None
            try:
                each.directory = find_directory(options, each.word)
                asked.append((each, Question(each.directory, request)))
            except (PyrunError, CommandError) as error:
                each.error = error
        for (each, _), answer in zip(asked, wait_answers([it for _, it in asked], timeout_s), strict=True):
            if isinstance(answer, Exception):
                each.error = answer
            else:
                each.answer = answer
    finally:
        for _, question in asked:
            question.close()
    for each in every:
        if each.gone:
            _read_end(each, request)


def reach_status(options: Options, words: list[str]) -> tuple[list[tuple[dict[str, Any], str]], bool]:
    """Each pod with its status, and its run directory; and whether something was wrong with others, which is told."""
    every = reach(options, words, {"verb": "status"}, STATUS_S)
    for each in every:
        if each.error is None and each.answer is None:
            each.error = CommandError(f"{each.word}: no answer from the pod's launcher")
    failed = tell_errors(every)
    return [(dict(each.answer), each.directory) for each in every if each.answer is not None], failed


def _read_end(each: Reached, request: Request) -> None:
    """The answer of a detached pod that is over."""
    from pyrun_runtime.ended import answer_of

    try:
        answer = answer_of(each.directory, request)
    except CommandError as error:
        each.error = error
        return
    if answer is not None:
        each.error, each.answer = None, answer


def wait_gone(every: list[Reached]) -> None:
    """Until the launchers of those that answered have let go of their directories, or for :data:`GONE_S`; those of detached pods
    have done so."""
    deadline_s = time.monotonic() + GONE_S
    for each in every:
        if each.answer is None or os.path.exists(f"{each.directory}/{STATUS}"):
            continue
        while os.path.exists(each.directory) and time.monotonic() < deadline_s:
            select.select([], [], [], LOOK_S)


def clear(options: Options, every: list[Reached]) -> None:
    """Remove what is left of those that have no launcher; what cannot be removed is their error.

    One that was killed a moment ago may hold its lock yet: the kernel closes its descriptors one by one.
    """
    gone = [each for each in every if each.gone]
    for each in gone:
        each.error = None
    if not gone:
        return
    store, deadline_s = store_of(options), time.monotonic() + GONE_S
    while gone and time.monotonic() < deadline_s:
        left = {uid: error for uid, error in store.collect(wait=True) if error is not None}
        for each in gone:
            each.error = left.get(os.path.basename(each.directory))
        gone = [each for each in gone if each.error is None and os.path.exists(each.directory)]
        if gone:
            select.select([], [], [], LOOK_S)


def conclude_removed(options: Options, every: list[Reached]) -> int:
    """:func:`conclude`, when nothing is left of any of them."""
    clear(options, every)
    wait_gone(every)
    return conclude(every)


def conclude(every: list[Reached]) -> int:
    """Print the word of each with which all went well, and the errors of the others; the exit status."""
    for each in every:
        if each.error is None:
            show(each.word)
    return FAILED if tell_errors(every) else 0


def tell_errors(every: list[Reached]) -> bool:
    """Each error as a line; whether there was one."""
    for each in every:
        if isinstance(each.error, Refused):
            say(f"{each.word}: {each.error}")
        elif isinstance(each.error, CommandError):
            say(str(each.error))
        elif each.error is not None:
            say(describe_error(each.error))
    return any([each.error is not None for each in every])


def seconds(name: str, text: str) -> float:
    """A number of seconds from 0. Raises UsageError."""
    if not text.replace(".", "", 1).isdecimal() or not text.isascii() or len(text) > 12:
        raise UsageError(f"--{name} {text}: not a number of seconds")
    return float(text)
