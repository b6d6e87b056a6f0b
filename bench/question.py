"""What a question is given: the world, the peers, and a way to measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from bench.answer import Answer
from bench.peers import Peers
from bench.rounds import ROUNDS, Case, Figures, Rounds
from bench.server import Worker
from bench.world import World

SMALL_MB = 10
BIG_MB = 500


class Bench:
    """For one run. A question calls :meth:`measure`, and may do its own measuring where rounds do not fit."""

    def __init__(self, world: World, rounds: Rounds) -> None:
        self.world = world
        self.rounds = rounds
        self.tell: Callable[[int, str], None] = lambda _more, _what: None

    @cached_property
    def peers(self) -> Peers:
        return Peers(self.world)

    @property
    def is_quick(self) -> bool:
        return self.rounds.count < ROUNDS

    def measure(self, answer: Answer, cases: Sequence[Case]) -> None:
        self.tell(len(cases) * (self.rounds.count + self.rounds.warm_up), "")
        found = self.rounds.measure(cases, lambda what: self.tell(0, what))
        answer.series += found.series
        answer.notes += found.notes

    def worker(self, megabytes: int = SMALL_MB, prefix: Sequence[str] = ()) -> Worker:
        """A process with the library, ready to make pods."""
        worker = Worker(megabytes, prefix)
        worker.do("settle", directory=str(self.world.directory))
        return worker

    def pod(self, worker: Worker, action: str, **arguments: Any) -> Callable[[], Figures]:
        """A case: *action* of *worker* in the root file system of all."""
        rootfs = str(self.world.rootfs)

        def run() -> Figures:
            figures: Figures = worker.do(action, rootfs=rootfs, **arguments)
            return figures

        return run
