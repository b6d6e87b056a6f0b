"""securityContext with real processes: manifests as Kubernetes' page "Configure a Security Context" has them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from fixtures.pods import FOREVER, mount, pod_spec, probe, python, run_pod, running, shell
from pyrun.container.security import available_capabilities, capability_mask, capability_names
from pyrun.errors import SpecError, StepError, Unsupported
from pyrun.pod.accounts import read_account
from pyrun.pod.pod import Pod
from pyrun.pod.security import SecurityPolicy
from pyrun.pod.user_range import UserRanges

SECURE_VOLUME = [{"name": "sec-ctx-vol", "emptyDir": {}}]
ID = "id; grep -E '^(Uid|Gid|Groups|Cap...|NoNewPrivs|Seccomp):' /proc/self/status"


def status_of(printed: str) -> dict[str, str]:
    lines = [line.partition(":") for line in printed.splitlines() if ":\t" in line]
    return {name: value.strip() for name, _, value in lines}


def status(tmp_path: Path, security: dict[str, Any], **pod: Any) -> dict[str, str]:
    return status_of(run_pod(pod_spec(shell(ID, securityContext=security), **pod), tmp_path)["main"])


def rootfs(top: Path, passwd: str = "", group: str = "") -> str:
    """An image with links into the machine's programs' directories, and users of its own."""
    image = top / "image"
    for name in ("etc", "usr", "proc", "sys", "dev", "tmp"):
        (image / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        if Path(f"/{name}").is_symlink():
            (image / name).symlink_to(f"usr/{name}")
    (image / "etc/passwd").write_text(passwd)
    (image / "etc/group").write_text(group)
    return f"rootfs:{image}"


def with_usr(image: str, script: str, **fields: Any) -> dict[str, Any]:
    return shell(script, image=image, volumeMounts=[mount("usr", "/usr", readOnly=True)], **fields)


USR = [{"name": "usr", "hostPath": {"path": "/usr"}}]


# ---- Kubernetes' page ------------------------------------------------------------------------------------------------


def test_security_context_demo(tmp_path: Path) -> None:
    """security-context.yaml: runAsUser 1000, runAsGroup 3000, fsGroup 2000, supplementalGroups 4000."""
    spec = pod_spec(
        shell(
            f"{ID}; echo hello > /data/demo/testfile; stat -c %u /data/demo/testfile",
            "sec-ctx-demo",
            volumeMounts=[mount("sec-ctx-vol", "/data/demo")],
            securityContext={"allowPrivilegeEscalation": False},
        ),
        securityContext={"runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000, "supplementalGroups": [4000]},
        volumes=SECURE_VOLUME,
    )
    printed = run_pod(spec, tmp_path)["sec-ctx-demo"]
    seen = status_of(printed)
    assert seen["Uid"].split() == ["1000"] * 4
    assert seen["Gid"].split() == ["3000"] * 4
    assert sorted(map(int, seen["Groups"].split())) == [2000, 3000, 4000]
    assert seen["NoNewPrivs"] == "1"
    assert printed.splitlines()[-1] == "1000"


def test_security_context_demo_2(tmp_path: Path) -> None:
    """security-context-2.yaml: what a container says overrides what its pod says."""
    spec = pod_spec(
        shell(ID, securityContext={"runAsUser": 2000, "allowPrivilegeEscalation": False}),
        securityContext={"runAsUser": 1000},
    )
    assert status_of(run_pod(spec, tmp_path)["main"])["Uid"].split() == ["2000"] * 4


def test_security_context_demo_4(tmp_path: Path) -> None:
    """security-context-4.yaml: NET_ADMIN and SYS_TIME on top of the default capabilities."""
    plain = int(status(tmp_path, {})["CapPrm"], 16)
    more = int(status(tmp_path, {"capabilities": {"add": ["NET_ADMIN", "SYS_TIME"]}})["CapPrm"], 16)
    assert more == plain | capability_mask(("CAP_NET_ADMIN", "CAP_SYS_TIME"))


@pytest.mark.parametrize("policy", ["Merge", "Strict"])
def test_supplemental_groups_policy(tmp_path: Path, policy: str) -> None:
    """security-context-5.yaml and -6.yaml: the image's group 50000 has the user as a member."""
    image = rootfs(
        tmp_path,
        "root:x:0:0:root:/root:/bin/sh\nuser-defined-in-image:x:1000:1000::/home/user:/bin/sh\n",
        "root:x:0:\nuser-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n",
    )
    security = {
        "runAsUser": 1000,
        "runAsGroup": 3000,
        "supplementalGroups": [4000],
        "supplementalGroupsPolicy": policy,
    }
    printed = run_pod(pod_spec(with_usr(image, f"{ID}; echo $HOME"), securityContext=security, volumes=USR), tmp_path)
    groups = sorted(map(int, status_of(printed["main"])["Groups"].split()))
    assert groups == [3000, 4000, *([50000] if policy == "Merge" else [])]
    assert printed["main"].splitlines()[-1] == "/home/user"


def test_the_users_own_group_is_the_image_s(tmp_path: Path) -> None:
    image = rootfs(tmp_path, "# a comment\n+nis\nweb:x:7:77::/srv/web:/bin/false\n", "other:x:5:nobody\n")
    printed = run_pod(pod_spec(with_usr(image, ID, securityContext={"runAsUser": 7}), volumes=USR), tmp_path)["main"]
    assert status_of(printed)["Gid"].split() == ["77"] * 4
    assert status_of(printed)["Groups"].split() == ["77"]


def test_an_image_cannot_have_the_machine_s_users_read(tmp_path: Path) -> None:
    """A link to /proc/1/root, and a FIFO for which a reader would wait."""
    image = rootfs(tmp_path)
    directory = Path(image.removeprefix("rootfs:"))
    (directory / "etc/passwd").unlink()
    (directory / "etc/passwd").symlink_to("/proc/self/root/etc/passwd")
    (directory / "etc/group").unlink()
    os.mkfifo(directory / "etc/group")
    printed = run_pod(
        pod_spec(with_usr(image, "cat /proc/self/status; echo $HOME", securityContext={"runAsUser": 1}), volumes=USR),
        tmp_path,
    )["main"]
    assert status_of(printed)["Gid"].split() == ["0"] * 4
    assert printed.splitlines()[-1] == "/"


# ---- root ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("security", [{"runAsNonRoot": True}, {"runAsNonRoot": True, "runAsUser": 0}])
def test_non_root_is_not_started_as_root(security: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="must not run as root") as caught:
        pod_spec(shell("true"), shell("true", "other", securityContext={"runAsUser": 5}), securityContext=security)
    assert caught.value.pointer == "/spec/containers/0/securityContext/runAsNonRoot"
    allowed = pod_spec(shell("true", securityContext={"runAsUser": 5}), securityContext=security)
    assert allowed.containers[0].security.run_as_non_root


def test_a_read_only_root(tmp_path: Path) -> None:
    script = "touch /data/x; touch /x 2>&1 || echo refused; touch /dev/shm/x"
    container = shell(script, securityContext={"readOnlyRootFilesystem": True}, volumeMounts=[mount("v", "/data")])
    printed = run_pod(pod_spec(container, volumes=[{"name": "v", "emptyDir": {}}]), tmp_path)["main"]
    assert "Read-only file system" in printed
    assert printed.splitlines()[-1] == "refused"


# ---- capabilities ----------------------------------------------------------------------------------------------------


def test_a_user_has_capabilities_in_its_bounding_set_only(tmp_path: Path) -> None:
    seen = status(tmp_path, {"runAsUser": 1000, "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]}})
    assert int(seen["CapBnd"], 16) == capability_mask(("CAP_CHOWN",))
    assert {int(seen[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {0}


def test_all_is_what_this_process_has(tmp_path: Path) -> None:
    seen = status(tmp_path, {"capabilities": {"add": ["ALL"], "drop": ["NET_RAW"]}})
    wanted = available_capabilities() & ~capability_mask(("CAP_NET_RAW",))
    assert capability_names(int(seen["CapPrm"], 16)) == capability_names(wanted)


@pytest.mark.parametrize(("drop", "printed"), [([], "raw"), (["NET_RAW"], "PermissionError")])
def test_a_dropped_capability_is_gone(tmp_path: Path, drop: list[str], printed: str) -> None:
    script = """
import socket
try:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP); print("raw")
except OSError as error:
    print(type(error).__name__)
"""
    spec = pod_spec(python(script, securityContext={"capabilities": {"drop": drop}}))
    assert run_pod(spec, tmp_path)["main"].strip() == printed


def test_capabilities_that_cannot_be_had(tmp_path: Path) -> None:
    for name, error, words in (("SYS_RESOURCE", Unsupported, "SYS_RESOURCE"), ("FLY", SpecError, "'FLY' is not")):
        if name == "SYS_RESOURCE" and available_capabilities() & capability_mask(("CAP_SYS_RESOURCE",)):
            continue
        spec = pod_spec(shell("true", securityContext={"capabilities": {"add": [name]}}))
        with pytest.raises(error, match=words):
            Pod.create(spec, directory=str(tmp_path / "pod"))


NODES = """
import os, stat
for name, kind, number in (("disk", stat.S_IFBLK, DISK), ("null", stat.S_IFCHR, os.makedev(1, 3))):
    try:
        os.mknod(f"/dev/my-{name}", kind | 0o600, number)
        os.close(os.open(f"/dev/my-{name}", os.O_RDONLY))
        print(name, "opened")
    except OSError as error:
        print(name, error.strerror)
os.close(os.open("/dev/given", os.O_WRONLY)); print("given opened")
"""


@pytest.mark.parametrize("security", [{"add": ["MKNOD"]}, {"add": ["ALL"]}])
def test_who_may_make_nodes_cannot_read_the_disk(tmp_path: Path, security: dict[str, Any]) -> None:
    """Any block device that there is will do: what it is does not matter, its number does."""
    disk = next((path for path in sorted(Path("/dev").iterdir()) if path.is_block_device()), None)
    number = os.stat(disk).st_rdev if disk else os.makedev(7, 0)
    container = python(
        NODES.replace("DISK", str(number)),
        securityContext={"capabilities": security},
        volumeMounts=[mount("device", "/dev/given")],
    )
    spec = pod_spec(container, volumes=[{"name": "device", "hostPath": {"path": "/dev/kmsg", "type": "CharDevice"}}])
    printed = run_pod(spec, tmp_path)["main"].splitlines()
    assert printed == ["disk Operation not permitted", "null opened", "given opened"]


# ---- escalation ------------------------------------------------------------------------------------------------------

SETUID = """
import os
os.execv("/data/python", ["python", "-ISc", "import os; print('euid', os.geteuid())"])
"""


@pytest.mark.parametrize(("allowed", "euid"), [(None, "0"), (True, "0"), (False, "1000")])
def test_set_uid_programs(tmp_path: Path, allowed: bool | None, euid: str) -> None:
    """A copy of the interpreter that is root's and set-uid: it gives root's rights unless escalation is off."""
    program = tmp_path / "python"
    program.write_bytes(Path("/usr/bin/python3").read_bytes())
    program.chmod(0o4755)
    tmp_path.chmod(0o755)
    security: dict[str, Any] = {"runAsUser": 1000}
    if allowed is not None:
        security["allowPrivilegeEscalation"] = allowed
    container = python(SETUID, securityContext=security, volumeMounts=[mount("data", "/data")])
    spec = pod_spec(container, volumes=[{"name": "data", "hostPath": {"path": str(tmp_path)}}])
    assert run_pod(spec, tmp_path)["main"].strip() == f"euid {euid}"


def test_exec_is_as_the_container(tmp_path: Path) -> None:
    security = {"runAsUser": 1000, "runAsGroup": 5, "capabilities": {"drop": ["ALL"]}}
    read, write = os.pipe()
    with running(pod_spec(shell(FOREVER, securityContext=security)), tmp_path) as it, open(read) as seen:
        with open(os.devnull) as null:
            process = it["main"].exec(["sh", "-c", ID], stdio=(null.fileno(), write, write))
        os.close(write)
        found = status_of(seen.read())
        process.wait()
        process.close()
    assert (found["Uid"].split()[0], found["Gid"].split()[0], int(found["CapBnd"], 16)) == ("1000", "5", 0)


# ---- seccomp ---------------------------------------------------------------------------------------------------------

UNSHARE = "unshare -U true 2>&1 && echo done || echo refused"
PROFILE = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 78}],
}


def test_unconfined_and_runtime_default(tmp_path: Path) -> None:
    for kind, seccomp in (("RuntimeDefault", "2"), ("Unconfined", "0")):
        assert status(tmp_path, {"seccompProfile": {"type": kind}})["Seccomp"] == seccomp
    assert status(tmp_path, {}, securityContext={"seccompProfile": {"type": "Unconfined"}})["Seccomp"] == "0"


@pytest.mark.parametrize("user", [0, 1000])
def test_a_profile_of_ones_own(tmp_path: Path, user: int) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/no-mkdir.json").write_text(json.dumps(PROFILE))
    script = "mkdir /tmp/x 2>&1 || true; cat /proc/self/status"
    profile = {"type": "Localhost", "localhostProfile": "profiles/no-mkdir.json"}
    spec = pod_spec(shell(script, securityContext={"seccompProfile": profile, "runAsUser": user}))
    policy = SecurityPolicy(seccomp_profiles=str(tmp_path))
    printed = run_pod(spec, tmp_path, security=policy)["main"]
    assert os.strerror(78) in printed
    assert status_of(printed)["Seccomp"] == "2"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        ("{", "not JSON"),
        ("[]", "must be an object"),
        ('{"defaultAction": "SCMP_ACT_FLY"}', "SCMP_ACT_FLY"),
    ],
)
def test_a_profile_that_is_none(tmp_path: Path, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / "x.json").write_text(content)
    security = {"seccompProfile": {"type": "Localhost", "localhostProfile": "x.json"}}
    spec = pod_spec(shell("true", securityContext=security))
    with pytest.raises(SpecError, match=words) as caught:
        Pod.create(spec, directory=str(tmp_path / "pod"), security=SecurityPolicy(seccomp_profiles=str(tmp_path)))
    assert caught.value.pointer == "/spec/containers/0/securityContext/seccompProfile/localhostProfile"


# ---- privileged ------------------------------------------------------------------------------------------------------


def test_privileged(tmp_path: Path) -> None:
    device = "/dev/kmsg"
    spec = pod_spec(probe("main", device, securityContext={"privileged": True}), probe("plain", device))
    printed = {name: json.loads(text) for name, text in run_pod(spec, tmp_path).items()}
    main, plain = printed["main"], printed["plain"]
    assert int(main["status"]["CapPrm"], 16) == available_capabilities()
    assert main["status"]["Seccomp"] == "0"
    options = {mount["target"]: mount["options"] for mount in main["mounts"]}
    assert "rw" in options["/sys"]
    assert "rw" in options["/sys/fs/cgroup"]
    assert not {target for target in options if target.startswith("/proc/")}
    number = os.stat(device).st_rdev
    assert main["paths"][device]["node"]["device"] == [os.major(number), os.minor(number)]
    assert plain["paths"][device]["node"] == {"error": "No such file or directory"}
    assert {mount["target"] for mount in plain["mounts"] if mount["target"].startswith("/proc/")}


# ---- sysctls ---------------------------------------------------------------------------------------------------------


def test_safe_sysctls(tmp_path: Path) -> None:
    """Kubernetes' page "Using sysctls": kernel.shm_rmid_forced; and those of the network."""
    own = {"kernel.shm_rmid_forced": "1", "net.ipv4.ip_unprivileged_port_start": "80", "net/ipv4/tcp_syncookies": "0"}
    files = [f"/proc/sys/{name.replace('.', '/')}" for name in own]
    before = [Path(name).read_text() for name in files]
    security = {"sysctls": [{"name": name, "value": value} for name, value in own.items()]}
    printed = run_pod(pod_spec(shell(f"cat {' '.join(files)}"), securityContext=security), tmp_path)["main"]
    assert printed.split() == ["1", "80", "0"]
    assert [Path(name).read_text() for name in files] == before


def test_a_port_below_1024_for_a_user(tmp_path: Path) -> None:
    script = "import socket; socket.create_server(('127.0.0.1', 80)); print('bound')"
    security = {"runAsUser": 1000, "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "80"}]}
    assert run_pod(pod_spec(python(script), securityContext=security), tmp_path)["main"] == "bound\n"


def test_unsafe_sysctls_need_a_switch(tmp_path: Path) -> None:
    name = "kernel.msgmax"
    spec = pod_spec(
        shell("cat /proc/sys/kernel/msgmax"), securityContext={"sysctls": [{"name": name, "value": "65536"}]}
    )
    with pytest.raises(SpecError, match="unsafe"):
        Pod.create(spec, directory=str(tmp_path / "pod"))
    for pattern in (name, "kernel.msg*", "kernel/msgmax"):
        allowed = SecurityPolicy(unsafe_sysctls=(pattern,))
        assert run_pod(spec, tmp_path, security=allowed)["main"].strip() == "65536"
    with pytest.raises(SpecError, match="unsafe"):
        Pod.create(spec, directory=str(tmp_path / "pod"), security=SecurityPolicy(("kernel.msgmni", "net.*")))


def test_a_value_that_the_kernel_refuses(tmp_path: Path) -> None:
    security = {"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "many"}]}
    with pytest.raises(StepError, match=r"kernel/shm_rmid_forced"):
        Pod.create(pod_spec(shell("true"), securityContext=security), directory=str(tmp_path / "pod"))


# ---- security modules ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.path.exists("/sys/fs/selinux/enforce"), reason="this kernel has SELinux")
def test_labels_that_this_kernel_does_not_have(tmp_path: Path) -> None:
    security = {"seLinuxOptions": {"level": "s0:c123,c456"}}
    with pytest.raises(Unsupported, match="SELinux"):
        Pod.create(pod_spec(shell("true", securityContext=security)), directory=str(tmp_path / "pod"))


@pytest.mark.skipif(os.path.exists("/sys/kernel/security/apparmor"), reason="this kernel has AppArmor")
def test_profiles_that_this_kernel_does_not_have(tmp_path: Path) -> None:
    for profile in ({"type": "RuntimeDefault"}, {"type": "Localhost", "localhostProfile": "x"}):
        with pytest.raises(Unsupported, match="AppArmor"):
            Pod.create(
                pod_spec(shell("true", securityContext={"appArmorProfile": profile})), directory=str(tmp_path / "pod")
            )
    assert status(tmp_path, {"appArmorProfile": {"type": "Unconfined"}})["Uid"].split()[0] == "0"


# ---- what hostile images bring ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("passwd", "gid", "home"),
    [
        ("u:x:5:" + "9" * 5000 + "::/home:/x\n", 0, ""),
        ("u:x:5:4294967295::/home:/x\n", 0, ""),
        ("u:x:5:6::relative:/x\n", 6, ""),
        ("u:x:5:6::/a\0b:/x\n", 0, ""),
        ("u:x:5:6::/a\xff:/x\n", 6, ""),
        ("u:x:5:6::/first:/x\nv:x:5:7::/second:/x\n", 6, "/first"),
        ("u:x:5\nu:x:5:6:/x\nu:x:5:8::/eight:/x", 8, "/eight"),
    ],
)
def test_lines_that_are_odd(tmp_path: Path, passwd: str, gid: int, home: str) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_bytes(passwd.encode("latin-1"))
    (tmp_path / "etc/group").write_text(f"g:x:{'1' * 5000}:u\nh:x:-1:u\ni:x:44:a,u\nj:x::u\n")
    account = read_account(str(tmp_path), 5)
    assert (account.gid, account.home) == (gid, home)
    assert account.groups == ((44,) if gid else ())


# ---- descriptors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [{"securityContext": {"runAsUser": 1000}}, {"hostUsers": False}])
def test_a_user_may_open_its_output_anew(tmp_path: Path, fields: dict[str, Any]) -> None:
    """As an nginx does whose log is a link to /dev/stdout."""
    spec = pod_spec(shell("echo out > /dev/stdout; echo err > /dev/stderr"), **fields)
    policy = SecurityPolicy(user_ranges=UserRanges(str(tmp_path / "locks"), 5 << 20, 1))
    read, write = os.pipe()
    with open(os.devnull) as null, open(read) as printed:
        stdio = (null.fileno(), write, write)
        with running(spec, tmp_path, stdio=lambda _name: stdio, security=policy) as it:
            os.close(write)
            assert it.wait()["main"].exit.code == 0
            assert printed.read() == "out\nerr\n"
    assert os.stat(os.devnull).st_uid == 0


def test_a_file_of_the_launcher_s_stays_its_own(tmp_path: Path) -> None:
    spec = pod_spec(shell("echo out", securityContext={"runAsUser": 1000}))
    with (tmp_path / "log").open("wb") as log, open(os.devnull) as null:
        stdio = (null.fileno(), log.fileno(), log.fileno())
        with running(spec, tmp_path, stdio=lambda _name: stdio) as it:
            assert it.wait()["main"].exit.code == 0
    assert (tmp_path / "log").stat().st_uid == 0
    assert (tmp_path / "log").read_text() == "out\n"
