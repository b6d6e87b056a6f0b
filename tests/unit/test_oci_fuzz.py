"""100,000 hostile configurations: each is taken, or refused in one line, and soon.

What is done with one is all that is done before a kernel object is made: it is read, planned, encoded for the stage, and its
resources are counted. The dice are the same in every run; a failure names the number of the input, which makes it again.
"""

from __future__ import annotations

import json
import time
from random import Random
from typing import Any

import pytest

from fixtures.hostile import change
from pyrun.container.device_filter import device_filter
from pyrun.container.exec import CONTAINER, plan_exec
from pyrun.container.oci_limits import oci_limits
from pyrun.container.plan import Setting, namespace_slot, plan_container
from pyrun.errors import PyrunError, SpecError
from pyrun.kernel.encode import gates_of
from pyrun.spec.oci import OciSpec
from pyrun.spec.oci_parse import load_oci, oci_to_json, parse_oci

INPUTS = 100_000
PARTS = 10
# Of processor time, so that a busy machine does not count; the slowest takes a tenth of it.
MOST_S = 3.0
GIVEN = ("stdin", "stdout", "stderr", "gate", "console")
DISK = {"major": 8, "minor": 0}
MAPPING = {"containerID": 0, "hostID": 100_000, "size": 65_536}

MINIMAL: dict[str, Any] = {
    "ociVersion": "1.0.2",
    "root": {"path": "rootfs"},
    "process": {"cwd": "/", "args": ["sh"]},
    "linux": {"namespaces": [{"type": "mount"}]},
}
USUAL: dict[str, Any] = {
    "ociVersion": "1.2.0",
    "root": {"path": "rootfs", "readonly": True},
    "hostname": "box",
    "process": {
        "user": {"uid": 1000, "gid": 1000, "umask": 18, "additionalGids": [5]},
        "cwd": "/",
        "args": ["sh", "-c", "true"],
        "env": ["PATH=/bin", "TERM=xterm"],
        "capabilities": {"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "ambient": []},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 4096}],
        "noNewPrivileges": True,
        "oomScoreAdj": 100,
    },
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "gid=5"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
        {"destination": "/data", "type": "bind", "source": "/srv", "options": ["rbind", "rprivate", "ro"]},
    ],
    "linux": {
        "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
        "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438, "uid": 0}],
        "cgroupsPath": "/a/b",
        "resources": {
            "devices": [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 10, "access": "rw"}],
            "memory": {"limit": 2**26, "swap": 2**27, "reservation": 2**25},
            "cpu": {"shares": 512, "quota": 50_000, "period": 100_000, "cpus": "0"},
            "pids": {"limit": 100},
        },
        "sysctl": {"net.ipv4.ip_forward": "1"},
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [
                {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
                {
                    "names": ["personality"],
                    "action": "SCMP_ACT_ALLOW",
                    "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}],
                },
            ],
        },
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
    },
}
RESOURCES: dict[str, Any] = {
    "blockIO": {
        "weight": 100,
        "weightDevice": [DISK | {"weight": 50}],
        "throttleReadBpsDevice": [DISK | {"rate": 5}],
        "throttleWriteIOPSDevice": [DISK | {"rate": 0}],
    },
    "hugepageLimits": [{"pageSize": "2MB", "limit": 9_223_372_036_854_771_712}],
    "rdma": {"mlx5_1": {"hcaHandles": 3}},
    "network": {"classID": 5, "priorities": [{"name": "eth0", "priority": 1}]},
    "unified": {"memory.high": "max"},
    "memory": {"swappiness": 60, "kernel": -1},
    "cpu": {"burst": 5, "realtimeRuntime": 1, "mems": "0", "idle": 1},
}
RARE: dict[str, Any] = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs"},
    "domainname": "lan",
    "annotations": {"a": "b"},
    "hooks": {
        "prestart": [{"path": "/bin/x", "args": ["x"], "env": ["A=b"], "timeout": 3}],
        "poststop": [{"path": "/y"}],
    },
    "process": {
        "cwd": "/",
        "args": ["sh"],
        "terminal": True,
        "consoleSize": {"height": 24, "width": 80},
        "scheduler": {"policy": "SCHED_FIFO", "priority": 1, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        "execCPUAffinity": {"initial": "0-1", "final": "0"},
    },
    "mounts": [
        {
            "destination": "/x",
            "source": "/x",
            "options": ["idmap", "rbind"],
            "uidMappings": [MAPPING],
            "gidMappings": [MAPPING],
        }
    ],
    "linux": {
        "namespaces": [
            {"type": "user"},
            {"type": "mount"},
            {"type": "time"},
            {"type": "uts"},
            {"type": "network", "path": "/proc/1/ns/net"},
        ],
        "uidMappings": [MAPPING],
        "gidMappings": [MAPPING],
        "timeOffsets": {"monotonic": {"secs": 5, "nanosecs": 6}, "boottime": {"secs": -1}},
        "resources": RESOURCES,
        "rootfsPropagation": "slave",
        "personality": {"domain": "LINUX32"},
        "seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW",
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "listenerPath": "/run/agent.sock",
            "listenerMetadata": "m",
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY", "errnoRet": None}],
        },
        "netDevices": {"eth9": {"name": "eth0"}},
        "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
    },
}
REFUSED: dict[str, Any] = MINIMAL | {
    "linux": {
        "namespaces": [{"type": "mount"}, {"type": "network"}],
        "intelRdt": {"closID": "a", "schemata": ["L3:0=f"], "enableCMT": False},
        "mountLabel": "x",
        "resources": RESOURCES,
    },
}
BASES = (MINIMAL, USUAL, RARE, REFUSED)
TEXTS = [json.dumps(base).encode() for base in BASES]


# ---- the inputs ------------------------------------------------------------------------------------------------------


def garble(text: bytes, dice: Random) -> bytes:
    """Bytes changed, dropped, doubled and cut, so that most are no JSON any more."""
    data = bytearray(text)
    for _ in range(dice.choice([1, 1, 1, 2, 5, 40])):
        at, kind = dice.randrange(len(data)), dice.randrange(5)
        if kind == 0:
            data[at] = dice.randrange(256)
        elif kind == 1:
            data[at] = dice.choice(b'{}[]",:0-9eE.\\ntu/ \n')
        elif kind == 2:
            del data[at : at + dice.choice([1, 1, 2, 30])]
        elif kind == 3:
            data[at:at] = data[at : at + dice.choice([1, 5, 100])]
        else:
            data[at:at] = dice.choice(
                [b"[" * 100, b'{"a":' * 70, b"\xff", b"1" * 5000, b"NaN", b"1e999", b"\\ud800", b"\xef\xbb\xbf"]
            )
        if not data:
            break
    return bytes(data)


def make_input(number: int) -> bytes:
    dice = Random(number)
    which = dice.choices(range(len(BASES)), (2, 3, 3, 1))[0]
    if dice.random() < 0.3:
        return garble(TEXTS[which], dice)
    document = json.loads(TEXTS[which])
    for _ in range(dice.choice([1, 1, 1, 2, 4])):
        document = change(document, dice)
    return json.dumps(document).encode()


# ---- what is done with one -------------------------------------------------------------------------------------------


def complaint_of(action: Any) -> str:
    """What *action* refuses with; empty if it does not. Anything but a PyrunError goes through: that is the failure."""
    try:
        action()
    except PyrunError as error:
        return str(error)
    return ""


def plan(spec: OciSpec) -> None:
    """As the launcher does it, with a descriptor for everything that it would have opened."""
    kinds = tuple([namespace.type for namespace in spec.linux.namespaces if namespace.path])
    planned = plan_container(spec, Setting(bundle="/bundle", gate="gate", namespaces=kinds))
    slots = [*[namespace_slot(kind) for kind in kinds], *[each.slot for each in planned.id_maps]]
    gates_of(planned.steps, (*GIVEN, *slots))
    assert spec.process is not None
    gates_of(plan_exec(spec, spec.process, ("mount", *kinds)), (*GIVEN, CONTAINER))


def run_one(number: int) -> str:
    """How far the input came."""
    data = make_input(number)
    try:
        spec = load_oci(data, "config.json")
    except SpecError as error:
        complaints = [str(error)]
        reached = "refused"
    else:
        if number % 16 == 0:
            assert parse_oci(json.loads(json.dumps(oci_to_json(spec))), "again") == spec
        resources = spec.linux.resources
        if resources is not None:
            device_filter(resources.devices)
        complaints = [
            complaint_of(lambda: plan(spec)),
            complaint_of(lambda: oci_limits(resources).writes() if resources is not None else None),
        ]
        reached = "planned" if not complaints[0] else "read"
    for complaint in complaints:
        assert complaint.isprintable(), ascii(complaint)  # one line, and nothing that a terminal obeys
    return reached


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_a_hostile_configuration_is_taken_or_refused_in_one_line(part: int) -> None:
    count = INPUTS // PARTS
    reached = {"refused": 0, "read": 0, "planned": 0}
    for number in range(part * count, (part + 1) * count):
        began = time.process_time()
        try:
            reached[run_one(number)] += 1
        except Exception as error:
            error.add_note(f"input {number}: {make_input(number)[:2000]!r}")
            raise
        assert time.process_time() - began < MOST_S, f"input {number}: {make_input(number)[:2000]!r}"
    # The dice must not get stuck at the door.
    assert min(reached.values()) > count // 50, reached
