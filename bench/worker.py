"""A process that uses the library and answers over a pipe: ``python -m bench.worker MEGABYTES`` (server.py is the other end).

A line is a JSON object with the name of a function below and its arguments; the answer has its result, or the error. The
process imports the library and next to nothing else, and is as big as it was told to be, every page touched.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import resource
import signal
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
    """As ``pyrun run`` does it: the pod ends with us. The limit's does, too."""
    stdio = lambda _name: (_null, out, out)  # noqa: E731
    return pyrun.Pod.create(spec, directory=pod_directory(), stdio=stdio, kill_with_launcher=True, **how)


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
    return _watch_pod(rootfs, containers, program, lambda: None)


def _watch_pod(
    rootfs: str, containers: int, program: Sequence[str], take_sandbox: Callable[[], pyrun.Sandbox | None]
) -> Figures:
    spec = spec_of(rootfs, containers, program)
    watch = Watch()
    with create(spec, _null, sandbox=take_sandbox()) as made:
        watch.mark("created")
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


def traced_pod(rootfs: str, containers: int, program: Sequence[str]) -> Figures:
    """The time that each kind of step took in each process, and what the launcher did meanwhile, as ``process/kind``."""
    spec = spec_of(rootfs, containers, program)
    begin_ns = time.monotonic_ns()
    phases = []

    def phase(name: str) -> None:
        nonlocal begin_ns
        now_ns = time.monotonic_ns()
        phases.append(pyrun.Phase(name, begin_ns, now_ns))
        begin_ns = now_ns

    with create(spec, _null) as made:
        phase("create")
        made.start()
        phase("start")
        made.wait()
        phase("wait")
        trace = pyrun.trace_pod(made, os.getpid(), phases)
    figures: Figures = {}
    names: dict[int, str] = {}
    for event in trace["traceEvents"]:  # type: ignore[attr-defined]
        if event["name"] == "process_name":
            names[event["pid"]] = event["args"]["name"]
        elif event["ph"] == "X" and event["cat"] != "program":
            kind = event["name"] if event["cat"] == "launcher" else event["cat"]
            key = f"{names[event['pid']]}/{kind}"
            figures[key] = figures.get(key, 0.0) + event["dur"]
    return figures


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


def execute(name: str, program: Sequence[str]) -> Figures:
    """A program in the first container of a pod that is up."""
    container = next(iter(_pods[name].containers.values()))
    watch = Watch()
    with container.exec(list(program), stdio=(_null, _null, _null)) as process:
        watch.mark("running")
        process.wait()
    watch.mark("exited")
    return watch.marks


# ---- many pods -------------------------------------------------------------------------------------------------------


def grow(rootfs: str, total: int, program: Sequence[str]) -> Figures:
    """Start pods of one container until *total* are alive."""
    watch = Watch()
    spec = spec_of(rootfs, 1, program)
    while len(_pods) < total:
        made = create(spec, _null)
        made.start()
        _pods[f"{len(_pods)}"] = made
    watch.mark("grown")
    return watch.marks


def weigh() -> Figures:
    """The proportional share (PSS) of this process, of all pauses and of all containers, and the descriptors that we hold."""
    gc.collect()
    pauses = [each.sandbox.pause.process.pid for each in _pods.values()]
    containers = [container.process.pid for each in _pods.values() for container in each.containers.values()]
    return {
        "library_kb": pss_kb(os.getpid()),
        "pause_kb": sum(map(pss_kb, pauses)),
        "container_kb": sum(map(pss_kb, containers)),
        "fds": len(os.listdir("/proc/self/fd")),
    }


def pss_kb(pid: int) -> float:
    with open(f"/proc/{pid}/smaps_rollup") as lines:
        return next(float(line.split()[1]) for line in lines if line.startswith("Pss:"))


def list_pods() -> Figures:
    """Look up all pods of the machine; ours must be among them."""
    watch = Watch()
    found = pyrun.list_pods()
    watch.mark("listed")
    missing = {each.uid for each in _pods.values()} - {*found}
    if missing:
        raise OSError(f"{len(missing)} pods are alive and not listed")
    return watch.marks


def clear() -> Figures:
    """Remove all pods, one after the other."""
    watch = Watch()
    for name in list(_pods):
        _pods.pop(name).remove()
    watch.mark("all")
    return watch.marks


# ---- sandboxes from a pool -------------------------------------------------------------------------------------------

_pool: list[pyrun.SandboxPool] = []


def open_pool(rootfs: str, containers: int, program: Sequence[str], size: int) -> None:
    """A pool that stays open; full when this returns or a little later."""
    _pool.append(pyrun.SandboxPool(size, spec_of(rootfs, containers, program)))


def take_sandbox() -> Figures:
    """One that is ready."""
    watch = Watch()
    sandbox = _pool[0].take()
    watch.mark("ready")
    sandbox.remove()
    return watch.marks


def build_sandbox() -> Figures:
    """One that is not: of a pool of one, the second that is taken has to be made first."""
    first = _pool[0].take()
    watch = Watch()
    second = _pool[0].take()
    watch.mark("ready")
    first.remove()
    second.remove()
    return watch.marks


def pooled_pod(rootfs: str, containers: int, program: Sequence[str]) -> Figures:
    """As ``pod``, in a sandbox from the pool."""
    return _watch_pod(rootfs, containers, program, _pool[0].take)


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
    return pyrun.plan_container(
        pyrun.standalone_oci(spec, oci, plan.paths), pyrun.Setting(gated=False, message_file=True)
    )


def spawn(program: Sequence[str], namespaces: Sequence[str]) -> Figures:
    """A program of the host in new namespaces, without any set-up."""
    plan = [steps.Exec(tuple(program), program=program[0])]
    return _spawned(plan, namespaces=tuple(namespaces), **_maps(namespaces))


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


def hold(program: Sequence[str], namespaces: Sequence[str]) -> Figures:
    """A program that stays, in new namespaces; it is killed as soon as it runs."""
    plan = [steps.Exec(tuple(program), program=program[0])]
    watch = Watch()
    with pyrun.spawn(plan, namespaces=tuple(namespaces), **_maps(namespaces)) as process:
        watch.mark("running")
        process.signal(9)
        process.wait()
    watch.mark("destroyed")
    return watch.marks


def keep(program: Sequence[str], namespaces: Sequence[str]) -> int:
    """Start a program in new namespaces that stays as long as this process; its pid."""
    process = pyrun.spawn([steps.Exec(tuple(program), program=program[0])], namespaces=tuple(namespaces))
    _held.append(process)
    return process.pid


def _maps(namespaces: Sequence[str]) -> dict[str, Any]:
    return {"uid_map": "0 0 1\n", "gid_map": "0 0 1\n"} if "user" in namespaces else {}


_held: list[pyrun.Process] = []


class _Number:
    def __init__(self, number: int) -> None:
        self.number = number

    def fileno(self) -> int:
        return self.number


def _spawned(plan: Sequence[pyrun.Step], **how: Any) -> Figures:
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
    for function in (
        *(settle, pod, stamped_pod, traced_pod, up, down, execute),
        *(grow, weigh, list_pods, clear, open_pool, build_sandbox, take_sandbox, pooled_pod),
        *(spawn_alone, spawn, hold, keep, join, posix_spawn, subprocess_run),
    )
}


def answer(line: str) -> str:
    request = json.loads(line)
    try:
        return json.dumps({"result": _actions[request["action"]](**request["arguments"])})
    except (pyrun.PyrunError, OSError) as error:
        return json.dumps({"error": str(error)})


def main() -> None:
    # Ctrl-C is for the benchmark, which then closes our standard input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A thousand pods are some thousand descriptors.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
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
    for pool in _pool:
        pool.close()
    for process in _held:
        process.end()


if __name__ == "__main__":
    main()
