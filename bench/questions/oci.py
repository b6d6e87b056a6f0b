"""What does ``pyrun-oci`` cost as podman, containerd and CRI-O call it, against crun and runc?"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from bench.answer import Answer
from bench.oci import NO_CGROUPS, OciRuntime
from bench.question import Bench
from bench.rounds import WHOLE, Case, CaseFailed

OURS = "pyrun-oci"
LIFE = "create, start, delete"
RUN = "run, which deletes"
BOUND = 1.0


def ask(bench: Bench) -> Answer:
    peers = bench.peers
    answer = Answer(notes=list(peers.notes))
    ours: list[OciRuntime] = []
    for options in _variants(list(peers.oci.values())):
        try:
            ours.append(OciRuntime(bench.world, OURS, Path(sys.executable).with_name(OURS), options))
        except CaseFailed as error:
            answer.notes.append(f"{OURS} is left out: {error}")
    runtimes = [*ours, *peers.oci.values()]
    cases = [Case(LIFE, runtime.case, runtime.live_once) for runtime in runtimes]
    cases += [Case(RUN, runtime.case, runtime.run_one) for runtime in runtimes]
    bench.measure(answer, cases)
    answer.notes.append("whole processes: create, start and delete are three, one after the other")
    for runtime in ours:
        _aim(answer, runtime, peers.oci)
    return answer


def _variants(peers: list[OciRuntime]) -> Iterator[tuple[str, ...]]:
    """As it is, and once more without cgroups where one of the others has to do without."""
    yield ()
    if any(peer.note for peer in peers):
        yield (NO_CGROUPS,)


def _aim(answer: Answer, runtime: OciRuntime, peers: dict[str, OciRuntime]) -> None:
    """Against runc, which makes cgroups wherever it runs."""
    if "runc" not in peers or runtime.note:
        return
    theirs = peers["runc"].case
    for group in (LIFE, RUN):
        answer.aim(f"{OURS}, {group}, against runc", BOUND, (group, runtime.case, WHOLE), (group, theirs, WHOLE))
