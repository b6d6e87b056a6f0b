"""What does ``pyrun run`` cost as a whole process, against others that do the same?"""

from __future__ import annotations

from functools import partial

from bench.answer import Answer
from bench.command import attempt, run
from bench.oci import OciRuntime
from bench.question import Bench
from bench.rounds import WHOLE, Case, Figures

PYRUN = "pyrun run"
ONE = "one container"
TWO = "pod of 2"


def ask(bench: Bench) -> Answer:
    peers = bench.peers
    answer = Answer(notes=list(peers.notes))
    cases = [*_ours(bench, ONE, 1), *_ours(bench, TWO, 2)]
    cases += [Case(ONE, runtime.case, runtime.run_one) for runtime in peers.oci.values()]
    cases += [Case(TWO, runtime.case, partial(_whole, runtime)) for runtime in peers.oci.values()]
    cases += [Case(ONE, name, once) for name, once in peers.one_container.items()]
    if peers.podman is not None:
        cases.append(Case(ONE, "podman", peers.podman.run_one))
        if peers.podman.pod_problem:
            answer.notes.append(peers.podman.pod_problem)
        else:
            cases.append(Case(TWO, "podman", partial(peers.podman.make_pod, 2)))
    bench.measure(answer, cases)
    answer.notes.append(f"{ONE}: pyrun and the limit make a pod of one, with pause; the others a container without one")
    _aim(answer, bench)
    return answer


def _ours(bench: Bench, group: str, count: int) -> list[Case]:
    world = bench.world
    command = [str(world.pyrun), "run", str(world.write_manifest(count))]
    options = ["--root", str(world.directory / "run"), "--state", str(world.directory / "state")]
    command[2:2] = options
    attempt(command)
    return [
        Case(group, "limit", partial(run, world.limit_command("pod", str(count)))),
        Case(group, PYRUN, partial(run, command)),
    ]


def _whole(runtime: OciRuntime) -> Figures:
    return {WHOLE: runtime.make_pod(2)["removed"]}


def _aim(answer: Answer, bench: Bench) -> None:
    ours = (TWO, PYRUN, WHOLE)
    bounds = {"runc": 0.3, "crun": 0.9}
    for name, runtime in bench.peers.oci.items():
        bound = 1.3 if name == "crun" and runtime.note else bounds[name]
        answer.aim(f"pyrun run, pod of 2, against {runtime.case}", bound, ours, (TWO, runtime.case, WHOLE))
    answer.aim("pyrun run, pod of 2, against podman", 0.1, ours, (TWO, "podman", WHOLE))
    for name, runtime in bench.peers.oci.items():
        if name == "runc":
            answer.aim("pyrun run, one container, against runc", 1.0, (ONE, PYRUN, WHOLE), (ONE, runtime.case, WHOLE))
