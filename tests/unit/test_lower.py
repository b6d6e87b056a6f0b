"""A container of a pod as an OCI configuration: exact values, as Kubernetes and containerd have them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fixtures.pods import host_path, mount, pod_spec, shell
from pyrun.container.layout import PodPaths
from pyrun.container.lower import DEFAULT_PATH, cgroup_name, lower_container, shared_namespaces
from pyrun.container.security import DEFAULT_CAPABILITIES, MASKED_PATHS, READONLY_PATHS, capability_mask
from pyrun.spec.oci import OciMount, OciSpec, OciTimeOffset
from pyrun.spec.oci_parse import oci_to_json

PATHS = PodPaths(sandbox="/run/x/sandbox", volumes="/run/x/volumes")
NODE_MEMORY = 8 << 30


def lower(*containers: dict[str, Any], index: int = 0, mask: int | None = None, **spec: Any) -> OciSpec:
    pod = pod_spec(*(containers or (shell("true"),)), **spec)
    masks = {} if mask is None else {"available_capabilities": mask}
    return lower_container(pod, pod.containers[index], "1234", PATHS, NODE_MEMORY, **masks)


def resources(requests: dict[str, str] | None = None, limits: dict[str, str] | None = None, **fields: Any) -> OciSpec:
    return lower(shell("true", resources={"requests": requests or {}, "limits": limits or {}}), **fields)


# ---- the process -----------------------------------------------------------------------------------------------------


def test_the_process() -> None:
    process = lower(shell("true", workingDir="/work")).process
    assert process is not None
    assert process.cwd == "/work"
    assert process.args == ("/bin/sh", "-ec", "true")
    assert (process.user.uid, process.user.gid, process.user.additional_gids, process.user.umask) == (0, 0, (0,), 0o022)
    assert not process.no_new_privileges
    assert not process.terminal
    assert process.rlimits == ()


def test_capabilities_are_the_default_ones_that_can_be_had() -> None:
    process = lower().process
    assert process is not None
    sets = process.capabilities
    assert sets is not None
    assert set(sets.bounding) == set(sets.effective) == set(sets.permitted) == set(DEFAULT_CAPABILITIES)
    assert sets.inheritable == sets.ambient == ()
    process = lower(mask=capability_mask(("CAP_CHOWN", "CAP_SYS_ADMIN"))).process
    assert process is not None
    assert process.capabilities is not None
    assert process.capabilities.bounding == process.capabilities.permitted == ("CAP_CHOWN",)


def test_arguments_are_command_then_args_with_variables() -> None:
    container = shell("true", command=["run", "$(A)"], args=["$(B)", "$$(A)"], env=[{"name": "A", "value": "x"}])
    process = lower(container).process
    assert process is not None
    assert process.args == ("run", "x", "$(B)", "$(A)")


@pytest.mark.parametrize(
    ("env", "wanted"),
    [
        ([], (f"PATH={DEFAULT_PATH}", "HOSTNAME=test", "HOME=/root")),
        (
            [{"name": "B", "value": "2"}, {"name": "A", "value": "$(B)1"}],
            (f"PATH={DEFAULT_PATH}", "HOSTNAME=test", "HOME=/root", "B=2", "A=21"),
        ),
        ([{"name": "HOME", "value": "/h"}, {"name": "PATH", "value": "/p"}], ("PATH=/p", "HOSTNAME=test", "HOME=/h")),
        ([{"name": "A", "value": "$(HOME)"}], (f"PATH={DEFAULT_PATH}", "HOSTNAME=test", "HOME=/root", "A=$(HOME)")),
        (
            [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}],
            (f"PATH={DEFAULT_PATH}", "HOSTNAME=test", "HOME=/root", "A=2"),
        ),
        ([{"name": "A"}], (f"PATH={DEFAULT_PATH}", "HOSTNAME=test", "HOME=/root", "A=")),
    ],
)
def test_environment(env: list[dict[str, str]], wanted: tuple[str, ...]) -> None:
    """Only the manifest's own variables can be referred to: what the runtime sets is not known to the API."""
    process = lower(shell("true", env=env)).process
    assert process is not None
    assert process.env == wanted


@pytest.mark.parametrize(
    ("requests", "limits", "score"),
    [
        ({}, {}, 1000),  # BestEffort
        ({}, {"cpu": "1", "memory": "1Gi"}, -997),  # Guaranteed
        ({"memory": "1Gi"}, {}, 875),  # 1000 - 1000 * 1/8
        ({"cpu": "1"}, {}, 999),  # nothing of the memory: 1000 is BestEffort's
        ({"memory": "8Gi"}, {}, 3),  # all of it: below Guaranteed's would be a lie
        ({"memory": "1Mi"}, {}, 999),
    ],
)
def test_oom_score_by_quality_of_service(requests: dict[str, str], limits: dict[str, str], score: int) -> None:
    process = resources(requests, limits).process
    assert process is not None
    assert process.oom_score_adj == score


# ---- resources -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requests", "limits", "shares", "quota"),
    [
        ({}, {}, 2, None),
        ({"cpu": "1m"}, {}, 2, None),
        ({"cpu": "250m"}, {}, 256, None),
        ({"cpu": "1"}, {"cpu": "2"}, 1024, 200_000),
        ({}, {"cpu": "500m"}, 512, 50_000),
        ({}, {"cpu": "1m"}, 2, 1_000),  # the least quota
        ({"cpu": "300"}, {}, 262_144, None),  # the most shares
        ({"cpu": "1.5"}, {}, 1536, None),
    ],
)
def test_cpu(requests: dict[str, str], limits: dict[str, str], shares: int, quota: int | None) -> None:
    asked = resources(requests, limits).linux.resources
    assert asked is not None
    assert asked.cpu is not None
    assert (asked.cpu.shares, asked.cpu.quota) == (shares, quota)
    assert asked.cpu.period == (100_000 if quota else None)


def test_memory() -> None:
    asked = resources({}, {"memory": "64Mi"}).linux.resources
    assert asked is not None
    assert asked.memory is not None
    assert asked.memory.limit == 64 << 20
    assert asked.unified == (("memory.oom.group", "1"),)
    for nothing in (resources({"memory": "64Mi"}), resources()):
        assert nothing.linux.resources is not None
        assert nothing.linux.resources.memory is None
        assert nothing.linux.resources.unified == ()


def test_cgroup() -> None:
    assert lower().linux.cgroups_path == "/pyrun/besteffort/pod1234/main"
    assert cgroup_name("1234", "pyrun") == "pyrun/pod1234"


# ---- namespaces ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "shared", "own"),
    [
        ({}, {"uts", "network", "ipc", "time"}, {"mount", "cgroup", "pid"}),
        ({"hostNetwork": True}, {"uts", "ipc", "time"}, {"mount", "cgroup", "pid"}),
        ({"hostIPC": True}, {"uts", "network", "time"}, {"mount", "cgroup", "pid"}),
        ({"hostPID": True}, {"uts", "network", "ipc", "time"}, {"mount", "cgroup"}),
        ({"shareProcessNamespace": True}, {"uts", "network", "ipc", "time", "pid"}, {"mount", "cgroup"}),
        ({"hostNetwork": True, "hostIPC": True, "hostPID": True}, {"uts", "time"}, {"mount", "cgroup"}),
    ],
)
def test_namespaces(fields: dict[str, bool], shared: set[str], own: set[str]) -> None:
    listed = lower(**fields).linux.namespaces
    assert {namespace.type for namespace in listed} == shared | own
    assert {namespace.path for namespace in listed} == {""}
    assert set(shared_namespaces(pod_spec(shell("true"), **fields))) == shared


def test_time_offsets_in_seconds_and_never_negative_nanoseconds() -> None:
    annotations = {"pyrun.dev/time-offset-monotonic": "-1.25", "pyrun.dev/time-offset-boottime": "86400"}
    spec = lower(annotations=annotations)
    assert spec.linux.time_offsets == (OciTimeOffset("monotonic", -2, 750_000_000), OciTimeOffset("boottime", 86400, 0))
    assert lower().linux.time_offsets == ()
    assert lower(annotations={"pyrun.dev/time-offset-boottime": "0"}).linux.time_offsets == ()


# ---- root and mounts -------------------------------------------------------------------------------------------------


def test_root_and_names() -> None:
    spec = lower(hostname="web")
    assert (spec.root.path, spec.root.readonly, spec.hostname) == ("/", False, "web")
    assert lower(shell("true", image="rootfs:/a/b")).root.path == "/a/b"
    assert lower().oci_version == "1.2.0"


def mounts_of(*containers: dict[str, Any], **spec: Any) -> dict[str, OciMount]:
    listed = lower(*containers, **spec).mounts
    assert len({each.destination for each in listed}) == len(listed)
    return {each.destination: each for each in listed}


STANDARD = {
    "/proc": ("proc", "proc", {"nosuid", "noexec", "nodev"}),
    "/dev": ("tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}),
    "/dev/pts": ("devpts", "devpts", {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}),
    "/dev/shm": ("bind", "/run/x/sandbox/shm", {"rbind", "rprivate", "nosuid", "noexec", "nodev"}),
    "/dev/mqueue": ("mqueue", "mqueue", {"nosuid", "noexec", "nodev"}),
    "/sys": ("sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"}),
    "/sys/fs/cgroup": ("cgroup", "cgroup", {"nosuid", "noexec", "nodev", "relatime", "ro"}),
    "/etc/hosts": ("bind", "/run/x/sandbox/etc/hosts", {"bind", "rprivate", "rw"}),
    "/etc/hostname": ("bind", "/run/x/sandbox/etc/hostname", {"bind", "rprivate", "rw"}),
    "/etc/resolv.conf": ("bind", "/run/x/sandbox/etc/resolv.conf", {"bind", "rprivate", "rw"}),
}


def test_the_standard_mounts() -> None:
    found = mounts_of()
    assert {target: (each.type, each.source, set(each.options)) for target, each in found.items()} == STANDARD


def test_host_ipc_has_the_hosts_shared_memory() -> None:
    assert mounts_of(hostIPC=True)["/dev/shm"].source == "/dev/shm"


VOLUMES = [{"name": "disk"}, {"name": "memory", "emptyDir": {"medium": "Memory"}}, host_path("host", "/host/dir")]


def test_volumes() -> None:
    mounts = [mount("disk", "/d"), mount("memory", "/m", readOnly=True), mount("host", "/h", subPath="a/b")]
    found = mounts_of(shell("true", volumeMounts=mounts), volumes=VOLUMES)
    assert found["/d"] == OciMount("/d", "bind", "/run/x/volumes/disk", ("rbind", "rprivate", "nodev"))
    assert found["/m"] == OciMount("/m", "bind", "/run/x/sandbox/volumes/memory", ("rbind", "rprivate", "ro", "nodev"))
    assert found["/h"] == OciMount("/h", "bind", "/host/dir/./a/b", ("rbind", "rprivate"))


def test_a_volume_takes_the_place_of_a_standard_mount() -> None:
    found = mounts_of(
        shell("true", volumeMounts=[mount("disk", "/dev/shm"), mount("disk", "/etc/hosts")]), volumes=VOLUMES
    )
    assert found["/dev/shm"].source == found["/etc/hosts"].source == "/run/x/volumes/disk"
    assert set(found) == set(STANDARD)


@pytest.mark.parametrize(
    "targets", [("/a/b/c", "/a", "/a/b"), ("/etc", "/etc/hosts/x"), ("/dev", "/sys/fs"), ("/x", "/dev/shm/y")]
)
def test_what_is_below_comes_after(targets: tuple[str, ...]) -> None:
    listed = lower(shell("true", volumeMounts=[mount("disk", target) for target in targets]), volumes=VOLUMES).mounts
    order = [each.destination for each in listed]
    for i, target in enumerate(order):
        assert not [later for later in order[i + 1 :] if target.startswith(later + "/")]


# ---- what is hidden --------------------------------------------------------------------------------------------------


def test_masked_and_read_only_paths_are_those_of_containerd() -> None:
    spec = lower()
    assert spec.linux.masked_paths == MASKED_PATHS
    assert spec.linux.readonly_paths == READONLY_PATHS
    assert {"/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/sys/firmware", "/proc/acpi"} <= set(
        MASKED_PATHS
    )
    assert set(READONLY_PATHS) == {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}


def test_the_filter_denies_by_default() -> None:
    profile = oci_to_json(lower())["linux"]["seccomp"]  # type: ignore[index]
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert len(json.dumps(profile)) > 5000


def test_annotations_of_the_pod_come_along() -> None:
    assert ("example.org/a", "b") in lower(annotations={"example.org/a": "b"}).annotations


def test_containers_of_a_pod_differ_only_in_what_is_theirs() -> None:
    containers = (shell("true", "one"), shell("false", "two"))
    one, two = lower(*containers, index=0), lower(*containers, index=1)
    assert one.process != two.process
    assert one.linux.cgroups_path != two.linux.cgroups_path
    assert (one.mounts, one.hostname, one.linux.namespaces) == (two.mounts, two.hostname, two.linux.namespaces)
