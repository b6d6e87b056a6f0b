"""What a container sees: the surroundings that every program may expect, and nothing of the launcher's."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from fixtures.pods import pod_spec, probe, run_pod, running, shell
from pyrun.container.device_plan import LINKS, NODES
from pyrun.container.lower import DEFAULT_PATH
from pyrun.container.security import (
    DEFAULT_CAPABILITIES,
    MASKED_PATHS,
    READONLY_PATHS,
    available_capabilities,
    capability_mask,
)

pytestmark = pytest.mark.root

SETTINGS = ("/proc/sys/kernel/hostname", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/core_pattern")
SYS = ("/sys", "/sys/kernel", "/sys/fs/cgroup")
LOOKED_AT = (*MASKED_PATHS, *READONLY_PATHS, *SETTINGS, *SYS)


@cache
def seen() -> dict[str, Any]:
    """What the probe says that runs in a container with nothing special about it."""
    with tempfile.TemporaryDirectory() as top, running(pod_spec(probe("main", *LOOKED_AT)), Path(top)) as it:
        result: dict[str, Any] = it.json()
        return result


def mounted(target: str) -> dict[str, Any]:
    """The top mount at *target*."""
    found: list[dict[str, Any]] = [mount for mount in seen()["mounts"] if mount["target"] == target]
    return found[-1]


# ---- the process -----------------------------------------------------------------------------------------------------


def test_it_is_the_first_process_and_alone() -> None:
    assert seen()["pid"] == 1
    assert seen()["processes"] == [1]
    assert seen()["session"] == 1


def test_it_has_three_descriptors() -> None:
    assert sorted(seen()["descriptors"]) == ["0", "1", "2"]
    assert seen()["descriptors"]["0"] == "/dev/null"


def test_it_is_root_without_further_groups() -> None:
    assert seen()["ids"] == [0] * 6
    assert seen()["groups"] == [0]  # its own, as with containerd
    assert seen()["umask"] == 0o022
    assert seen()["cwd"] == "/"


def test_its_environment_is_what_every_runtime_sets() -> None:
    assert seen()["env"] == [f"PATH={DEFAULT_PATH}", "HOSTNAME=test", "HOME=/root"]


def test_capabilities_are_the_default_set() -> None:
    wanted = capability_mask(DEFAULT_CAPABILITIES) & available_capabilities()
    status = seen()["status"]
    assert {name: int(status[name], 16) for name in ("CapBnd", "CapPrm", "CapEff")} == dict.fromkeys(
        ("CapBnd", "CapPrm", "CapEff"), wanted
    )
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0


def test_the_filter_is_on_and_escalation_allowed() -> None:
    assert seen()["status"]["Seccomp"] == "2"
    assert seen()["status"]["NoNewPrivs"] == "0"  # Kubernetes allows escalation unless a container says otherwise


def test_signals_are_as_after_a_login(tmp_path: Path) -> None:
    """The test's interpreter ignores SIGPIPE and SIGXFSZ; the container must not."""
    output = run_pod(pod_spec(shell("exec grep Sig /proc/self/status")), tmp_path)["main"]
    masks = dict(line.split(":") for line in output.splitlines())
    assert {int(masks[name], 16) for name in ("SigBlk", "SigIgn", "SigPnd")} == {0}


def test_limits_are_the_launchers() -> None:
    own = {}
    for line in Path("/proc/self/limits").read_text().splitlines()[1:]:
        own[line[:26].strip()] = line[26:].split()[:2]
    assert seen()["limits"] == own


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("unshare -U true", "Operation not permitted"),  # the filter: CAP_SYS_ADMIN is what the profile asks for
        ("mount -t tmpfs none /mnt", "permission denied"),
        ("mknod /tmp/disk b 8 0", "Operation not permitted"),
        ("nsenter -t 1 -m true", "Operation not permitted"),
        ("hostname other", "you must be root"),  # hostname(1)'s way to say EPERM
    ],
)
def test_the_kernel_refuses_what_would_reach_the_host(tmp_path: Path, command: str, answer: str) -> None:
    output = run_pod(pod_spec(shell(f"if {command}; then echo done; fi")), tmp_path)["main"]
    assert "done" not in output
    assert answer in output


# ---- mounts ----------------------------------------------------------------------------------------------------------


def test_the_mounts_are_these_and_no_others() -> None:
    targets = [mount["target"] for mount in seen()["mounts"]]
    standard = {
        *("/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"),
        *("/etc/hosts", "/etc/hostname", "/etc/resolv.conf"),
    }
    hidden = {path for path in (*MASKED_PATHS, *READONLY_PATHS) if seen()["paths"][path]["node"].get("kind")}
    assert set(targets) == standard | hidden
    assert len(targets) == len(set(targets))


def test_no_mount_propagates() -> None:
    assert {mount["target"]: mount["propagation"] for mount in seen()["mounts"] if mount["propagation"]} == {}


@pytest.mark.parametrize(
    ("target", "kind", "options"),
    [
        ("/proc", "proc", {"rw", "nosuid", "nodev", "noexec"}),
        ("/dev", "tmpfs", {"rw", "nosuid"}),
        ("/dev/pts", "devpts", {"rw", "nosuid", "noexec"}),
        ("/dev/shm", "tmpfs", {"rw", "nosuid", "nodev", "noexec"}),
        ("/dev/mqueue", "mqueue", {"rw", "nosuid", "nodev", "noexec"}),
        ("/sys", "sysfs", {"ro", "nosuid", "nodev", "noexec"}),
        ("/sys/fs/cgroup", "cgroup2", {"ro", "nosuid", "nodev", "noexec"}),
        ("/", "overlay", {"rw", "nodev"}),
    ],
)
def test_a_standard_mount(target: str, kind: str, options: set[str]) -> None:
    assert mounted(target)["type"] == kind
    assert set(mounted(target)["options"]) - {"relatime"} == options
    assert mounted(target)["root"] == "/"


def test_sizes_and_modes_of_what_is_new() -> None:
    assert "size=65536k" in mounted("/dev/shm")["super"]
    assert {"size=65536k", "mode=755"} <= set(mounted("/dev")["super"])
    assert {"gid=5", "mode=620", "ptmxmode=666"} <= set(mounted("/dev/pts")["super"])


def test_cgroup_namespace_has_the_container_at_its_top() -> None:
    assert "0::/" in seen()["cgroup"]
    assert mounted("/sys/fs/cgroup")["root"] == "/"
    assert "cgroup.procs" in seen()["paths"]["/sys/fs/cgroup"]["content"]


def test_settings_of_the_kernel_can_be_read_and_not_written() -> None:
    for path in (*SETTINGS, *SYS):
        found = seen()["paths"][path]
        assert found["content"], path
        assert found["writable"] in ("Read-only file system", "Permission denied"), path
    assert seen()["paths"]["/proc/sys/kernel/hostname"]["writable"] == "Read-only file system"


def test_masked_paths_are_empty() -> None:
    there = {path: seen()["paths"][path] for path in MASKED_PATHS if Path(path).exists()}
    assert there  # some of them are on every kernel
    for path, found in there.items():
        if Path(path).is_dir():
            assert found["content"] == [], path
            assert found["writable"] == "Read-only file system", path
        else:
            assert found["content"] == 0, path
            assert found["node"]["device"] == [1, 3], path


def test_read_only_paths_cannot_be_written() -> None:
    for path in READONLY_PATHS:
        found = seen()["paths"][path]
        if "kind" in found["node"]:
            assert "ro" in mounted(path)["options"], path
            assert found["writable"] != "yes", path


# ---- devices ---------------------------------------------------------------------------------------------------------


def test_dev_has_the_standard_nodes_and_links_and_nothing_else() -> None:
    dev = seen()["dev"]
    for name, major, minor in NODES:
        assert dev[name] == {"kind": "c", "mode": 0o666, "uid": 0, "gid": 0, "device": [major, minor]}, name
    for name, target in LINKS:
        assert dev[name]["link"] == target, name
    assert set(dev) == {name for name, *_ in (*NODES, *LINKS)} | {"pts", "shm", "mqueue", "termination-log"}
    assert dev["shm"]["mode"] == 0o1777


def test_a_terminal_can_be_had() -> None:
    assert seen()["terminal"] == ["/dev/pts", True]


# ---- names -----------------------------------------------------------------------------------------------------------


def test_files_in_etc_are_the_pods() -> None:
    etc = seen()["etc"]
    assert etc["hostname"] == "test\n"
    assert etc["resolv.conf"] == Path("/etc/resolv.conf").read_text()
    lines = [line.split() for line in etc["hosts"].splitlines() if not line.startswith("#")]
    assert ["127.0.0.1", "localhost"] in lines
    assert ["127.0.0.1", "test"] in lines


def test_nothing_of_the_launchers_directories_is_seen() -> None:
    """No mount comes from a path of the host, so no path of the host is told."""
    assert os.getcwd() not in str(seen()["mounts"])
    assert "pod-" not in str(seen()["mounts"])
