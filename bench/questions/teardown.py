"""What does it cost to kill and remove a pod with 1, 10 and 100 processes?"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from bench.answer import Answer
from bench.manifest import processes
from bench.question import Bench
from bench.rounds import Case, Figures
from bench.server import Limit, Worker

COUNTS = (1, 10, 100)


def ask(bench: Bench) -> Answer:
    answer = Answer()
    with ExitStack() as stack:
        worker = stack.enter_context(bench.worker())
        cases = []
        for count in COUNTS:
            limit = stack.enter_context(Limit(bench.world, processes(count)))
            where = f"{count} process{'es' if count > 1 else ''}"
            cases.append(Case(where, "limit", partial(_limit, limit)))
            cases.append(Case(where, "pyrun", partial(_library, worker, str(bench.world.rootfs), count)))
        bench.measure(answer, cases)
    return answer


def _limit(limit: Limit) -> Figures:
    limit.do("up 1")
    limit.wait_for_containers(1)
    return limit.do("down")


def _library(worker: Worker, rootfs: str, count: int) -> Figures:
    worker.do("up", name="pod", rootfs=rootfs, containers=1, program=processes(count))
    figures: Figures = worker.do("down", name="pod")
    return figures
