"""What does a pod cost with 1, 100, 500 and 1,000 of them alive, and with 500 mounts that are none of its business?"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from bench.answer import Answer, Goal, Lines, Sheet
from bench.manifest import HOLD, TRUE
from bench.question import SMALL_MB, Bench
from bench.rounds import Case
from bench.server import Limit, Worker
from bench.statistics import median

LEVELS = (1, 100, 500, 1000)
QUICK_LEVELS = (1, 50, 200)
MOUNTS = (20, 500)
MOST_KB = 150
MOUNTED = "pod of 1 beside mounts of the host"
# $1: how many, $2: a directory; then the program. Bind mounts, so that they cost nothing but their place in the table.
MOUNT_MANY = """
count=$(wc -l </proc/self/mountinfo); most=$1; top=$2; shift 2
while [ "$count" -lt "$most" ]; do
    mkdir -p "$top/$count" && mount --bind "$top/$count" "$top/$count" || exit 1
    count=$((count + 1))
done
exec "$@"
"""


def ask(bench: Bench) -> Answer:
    answer = Answer()
    levels = QUICK_LEVELS if bench.is_quick else LEVELS
    with Limit(bench.world) as limit, bench.worker() as worker:
        found = [_level(bench, answer, limit, worker, level) for level in levels]
        clear = worker.do("clear")
    _tell(answer, levels, found, clear["all"])
    _measure_mounts(bench, answer)
    _aim(answer, levels)
    return answer


def _group(level: int) -> str:
    return f"pod of 1 beside {level}"


def _level(bench: Bench, answer: Answer, limit: Limit, worker: Worker, level: int) -> dict[str, Any]:
    """Let *level* pods live, look at them, and start one more, again and again. The limit does the same meanwhile."""
    rootfs = str(bench.world.rootfs)
    grown: dict[str, Any] = worker.do("grow", rootfs=rootfs, total=level, program=HOLD)
    where = _group(level)
    bench.measure(
        answer,
        [
            Case(where, "limit", partial(limit.do, "pod 1")),
            Case(where, "pyrun", bench.pod(worker, "pod", containers=1, program=TRUE)),
            Case(where, "list", partial(worker.do, "list_pods")),
        ],
    )
    return {**grown, **worker.do("weigh")}


def _tell(answer: Answer, levels: tuple[int, ...], found: list[dict[str, Any]], clear_us: float) -> None:
    base = found[0]
    rows = []
    memory = []
    for level, seen in zip(levels, found, strict=True):
        library_kb = (seen["library_kb"] - base["library_kb"]) / max(1, level - levels[0])
        pause_kb = seen["pause_kb"] / level
        memory.append(pause_kb + library_kb)
        cells = (pause_kb, library_kb, memory[-1], seen["container_kb"] / level, seen["fds"] / level)
        rows.append((str(level), *[f"{cell:.1f}" for cell in cells]))
    columns = ("pods alive", "pause, KB", "library, KB", "ours, KB", "container's program, KB", "descriptors")
    answer.sheets.append(Sheet("per idle pod (PSS)", columns, tuple(rows)))
    answer.sheets.append(Sheet("all removed", ("pods", "ms", "ms per pod"), (_removal(levels[-1], clear_us),)))
    answer.goals.append(Goal(f"memory per idle pod, as a part of {MOST_KB} KB", memory[-1] / MOST_KB, 1.0))
    x = tuple(float(level) for level in levels)
    starts = {
        f"{case}, {metric}": tuple(_median(answer, _group(level), case, metric) for level in levels)
        for case in ("limit", "pyrun")
        for metric in ("running", "removed")
    }
    answer.lines.append(Lines("the next pod", "pods alive", "µs", x, starts))
    listed = {"list": tuple(_median(answer, _group(level), "list", "listed") for level in levels)}
    answer.lines.append(Lines("listing all", "pods alive", "µs", x, listed))
    answer.lines.append(Lines("memory of ours", "pods alive", "KB per pod", x, {"pause and library": tuple(memory)}))


def _removal(pods: int, us: float) -> tuple[str, str, str]:
    return (str(pods), f"{us / 1000:,.0f}", f"{us / 1000 / pods:.2f}")


def _median(answer: Answer, group: str, case: str, metric: str) -> float:
    series = answer.find(group, case, metric)
    return median(series.values) if series is not None else float("nan")


def _measure_mounts(bench: Bench, answer: Answer) -> None:
    with ExitStack() as stack:
        cases = []
        for count in MOUNTS:
            top = Path(bench.world.directory, f"mounts-{count}")
            prefix = (
                "unshare",
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                MOUNT_MANY,
                "sh",
                str(count),
                str(top),
            )
            worker = stack.enter_context(bench.worker(SMALL_MB, prefix))
            cases.append(Case(MOUNTED, f"{count} mounts", bench.pod(worker, "pod", containers=1, program=TRUE)))
        bench.measure(answer, cases)


def _aim(answer: Answer, levels: tuple[int, ...]) -> None:
    """The limit's own growth stands beside: that is the kernel's, and what pyrun may grow by."""
    few, many = levels[0], levels[-1]
    growth = _median(answer, _group(many), "limit", "removed") / _median(answer, _group(few), "limit", "removed")
    answer.notes.append(f"the limit's own pod takes {growth:.2f} times as long with {many} alive as with {few}")
    for metric in ("running", "removed"):
        of, to = (_group(many), "pyrun", metric), (_group(few), "pyrun", metric)
        answer.aim(f"the next pod {metric} with {many} alive, against {few}", 1.2, of, to)
        cases = [(MOUNTED, f"{count} mounts", metric) for count in reversed(MOUNTS)]
        answer.aim(f"a pod {metric} beside {MOUNTS[1]} mounts, against {MOUNTS[0]}", 1.2, *cases)
