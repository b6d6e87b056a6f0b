"""exec: another program in a container, as conmon, podman and containerd's shim ask for it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from fixtures.machine import cgroup2_root
from fixtures.oci_command import OciRuntime, wait_until

pytestmark = pytest.mark.root


@pytest.fixture
def box(runtime: OciRuntime) -> OciRuntime:
    """A container that runs."""
    os.symlink("busybox", runtime.bundle / "rootfs/bin/grep")
    runtime.configure("/bin/sleep", "60", process={"env": ["PATH=/bin", "A=b"]})
    runtime.create()
    runtime.ok("start", "box")
    return runtime


def test_output_and_exit_status(box: OciRuntime) -> None:
    done = box.call("exec", "box", "/bin/sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.status, done.out, done.err) == (7, "out\n", "err\n")


def test_what_follows_the_id_is_the_programs(box: OciRuntime) -> None:
    assert box.ok("exec", "box", "echo", "--detach", "-e", "x") == "--detach -e x\n"


def test_it_is_in_the_container(box: OciRuntime) -> None:
    pid = box.state()["pid"]
    script = "for n in mnt pid uts ipc net cgroup; do readlink /proc/self/ns/$n; done; grep ^0:: /proc/self/cgroup"
    *namespaces, group = box.ok("exec", "box", "/bin/sh", "-c", script).splitlines()
    names = ("mnt", "pid", "uts", "ipc", "net", "cgroup")
    assert namespaces == [os.readlink(f"/proc/{pid}/ns/{name}") for name in names]
    assert group == "0::/"


def test_options_say_what_is_different(box: OciRuntime) -> None:
    options = ("--cwd", "/tmp", "--env", "C=d", "-e", "E=f", "--user", "5:6", "--additional-gids", "7", "-g", "8")
    out = box.ok("exec", *options, "box", "/bin/sh", "-c", "pwd; echo $A$C$E; id")
    assert out.splitlines() == ["/tmp", "bdf", "uid=5 gid=6 groups=7,8"]


def test_rights_can_be_added_and_taken(box: OciRuntime) -> None:
    script = "grep -E '^(CapEff|NoNewPrivs)' /proc/self/status"
    process = {"args": ["/bin/sh", "-c", script], "cwd": "/", "capabilities": {}, "noNewPrivileges": True}
    (box.top / "process.json").write_text(json.dumps(process))
    out = box.ok("exec", "--process", box.top / "process.json", "box")
    assert out == "CapEff:\t0000000000000000\nNoNewPrivs:\t1\n"
    assert box.ok("exec", "--no-new-privs", "box", "/bin/sh", "-c", script).endswith("NoNewPrivs:\t1\n")


def test_capabilities_are_added_to_what_there_is(runtime: OciRuntime) -> None:
    kinds = ("bounding", "effective", "permitted")
    capabilities = {kind: ["CAP_CHOWN"] for kind in kinds}
    runtime.configure("/bin/sleep", "60", process={"capabilities": capabilities})
    runtime.create()
    runtime.ok("start", "box")
    out = runtime.ok("exec", "--cap", "CAP_KILL", "-c", "net_raw", "box", "cat", "/proc/self/status")
    assert f"CapEff:\t{1 << 0 | 1 << 5 | 1 << 13:016x}" in out


def test_a_process_of_a_file(box: OciRuntime) -> None:
    process = {
        "args": ["/bin/sh", "-c", "pwd; env; id -u"],
        "cwd": "/tmp",
        "env": ["X=y"],
        "user": {"uid": 9, "gid": 9},
    }
    (box.top / "process.json").write_text(json.dumps(process))
    out = box.ok("exec", "--process", box.top / "process.json", "box").splitlines()
    assert (out[0], out[-1]) == ("/tmp", "9")
    assert "X=y" in out
    assert "A=b" not in out


@pytest.mark.parametrize("change", [{"args": []}, {"cwd": "relative"}, {"noNewPrivileges": 1}])
def test_a_file_that_is_wrong(box: OciRuntime, change: dict[str, Any]) -> None:
    (box.top / "process.json").write_text(json.dumps({"args": ["true"], "cwd": "/", **change}))
    done = box.call("exec", "--process", box.top / "process.json", "box")
    assert done.status == 255
    assert f"exec failed: {box.top}/process.json: /{next(iter(change))}" in done.error


def test_detached_with_a_pid_file(box: OciRuntime) -> None:
    box.ok(
        "exec", "--detach", "--pid-file", box.top / "pid", "box", "/bin/sh", "-c", "sleep 60 >/dev/null 2>&1 </dev/null"
    )
    pid = int((box.top / "pid").read_text())
    assert Path(f"/proc/{pid}").exists()
    assert os.readlink(f"/proc/{pid}/ns/pid") == os.readlink(f"/proc/{box.state()['pid']}/ns/pid")
    box.ok("delete", "--force", "box")
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"))


def test_the_pid_file_is_where_the_caller_is(box: OciRuntime) -> None:
    box.ok("exec", "--detach", "--pid-file", "here", "box", "/bin/true", cwd=box.top)
    assert (box.top / "here").exists()


def test_a_program_that_is_not_there(box: OciRuntime) -> None:
    done = box.call("exec", "box", "nonsense")
    assert done.status == 255
    assert "exec failed: executable file 'nonsense' not found in $PATH" in done.error


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("box",), "the command to run is missing"),
        (("--user", "x", "box", "true"), "not the number of a user"),
        (("--user", "-1", "box", "true"), "not the number of a user"),
        (("--env", "x", "box", "true"), "not NAME=VALUE"),
        (("--process", "/no/such", "box"), "/no/such: No such file"),
        (("--process", "/no/such", "box", "true"), "unexpected argument 'true'"),
        (("--tty", "--detach", "box", "true"), "needs --console-socket"),
        (("none", "true"), "does not exist"),
    ],
)
def test_what_is_wrong_with_a_command_line(box: OciRuntime, words: tuple[str, ...], error: str) -> None:
    assert error in box.call("exec", *words).error


def test_a_container_that_has_stopped(box: OciRuntime) -> None:
    box.ok("kill", "box", "KILL")
    box.wait_stopped()
    assert "is stopped, but must be running" in box.call("exec", "box", "true").error


def test_a_container_that_is_paused(box: OciRuntime) -> None:
    box.ok("pause", "box")
    assert "is paused" in box.call("exec", "box", "true").error
    box.ok("resume", "box")
    assert box.call("exec", "box", "true").status == 0


def test_a_container_that_waits_to_be_started(runtime: OciRuntime) -> None:
    """As with runc: its namespaces are there."""
    runtime.configure("/bin/true")
    runtime.create()
    assert runtime.ok("exec", "box", "echo", "in") == "in\n"


def own_group(runtime: OciRuntime) -> Path:
    """The container's cgroup."""
    rows = Path(f"/proc/{runtime.state()['pid']}/cgroup").read_text().splitlines()
    (name,) = [row[3:] for row in rows if row.startswith("0::")]
    return Path(f"{cgroup2_root()}{name}")


def test_a_group_below_the_containers(box: OciRuntime) -> None:
    (own_group(box) / "leaf").mkdir()
    assert box.ok("exec", "--cgroup", "leaf", "box", "grep", "^0::", "/proc/self/cgroup") == "0::/leaf\n"
    assert "there is no cgroup" in box.call("exec", "--cgroup", "none", "box", "true").error


@pytest.mark.cgroup2
def test_a_container_whose_own_groups_have_controllers(box: OciRuntime) -> None:
    """Then none but the leaves can have processes, and clone3(2) says EBUSY of the container's own group."""
    group, pid = own_group(box), box.state()["pid"]
    (group / "leaf").mkdir()
    (group / "leaf/cgroup.procs").write_text(str(pid))
    (group / "cgroup.subtree_control").write_text("+pids")
    assert box.ok("exec", "box", "grep", "^0::", "/proc/self/cgroup") == "0::/leaf\n"
