"""What does a sandbox from a pool save?"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from bench.answer import Answer
from bench.manifest import TRUE
from bench.question import Bench
from bench.rounds import Case, Figures
from bench.server import Limit, Worker

SANDBOX = "sandbox"
POD = "pod of 2"
SIZE = 4  # more than one: what is taken is refilled behind


def ask(bench: Bench) -> Answer:
    answer = Answer()
    rootfs = str(bench.world.rootfs)
    with ExitStack() as stack:
        limit = stack.enter_context(Limit(bench.world))
        without = stack.enter_context(bench.worker())
        taking = stack.enter_context(bench.worker())
        taking.do("open_pool", rootfs=rootfs, containers=2, program=TRUE, size=SIZE)
        cases = [
            Case(SANDBOX, "built", partial(_sandbox, without, "build_sandbox", rootfs)),
            Case(SANDBOX, "from the pool", partial(_sandbox, taking, "take_sandbox", rootfs)),
            Case(POD, "limit", partial(limit.do, "pod 2")),
            Case(POD, "pyrun", bench.pod(without, "pod", containers=2, program=TRUE)),
            Case(POD, "pyrun, from the pool", bench.pod(taking, "pooled_pod", containers=2, program=TRUE)),
        ]
        bench.measure(answer, cases)
    answer.aim(
        "a sandbox from the pool against building one",
        0.1,
        *[(SANDBOX, n, "ready") for n in ("from the pool", "built")],
    )
    return answer


def _sandbox(worker: Worker, action: str, rootfs: str) -> Figures:
    """Without the pod that it is then used up for."""
    figures: Figures = worker.do(action, rootfs=rootfs, containers=2, program=TRUE)
    return figures
