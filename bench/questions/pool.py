"""What does a sandbox from a pool save?"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from bench.answer import Answer
from bench.manifest import TRUE
from bench.question import Bench
from bench.rounds import Case
from bench.server import Limit

SANDBOX = "sandbox"
BUILT = "built"
TAKEN = "from the pool"
POD = "pod of 2"
SIZE = 4  # more than one: what is taken is refilled behind


def ask(bench: Bench) -> Answer:
    answer = Answer()
    pod = {"rootfs": str(bench.world.rootfs), "containers": 2, "program": TRUE}
    with ExitStack() as stack:
        limit = stack.enter_context(Limit(bench.world))
        without, building, taking = [stack.enter_context(bench.worker()) for _ in range(3)]
        building.do("open_pool", size=1, **pod)
        taking.do("open_pool", size=SIZE, **pod)
        cases = [
            Case(SANDBOX, BUILT, partial(building.do, "build_sandbox")),
            Case(SANDBOX, TAKEN, partial(taking.do, "take_sandbox")),
            Case(POD, "limit", partial(limit.do, f"pod {pod['containers']}")),
            Case(POD, "pyrun", partial(without.do, "pod", **pod)),
            Case(POD, "pyrun, sandbox from the pool", partial(taking.do, "pooled_pod", **pod)),
        ]
        bench.measure(answer, cases)
    of, to = (SANDBOX, TAKEN, "ready"), (SANDBOX, BUILT, "ready")
    answer.aim("a sandbox from the pool, against building one", 0.1, of, to)
    return answer
