"""Where the benchmarks run: a private mount namespace with cgroup v2 at /sys/fs/cgroup, and a directory for everything they need.

Debian's crun and runc take a machine with both cgroup versions only where they are shown the second alone, so everybody is.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

import pyrun
from bench.limit.build import build_limit
from bench.manifest import TRUE, manifest

INSIDE = "PYRUN_BENCH_INSIDE"
CGROUP = Path("/sys/fs/cgroup")
LIMIT_GROUP = "pyrun-limit"  # below the root: what limit.c makes
PEER_GROUP = "pyrun-bench"  # and what the other runtimes do
PODMAN_GROUP = "libpod_parent"
ACCOUNTED = ("cpu", "memory", "pids", "io")  # what pyrun gives the groups of a pod without limits, where it is there
APPLETS = ("true", "sh", "sleep", "cat")


def enter(arguments: Sequence[str]) -> None:
    """Execute this program again in a mount namespace of its own, unless that has been done."""
    if os.environ.get(INSIDE):
        return
    command = ("unshare", "--mount", "--propagation", "private", sys.executable, "-m", "bench", *arguments)
    os.execvpe(command[0], command, {**os.environ, INSIDE: "1"})


def show_cgroup2() -> None:
    """cgroup v2 at its usual place: as it is, or mounted over what is there."""
    if not (CGROUP / "cgroup.controllers").exists():
        subprocess.run(["mount", "-t", "cgroup2", "none", str(CGROUP)], check=True)


class World:
    """A directory with the root file system of all containers, the limit, the filter, and room for what cases make. As a context
    manager it goes at the end, with the cgroups that a case that failed may have left."""

    def __init__(self, cgroup: Path = CGROUP) -> None:
        self.cgroup = cgroup  # of version 2
        self.directory = Path(tempfile.mkdtemp(prefix="pyrun-bench-"))
        try:
            self._set_up()
        except BaseException:
            shutil.rmtree(self.directory)
            raise

    def _set_up(self) -> None:
        self.rootfs = self.directory / "rootfs"
        self.limit = build_limit(self.directory / "limit")
        self.pause = Path(pyrun.__file__).with_name("pyrun-pause")
        self.filter = self.directory / "filter.bpf"
        self.pyrun = Path(sys.executable).with_name("pyrun")
        there = (self.cgroup / "cgroup.controllers").read_text().split()
        self.controllers = [name for name in ACCOUNTED if name in there]
        self.undo: list[Callable[[], object]] = []
        self._groups = [LIMIT_GROUP, PEER_GROUP, *([] if (self.cgroup / PODMAN_GROUP).exists() else [PODMAN_GROUP])]
        self._make_rootfs()
        self._planned = self._follow_plan()

    def __enter__(self) -> World:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for undo in self.undo:
            undo()
        for group in self._groups:
            remove_group(self.cgroup / group)
        shutil.rmtree(self.directory, ignore_errors=True)

    def limit_command(self, *words: str, out: int | None = None, program: Sequence[str] = TRUE) -> list[str]:
        options = ["--rootfs", self.rootfs, "--pause", self.pause, "--filter", self.filter]
        options += [*self._planned, "--cgroup", self.cgroup]
        if controllers := " ".join(f"+{name}" for name in self.controllers):
            options += ["--controllers", controllers]
        if "cpu" in self.controllers:
            options += ["--cpu-weight", 1]  # nobody asked for processor time: the least share
        if "memory" in self.controllers:
            options += ["--oom-group", 1]
        if out is not None:
            options += ["--out", out]
        return [str(self.limit), *map(str, options), *words, "--", *program]

    def write_manifest(self, containers: int) -> Path:
        path = self.directory / f"pod-of-{containers}.json"
        path.write_text(json.dumps(manifest(str(self.rootfs), containers)))
        return path

    def _make_rootfs(self) -> None:
        """What an image has, so that nobody has to make a mount's target in it."""
        for name in ("bin", "proc", "sys", "dev", "etc", "tmp", "root", "usr", "run", "var"):
            (self.rootfs / name).mkdir(parents=True)
        for name in ("hosts", "hostname", "resolv.conf"):
            (self.rootfs / "etc" / name).touch()
        (self.rootfs / "etc/os-release").write_text("ID=bench\n")  # systemd-nspawn looks for it
        shutil.copy2("/bin/busybox", self.rootfs / "bin/busybox")
        shutil.copy2(self.limit, self.rootfs / "bin/limit")
        shutil.copy2(self.pause, self.rootfs / "bin/pause")
        for name in APPLETS:
            (self.rootfs / "bin" / name).symlink_to("busybox")

    def _follow_plan(self) -> list[str]:
        """Write the filter of pyrun's container; the options of limit.c for what else the plan says."""
        spec = pyrun.parse_pod(manifest(str(self.rootfs), 1), "bench")
        plan = pyrun.plan_pod(spec, "bench", str(self.directory / "pod"), pyrun.read_machine())
        (step,) = [step for step in plan.containers[0].steps if isinstance(step, pyrun.steps.LoadFilter)]
        self.filter.write_bytes(step.program)
        adjusted = [step.value for step in plan.pause.steps if isinstance(step, pyrun.steps.SetOomScoreAdj)]
        return ["--flags", str(step.filter_flags), "--pause-oom", str(adjusted[0] if adjusted else 0)]


def remove_group(path: Path) -> None:
    """A cgroup with all below it, killed first."""
    if not path.exists():
        return
    (path / "cgroup.kill").write_text("1")
    for directory, _, _ in os.walk(path, topdown=False):
        _remove_empty(Path(directory))


def _remove_empty(path: Path) -> None:
    deadline = time.monotonic() + 5
    while True:
        try:
            path.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
