"""The six hooks: when, where, with what, and what happens when one fails."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.oci_command import OciRuntime

pytestmark = pytest.mark.root

EARLY = ("prestart", "createRuntime", "createContainer")
NAMES = (*EARLY, "startContainer", "poststart", "poststop")


def hook(script: str, **more: Any) -> dict[str, Any]:
    return {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"], **more}


def noting(name: str, place: str) -> dict[str, Any]:
    """A hook that writes down its name, the state that it was given, and its UTS namespace."""
    return hook(f'echo "{name} $(readlink /proc/self/ns/uts) $(cat)" >>{place}/notes')


def start(runtime: OciRuntime) -> None:
    runtime.create()
    runtime.ok("start", "box")


def notes(path: Path) -> list[tuple[str, str, dict[str, Any]]]:
    rows = [line.split(maxsplit=2) for line in (path / "notes").read_text().splitlines()]
    return [(name, namespace, json.loads(state)) for name, namespace, state in rows]


def test_each_hook_at_its_time_and_in_its_place(runtime: OciRuntime) -> None:
    outside, inside = runtime.top, runtime.bundle / "rootfs/tmp"
    places = {name: "/tmp" if name == "startContainer" else str(outside) for name in NAMES}
    runtime.configure("/bin/sleep", "60", hooks={name: [noting(name, places[name])] for name in NAMES})
    runtime.create()
    assert [name for name, _, _ in notes(outside)] == list(EARLY)
    assert not (inside / "notes").exists()
    runtime.ok("start", "box")
    pid = runtime.state()["pid"]
    theirs, ours = os.readlink(f"/proc/{pid}/ns/uts"), os.readlink("/proc/self/ns/uts")
    runtime.ok("delete", "--force", "box")
    seen = {name: (namespace, state) for name, namespace, state in [*notes(outside), *notes(inside)]}
    assert [name for name, _, _ in notes(outside)] == [name for name in NAMES if name != "startContainer"]
    assert {name for name in NAMES if seen[name][0] == theirs} == {"createContainer", "startContainer"}
    assert {name for name in NAMES if seen[name][0] == ours} == {"prestart", "createRuntime", "poststart", "poststop"}
    statuses = ["creating"] * 3 + ["created", "running", "stopped"]
    assert [seen[name][1]["status"] for name in NAMES] == statuses
    for name in NAMES[:-1]:
        assert (seen[name][1]["id"], seen[name][1]["pid"]) == ("box", pid)
        assert seen[name][1]["bundle"] == str(runtime.bundle)


def test_hooks_of_one_kind_are_run_in_their_order(runtime: OciRuntime) -> None:
    hooks = [hook(f"echo {i} >>{runtime.top}/order") for i in range(5)]
    runtime.configure("/bin/true", hooks={"createRuntime": hooks})
    runtime.create()
    assert (runtime.top / "order").read_text().split() == ["0", "1", "2", "3", "4"]


def test_what_a_hook_mounts_below_the_root_is_there(runtime: OciRuntime) -> None:
    """It knows the root by its path on the host, as runc's and crun's hooks do."""
    (runtime.bundle / "rootfs/new").mkdir()
    root = runtime.bundle / "rootfs"
    hooks = {"createContainer": [hook(f"mount -t tmpfs hooked {root}/new")]}
    runtime.configure("/bin/sh", "-c", "mount | grep hooked; mount | wc -l", hooks=hooks)
    os.symlink("busybox", root / "bin/grep")
    os.symlink("busybox", root / "bin/wc")
    assert "hooked on /new type tmpfs" in runtime.ok("run", "--bundle", runtime.bundle, "box")


def test_the_container_pivots_all_the_same(runtime: OciRuntime) -> None:
    runtime.configure("/bin/ls", "/", hooks={"prestart": [hook("true")]})
    assert runtime.ok("run", "-b", runtime.bundle, "box").split() == ["bin", "dev", "proc", "tmp"]


@pytest.mark.parametrize("name", EARLY)
def test_an_early_hook_that_fails_undoes_the_container(runtime: OciRuntime, name: str) -> None:
    hooks = {name: [hook("echo why not >&2; exit 3"), hook(f"touch {runtime.top}/never")]}
    poststop = [hook(f"touch {runtime.top}/stopped")]
    runtime.configure("/bin/true", hooks={**hooks, "poststop": poststop})
    error = runtime.call("create", "-b", runtime.bundle, "box").error
    assert f"hook {name}[0] '/bin/sh': exit code 3: why not" in error
    assert not (runtime.top / "never").exists()
    assert (runtime.top / "stopped").exists()
    assert runtime.left() == []


@pytest.mark.parametrize("name", ["startContainer", "poststart"])
def test_a_later_hook_that_fails_ends_the_program(runtime: OciRuntime, name: str) -> None:
    runtime.configure("/bin/sleep", "60", hooks={name: [hook("exit 3")]})
    runtime.create()
    assert f"hook {name}[0]" in runtime.call("start", "box").error
    runtime.wait_stopped()
    runtime.ok("delete", "box")


def test_a_poststop_hook_that_fails_is_a_warning(runtime: OciRuntime) -> None:
    runtime.configure("/bin/true", hooks={"poststop": [hook("exit 3"), hook(f"touch {runtime.top}/second")]})
    start(runtime)
    runtime.wait_stopped()
    done = runtime.call("delete", "box")
    assert done.status == 0
    assert "warning: hook poststop[0]" in done.err
    assert (runtime.top / "second").exists()
    assert runtime.left() == []


def test_a_hook_that_takes_too_long_is_killed(runtime: OciRuntime) -> None:
    runtime.configure("/bin/true", hooks={"createRuntime": [hook("exec sleep 60", timeout=1)]})
    assert "still ran after 1 s, and was killed" in runtime.call("create", "-b", runtime.bundle, "box").error
    assert runtime.left() == []


def test_a_hook_that_is_not_there(runtime: OciRuntime) -> None:
    runtime.configure("/bin/true", hooks={"createRuntime": [{"path": "/no/such/hook"}]})
    assert "hook createRuntime[0] '/no/such/hook'" in runtime.call("create", "-b", runtime.bundle, "box").error
    assert runtime.left() == []


def test_a_hook_has_its_arguments_and_environment(runtime: OciRuntime) -> None:
    script = f'echo "$0 $1 $A" >{runtime.top}/seen'
    given = {"path": "/bin/sh", "args": ["name", "-c", script, "zero", "one"], "env": ["A=b"]}
    runtime.configure("/bin/true", hooks={"prestart": [given]})
    runtime.create()
    assert (runtime.top / "seen").read_text() == "zero one b\n"


def test_a_hook_in_the_container_may_do_what_its_program_may(runtime: OciRuntime) -> None:
    """The path leads to what the image holds: with the runtime's rights it would be a way out."""
    process = {"user": {"uid": 5, "gid": 6}, "capabilities": {}, "noNewPrivileges": True}
    script = "grep -E '^(Uid|Gid|CapEff|NoNewPrivs):' /proc/self/status >/tmp/rights"
    os.symlink("busybox", runtime.bundle / "rootfs/bin/grep")
    (runtime.bundle / "rootfs/tmp").chmod(0o777)
    runtime.configure("/bin/sleep", "60", process=process, hooks={"startContainer": [hook(script)]})
    start(runtime)
    rows = dict(row.split(":\t", 1) for row in (runtime.bundle / "rootfs/tmp/rights").read_text().splitlines())
    assert rows == {"Uid": "5\t5\t5\t5", "Gid": "6\t6\t6\t6", "CapEff": "0" * 16, "NoNewPrivs": "1"}


@pytest.fixture
def reachable() -> Iterator[OciRuntime]:
    """The command with a root that a mapped user can reach, which in a directory of pytest's none can."""
    top = Path(tempfile.mkdtemp())
    top.chmod(0o711)
    made = OciRuntime(top)
    yield made
    made.call("delete", "--force", "box")
    assert made.left() == []
    shutil.rmtree(top)


def test_hooks_in_a_user_namespace_are_its_root(reachable: OciRuntime) -> None:
    runtime = reachable
    ids = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    kinds = ("user", "pid", "mount", "uts", "ipc", "network", "cgroup")
    linux = {"namespaces": [{"type": kind} for kind in kinds], "uidMappings": ids, "gidMappings": ids}
    check = '[ "$(id -u)" = 0 ] && grep -q " 100000 " /proc/self/uid_map'
    os.symlink("busybox", runtime.bundle / "rootfs/bin/grep")
    os.symlink("busybox", runtime.bundle / "rootfs/bin/[")
    hooks = {"createContainer": [hook(check)], "startContainer": [hook(check)]}
    runtime.configure("/bin/sh", "-c", "echo started; sleep 60", linux=linux, hooks=hooks)
    start(runtime)
    assert runtime.status() == "running"


def test_a_hook_of_the_container_sees_its_processes(runtime: OciRuntime) -> None:
    """So it is in its PID namespace: the first process there is the container's."""
    hooks = {"startContainer": [hook("readlink /proc/1/exe >/tmp/first; echo $$ >/tmp/own")]}
    runtime.configure("/bin/sleep", "60", hooks=hooks)
    start(runtime)
    assert int((runtime.bundle / "rootfs/tmp/own").read_text()) in range(2, 10)
