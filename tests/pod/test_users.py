"""hostUsers: false with real processes: a user namespace per pod, and files that keep their owners."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from fixtures.pods import FOREVER, created, host_path, mount, pod_spec, probe, run_pod, running, shell
from pyrun.errors import SpecError, Unsupported
from pyrun.pod.pod import Pod
from pyrun.pod.pool import SandboxPool
from pyrun.pod.security import SecurityPolicy
from pyrun.pod.user_range import RANGE_IDS, UserRanges, read_user_ranges, take_user_range

FIRST = 3 << 20


@pytest.fixture
def policy(tmp_path: Path) -> SecurityPolicy:
    return SecurityPolicy(user_ranges=UserRanges(str(tmp_path / "locks"), FIRST, 4))


def test_root_of_the_pod_is_nobody_of_the_machine(tmp_path: Path, policy: SecurityPolicy) -> None:
    """Kubernetes' page "Use a User Namespace With a Pod": userns, with its uid_map."""
    spec = pod_spec(shell(f"cat /proc/self/uid_map /proc/self/gid_map; id -u; {FOREVER}"), hostUsers=False)
    with running(spec, tmp_path, security=policy) as it:
        printed = it.wait_for(f"{RANGE_IDS}\n0\n").split()
        status = (it.proc() / "status").read_text()
        assert printed == ["0", str(FIRST), str(RANGE_IDS)] * 2 + ["0"]
        assert f"Uid:\t{FIRST}\t" in status
        assert f"Gid:\t{FIRST}\t" in status
        pause = (it.pause_proc() / "status").read_text()
        assert f"Uid:\t{FIRST + 65535}\t" in pause
        ours = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in ("user", "net", "uts", "ipc", "mnt", "pid")}
        assert {kind: it.namespace(kind) for kind in ours}.items().isdisjoint(ours.items())
        assert os.readlink(it.pause_proc() / "ns/user") == it.namespace("user")


def test_files_have_the_owners_that_they_have_on_disk(tmp_path: Path, policy: SecurityPolicy) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "of-root").write_text("x")
    (data / "of-7").write_text("x")
    os.chown(data / "of-7", 7, 8)
    script = """
touch /data/made; touch /data/made-7; chown 7:8 /data/made-7
stat -c '%n %u:%g' /data/* /etc/passwd /disk /memory /dev/shm /etc/hosts /
touch /disk/made /memory/made /made; stat -c '%u' /disk/made /memory/made /made
"""
    mounts = [mount("data", "/data"), mount("disk", "/disk"), mount("memory", "/memory")]
    volumes = [
        host_path("data", data),
        {"name": "disk", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory"}},
    ]
    spec = pod_spec(shell(script, volumeMounts=mounts), hostUsers=False, volumes=volumes)
    with running(spec, tmp_path, security=policy) as it:
        lines = it.output().splitlines()
        made = (it.directory / "volumes/disk/made").stat()
    owners = dict(line.split() for line in lines if ":" in line)
    assert {name: owner for name, owner in owners.items() if owner != "0:0"} == {
        "/data/of-7": "7:8",
        "/data/made-7": "7:8",
    }
    assert lines[-3:] == ["0"] * 3
    # On disk it is as the container sees it: a pod with other ids finds the same.
    assert (made.st_uid, made.st_gid) == (0, 0)
    assert [((data / name).stat().st_uid) for name in ("made", "made-7", "of-root")] == [0, 7, 0]


def test_the_machine_s_files_are_out_of_reach(tmp_path: Path, policy: SecurityPolicy) -> None:
    """What is not mapped is nobody's, and capabilities count in the pod's user namespace alone."""
    script = """
cat /proc/1/uid_map >/dev/null
hostname other 2>&1 || true
mount -t tmpfs none /mnt 2>&1 && echo mounted || echo refused
"""
    security = {"capabilities": {"add": ["ALL"]}, "seccompProfile": {"type": "Unconfined"}}
    spec = pod_spec(shell(script, securityContext=security), hostUsers=False)
    with running(spec, tmp_path, security=policy) as it:
        assert it.output().splitlines()[-1] == "mounted"


@pytest.mark.parametrize("shared", [False, True])
def test_what_a_container_sees(tmp_path: Path, policy: SecurityPolicy, shared: bool) -> None:
    spec = pod_spec(probe("main"), probe("other"), hostUsers=False, shareProcessNamespace=shared)
    printed = {name: json.loads(text) for name, text in run_pod(spec, tmp_path, security=policy).items()}
    main = printed["main"]
    assert main["ids"] == [0] * 6
    types = {each["target"]: each["type"] for each in main["mounts"]}
    assert {types[path] for path in ("/proc", "/sys", "/", "/dev")} == {"proc", "sysfs", "overlay", "tmpfs"}
    assert main["dev"]["null"]["device"] == [1, 3]
    assert (1 in main["processes"]) is True
    assert main["terminal"] == ["/dev/pts", True]
    assert main["lo_up"]
    namespaces = [each["namespaces"] for each in printed.values()]
    assert namespaces[0]["user"] == namespaces[1]["user"]
    assert (namespaces[0]["pid"] == namespaces[1]["pid"]) is shared


def test_exec_and_other_users(tmp_path: Path, policy: SecurityPolicy) -> None:
    spec = pod_spec(shell(FOREVER), hostUsers=False, securityContext={"runAsUser": 1000, "supplementalGroups": [5]})
    read, write = os.pipe()
    with running(spec, tmp_path, security=policy) as it, open(read) as printed:
        assert f"Uid:\t{FIRST + 1000}\t" in (it.proc() / "status").read_text()
        with open(os.devnull) as null:
            process = it["main"].exec(["sh", "-c", "id -u; id -G; ls /proc"], stdio=(null.fileno(), write, write))
        os.close(write)
        lines = printed.read().splitlines()
        process.wait()
        process.close()
    assert lines[0] == "1000"
    assert "5" in lines[1].split()


def test_each_pod_has_ids_of_its_own(tmp_path: Path, policy: SecurityPolicy) -> None:
    spec = pod_spec(shell(FOREVER), hostUsers=False)

    def owner(it: object) -> int:
        return int((it.proc() / "status").read_text().split("Uid:\t")[1].split()[0])  # type: ignore[attr-defined]

    with running(spec, tmp_path, security=policy) as one, running(spec, tmp_path, security=policy) as two:
        assert (owner(one), owner(two)) == (FIRST, FIRST + RANGE_IDS)
        one.pod.remove()
        with running(spec, tmp_path, security=policy) as three:
            assert owner(three) == FIRST
    assert list((tmp_path / "locks").iterdir()) == []


def test_sysctls_are_the_pod_s(tmp_path: Path, policy: SecurityPolicy) -> None:
    security = {"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "80"}]}
    script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start"
    spec = pod_spec(shell(script), hostUsers=False, securityContext=security)
    assert run_pod(spec, tmp_path, security=policy)["main"].strip() == "80"


def test_an_unmasked_proc(tmp_path: Path, policy: SecurityPolicy) -> None:
    security = {
        "procMount": "Unmasked",
        "seccompProfile": {"type": "Unconfined"},
        "capabilities": {"add": ["SYS_ADMIN"]},
    }
    script = "grep -c ' /proc/' /proc/self/mountinfo || true; unshare -mpf mount -t proc proc /proc && echo mounted"
    spec = pod_spec(shell(script, securityContext=security), hostUsers=False)
    assert run_pod(spec, tmp_path, security=policy)["main"].split() == ["0", "mounted"]


# ---- what cannot be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["hostNetwork", "hostPID", "hostIPC"])
def test_not_with_namespaces_of_the_machine(field: str) -> None:
    with pytest.raises(SpecError, match="hostUsers") as caught:
        pod_spec(shell("true"), hostUsers=False, **{field: True})
    assert caught.value.pointer == f"/spec/{field}"


def test_without_ranges(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="ranges"):
        Pod.create(pod_spec(shell("true"), hostUsers=False), directory=str(tmp_path / "pod"))


def test_a_pod_that_fails_gives_its_range_back(tmp_path: Path, policy: SecurityPolicy) -> None:
    spec = pod_spec(shell("true") | {"command": ["/no/such"]}, hostUsers=False)
    with pytest.raises(Exception, match="no/such"), created(spec, tmp_path, security=policy):
        pass
    assert list((tmp_path / "locks").iterdir()) == []


def test_ranges(tmp_path: Path) -> None:
    ranges = UserRanges(str(tmp_path / "locks"), 1 << 20, 2)
    one, two = take_user_range(ranges), take_user_range(ranges)
    assert (one.first, two.first) == (1 << 20, (1 << 20) + RANGE_IDS)
    with pytest.raises(Unsupported, match="all 2 are taken"):
        take_user_range(ranges)
    one.release()
    one.release()
    again = take_user_range(ranges)
    assert again.first == 1 << 20
    again.release()
    two.release()


def test_ranges_of_the_machine(tmp_path: Path) -> None:
    uids, gids = tmp_path / "subuid", tmp_path / "subgid"

    def read() -> tuple[int, int]:
        found = read_user_ranges("/locks", str(uids), str(gids))
        return found.first, found.count

    assert read() == (65536, 110)
    uids.write_text("alice:100000:65536\nkubelet:1048576:131072\n")
    gids.write_text("kubelet:1048576:131072\n")
    assert read() == (1048576, 2)
    uids.write_text(uids.read_text() + "pyrun:2097152:65536\n")
    assert read() == (1048576, 2)  # which is not there for groups
    gids.write_text(gids.read_text() + "pyrun:2097152:65536\n")
    assert read() == (2097152, 1)
    gids.write_text("pyrun:2097152:65535\nnonsense\n")
    assert read() == (65536, 110)


def test_a_pool_has_no_users_to_give() -> None:
    with pytest.raises(Unsupported, match="pool"):
        SandboxPool(1, pod_spec(shell("true"), hostUsers=False))


def test_privileged_in_the_pod_alone(tmp_path: Path, policy: SecurityPolicy) -> None:
    """Every capability, in the pod's user namespace: the machine's devices are there, and open to nobody but their owners."""
    container = probe("main", "/dev/kmsg", "/proc/sys/kernel/core_pattern", securityContext={"privileged": True})
    seen = json.loads(run_pod(pod_spec(container, hostUsers=False), tmp_path, security=policy)["main"])
    assert seen["status"]["CapEff"] == seen["status"]["CapBnd"]
    assert seen["paths"]["/dev/kmsg"]["node"]["kind"] == "c"
    assert seen["paths"]["/proc/sys/kernel/core_pattern"]["writable"] == "Permission denied"


def test_secrets_are_the_pod_s_root_s(tmp_path: Path, policy: SecurityPolicy) -> None:
    secret = {"name": "s", "secret": {"secretName": "s", "optional": True}}
    downward = {"name": "d", "downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}}
    mounts = [mount("s", "/s"), mount("d", "/d"), mount("d", "/part", subPath="name")]
    script = "stat -Lc '%u %g' /s /d /d/name /part; echo $(cat /d/name); id -G"
    spec = pod_spec(
        shell(script, volumeMounts=mounts),
        volumes=[secret, downward],
        hostUsers=False,
        securityContext={"fsGroup": 9},
    )
    lines = run_pod(spec, tmp_path, security=policy)["main"].splitlines()
    assert {line.split()[0] for line in lines[:4]} == {"0"}
    assert [line.split()[1] for line in lines[2:4]] == ["9", "9"]
    assert lines[4] == "test"
    assert "9" in lines[5].split()
