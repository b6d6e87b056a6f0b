"""crun as the oracle: the same configuration, the same surroundings, as a probe inside sees them.

What pyrun runs is a pod; what crun gets is what ``pyrun plan --oci`` prints for its container (pod/standalone.py), with the
overlay over the host's root made by hand, since a runtime that is given "/" as the root cannot pivot into it. crun is Debian
12's, 1.8.1: it knows no time namespaces, and takes a machine with both cgroup versions only where it is shown the second
alone. What differs, and why, is in :data:`STRICTER` and in the checks themselves; everything else must be equal.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fixtures.machine import cgroup2_root, has_complete_cgroup2
from fixtures.pods import Document, host_path, mount, pod_spec, probe, run_pod, running, shell
from pyrun.container.security import MASKED_PATHS, READONLY_PATHS
from pyrun.pod.machine import read_machine
from pyrun.pod.plan import plan_pod
from pyrun.pod.security import settle_security
from pyrun.pod.standalone import standalone_oci
from pyrun.spec.oci_parse import oci_to_json
from pyrun.spec.pod import PodSpec, Volume
from pyrun.spec.source import HostPath
from pyrun.value import replace

pytestmark = [pytest.mark.root, pytest.mark.skipif(shutil.which("crun") is None, reason="needs crun")]

Seen = dict[str, Any]

# In a mount namespace of its own. $1: a directory for everything, $2: crun's cgroup manager.
RUN_CRUN = """
set -e
[ "$2" = cgroupfs ] || mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs none "$1/layers"
mkdir "$1/layers/upper" "$1/layers/work" "$1/layers/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/layers/upper,workdir=$1/layers/work" overlay "$1/layers/root"
exec crun --root "$1/state" --cgroup-manager="$2" run --bundle "$1/bundle" "pyrun-oracle-$$"
"""


def with_parts_as_volumes(spec: PodSpec) -> PodSpec:
    """Each subPath as a hostPath of its own: of a part crun cannot be told, and here nobody puts links into it."""
    sources = {volume.name: volume.source for volume in spec.volumes}
    volumes, mounts = list(spec.volumes), []
    for each in spec.containers[0].volume_mounts:
        source = sources[each.name]
        if each.sub_path and isinstance(source, HostPath):
            volumes.append(Volume(f"part{len(volumes)}", HostPath(f"{source.path}/{each.sub_path}")))
            each = replace(each, name=volumes[-1].name, sub_path="")
        mounts.append(each)
    containers = (replace(spec.containers[0], volume_mounts=tuple(mounts)), *spec.containers[1:])
    return replace(spec, containers=containers, volumes=tuple(volumes))


def run_crun(spec: PodSpec, top: Path, manager: str = "disabled") -> str:
    """What the pod's only container prints under crun."""
    spec = with_parts_as_volumes(spec)
    spec = settle_security(spec)
    plan = plan_pod(spec, "oracle", str(top / "pod"), read_machine())
    (container,) = plan.containers
    assert container.oci is not None
    config: Any = oci_to_json(standalone_oci(spec, container.oci, plan.paths))
    for name in ("bundle", "layers", "state"):
        (top / name).mkdir()
    config["root"] = {"path": str(top / "layers/root"), "readonly": spec.containers[0].security.read_only_root}
    (top / "bundle/config.json").write_text(json.dumps(config))
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", RUN_CRUN, "sh", str(top), manager]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if manager == "cgroupfs":
        # crun makes every group on the way to the container's and removes only the last: the pod's, and that of its QoS class,
        # are its caller's.
        _, top_group, *above = os.path.dirname(config["linux"]["cgroupsPath"]).split("/")
        for depth in range(len(above), 0, -1):
            os.rmdir("/".join([str(cgroup2_root()), top_group, *above[:depth]]))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


LOOKED_AT = (
    *MASKED_PATHS,
    *READONLY_PATHS,
    "/proc/sys/kernel/hostname",
    "/proc/sys/net/core",
    "/sys/kernel",
    "/sys/fs/cgroup",
)


def both(tmp_path: Path, *paths: str, container: Document | None = None, **spec: Any) -> tuple[Seen, Seen]:
    """What the probe sees in pyrun's container and in crun's."""
    pod = pod_spec(probe("main", *LOOKED_AT, *paths, **(container or {})), **spec)
    with running(pod, tmp_path) as it:
        ours = it.json()
    theirs: Seen = json.loads(run_crun(pod, tmp_path))
    return ours, theirs


# ---- what is compared ------------------------------------------------------------------------------------------------

SAME = (
    *(
        "pid",
        "session",
        "ids",
        "groups",
        "umask",
        "cwd",
        "env",
        "limits",
        "hostname",
        "domainname",
        "cgroup",
        "oom_score_adj",
    ),
    *("interfaces", "lo_up", "dev", "terminal"),
)
STATUS = (
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "Groups",
    "Umask",
    "Uid",
    "Gid",
    "NSpid",
)

# Options that pyrun's mount has and crun's has not, of the places that are made read-only or hidden: a clone of a mount keeps the
# mount's own options with us, and an empty tmpfs is made with all that make it harmless.
STRICTER = {"nosuid", "nodev", "noexec"}


def mounts(seen: Seen) -> dict[str, Seen]:
    return {mount["target"]: mount for mount in seen["mounts"]}


def check_process(ours: Seen, theirs: Seen) -> None:
    # Kubernetes' file, for which OCI has no word.
    assert ours["dev"].pop("termination-log")["mode"] == 0o666
    for name in SAME:
        assert ours[name] == theirs[name], name
    for name in STATUS:
        assert ours["status"][name] == theirs["status"][name], name
    assert sorted(ours["descriptors"]) == sorted(theirs["descriptors"]) == ["0", "1", "2"]


def check_namespaces(ours: Seen, theirs: Seen) -> None:
    """Each runtime has made the same kinds; the time namespace is the pod's, and crun 1.8 has none."""
    host = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in ours["namespaces"]}
    new = [{kind for kind, name in seen["namespaces"].items() if name != host[kind]} for seen in (ours, theirs)]
    assert new[0] - {"time", "time_for_children"} == new[1]


def check_mounts(ours: Seen, theirs: Seen) -> None:
    own, other = mounts(ours), mounts(theirs)
    assert set(own) == set(other)
    for target, mount_ in own.items():
        options, other_options = set(mount_["options"]) - {"relatime"}, set(other[target]["options"]) - {"relatime"}
        hidden = target in (*MASKED_PATHS, *READONLY_PATHS)
        if target.startswith("/etc/"):
            # The pod's files lie in its sandbox; alone, the container has the host's, read-only.
            assert ("rw" in options, "ro" in other_options) == (True, True), target
            continue
        if hidden and ours["paths"][target]["node"]["kind"] == "c":
            continue  # the null device over a file: the container's own with us, as with runc; the host's, read-only, with crun
        if hidden:
            assert options - other_options <= STRICTER, target
            assert other_options <= options, target
            continue
        # Devices in the root: with crun the cgroup's filter decides, with us there is none, so they are no devices.
        assert options - ({"nodev"} if target == "/" else set()) == other_options, target
        assert mount_["type"] == other[target]["type"], target
        assert mount_["propagation"] == other[target]["propagation"] == [], target
        if mount_["type"] != "overlay":
            assert mount_["super"] == other[target]["super"], target


def check_paths(ours: Seen, theirs: Seen) -> None:
    for path, found in ours["paths"].items():
        other = theirs["paths"][path]
        if path in MASKED_PATHS:
            assert found["content"] == other["content"], path
            assert found["node"].get("kind") == other["node"].get("kind"), path
        else:
            # Without a cgroup manager crun's container is in the root group, whose directory has another mode.
            assert found["node"] == other["node"] or path == "/sys/fs/cgroup", path
            assert found["writable"] == other["writable"], path
        if path.startswith("/proc/sys"):
            assert found["content"] == other["content"], path


CHECKS: tuple[Callable[[Seen, Seen], None], ...] = (check_process, check_namespaces, check_mounts, check_paths)


# ---- the comparisons -------------------------------------------------------------------------------------------------


def test_a_plain_container(tmp_path: Path) -> None:
    ours, theirs = both(tmp_path)
    for check in CHECKS:
        check(ours, theirs)


@pytest.mark.parametrize(
    "fields",
    [
        {"hostNetwork": True},
        {"hostIPC": True},
        {"hostPID": True},
        {"hostNetwork": True, "hostIPC": True, "hostPID": True},
    ],
)
def test_with_namespaces_of_the_host(tmp_path: Path, fields: dict[str, bool]) -> None:
    ours, theirs = both(tmp_path, **fields)
    check_namespaces(ours, theirs)
    check_paths(ours, theirs)
    if "hostPID" not in fields:
        check_process(ours, theirs)
    if "hostIPC" not in fields:
        check_mounts(ours, theirs)
        return
    # The host's /dev/shm: a bind that crun makes with the same options.
    shm = [mounts(seen)["/dev/shm"] for seen in (ours, theirs)]
    assert shm[0]["device"] == shm[1]["device"]


@pytest.mark.parametrize(
    "security",
    [
        {"runAsUser": 1234, "runAsGroup": 5},
        {"runAsUser": 1234, "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}},
        {"capabilities": {"add": ["NET_ADMIN", "SYS_TIME"], "drop": ["CHOWN"]}},
        {"allowPrivilegeEscalation": False},
        {"readOnlyRootFilesystem": True},
        {"seccompProfile": {"type": "Unconfined"}},
        {"privileged": True},
    ],
)
def test_security_contexts(tmp_path: Path, security: Document) -> None:
    pod = {"supplementalGroups": [7, 8], "fsGroup": 9}
    ours, theirs = both(tmp_path, container={"securityContext": security}, securityContext=pod)
    for seen in (ours, theirs):
        seen["dev"]["null"] |= {"uid": 0, "gid": 0}  # crun gives the user its standard input, a device or not
    check_process(ours, theirs)
    check_namespaces(ours, theirs)
    if "privileged" not in security:
        check_paths(ours, theirs)
    own, other = mounts(ours), mounts(theirs)
    assert set(own) == set(other)
    for target in own:
        if target not in MASKED_PATHS and not target.startswith("/etc/"):
            assert ("ro" in own[target]["options"]) == ("ro" in other[target]["options"]), target


def test_directory_environment_and_variables(tmp_path: Path) -> None:
    env = [{"name": "A", "value": "1"}, {"name": "HOME", "value": "/h"}, {"name": "B", "value": "$(A)2"}]
    ours, theirs = both(tmp_path, container={"env": env, "workingDir": "/new/place"})
    check_process(ours, theirs)
    assert ours["cwd"] == "/new/place"


def test_volumes(tmp_path: Path) -> None:
    """In memory, from the host, read-only, and a part of one."""
    host = tmp_path / "host"
    (host / "part").mkdir(parents=True)
    (host / "file").write_text("text")
    volumes = [{"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}}, host_path("host", host)]
    places = [
        mount("memory", "/memory"),
        mount("host", "/host"),
        mount("host", "/read", readOnly=True),
        mount("host", "/part", subPath="part"),
        mount("host", "/file", subPath="file", readOnly=True),
    ]
    paths = [place["mountPath"] for place in places]
    ours, theirs = both(tmp_path, *paths, container={"volumeMounts": places}, volumes=volumes)
    check_mounts(ours, theirs)
    check_paths(ours, theirs)
    answers = {path: ours["paths"][path]["writable"] for path in paths}
    assert answers == dict.fromkeys(("/memory", "/host", "/part"), "yes") | dict.fromkeys(
        ("/read", "/file"), "Read-only file system"
    )


def test_what_the_filter_and_the_capabilities_refuse(tmp_path: Path) -> None:
    """The exit status of each attempt; the filter is the same profile, compiled by libseccomp there and by us here."""
    attempts = (
        *(
            "unshare -U true",
            "unshare -m true",
            "unshare -n true",
            "mount -t tmpfs none /mnt",
            "umount /proc",
            "chroot / true",
        ),
        *(
            "mknod /tmp/n c 1 3",
            "hostname x",
            "date -s 2020-01-01",
            "nsenter -t 1 -n true",
            "setpriv --reuid 1000 true",
        ),
        *(
            "chown 1:1 /tmp",
            "ping -c 1 -W 1 127.0.0.1",
            "su nobody -s /bin/true",
            "ionice -c 1 true",
            "renice -n -5 $$",
        ),
        *("swapoff -a", "losetup -f", "dmesg", "sysctl -w kernel.msgmax=1", "ip link add type dummy", "strace true"),
    )
    script = "\n".join(f"if ({attempt}) >/dev/null 2>&1; then echo yes; else echo no: $?; fi" for attempt in attempts)
    pod = pod_spec(shell(script))
    ours = run_pod(pod, tmp_path)["main"].splitlines()
    theirs = run_crun(pod, tmp_path).splitlines()
    assert dict(zip(attempts, ours, strict=True)) == dict(zip(attempts, theirs, strict=True))
    assert "yes" in ours
    assert len(set(ours)) > 2


CGROUP_FILES = ("memory.max", "memory.oom.group", "cpu.max", "pids.max", "memory.high", "memory.low")


@pytest.mark.cgroup2
def test_limits(tmp_path: Path) -> None:
    """But for cpu.weight, for which crun has the quadratic formula only since 1.23."""
    asked = {"resources": {"requests": {"cpu": "250m"}, "limits": {"cpu": "1500m", "memory": "200Mi"}}}
    script = "cd /sys/fs/cgroup; cat " + " ".join(CGROUP_FILES)
    pod = pod_spec(shell(script, **asked))
    ours = run_pod(pod, tmp_path)["main"].split("\n")
    theirs = run_crun(pod, tmp_path, "cgroupfs").split("\n")
    assert dict(zip(CGROUP_FILES, ours, strict=False)) == dict(zip(CGROUP_FILES, theirs, strict=False))
    assert ours[:3] == [str(200 << 20), "1", "150000 100000"]
    assert has_complete_cgroup2()
