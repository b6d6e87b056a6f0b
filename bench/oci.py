"""crun and runc making a pod: pause by create and start, then a run per container that joins its namespaces by path, then delete.

pyrun-oci takes the same commands. Each gets what ``pyrun plan --oci`` prints for the container, the seccomp profile with it.
"""

from __future__ import annotations

import copy
import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.command import attempt, run
from bench.manifest import HOLD
from bench.rounds import CaseFailed
from bench.world import PEER_GROUP, World

SHARED = {"network": "net", "ipc": "ipc", "uts": "uts"}  # OCI's word, and the file in /proc/PID/ns
PID_MARK = "@PID@"
NO_CGROUPS = "--cgroup-manager=disabled"


class OciRuntime:
    """One of them, found and tried; ``note`` says what it does less than the others, or is empty.

    *path* is where it is, if not on the PATH; *options* are its global ones.
    """

    def __init__(self, world: World, name: str, path: Path | None = None, options: Sequence[str] = ()) -> None:
        found = shutil.which(path or name)
        if found is None:
            raise CaseFailed(f"{path or name} is not installed")
        self.name = name
        self.note = "without cgroups" if NO_CGROUPS in options else ""
        self._serial = itertools.count()
        self._bundles = Bundles(world, "-".join([name, *options]))
        self._base = [found, "--root", str(world.directory / f"{name}-state"), *options]
        self._try(name)

    def _try(self, name: str) -> None:
        """Debian 12's crun makes no cgroup where root lacks CAP_SYS_RESOURCE, for it raises a limit first."""
        try:
            self.run_one(careful=True)
        except CaseFailed as error:
            if name != "crun":
                raise
            self._base.append(NO_CGROUPS)
            self.note = f"without cgroups, so with less work than pyrun, because it cannot here ({error})"
            self.run_one(careful=True)

    @property
    def case(self) -> str:
        return f"{self.name} (no cgroups)" if self.note else self.name

    def run_one(self, *, careful: bool = False) -> None:
        """One container, all namespaces its own."""
        do = attempt if careful else run
        do([*self._base, "run", "--bundle", str(self._bundles.alone), self._name("one")])

    def live_once(self) -> None:
        """One container, in the three commands of whoever watches it."""
        name = self._name("life")
        run([*self._base, "create", "--bundle", str(self._bundles.alone), name])
        try:
            run([*self._base, "start", name])
        finally:
            run([*self._base, "delete", "--force", name])

    def make_pod(self, containers: int) -> dict[str, float]:
        """A pod, from nothing to removed. Its containers are done before the next begins, as ``run`` has it."""
        begin_ns = time.monotonic_ns()
        pause = self._name("pause")
        pid_file = self._bundles.pause / "pid"
        run([*self._base, "create", "--pid-file", str(pid_file), "--bundle", str(self._bundles.pause), pause])
        run([*self._base, "start", pause])
        pid = pid_file.read_text()
        try:
            for number in range(containers):
                run([*self._base, "run", "--bundle", str(self._bundles.member(number, pid)), self._name("member")])
            exited_ns = time.monotonic_ns()
        finally:
            run([*self._base, "delete", "--force", pause])
        return {"exited": (exited_ns - begin_ns) / 1000, "removed": (time.monotonic_ns() - begin_ns) / 1000}

    def hold(self) -> str:
        """Start a container that stays; its name."""
        name = self._name("held")
        attempt([*self._base, "run", "--detach", "--bundle", str(self._bundles.held), name])
        return name

    def execute(self, name: str, program: Sequence[str]) -> None:
        run([*self._base, "exec", name, *program])

    def delete(self, name: str) -> None:
        attempt([*self._base, "delete", "--force", name])

    def _name(self, what: str) -> str:
        return f"bench-{what}-{next(self._serial)}"


class Bundles:
    """The directories with config.json, for one runtime."""

    def __init__(self, world: World, runtime: str) -> None:
        self._rootfs = str(world.rootfs)
        self._top = world.directory / f"{runtime}-bundles"
        self._group = f"/{PEER_GROUP}/{runtime}"
        config = _config(world)
        self.alone = self._write("alone", config)
        self.held = self._write("held", _with_program(config, HOLD))
        self.pause = self._write("pause", _with_program(config, ("/bin/pause",)))
        self._member_text = json.dumps(self._placed("member", _joining(config)))

    def member(self, number: int, pid: str) -> Path:
        """The bundle of a container in the namespaces of process *pid*."""
        bundle = self._top / f"member{number}"
        bundle.mkdir(exist_ok=True)
        (bundle / "config.json").write_text(self._member_text.replace(PID_MARK, pid))
        return bundle

    def _write(self, name: str, config: dict[str, Any]) -> Path:
        bundle = self._top / name
        bundle.mkdir(parents=True)
        (bundle / "config.json").write_text(json.dumps(self._placed(name, config)))
        return bundle

    def _placed(self, name: str, config: dict[str, Any]) -> dict[str, Any]:
        config = copy.deepcopy(config)
        config["root"]["path"] = self._rootfs
        config["linux"]["cgroupsPath"] = f"{self._group}/{name}"
        return config


def _config(world: World) -> dict[str, Any]:
    command = [world.pyrun, "plan", world.write_manifest(1), "--oci", "--container", "c0"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True)
    config: dict[str, Any] = json.loads(done.stdout)
    if not world.controllers:
        # pyrun passes over a weight where there is no controller for it; the others stop there.
        config["linux"].pop("resources", None)
    return config


def _with_program(config: dict[str, Any], program: Sequence[str]) -> dict[str, Any]:
    return {**config, "process": {**config["process"], "args": list(program)}}


def _joining(config: dict[str, Any]) -> dict[str, Any]:
    """*config* in the namespaces of pause: they have a path, and the hostname is set already."""
    joining = copy.deepcopy(config)
    joining.pop("hostname", None)
    for namespace in joining["linux"]["namespaces"]:
        if namespace["type"] in SHARED:
            namespace["path"] = f"/proc/{PID_MARK}/ns/{SHARED[namespace['type']]}"
    return joining
