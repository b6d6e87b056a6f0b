"""What does it cost to start a process, and does it depend on the size of the parent?"""

from __future__ import annotations

from contextlib import ExitStack

from bench.answer import Answer
from bench.manifest import TRUE
from bench.question import BIG_MB, SMALL_MB, Bench
from bench.rounds import Case, Figures
from bench.server import Limit, Worker

FULL = "a container with everything but pause"
FIVE = "a program in five new namespaces"
NONE = "a program in no new namespace"
KINDS = ("mount", "uts", "ipc", "network", "pid")
FLAGS = 0x00020000 | 0x04000000 | 0x08000000 | 0x40000000 | 0x20000000  # the same, CLONE_NEW*


def ask(bench: Bench) -> Answer:
    answer = Answer()
    with ExitStack() as stack:
        limit = stack.enter_context(Limit(bench.world))
        workers = {size: stack.enter_context(bench.worker(size)) for size in (SMALL_MB, BIG_MB)}
        cases = [
            Case(FULL, "limit", lambda: limit.do("spawn")),
            Case(FIVE, "limit", lambda: limit.do(f"clone {FLAGS}")),
            Case(NONE, "limit", lambda: limit.do("clone 0")),
        ]
        for size, worker in workers.items():
            cases += _library(bench, worker, size)
        bench.measure(answer, cases)
    full = f"pyrun.spawn, {SMALL_MB} MB parent"
    answer.aim("spawn with full set-up, against the limit", 1.25, (FULL, full, "exited"), (FULL, "limit", "exited"))
    for group in (FULL, FIVE):
        of = (group, f"pyrun.spawn, {BIG_MB} MB parent", "exited")
        answer.aim(f"spawn from {BIG_MB} MB against {SMALL_MB} MB: {group}", 1.1, of, (group, full, "exited"))
    return answer


def _library(bench: Bench, worker: Worker, size: int) -> list[Case]:
    program = [str(bench.world.limit), "true"]

    def do(action: str, **arguments: object) -> Figures:
        figures: Figures = worker.do(action, program=program, **arguments)
        return figures

    suffix = f", {size} MB parent"
    return [
        Case(FULL, f"pyrun.spawn{suffix}", bench.pod(worker, "spawn_alone", program=TRUE)),
        Case(FIVE, f"pyrun.spawn{suffix}", lambda: do("spawn", namespaces=KINDS)),
        Case(NONE, f"pyrun.spawn{suffix}", lambda: do("spawn", namespaces=())),
        Case(NONE, f"os.posix_spawn{suffix}", lambda: do("posix_spawn")),
        Case(NONE, f"subprocess.run{suffix}", lambda: do("subprocess_run")),
    ]
