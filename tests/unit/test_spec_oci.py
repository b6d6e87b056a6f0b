"""``config.json`` ↔ OciSpec."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrun.errors import SpecError
from pyrun.spec import oci
from pyrun.spec.oci_linux_parse import CLOCKS, MEMORY_POLICY_FLAGS, PROPAGATIONS
from pyrun.spec.oci_parse import load_oci, load_oci_process, load_oci_resources, oci_to_json, parse_oci
from pyrun.spec.oci_process_parse import IO_CLASSES, RLIMITS, SCHEDULER_FLAGS
from pyrun.value import replace

MINIMAL: dict[str, Any] = {"ociVersion": "1.0.0", "root": {"path": "rootfs"}}


MAPPING = {"containerID": 0, "hostID": 1000, "size": 1}


def error_of(document: Any) -> str:
    with pytest.raises(SpecError) as caught:
        parse_oci(document, "config.json")
    text = str(caught.value)
    assert "\n" not in text
    return text.removeprefix("config.json: ")


def process(**fields: Any) -> dict[str, Any]:
    return MINIMAL | {"process": {"cwd": "/", "args": ["sh"]} | fields}


def linux(**fields: Any) -> dict[str, Any]:
    return MINIMAL | {"linux": fields}


# Round trip: every value that the types can hold comes back from its JSON form.

text = st.text(alphabet=st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=6)
names = st.text(alphabet="abcXYZ_./", min_size=1, max_size=6)
texts = st.lists(text, max_size=3).map(tuple)
paths = names.map(lambda name: "/" + name)
some_paths = st.lists(paths, max_size=3).map(tuple)
pairs = st.dictionaries(names, text, max_size=3).map(lambda members: tuple(members.items()))
ids = st.integers(0, 2**32 - 2)
uint32, uint64, int64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.integers(-(2**63), 2**63 - 1)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def several(strategy: st.SearchStrategy[Any], unique_by: Any = None) -> st.SearchStrategy[Any]:
    return st.lists(strategy, max_size=3, unique_by=unique_by).map(tuple)


users = st.builds(oci.OciUser, ids, ids, maybe(st.integers(0, 0o777)), several(ids))
capabilities = st.builds(oci.OciCapabilities, texts, texts, texts, texts, texts)
rlimits = st.builds(
    lambda kind, numbers: oci.OciRlimit(kind, min(numbers), max(numbers)),
    st.sampled_from(RLIMITS),
    st.tuples(uint64, uint64),
)
scheduler_flags = several(st.sampled_from(SCHEDULER_FLAGS))
schedulers = st.builds(
    oci.OciScheduler, st.just("SCHED_BATCH"), st.integers(-20, 19), st.just(0), scheduler_flags
) | st.builds(
    oci.OciScheduler, st.just("SCHED_DEADLINE"), st.just(0), st.just(0), scheduler_flags, uint64, uint64, uint64
)
processes = st.builds(
    oci.OciProcess,
    cwd=paths,
    args=st.lists(text, min_size=1, max_size=3).map(tuple),
    terminal=st.booleans(),
    user=users,
    env=texts,
    capabilities=maybe(capabilities),
    rlimits=several(rlimits, unique_by=lambda limit: limit.type),
    no_new_privileges=st.booleans(),
    oom_score_adj=maybe(st.integers(-1000, 1000)),
    console_size=maybe(st.builds(oci.OciConsoleSize, st.integers(0, 65535), st.integers(0, 65535))),
    scheduler=maybe(schedulers),
    io_priority=maybe(st.builds(oci.OciIoPriority, st.sampled_from(IO_CLASSES), st.integers(0, 7))),
    exec_cpu_affinity=maybe(st.builds(oci.OciExecCpuAffinity, st.sampled_from(["", "0-3,7", "1"]), st.just("0"))),
    apparmor_profile=text,
    selinux_label=text,
)
mappings = st.lists(st.builds(oci.OciIdMapping, uint32, uint32, st.integers(1, 2**32 - 1)), min_size=1, max_size=3).map(
    tuple
)
mounts = st.builds(oci.OciMount, names, text, text, texts) | st.builds(
    oci.OciMount, names, text, text, texts, mappings, mappings
)
hook_lists = several(st.builds(oci.OciHook, paths, texts, texts, maybe(st.integers(1, 2**31 - 1))))
namespace_types = ["pid", "network", "mount", "ipc", "uts", "user", "cgroup"]
namespaces = st.builds(oci.OciNamespace, st.sampled_from(namespace_types), st.just("") | paths)
offsets = st.builds(oci.OciTimeOffset, st.sampled_from(CLOCKS), int64, st.integers(0, 999_999_999))
devices = st.builds(
    oci.OciDevice,
    paths,
    st.sampled_from("cubp"),
    st.integers(0, 4095),
    st.integers(0, 2**20 - 1),
    maybe(st.integers(0, 0o7777)),
    maybe(ids),
    maybe(ids),
)
accesses = st.lists(st.sampled_from("rwm"), unique=True).map("".join)
rules = st.builds(oci.OciDeviceRule, st.booleans(), st.sampled_from("acb"), maybe(uint32), maybe(uint32), accesses)
amounts = maybe(st.integers(-1, 2**63 - 1))
weights = st.just(0) | st.integers(10, 1000)
throttles = several(st.builds(oci.OciThrottleDevice, uint32, uint32, uint64))
block_io = st.builds(
    oci.OciBlockIo,
    maybe(weights),
    maybe(weights),
    several(st.builds(oci.OciWeightDevice, uint32, uint32, weights, maybe(weights))),
    *[throttles] * 4,
)
resources = st.builds(
    oci.OciResources,
    cpu=maybe(
        st.builds(
            oci.OciCpu,
            *[maybe(number) for number in (uint64, int64, uint64, uint64, int64, uint64)],
            text,
            text,
            maybe(st.integers(0, 1)),
        )
    ),
    memory=maybe(
        st.builds(
            oci.OciMemory,
            *[amounts] * 5,
            maybe(st.integers(0, 100)),
            st.booleans(),
            maybe(st.booleans()),
            st.booleans(),
        )
    ),
    pids=maybe(st.builds(oci.OciPids, amounts)),
    devices=several(rules),
    unified=st.dictionaries(st.sampled_from(["cpu.weight", "memory.high"]), text).map(lambda m: tuple(m.items())),
    block_io=maybe(block_io),
    hugepage_limits=several(
        st.builds(oci.OciHugepageLimit, st.sampled_from(["64KB", "2MB", "1GB"]), uint64),
        unique_by=lambda limit: limit.page_size,
    ),
    network=maybe(st.builds(oci.OciNetwork, maybe(uint32), several(st.builds(oci.OciNetworkPriority, names, uint32)))),
    rdma=several(st.builds(oci.OciRdma, names, uint32, maybe(uint32)), unique_by=lambda limit: limit.device),
)
net_devices = st.lists(
    st.tuples(st.sampled_from(["eth0", "wlan1"]), names), unique_by=(lambda d: d[0], lambda d: d[1])
).map(
    lambda found: tuple(
        [(host, oci.OciNetDevice(inside.replace("/", "_").replace(".", "-"))) for host, inside in found]
    )
)
memory_policies = st.builds(
    oci.OciMemoryPolicy,
    st.just("MPOL_BIND"),
    st.sampled_from(["0", "0-1,3"]),
    several(st.sampled_from(MEMORY_POLICY_FLAGS)),
)
plain_linux = st.builds(
    oci.OciLinux,
    namespaces=several(namespaces, unique_by=lambda namespace: namespace.type),
    devices=several(devices),
    cgroups_path=text,
    sysctl=pairs,
    seccomp=maybe(st.just({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"]}]})),
    rootfs_propagation=st.sampled_from(PROPAGATIONS),
    masked_paths=some_paths,
    readonly_paths=some_paths,
    mount_label=text,
    intel_rdt=maybe(st.builds(oci.OciIntelRdt, st.sampled_from(["", "guaranteed"]), several(names), st.just("L3:0=f"))),
    memory_policy=maybe(memory_policies),
    personality=maybe(st.builds(oci.OciPersonality, st.sampled_from(["LINUX", "LINUX32"]))),
)
mapped_linux = st.builds(
    lambda value, uids, gids: replace(
        value, namespaces=(oci.OciNamespace("user"),), uid_mappings=uids, gid_mappings=gids
    ),
    plain_linux,
    mappings,
    mappings,
)
networked_linux = st.builds(
    lambda value, found: replace(value, namespaces=(oci.OciNamespace("network"),), net_devices=found),
    plain_linux,
    net_devices,
)
timed_linux = st.builds(
    lambda value, clocks: replace(value, namespaces=(*value.namespaces, oci.OciNamespace("time")), time_offsets=clocks),
    plain_linux,
    several(offsets, unique_by=lambda offset: offset.clock),
)
version = st.sampled_from(["1.0.0", "1.2.0", "1.2.1-dev", "1.0.0-rc5", "1.3.0+build.7"])
root = st.builds(oci.OciRoot, names, st.booleans())
# One part at a time: all at once are more than hypothesis draws.
specs = (
    st.builds(oci.OciSpec, root, processes, version)
    | st.builds(oci.OciSpec, root, oci_version=version, mounts=several(mounts), annotations=pairs)
    | st.builds(oci.OciSpec, root, hooks=st.builds(oci.OciHooks, *[hook_lists] * 6))
    | st.builds(oci.OciSpec, root, linux=plain_linux | timed_linux | mapped_linux | networked_linux)
    | st.builds(oci.OciSpec, root, linux=st.builds(oci.OciLinux, resources=resources))
)


with_uts = st.builds(
    lambda spec, hostname, domainname: replace(
        spec,
        hostname=hostname,
        domainname=domainname,
        linux=replace(
            spec.linux,
            namespaces=(
                *[space for space in spec.linux.namespaces if space.type != "uts"],
                oci.OciNamespace("uts"),
            ),
        ),
    ),
    specs,
    text,
    text,
)


@given(specs | with_uts)
def test_round_trip(spec: oci.OciSpec) -> None:
    document = json.loads(json.dumps(oci_to_json(spec)))
    assert parse_oci(document, "x") == spec


def test_the_json_has_the_names_of_the_specification_and_no_empty_ones() -> None:
    spec = oci.OciSpec(
        root=oci.OciRoot("rootfs", readonly=True),
        process=oci.OciProcess(cwd="/", args=("sh",), capabilities=oci.OciCapabilities(bounding=("CAP_KILL",))),
        linux=oci.OciLinux(
            namespaces=(oci.OciNamespace("pid"), oci.OciNamespace("network", "/proc/1/ns/net")),
            resources=oci.OciResources(cpu=oci.OciCpu(shares=1024), unified=(("memory.oom.group", "1"),)),
            masked_paths=("/proc/kcore",),
        ),
    )
    assert oci_to_json(spec) == {
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs", "readonly": True},
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "cwd": "/",
            "capabilities": {"bounding": ["CAP_KILL"]},
        },
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "network", "path": "/proc/1/ns/net"}],
            "resources": {"cpu": {"shares": 1024}, "unified": {"memory.oom.group": "1"}},
            "maskedPaths": ["/proc/kcore"],
        },
    }


def test_time_offsets_are_a_map_by_clock() -> None:
    offsets = {"monotonic": {"secs": -2, "nanosecs": 500_000_000}, "boottime": {"secs": 1}}
    spec = parse_oci(linux(namespaces=[{"type": "time"}], timeOffsets=offsets), "x")
    assert spec.linux.time_offsets == (
        oci.OciTimeOffset("monotonic", -2, 500_000_000),
        oci.OciTimeOffset("boottime", 1, 0),
    )


def test_unknown_properties_are_ignored_as_the_specification_says() -> None:
    assert parse_oci(MINIMAL | {"madeUp": 1}, "x") == parse_oci(MINIMAL, "x")
    assert parse_oci(process(madeUp=[]), "x") == parse_oci(process(), "x")


def test_null_and_empty_fields_are_absent() -> None:
    assert parse_oci(
        MINIMAL | {"hooks": {}, "windows": {}, "linux": {"mountLabel": "", "seccomp": None}}, "x"
    ) == parse_oci(MINIMAL, "x")


@pytest.mark.parametrize(
    ("document", "wanted"),
    [
        ([], "expected an object, found a list"),
        ({}, "/ociVersion: required, but missing"),
        ({"ociVersion": "1.0.0"}, "/root: required, but missing"),
        *[
            (MINIMAL | {"ociVersion": version}, f"/ociVersion: {version!r} is not supported; 1.x is, such as '1.2.0'")
            for version in ("0.5.0", "2.0.0", "1", "1.0", "1.a.0", "1.0.0.0", "latest")
        ],
        (MINIMAL | {"hostname": "a"}, "/hostname: needs a uts namespace: one in namespaces"),
        (MINIMAL | {"domainname": "a"}, "/domainname: needs a uts namespace: one in namespaces"),
        (MINIMAL | {"root": {"path": ""}}, "/root/path: must not be empty"),
        (
            MINIMAL | {"hooks": {"poststop": [{"path": "bin/x"}]}},
            "/hooks/poststop/0/path: must be an absolute path, found the string 'bin/x'",
        ),
        (
            MINIMAL | {"hooks": {"prestart": [{"path": "/x", "timeout": 0}]}},
            "/hooks/prestart/0/timeout: must be between 1 and 2147483647, found 0",
        ),
        (MINIMAL | {"windows": {"a": 1}}, "/windows: belongs to another platform than a Linux container"),
        (MINIMAL | {"annotations": {"": "x"}}, "/annotations: a name must not be empty"),
        (
            MINIMAL | {"mounts": [{"destination": "/x", "uidMappings": [MAPPING]}]},
            "/mounts/0/gidMappings: required: uidMappings and gidMappings go together",
        ),
        (MINIMAL | {"mounts": [{}]}, "/mounts/0/destination: required, but missing"),
        (MINIMAL | {"annotations": {"a": 1}}, "/annotations/a: expected a string, found the number 1"),
        (process(cwd="x"), "/process/cwd: must be an absolute path, found the string 'x'"),
        (process(cwd=None), "/process/cwd: required, but missing"),
        (process(args=[]), "/process/args: required: the program and its arguments"),
        (process(user={"uid": 2**32 - 1}), "/process/user/uid: must be between 0 and 4294967294, found 4294967295"),
        (process(user={"umask": 0o1000}), "/process/user/umask: must be between 0 and 511, found 512"),
        (process(oomScoreAdj=2000), "/process/oomScoreAdj: must be between -1000 and 1000, found 2000"),
        (
            process(scheduler={"policy": "SCHED_OTHERS"}),
            "/process/scheduler/policy: 'SCHED_OTHERS' is none of 'SCHED_OTHER', 'SCHED_FIFO', 'SCHED_RR', "
            "'SCHED_BATCH', 'SCHED_ISO', 'SCHED_IDLE', 'SCHED_DEADLINE'; did you mean 'SCHED_OTHER'?",
        ),
        (
            process(scheduler={"policy": "SCHED_OTHER", "priority": 1}),
            "/process/scheduler/priority: is for SCHED_FIFO and SCHED_RR only",
        ),
        (
            process(scheduler={"policy": "SCHED_FIFO", "priority": -1}),
            "/process/scheduler/priority: must be between 0 and 99, found -1",
        ),
        (
            process(scheduler={"policy": "SCHED_FIFO", "deadline": 1}),
            "/process/scheduler/deadline: is for SCHED_DEADLINE only",
        ),
        (
            process(scheduler={"policy": "SCHED_OTHER", "nice": 20}),
            "/process/scheduler/nice: must be between -20 and 19, found 20",
        ),
        (
            process(ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 8}),
            "/process/ioPriority/priority: must be between 0 and 7, found 8",
        ),
        (process(ioPriority={"priority": 4}), "/process/ioPriority/class: required, but missing"),
        (
            process(execCPUAffinity={"initial": "3-1"}),
            "/process/execCPUAffinity/initial: '3-1' is no list of numbers such as '0-3,7'",
        ),
        (
            process(execCPUAffinity={"final": "a"}),
            "/process/execCPUAffinity/final: 'a' is no list of numbers such as '0-3,7'",
        ),
        (process(consoleSize={"height": 1}), "/process/consoleSize/width: required, but missing"),
        (process(commandLine="x"), "/process/commandLine: belongs to another platform than a Linux container"),
        (
            process(rlimits=[{"type": "RLIMIT_NOFILE", "soft": 2, "hard": 1}]),
            "/process/rlimits/0/soft: 2 is more than the hard limit 1",
        ),
        (
            process(rlimits=[{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2),
            "/process/rlimits/1/type: 'RLIMIT_CPU' is in the list already",
        ),
        (
            linux(namespaces=[{"type": "pid"}, {"type": "pid"}]),
            "/linux/namespaces/1/type: 'pid' is in the list already",
        ),
        (
            linux(namespaces=[{"type": "pid", "path": "x"}]),
            "/linux/namespaces/0/path: must be an absolute path, found the string 'x'",
        ),
        (
            linux(namespaces=[{"type": "net"}]),
            "/linux/namespaces/0/type: 'net' is none of 'pid', 'network', 'mount', 'ipc', 'uts', 'user', 'cgroup', "
            "'time'; did you mean 'network'?",
        ),
        (
            linux(timeOffsets={"monotonic": {"secs": 1}}),
            "/linux/timeOffsets: needs a new time namespace: one in namespaces, without a path",
        ),
        (
            linux(namespaces=[{"type": "time"}], timeOffsets={"realtime": {}}),
            "/linux/timeOffsets/realtime: there is no such clock; there are monotonic and boottime",
        ),
        (
            linux(namespaces=[{"type": "time"}], timeOffsets={"boottime": {"nanosecs": 10**9}}),
            "/linux/timeOffsets/boottime/nanosecs: must be between 0 and 999999999, found 1000000000",
        ),
        (linux(devices=[{"path": "/dev/x", "type": "c"}]), "/linux/devices/0/major: required for a device of type 'c'"),
        (
            linux(devices=[{"path": "/dev/x", "type": "c", "major": 4096, "minor": 0}]),
            "/linux/devices/0/major: must be between 0 and 4095, found 4096",
        ),
        (linux(devices=[{"path": "/dev/x", "type": "x"}]), "/linux/devices/0/type: 'x' is none of 'c', 'u', 'b', 'p'"),
        (
            linux(resources={"blockIO": {"weight": 1}}),
            "/linux/resources/blockIO/weight: must be between 10 and 1000, found 1",
        ),
        (
            linux(resources={"blockIO": {"weightDevice": [{"major": 8, "minor": 0}]}}),
            "/linux/resources/blockIO/weightDevice/0: weight or leafWeight must be given",
        ),
        (
            linux(resources={"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0}]}}),
            "/linux/resources/blockIO/throttleReadBpsDevice/0/rate: required, but missing",
        ),
        (
            linux(resources={"rdma": {"mlx5_1": {}}}),
            "/linux/resources/rdma/mlx5_1: hcaHandles or hcaObjects must be given",
        ),
        (
            linux(resources={"hugepageLimits": [{"pageSize": "2M", "limit": 1}]}),
            "/linux/resources/hugepageLimits/0/pageSize: '2M' is no size of pages such as '2MB'",
        ),
        (
            linux(resources={"hugepageLimits": [{"pageSize": "2MB", "limit": 1}] * 2}),
            "/linux/resources/hugepageLimits/1/pageSize: '2MB' is in the list already",
        ),
        (
            linux(resources={"devices": [{"allow": True, "access": "rx"}]}),
            "/linux/resources/devices/0/access: 'rx' is no composition of 'r', 'w' and 'm'",
        ),
        (linux(resources={"devices": [{}]}), "/linux/resources/devices/0/allow: required, but missing"),
        (
            linux(resources={"memory": {"limit": -2}}),
            "/linux/resources/memory/limit: must be between -1 and 9223372036854775807, found -2",
        ),
        (
            linux(resources={"memory": {"swappiness": 101}}),
            "/linux/resources/memory/swappiness: must be between 0 and 100, found 101",
        ),
        (linux(uidMappings=[MAPPING]), "/linux/uidMappings: needs a user namespace: one in namespaces"),
        (linux(netDevices={"eth0": {}}), "/linux/netDevices: needs a network namespace: one in namespaces"),
        (
            linux(namespaces=[{"type": "network"}], netDevices={"eth0": {"name": "a/b"}}),
            "/linux/netDevices/eth0/name: 'a/b' is not the name of a network device",
        ),
        (
            linux(namespaces=[{"type": "network"}], netDevices={"eth0": {}, "eth1": {"name": "eth0"}}),
            "/linux/netDevices: two devices get the same name",
        ),
        (linux(memoryPolicy={"mode": "MPOL_BIND"}), "/linux/memoryPolicy/nodes: required for MPOL_BIND"),
        (linux(memoryPolicy={"mode": "MPOL_LOCAL", "nodes": "0"}), "/linux/memoryPolicy/nodes: MPOL_LOCAL takes none"),
        (
            linux(memoryPolicy={"mode": "MPOL_BIND", "nodes": "0", "flags": ["X"]}),
            "/linux/memoryPolicy/flags/0: 'X' is none of 'MPOL_F_NUMA_BALANCING', 'MPOL_F_RELATIVE_NODES', "
            "'MPOL_F_STATIC_NODES'",
        ),
        (linux(personality={"domain": "BSD"}), "/linux/personality/domain: 'BSD' is none of 'LINUX', 'LINUX32'"),
        (
            linux(personality={"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}),
            "/linux/personality/flags/0: 'ADDR_NO_RANDOMIZE': the specification has no flag yet",
        ),
        (linux(intelRdt={"closID": "a/b"}), "/linux/intelRdt/closID: 'a/b' is not the name of a directory"),
        (
            linux(resources={"unified": {"a/b": ""}}),
            "/linux/resources/unified/a~1b: must be the name of a file in a cgroup",
        ),
        (linux(seccomp=[]), "/linux/seccomp: expected an object, found a list"),
        (linux(maskedPaths=["proc"]), "/linux/maskedPaths/0: must be an absolute path, found the string 'proc'"),
    ],
)
def test_what_is_wrong_is_said(document: Any, wanted: str) -> None:
    assert error_of(document) == wanted


FIELD_NAMES = [
    "ociVersion",
    "root",
    "path",
    "process",
    "cwd",
    "args",
    "user",
    "uid",
    "linux",
    "namespaces",
    "type",
    "hooks",
]
ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.sampled_from(["1.0.0", "/"])
    | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELD_NAMES) | st.text(max_size=4), inner)
    ),
    max_leaves=15,
)


def fields_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] + [place for key, child in children for place in fields_of(child, (*path, key))]


@given(specs, st.data())
def test_any_change_of_a_good_configuration_gives_a_value_or_a_spec_error(
    spec: oci.OciSpec, data: st.DataObject
) -> None:
    document: Any = json.loads(json.dumps(oci_to_json(spec)))
    place = data.draw(st.sampled_from(fields_of(document)))
    value = data.draw(ANY)
    target = document
    for token in place[:-1]:
        target = target[token]
    if place:
        target[place[-1]] = value
    try:
        parse_oci(document if place else value, "x")
    except SpecError as error:
        complaint = str(error)
    else:
        complaint = ""
    assert "\n" not in complaint


@given(st.binary(max_size=80))
def test_any_bytes_give_a_value_or_a_spec_error(data: bytes) -> None:
    with pytest.raises(SpecError):
        load_oci(b'{"process": ' + data, "x")


def test_what_callers_send_for_nothing_is_nothing() -> None:
    """As Go's encoders write what nobody has set."""
    spec = parse_oci(
        linux(
            namespaces=[{"type": "pid", "path": ""}],
            resources={"devices": [{"allow": False, "type": "", "major": -1, "minor": -1, "access": "rwm"}]},
            devices=[{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 0o20666}],
        ),
        "x",
    )
    assert spec.linux.namespaces == (oci.OciNamespace("pid"),)
    assert spec.linux.resources is not None
    assert spec.linux.resources.devices == (oci.OciDeviceRule(False, "a", None, None, "rwm"),)
    assert spec.linux.devices[0].file_mode == 0o666


def test_schemata_may_be_one_string_as_before_1_3() -> None:
    rdt = parse_oci(linux(intelRdt={"schemata": "L3:0=7f0;1=1f\nMB:0=20"}), "x").linux.intel_rdt
    assert rdt == oci.OciIntelRdt(schemata=("L3:0=7f0;1=1f", "MB:0=20"))


def test_a_configuration_is_json_and_nothing_else() -> None:
    with pytest.raises(SpecError, match="x: line 1, column 1: not JSON"):
        load_oci(b"ociVersion: 1.0.0\nroot: {path: rootfs}\n", "x")


def test_a_process_and_resources_by_themselves() -> None:
    assert load_oci_process(b'{"cwd": "/", "args": ["a"]}', "x") == oci.OciProcess(cwd="/", args=("a",))
    assert load_oci_resources(b'{"pids": {"limit": 3}}', "x") == oci.OciResources(pids=oci.OciPids(3))
    with pytest.raises(SpecError, match=r"^process\.json: /cwd: required, but missing$"):
        load_oci_process(b"{}", "process.json")
