"""What does it cost to run a program in a running container?"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from bench.answer import Answer
from bench.manifest import HOLD, TRUE
from bench.oci import OciRuntime
from bench.question import Bench
from bench.rounds import Case, Figures
from bench.server import Limit

GROUP = "/bin/true in a running container"
METRIC = "exited"


def ask(bench: Bench) -> Answer:
    answer = Answer(notes=list(bench.peers.notes))
    with ExitStack() as stack:
        limit = stack.enter_context(Limit(bench.world, HOLD))
        worker = stack.enter_context(bench.worker())
        limit.do("up 1")
        stack.callback(limit.do, "down")
        limit.wait_for_containers(1)
        worker.do("up", name="held", rootfs=str(bench.world.rootfs), containers=1, program=HOLD)
        cases = [
            Case(GROUP, "limit", partial(limit.do, "exec")),
            Case(GROUP, "pyrun", partial(worker.do, "execute", name="held", program=TRUE)),
        ]
        for runtime in bench.peers.oci.values():
            held = runtime.hold()
            stack.callback(runtime.delete, held)
            cases.append(Case(GROUP, f"{runtime.case} exec", partial(_whole, bench, runtime, held)))
        bench.measure(answer, cases)
    answer.notes.append("limit and pyrun from within a process that runs; crun and runc as whole processes")
    return answer


def _whole(bench: Bench, runtime: OciRuntime, held: str) -> Figures:
    begin_ns = bench.rounds.clock_ns()
    runtime.execute(held, TRUE)
    return {METRIC: (bench.rounds.clock_ns() - begin_ns) / 1000}
