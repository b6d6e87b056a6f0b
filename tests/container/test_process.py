"""What a process of an OCI container is and may, seen from inside."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from fixtures.oci_container import IDS, NAMESPACES, created, exec_in, make_root, oci_spec, run_oci, run_to_the_end
from pyrun.container.exec import CONTAINER, plan_exec
from pyrun.container.plan import Setting, plan_container
from pyrun.container.process import number_mask, preserved_slot
from pyrun.container.seccomp_notify import send_listener
from pyrun.container.security import available_capabilities
from pyrun.errors import ExecError, KernelError, SpecError, StepError
from pyrun.kernel.fd import Fd
from pyrun.kernel.spawn import create
from pyrun.spec.oci import OciSpec
from pyrun.value import replace

pytestmark = pytest.mark.root

OTHERS = tuple(kind for kind in NAMESPACES if kind != "mount")
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path / "root")


def with_process(root: Path, script: str, *kinds: str, **process: Any) -> OciSpec:
    return oci_spec(root, script, *OTHERS, *kinds, process=process)


def status_of(root: Path, **process: Any) -> dict[str, str]:
    lines = run_oci(with_process(root, "cat /proc/self/status", **process)).splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


# ---- scheduling ------------------------------------------------------------------------------------------------------


def stat_fields(root: Path, **process: Any) -> list[str]:
    return run_oci(with_process(root, "exec cat /proc/self/stat", **process)).rpartition(") ")[2].split()


def test_scheduler(root: Path) -> None:
    """Fields 19, 40 and 41 of proc_pid_stat(5)."""
    batch = stat_fields(root, scheduler={"policy": "SCHED_BATCH", "nice": 7})
    assert (batch[16], batch[38]) == ("7", "3")
    fifo = stat_fields(root, scheduler={"policy": "SCHED_FIFO", "priority": 5, "flags": ["SCHED_FLAG_RESET_ON_FORK"]})
    assert (fifo[37], fifo[38]) == ("5", "1")
    plain = stat_fields(root)
    assert (plain[16], plain[37], plain[38]) == ("0", "0", "0")


def test_a_deadline(root: Path) -> None:
    deadline = {"policy": "SCHED_DEADLINE", "runtime": 10**7, "deadline": 3 * 10**7, "period": 10**8}
    assert stat_fields(root, scheduler=deadline)[38] == "6"


def test_io_priority(root: Path) -> None:
    for name, number in (("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3), ("IOPRIO_CLASS_RT", 1)):
        priority = {"class": name, "priority": 3}
        with created(with_process(root, "true", ioPriority=priority)) as (it, output):
            value = ctypes.CDLL(None).syscall({"x86_64": 252, "aarch64": 31}[os.uname().machine], 1, it.process.pid)
            assert (value >> 13, value & 7) == (number, 3)
            run_to_the_end(it, output)


def test_personality_and_memory_policy(root: Path) -> None:
    """LINUX32 is seen by uname(2); the kernel of the tests may have no NUMA, which must be told."""
    spec = oci_spec(root, "busybox uname -m; cat /proc/self/numa_maps", *OTHERS, personality={"domain": "LINUX32"})
    assert run_oci(spec).splitlines()[0] in ("i686", "armv8l", "armv7l")
    spec = oci_spec(
        root,
        "cat /proc/self/numa_maps",
        *OTHERS,
        memoryPolicy={"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
    )
    if os.path.exists("/proc/self/numa_maps"):
        assert "bind=static:0" in run_oci(spec)
    else:
        with pytest.raises(StepError, match="NUMA"):
            run_oci(spec)


def test_the_processors_of_another_process(root: Path) -> None:
    """The first list is a wish, the final one counts; both are for others than the first process."""
    spec = oci_spec(root, "sleep 100", *OTHERS)
    script = "grep Cpus_allowed_list /proc/self/status"
    setting = Setting(gated=False, grantable=available_capabilities())
    with created(spec) as (it, _), it.start() as process:
        for asked, seen in (({"final": "0"}, "0"), ({"initial": "1000", "final": "1"}, "1"), ({"initial": "1"}, "1")):
            other = with_process(root, script, execCPUAffinity=asked).process
            assert other is not None
            assert exec_in(process, plan_exec(spec, other, ("mount", "pid"), setting=setting)).split()[1] == seen
        other = with_process(root, script, execCPUAffinity={"final": "1000"}).process
        assert other is not None
        with pytest.raises(StepError, match="none of them is there"):
            exec_in(process, plan_exec(spec, other, ("mount", "pid"), setting=setting))


def test_lists_of_numbers() -> None:
    assert number_mask("0-3,7") == 0b10001111
    assert number_mask("64") == 1 << 64
    assert number_mask(" 1 , 2-2 ") == 0b110
    assert number_mask("") == 0


# ---- capabilities ----------------------------------------------------------------------------------------------------


def test_all_five_sets(root: Path) -> None:
    sets = {
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"],
        "permitted": ["CAP_CHOWN", "CAP_KILL"],
        "effective": ["CAP_KILL"],
        "inheritable": ["CAP_KILL"],
        "ambient": ["CAP_KILL"],
    }
    seen = status_of(root, capabilities=sets, user={"uid": 7, "gid": 7})
    # At the exec of somebody who is not root the ambient set decides (capabilities(7)).
    assert [int(seen[name], 16) for name in SETS] == [0b100000, 0b100000, 0b100000, 0b10100001, 0b100000]


def test_what_cannot_be_granted_is_left_out_and_told(root: Path) -> None:
    names = ["CAP_CHOWN", "CAP_FLY", "CAP_SYS_TIME"]
    spec = with_process(root, "grep CapBnd /proc/self/status", capabilities={"bounding": names, "permitted": names})
    assert plan_container(spec).warnings == ("'CAP_FLY' is not a capability that is known here: left out",)
    grantable = 0xFFFFFF  # without CAP_SYS_TIME, 25
    assert int(run_oci(spec, grantable=grantable).split()[1], 16) == 1
    assert int(run_oci(spec).split()[1], 16) == 1 | 1 << 25


def test_a_configuration_without_capabilities_means_none(root: Path) -> None:
    seen = status_of(root, capabilities=None)
    assert [int(seen[name], 16) for name in SETS] == [0] * 5


def test_ambient_without_inheritable_is_left_out(root: Path) -> None:
    sets = {"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "ambient": ["CAP_KILL"]}
    assert int(status_of(root, capabilities=sets, user={"uid": 7, "gid": 7})["CapAmb"], 16) == 0


# ---- descriptors, keyring, user --------------------------------------------------------------------------------------


def test_descriptors_that_are_preserved(root: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("preserved\n")
    with Fd.open(str(tmp_path / "text")) as first, Fd.open("/dev/zero") as second:
        fds = {preserved_slot(0): first, preserved_slot(1): second}
        script = "cat <&3; readlink /proc/self/fd/4; ls -1 /proc/self/fd"
        seen = run_oci(with_process(root, script), fds, preserve_fds=2).splitlines()
    assert seen == ["preserved", "/dev/zero", "0", "1", "2", "3", "4", "5"]  # 5: ls's own
    assert run_oci(with_process(root, "ls -1 /proc/self/fd")).split() == ["0", "1", "2", "3"]


def test_a_session_keyring_of_its_own_or_not(root: Path) -> None:
    """Named ones are looked for: an old one stays in the list until the kernel collects it."""
    spec = with_process(root, "cat /proc/keys")
    assert "pyrun-own" in run_oci(spec, keyring_name="pyrun-own")
    assert "pyrun-none" not in run_oci(spec, keyring_name="pyrun-none", new_keyring=False)


@pytest.mark.parametrize("kinds", [(), ("user",)])
def test_the_user_may_open_its_own_descriptors(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    root = make_root(tmp_path / "root", owner=100000 if kinds else 0)
    maps = {"uidMappings": IDS, "gidMappings": IDS} if kinds else {}
    process = {"user": {"uid": 7, "gid": 8}}
    spec = oci_spec(root, "echo text > /proc/self/fd/1", *OTHERS, *kinds, process=process, **maps)
    read, write = (Fd.adopt(fd) for fd in os.pipe2(os.O_CLOEXEC))
    with read, write:
        if kinds:  # the pipe belongs to somebody who is nobody inside: it cannot be given away, and stays as it is
            with pytest.raises(AssertionError, match="can't create"):
                run_oci(spec)
        else:
            assert run_oci(spec) == "text\n"
    assert os.stat("/dev/null").st_uid == 0


def test_umask_and_groups(root: Path) -> None:
    user = {"uid": 3, "gid": 4, "umask": 0o027, "additionalGids": [5, 6]}
    seen = status_of(root, user=user)
    assert (seen["Umask"], seen["Groups"]) == ("0027", "5 6")


def test_a_security_label_that_the_kernel_does_not_know(root: Path) -> None:
    for field, module in (("apparmorProfile", "AppArmor"), ("selinuxLabel", "SELinux")):
        with pytest.raises(StepError, match=f"this kernel has no {module}, or no such label is loaded"):
            run_oci(with_process(root, "true", **{field: "no-such-label"}))


def test_a_directory_behind_a_descriptor_is_no_way_out(root: Path) -> None:
    """CVE-2024-21626: a descriptor of the host's file system, leaked into the process, as the working directory."""
    with Fd.open("/") as leaked:
        for number in range(3, leaked.fileno() + 12):
            with pytest.raises(StepError) as caught:
                run_oci(with_process(root, "ls", cwd=f"/proc/self/fd/{number}"), {"leaked": leaked})
            assert caught.value.errno in (errno.ENOENT, errno.ELOOP, errno.EXDEV, errno.ENOTDIR)


ATTACK = """
while :; do
    for exe in /proc/[0-9]*/exe; do
        [ $exe = /proc/1/exe ] || { (echo '#!/bin/sh' > $exe) 2> /dev/null && echo written >> /tmp/found; }
        readlink $exe >> /tmp/seen
    done
done
"""


def test_the_runtime_cannot_be_overwritten_from_inside(root: Path) -> None:
    """CVE-2019-5736: the image's program is a link to /proc/self/exe, so that the runtime runs itself inside the container, where
    another process opens it for writing. What it finds is a sealed copy of the stage."""
    (root / "bin/evil").symlink_to("/proc/self/exe")
    (root / "bin/script").write_text("#!/proc/self/exe\n")
    (root / "bin/script").chmod(0o755)
    (root / "tmp/seen").write_text("")
    setting = Setting(gated=False, grantable=available_capabilities())
    interpreter = os.stat(sys.executable)
    spec = oci_spec(root, ATTACK, *OTHERS)
    with created(spec) as (it, _), it.start() as process:
        assert spec.process is not None
        for number in range(60):
            other = replace(spec.process, args=(f"/bin/{('evil', 'script')[number % 2]}",))
            fds = {CONTAINER: process, **dict.fromkeys(("stdin", "stdout", "stderr"), 1)}
            with create(plan_exec(spec, other, ("mount", "pid"), setting=setting), fds=fds) as attempt:
                try:
                    with attempt.start() as ran:
                        assert ran.wait_status().code  # the stage, without a plan
                except (StepError, ExecError):
                    pass
    assert not (root / "tmp/found").exists()
    seen = set((root / "tmp/seen").read_text().split("\n"))
    assert sys.executable not in seen
    assert not [name for name in seen if "python" in name or ("pyrun" in name and "memfd" not in name)]
    assert os.stat(sys.executable).st_mtime_ns == interpreter.st_mtime_ns


# ---- the filter ------------------------------------------------------------------------------------------------------


def seccomp(action: str, *names: str, **more: Any) -> dict[str, Any]:
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": list(names), "action": action}], **more}


@pytest.mark.parametrize("uid", [0, 7])
@pytest.mark.parametrize("capabilities", [[], ["CAP_KILL"], ["CAP_SYS_ADMIN"]])
def test_a_filter_without_no_new_privileges(root: Path, uid: int, capabilities: list[str]) -> None:
    """It needs CAP_SYS_ADMIN until it is on, and the program has what it is to have."""
    sets = dict.fromkeys(("bounding", "permitted", "effective", "inheritable"), capabilities)
    process: dict[str, Any] = {"user": {"uid": uid, "gid": uid}, "capabilities": sets}
    without = run_oci(oci_spec(root, "grep Cap /proc/self/status", *OTHERS, process=process))
    spec = oci_spec(
        root,
        "grep Cap /proc/self/status; grep -E 'Seccomp:|NoNew' /proc/self/status; busybox uname || true",
        *OTHERS,
        process=process,
        seccomp=seccomp("SCMP_ACT_ERRNO", "uname"),
    )
    seen = run_oci(spec)
    assert seen.startswith(without)
    assert "NoNewPrivs:\t0" in seen
    assert "Seccomp:\t2" in seen
    assert "Linux" not in seen


def test_calls_that_a_supervisor_answers(root: Path, tmp_path: Path) -> None:
    """It gets the listener with the state of the container, and says what mkdir(2) is to return."""
    path = str(tmp_path / "listener")
    profile = seccomp("SCMP_ACT_NOTIFY", "mkdir", "mkdirat", listenerPath=path, listenerMetadata="about it")
    spec = oci_spec(root, "busybox mkdir /made || echo refused", *OTHERS, seccomp=profile)
    assert spec.linux.seccomp is not None
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        with created(spec) as (it, output):
            send_listener(it, spec.linux.seccomp, {"ociVersion": "1.2.0", "id": "it", "status": "creating"})
            supervisor, _ = server.accept()
            with supervisor:
                data, descriptors, _, _ = socket.recv_fds(supervisor, 65536, 2)
            message = json.loads(data)
            assert message == {
                "ociVersion": "1.2.0",
                "fds": ["seccompFd"],
                "pid": it.process.pid,
                "metadata": "about it",
                "state": {"ociVersion": "1.2.0", "id": "it", "status": "creating"},
            }
            with Fd.adopt(descriptors[0]) as listener:
                answer = threading.Thread(target=answer_once, args=(listener.fileno(),))
                answer.start()
                seen = run_to_the_end(it, output)
                answer.join()
    assert "File too large" in seen
    assert "refused" in seen


def answer_once(listener: int) -> None:
    """seccomp_unotify(2): struct seccomp_notif begins with its id; the answer is id, value, error, flags."""
    import fcntl
    import struct

    request = bytearray(80)
    fcntl.ioctl(listener, 0xC0502100, request)
    (number,) = struct.unpack_from("=Q", request)
    fcntl.ioctl(listener, 0xC0182101, bytearray(struct.pack("=QqiI", number, 0, -errno.EFBIG, 0)))


@pytest.mark.parametrize("action", ["SCMP_ACT_NOTIFY", "SCMP_ACT_LOG"])
def test_all_flags_of_a_filter(root: Path, tmp_path: Path, action: str) -> None:
    """Some go with a listener only, and one only without."""
    flags = [f"SECCOMP_FILTER_FLAG_{name}" for name in ("TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV")]
    profile = seccomp(action, "mkdir", listenerPath=str(tmp_path / "nobody"), flags=flags)
    assert "Seccomp:\t2" in run_oci(oci_spec(root, "cat /proc/self/status", *OTHERS, seccomp=profile))


def test_a_supervisor_that_is_not_there_is_an_error(root: Path, tmp_path: Path) -> None:
    profile = seccomp("SCMP_ACT_NOTIFY", "mkdir", listenerPath=str(tmp_path / "nobody"))
    spec = oci_spec(root, "true", *OTHERS, seccomp=profile)
    assert spec.linux.seccomp is not None
    with created(spec) as (it, _), pytest.raises(KernelError, match="seccomp listener"):
        send_listener(it, spec.linux.seccomp, {"ociVersion": "1.2.0"})


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/x"}, "/linux/seccomp/defaultAction: SCMP_ACT_NOTIFY"),
        (seccomp("SCMP_ACT_NOTIFY", "read", "write", listenerPath="/x"), "/linux/seccomp/syscalls: .* for write"),
        (
            seccomp("SCMP_ACT_NOTIFY", "capset", listenerPath="/x"),
            "/linux/seccomp/syscalls: .* needs /process/noNewPriv",
        ),
        (seccomp("SCMP_ACT_NOTIFY", "read"), "/linux/seccomp/listenerPath: required with SCMP_ACT_NOTIFY"),
        (seccomp("SCMP_ACT_LOG", "read", listenerMetadata="x"), "/linux/seccomp/listenerMetadata: is for listenerPath"),
        (seccomp("SCMP_ACT_LOG", "read", listenerPath=5), "/linux/seccomp/listenerPath: must be a string"),
    ],
)
def test_what_could_not_be_answered_is_refused(root: Path, profile: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        plan_container(with_process_and(root, profile), Setting())


def with_process_and(root: Path, profile: dict[str, Any]) -> OciSpec:
    return oci_spec(root, "true", seccomp=profile, process={"capabilities": {}})
