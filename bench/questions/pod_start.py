"""What does a pod cost the library, from a manifest's value to removed?"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from bench.answer import Answer
from bench.manifest import STAMP, TRUE
from bench.question import Bench
from bench.rounds import Case
from bench.server import Limit

COUNTS = (1, 2, 8)
WITH_PEERS = 2
PYRUN = "pyrun"


def group(count: int) -> str:
    return f"pod of {count}"


def ask(bench: Bench) -> Answer:
    answer = Answer(notes=list(bench.peers.notes))
    with ExitStack() as stack:
        limit = stack.enter_context(Limit(bench.world))
        stamping = stack.enter_context(Limit(bench.world, STAMP))
        worker = stack.enter_context(bench.worker())
        cases = []
        for count in COUNTS:
            where = group(count)
            cases += [
                Case(where, "limit", partial(limit.do, f"pod {count}")),
                Case(where, PYRUN, bench.pod(worker, "pod", containers=count, program=TRUE)),
                Case(f"{where}, stamped", "limit", partial(_first, stamping, count)),
                Case(f"{where}, stamped", PYRUN, bench.pod(worker, "stamped_pod", containers=count, program=STAMP)),
            ]
        for runtime in bench.peers.oci.values():
            cases.append(Case(group(WITH_PEERS), runtime.case, partial(runtime.make_pod, WITH_PEERS)))
        bench.measure(answer, cases)
    _aim(answer, bench)
    return answer


def _first(limit: Limit, count: int) -> dict[str, float]:
    figures = limit.do_stamped(f"pod {count}", count)
    return {"first instruction": figures["first instruction"]}


def _aim(answer: Answer, bench: Bench) -> None:
    where = group(WITH_PEERS)
    ours = (where, PYRUN, "removed")
    answer.aim("pod of 2, created to removed, against the limit", 1.5, ours, (where, "limit", "removed"))
    for name, times in (("crun", 8), ("runc", 30)):
        if name in bench.peers.oci:
            theirs = (where, bench.peers.oci[name].case, "removed")
            answer.aim(f"pod of 2: so many times faster than {name}", times, ours, theirs, at_least=True)
