"""What does each kind of namespace cost, alone and together: to create, to join, to destroy?"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from bench.answer import Answer
from bench.question import BIG_MB, SMALL_MB, Bench
from bench.rounds import Case, Figures
from bench.server import Limit, Worker

# CLONE_NEW* of clone(2).
FLAGS = {
    "uts": 0x04000000,
    "cgroup": 0x02000000,
    "pid": 0x20000000,
    "time": 0x00000080,
    "user": 0x10000000,
    "ipc": 0x08000000,
    "mount": 0x00020000,
    "network": 0x40000000,
}
POD = ("mount", "uts", "ipc", "network", "pid")
ALL = ("uts", "cgroup", "pid", "time", "ipc", "mount", "network")
TOGETHER = {"none": (), **{kind: (kind,) for kind in FLAGS}, "+".join(POD): POD, "all but user": ALL}
# Entering a user namespace from outside changes who one is; time is entered at exec, and not by who shares memory.
JOINABLE = {name: kinds for name, kinds in TOGETHER.items() if not {"user", "time"} & {*kinds}}


def ask(bench: Bench) -> Answer:
    """Creating is up to the program's exec; destroying from the kill to reaped. A network namespace ends later, by itself."""
    answer = Answer()
    program = str(bench.world.limit)
    with ExitStack() as stack:
        limit = stack.enter_context(Limit(bench.world))
        workers = {size: stack.enter_context(bench.worker(size)) for size in (SMALL_MB, BIG_MB)}
        kept = workers[SMALL_MB].do("keep", program=(program, "processes", "0"), namespaces=POD)
        cases = []
        for name, kinds in TOGETHER.items():
            cases.append(Case(name, "limit", partial(_make_limit, limit, kinds)))
            for size, worker in workers.items():
                cases.append(Case(name, _case(size), partial(_make, worker, program, kinds)))
        for name, kinds in JOINABLE.items():
            cases.append(Case(f"into {name}", "limit", partial(_join_limit, limit, kinds, kept)))
            for size, worker in workers.items():
                cases.append(Case(f"into {name}", _case(size), partial(_join, worker, program, kinds, kept)))
        bench.measure(answer, cases)
    for name in ("+".join(POD), "all but user"):
        what = f"create {name} from {BIG_MB} MB against {SMALL_MB} MB"
        answer.aim(what, 1.1, (name, _case(BIG_MB), "create"), (name, _case(SMALL_MB), "create"))
    return answer


def _case(megabytes: int) -> str:
    return f"pyrun.spawn, {megabytes} MB parent"


def _flags(kinds: tuple[str, ...]) -> int:
    return sum(FLAGS[kind] for kind in kinds)


def _make_limit(limit: Limit, kinds: tuple[str, ...]) -> Figures:
    return _made(limit.do(f"hold {_flags(kinds)}"))


def _make(worker: Worker, program: str, kinds: tuple[str, ...]) -> Figures:
    return _made(worker.do("hold", program=(program, "processes", "0"), namespaces=kinds))


def _join_limit(limit: Limit, kinds: tuple[str, ...], pid: int) -> Figures:
    return _joined(limit.do(f"join {_flags(kinds)} {pid}"))


def _join(worker: Worker, program: str, kinds: tuple[str, ...], pid: int) -> Figures:
    return _joined(worker.do("join", program=(program, "true"), namespaces=kinds, pid=pid))


def _made(figures: Figures) -> Figures:
    return {"create": figures["running"], "destroy": figures["destroyed"] - figures["running"]}


def _joined(figures: Figures) -> Figures:
    return {"join": figures["running"]}
