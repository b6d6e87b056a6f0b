"""The others: found, tried once, and named with the reason where they are missing or cannot run here."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import partial

from bench.command import attempt, run
from bench.oci import OciRuntime
from bench.rounds import CaseFailed
from bench.world import World


class Peers:
    """All of them; what cannot run is None or missing here, and its reason stands in ``notes``."""

    def __init__(self, world: World) -> None:
        self.notes: list[str] = []
        self.oci: dict[str, OciRuntime] = {}
        self.one_container: dict[str, Callable[[], None]] = {}
        self._world = world
        for name in ("crun", "runc"):
            self._try(name, lambda name=name: self._add_oci(name))  # type: ignore[misc]
        for name, command in self._plain_commands().items():
            self._try(name, lambda name=name, command=command: self._add_plain(name, command))  # type: ignore[misc]
        self.podman = self._find_podman()

    def _try(self, name: str, add: Callable[[], None]) -> None:
        try:
            add()
        except CaseFailed as error:
            self.notes.append(f"{name} is left out: {error}")

    def _add_oci(self, name: str) -> None:
        runtime = OciRuntime(self._world, name)
        self.oci[name] = runtime
        if runtime.note:
            self.notes.append(f"{name} runs {runtime.note}")
        self.notes.append(version(name))

    def _add_plain(self, name: str, command: list[str]) -> None:
        path = shutil.which(command[0])
        if path is None:
            raise CaseFailed(f"{command[0]} is not installed")
        argv = [path, *command[1:]]
        attempt(argv)
        self.one_container[name] = lambda: run(argv)
        self.notes.append(version(command[0]))

    def _plain_commands(self) -> dict[str, list[str]]:
        root = str(self._world.rootfs)
        kinds = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
        sandbox = ["--unshare-all", "--bind", root, "/", "--proc", "/proc", "--dev", "/dev", "/bin/true"]
        nspawn = ["--quiet", "--register=no", "--keep-unit", "--as-pid2", "--private-network", "--link-journal=no"]
        return {
            "unshare": ["unshare", *kinds, "--fork", f"--root={root}", "--mount-proc", "/bin/true"],
            "bwrap": ["bwrap", *sandbox],
            "systemd-nspawn": ["systemd-nspawn", *nspawn, f"--directory={root}", "/bin/true"],
        }

    def _find_podman(self) -> Podman | None:
        try:
            podman = Podman(self._world)
        except CaseFailed as error:
            self.notes.append(f"podman is left out: {error}")
            return None
        self.notes += [version("podman"), *([podman.note] if podman.note else [])]
        return podman


# podman raises limits of processes, which takes CAP_SYS_RESOURCE, and limits pids, which takes the controller.
WRAPPED_RUNC = """#!/bin/sh
for word; do
    [ "$last" != --bundle ] && [ "$last" != -b ] || file=$word/config.json
    last=$word
done
[ -z "$file" ] || sed -i 's/"rlimits":\\[[^]]*\\],//; s/,"rlimits":\\[[^]]*\\]//; s/,"pids":{[^}]*}//' "$file"
exec runc "$@"
"""
# Takes cgroup v2 off again from over the machine's own cgroups.
UNCOVERED = ("/usr/bin/unshare", "--mount", "sh", "-c", 'umount /sys/fs/cgroup; exec "$@"', "sh")
REMOVE_GROUPS = "find /sys/fs/cgroup/*/libpod_parent -depth -type d -exec rmdir {} ';' 2>/dev/null || true"


class Podman:
    """podman with storage of its own; the way that works here is found by trying, a pod first."""

    def __init__(self, world: World) -> None:
        path = shutil.which("podman")
        if path is None:
            raise CaseFailed("podman is not installed")
        top = world.directory / "podman"
        top.mkdir()
        wrapped = top / "runc"
        wrapped.write_text(WRAPPED_RUNC)
        wrapped.chmod(0o755)
        self._rootfs = str(world.rootfs)
        self._serial = itertools.count()
        storage = [path, f"--root={top}/root", f"--runroot={top}/run", f"--tmpdir={top}/tmp", "--storage-driver=vfs"]
        plain = [*storage, "--events-backend=none", "--cgroup-manager=cgroupfs"]
        unlimited = [*plain, f"--runtime={wrapped}"]
        self.note = ""
        self.pod_problem = ""
        self._find_way(
            world,
            [
                ("", plain),
                ("with runc, without limits of processes", unlimited),
                ("with runc, without limits of processes, on the machine's own cgroups", [*UNCOVERED, *unlimited]),
            ],
        )

    def _find_way(self, world: World, ways: list[tuple[str, list[str]]]) -> None:
        """The first in which a pod works, or one in which at least a container does."""
        problems = []
        for with_pod in (True, False):
            for said, self._base in ways:
                try:
                    self.run_one(careful=True)
                    if with_pod:
                        self.make_pod(1, careful=True)
                except CaseFailed as error:
                    problems.append(str(error))
                    continue
                self.note = f"podman runs {said}, because otherwise: {problems[0]}" if said else ""
                if self._base[0] == UNCOVERED[0]:
                    world.undo.append(partial(attempt, [*UNCOVERED, "sh", "-c", REMOVE_GROUPS]))
                self.pod_problem = "" if with_pod else f"podman makes no pod here: {problems[0]}"
                return
        raise CaseFailed(problems[0])

    def run_one(self, *, careful: bool = False) -> None:
        do = attempt if careful else run
        do([*self._base, "run", "--rm", "--network=none", "--rootfs", self._rootfs, "/bin/true"])

    def make_pod(self, containers: int, *, careful: bool = False) -> None:
        do = attempt if careful else run
        name = f"bench-{next(self._serial)}"
        do([*self._base, "pod", "create", "--network=none", f"--name={name}"])
        try:
            for _ in range(containers):
                do([*self._base, "run", f"--pod={name}", "--rootfs", self._rootfs, "/bin/true"])
        finally:
            do([*self._base, "pod", "rm", "--force", "--time=0", name])


def version(program: str) -> str:
    """``crun version 1.8.1``, from the program itself."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    first = (done.stdout or done.stderr).splitlines()
    return f"peer: {re.sub(r'[(].*', '', first[0]).strip()}" if first else f"peer: {program}, which tells no version"
