"""The limit does no less than pyrun: both make the same pod, and /proc tells of both the same."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pyrun
from bench import worker
from bench.manifest import HOLD, STAMP, manifest
from bench.server import Limit
from bench.world import World
from fixtures.machine import cgroup2_root
from fixtures.pods import running

pytestmark = pytest.mark.root

KINDS = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
STATUS = (
    *("Umask", "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"),
    *("NoNewPrivs", "Seccomp", "Seccomp_filters", "SigBlk", "SigIgn", "SigCgt"),
)

Seen = dict[str, Any]


@pytest.fixture
def world() -> Iterator[World]:
    root = cgroup2_root()
    assert root is not None
    with World(root) as made:
        yield made


def see(pid: int, pause: int | None = None) -> Seen:
    """What is compared of a process: how it was made, what it may, and what it sees."""
    proc = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
    namespaces = {kind: os.readlink(proc / "ns" / kind) for kind in KINDS}
    host = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in KINDS}
    return {
        "status": {name: status[name].split() for name in STATUS},
        "pid inside": status["NSpid"].split()[1:],
        "leads its session": status["NSsid"] == status["NSpid"],
        "new namespaces": {kind for kind in KINDS if namespaces[kind] != host[kind]},
        "shared namespaces": {kind for kind in KINDS if pause and namespaces[kind] == os.readlink(f"/proc/{pause}/ns/{kind}")},
        "mounts": mounts(proc),
        "dev": sorted(node(path) for path in (proc / "root/dev").glob("*")),
        "addresses": (proc / "net/fib_trie").read_text(),
        "descriptors": sorted(os.listdir(proc / "fd")),
        "oom_score_adj": (proc / "oom_score_adj").read_text(),
        "environment": (proc / "environ").read_bytes(),
        "arguments": (proc / "cmdline").read_bytes(),
        "working directory": os.readlink(proc / "cwd"),
        "hostname": nsenter(pid, "hostname"),
        "etc": {name: (proc / "root/etc" / name).read_bytes() for name in ("hosts", "hostname", "resolv.conf") if pause != pid},
        "cgroup": Path((proc / "cgroup").read_text().rpartition("::")[2].strip()).name,
    }  # fmt: skip


def mounts(proc: Path) -> list[tuple[object, ...]]:
    """In the order in which they cover each other: target, type, source, options, the file system's options, propagation."""
    found = []
    for line in (proc / "mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        _, _, _, _, target, options, *propagation = left.split()
        kind, source, super_options = right.split()
        of_mount, of_file_system = set(options.split(",")), set(super_options.split(","))
        if "ro" in of_mount:  # mount(2) says it to both, fsmount(2) to the mount alone
            of_file_system -= {"ro", "rw"}
        found.append((target, kind, source, of_mount, of_file_system, propagation))
    return sorted(found, key=lambda mount: str(mount[0]))


def node(path: Path) -> tuple[object, ...]:
    info = path.lstat()
    return (path.name, oct(info.st_mode), info.st_rdev, os.readlink(path) if path.is_symlink() else "")


def nsenter(pid: int, command: str) -> str:
    return subprocess.run(
        ["nsenter", f"--target={pid}", "--uts", command], capture_output=True, text=True, check=True
    ).stdout


def check_same(limit: Seen, ours: Seen) -> None:
    for name, expected in ours.items():
        assert limit[name] == expected, name


def test_a_pod_is_made_as_pyrun_makes_it(world: World, tmp_path: Path) -> None:
    spec = pyrun.parse_pod(manifest(str(world.rootfs), 2, HOLD), "bench")
    with Limit(world, HOLD) as limit, running(spec, tmp_path, kill_with_launcher=True) as it:
        limit.do("up 2")
        limit.wait_for_containers(2)
        pause, *containers = limit.pids
        our_pause = it.pod.sandbox.pause.process.pid
        check_same(see(pause, pause), see(our_pause, our_pause))
        for pid, name in zip(containers, ("c0", "c1"), strict=True):
            check_same(see(pid, pause), see(it[name].process.pid, our_pause))
        limit.do("down")
        it.pod.kill()


def test_a_container_alone_is_made_as_pyrun_makes_it(world: World) -> None:
    plan = worker.plan_alone(str(world.rootfs), HOLD)
    null = os.open(os.devnull, os.O_RDWR)
    fds = {"stdin": null, "stdout": null, "stderr": null}
    name = f"pyrun/bench-{os.getpid()}"
    with (
        Limit(world, HOLD) as limit,
        pyrun.Cgroup.create(name) as group,
        pyrun.spawn(plan.steps, namespaces=plan.clone_namespaces, cgroup=group, fds=fds) as process,
    ):
        limit.send("spawn")
        limit.wait_for_containers(1)
        (child,) = children(limit.pid)
        ours, theirs = see(process.pid), see(child)
        os.kill(child, 9)
        limit.receive()
        process.signal(9)
        process.wait()
    os.close(null)
    del ours["cgroup"]
    check_same(theirs, ours)


LIMITED = ("cgroup.subtree_control", "cpu.weight", "cpu.max", "memory.max", "memory.oom.group", "pids.max")


def group_files(pod: Path) -> dict[str, str]:
    """What stands in the files of a pod's groups that limit something."""
    groups = [pod, *sorted(path for path in pod.iterdir() if path.is_dir())]
    files = [(group, name) for group in groups for name in LIMITED if (group / name).exists()]
    return {f"{group.relative_to(pod)}/{name}": (group / name).read_text() for group, name in files}


@pytest.mark.cgroup2
def test_groups_are_limited_as_pyrun_limits_them(world: World, tmp_path: Path) -> None:
    spec = pyrun.parse_pod(manifest(str(world.rootfs), 2, HOLD), "bench")
    with Limit(world, HOLD) as limit, running(spec, tmp_path) as it:
        limit.do("up 2")
        limit.wait_for_containers(2)
        (ours,) = world.cgroup.glob("pyrun-limit/pod*")
        assert group_files(ours) == group_files(Path(it.pod.cgroup.path))
        limit.do("down")
        it.pod.kill()


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_nothing_is_left_and_every_answer_is_in_order(world: World) -> None:
    with Limit(world) as limit:
        for command in ("pod 1", "pod 8", "spawn"):
            figures = list(limit.do(command).values())
            assert figures == sorted(figures)
            assert figures[0] > 0
            assert not list(world.cgroup.glob("pyrun-limit/*"))


def test_a_program_in_a_running_container(world: World) -> None:
    with Limit(world, HOLD) as limit:
        limit.do("up 1")
        assert set(limit.do("exec")) == {"running", "exited"}
        limit.do("down")


def test_the_first_instruction_comes_before_the_exit(world: World) -> None:
    with Limit(world, STAMP) as limit:
        begin = time.monotonic()
        figures = limit.do_stamped("pod 2", 2)
        assert figures["created"] < figures["first instruction"] < figures["removed"] < (time.monotonic() - begin) * 1e6


@pytest.mark.parametrize("kind", ["NEWNS", "NEWUTS", "NEWIPC", "NEWNET", "NEWPID", "NEWUSER", "NEWCGROUP", "NEWTIME"])
def test_each_kind_of_namespace_can_be_made(world: World, kind: str) -> None:
    flags = {"NEWTIME": 0x80, "NEWNS": 0x20000, "NEWCGROUP": 0x2000000, "NEWUTS": 0x4000000, "NEWIPC": 0x8000000}
    flags |= {"NEWUSER": 0x10000000, "NEWPID": 0x20000000, "NEWNET": 0x40000000}
    with Limit(world) as limit:
        assert set(limit.do(f"clone {flags[kind]}")) == {"running", "exited"}
