"""A process that uses the library and answers over a pipe: ``python -m bench.worker MEGABYTES`` (server.py is the other end).

A line is a JSON object with the name of a function below and its arguments; the answer has its result, or the error. The
process imports the library and next to nothing else, and is as big as it was told to be, every page touched.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyrun
from bench.manifest import STAMP_BYTES, manifest
from pyrun import steps

PAGE_BYTES = 4096

Figures = dict[str, float]

_serial = itertools.count()
_pods: dict[str, pyrun.Pod] = {}
_state: dict[str, str] = {}
_null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)


# ---- parts -----------------------------------------------------------------------------------------------------------


class Watch:
    """Microseconds from its making to each mark."""

    def __init__(self) -> None:
        self.begin_ns = time.monotonic_ns()
        self.marks: Figures = {}

    def mark(self, name: str) -> None:
        self.marks[name] = (time.monotonic_ns() - self.begin_ns) / 1000


def settle(directory: str) -> None:
    """Where the pods' directories are made."""
    _state["directory"] = directory


def pod_directory() -> str:
    return f"{_state['directory']}/{os.getpid()}-{next(_serial)}"


def spec_of(rootfs: str, containers: int, program: Sequence[str]) -> pyrun.PodSpec:
    return pyrun.parse_pod(manifest(rootfs, containers, program), "bench")


def create(spec: pyrun.PodSpec, out: int, **how: Any) -> pyrun.Pod:
    return pyrun.Pod.create(spec, directory=pod_directory(), stdio=lambda _name: (_null, out, out), **how)


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe2(os.O_CLOEXEC)
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


# ---- pods ------------------------------------------------------------------------------------------------------------


def pod(rootfs: str, containers: int, program: Sequence[str]) -> Figures:
    """One pod, from its manifest's value to removed."""
    spec = spec_of(rootfs, containers, program)
    watch = Watch()
    made = create(spec, _null)
    watch.mark("created")
    with made:
        made.start()
        watch.mark("running")
        made.wait()
        watch.mark("exited")
    watch.mark("removed")
    return watch.marks


def stamped_pod(rootfs: str, containers: int, program: Sequence[str]) -> Figures:
    """The same with containers that write when their first instruction ran."""
    with pipe() as (reading, writing):
        spec = spec_of(rootfs, containers, program)
        watch = Watch()
        with create(spec, writing) as made:
            made.start()
            made.wait()
            stamps = os.read(reading, containers * STAMP_BYTES)
    last = max(int.from_bytes(stamps[at : at + STAMP_BYTES], "little") for at in range(0, len(stamps), STAMP_BYTES))
    return {"first instruction": (last - watch.begin_ns) / 1000}


def up(name: str, rootfs: str, containers: int, program: Sequence[str]) -> list[int]:
    """Start a pod that stays, and wait until each container has written a byte; the pids of pause and of the containers."""
    with pipe() as (reading, writing):
        made = create(spec_of(rootfs, containers, program), writing)
        made.start()
        _pods[name] = made
        missing = containers
        while missing:
            missing -= len(os.read(reading, missing))
    return [made.sandbox.pause.process.pid, *[each.process.pid for each in made.containers.values()]]


def down(name: str) -> Figures:
    """Remove it, running as it is."""
    watch = Watch()
    _pods.pop(name).remove()
    watch.mark("removed")
    return watch.marks


# ---- one process -----------------------------------------------------------------------------------------------------


def spawn_alone(rootfs: str, program: Sequence[str]) -> Figures:
    """One container with everything but pause, in namespaces and a cgroup of its own."""
    if "alone" not in _plans:
        _plans["alone"] = plan_alone(rootfs, program)
    plan = _plans["alone"]
    watch = Watch()
    with pyrun.Cgroup.create(f"pyrun/bench-{os.getpid()}-{next(_serial)}") as group:
        fds = {"stdin": _null, "stdout": _null, "stderr": _null}
        with pyrun.spawn(plan.steps, namespaces=plan.clone_namespaces, cgroup=group, fds=fds) as process:
            watch.mark("running")
            process.wait()
            watch.mark("exited")
    watch.mark("removed")
    return watch.marks


_plans: dict[str, pyrun.ContainerPlan] = {}


def plan_alone(rootfs: str, program: Sequence[str]) -> pyrun.ContainerPlan:
    spec = spec_of(rootfs, 1, program)
    plan = pyrun.plan_pod(spec, "bench", "/nowhere", pyrun.read_machine())
    oci = plan.containers[0].oci
    assert oci is not None
    return pyrun.plan_container(pyrun.standalone_oci(spec, oci, plan.paths), pyrun.Setting(gated=False))


def spawn(program: Sequence[str], namespaces: Sequence[str]) -> Figures:
    """A program of the host in new namespaces, without any set-up."""
    maps = {"uid_map": "0 0 1\n", "gid_map": "0 0 1\n"} if "user" in namespaces else {}
    return _spawned([steps.Exec(tuple(program), program=program[0])], namespaces=tuple(namespaces), **maps)


def join(program: Sequence[str], namespaces: Sequence[str], pid: int) -> Figures:
    """A program of the host in the namespaces of a process."""
    watched = [kind for kind in namespaces if kind != "pid"]
    pidfd = os.pidfd_open(pid)
    try:
        plan: list[pyrun.Step] = [steps.JoinNamespaces("there", tuple(watched))] if watched else []
        plan.append(steps.Exec(tuple(program), program=program[0]))
        where = {"pid_namespace": _Number(pidfd)} if "pid" in namespaces else {}
        return _spawned(plan, fds={"there": pidfd} if watched else {}, **where)
    finally:
        os.close(pidfd)


class _Number:
    def __init__(self, number: int) -> None:
        self.number = number

    def fileno(self) -> int:
        return self.number


def _spawned(plan: list[pyrun.Step], **how: Any) -> Figures:
    watch = Watch()
    with pyrun.spawn(plan, **how) as process:
        watch.mark("running")
        process.wait()
    watch.mark("exited")
    return watch.marks


def posix_spawn(program: Sequence[str]) -> Figures:
    watch = Watch()
    pid = os.posix_spawn(program[0], list(program), {})
    watch.mark("running")
    os.waitpid(pid, 0)
    watch.mark("exited")
    return watch.marks


def subprocess_run(program: Sequence[str]) -> Figures:
    watch = Watch()
    subprocess.run(list(program), check=True)
    watch.mark("exited")
    return watch.marks


# ---- the loop --------------------------------------------------------------------------------------------------------

_actions: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (settle, pod, stamped_pod, up, down, spawn_alone, spawn, join, posix_spawn, subprocess_run)
}


def answer(line: str) -> str:
    request = json.loads(line)
    try:
        return json.dumps({"result": _actions[request["action"]](**request["arguments"])})
    except (pyrun.PyrunError, OSError) as error:
        return json.dumps({"error": str(error)})


def main() -> None:
    ballast = bytearray(int(sys.argv[1]) << 20)
    for page in range(0, len(ballast), PAGE_BYTES):
        ballast[page] = 1
    # Answers go out on a descriptor that no container gets.
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(_null, 1)
    for line in sys.stdin:
        out.write(f"{answer(line)}\n")
    for name in list(_pods):
        down(name)


if __name__ == "__main__":
    main()
