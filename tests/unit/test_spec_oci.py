"""``config.json`` ↔ OciSpec."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrun.errors import SpecError
from pyrun.spec import oci
from pyrun.spec.oci_parse import CLOCKS, PROPAGATIONS, RLIMITS, load_oci, oci_to_json, parse_oci
from pyrun.value import replace

MINIMAL: dict[str, Any] = {"ociVersion": "1.0.0", "root": {"path": "rootfs"}}


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
)
mounts = st.builds(oci.OciMount, names, text, text, texts)
namespace_types = ["pid", "network", "mount", "ipc", "uts", "user", "cgroup"]
namespaces = st.builds(oci.OciNamespace, st.sampled_from(namespace_types), st.just("") | paths)
offsets = st.builds(oci.OciTimeOffset, st.sampled_from(CLOCKS), int64, st.integers(0, 999_999_999))
devices = st.builds(
    oci.OciDevice, paths, st.sampled_from("cubp"), uint32, uint32, maybe(st.integers(0, 0o7777)), maybe(ids), maybe(ids)
)
rules = st.builds(oci.OciDeviceRule, st.booleans(), st.sampled_from("acb"), maybe(int64), maybe(int64), text)
resources = st.builds(
    oci.OciResources,
    cpu=maybe(st.builds(oci.OciCpu, maybe(uint64), maybe(int64), maybe(uint64))),
    memory=maybe(st.builds(oci.OciMemory, maybe(int64), maybe(int64), maybe(int64))),
    pids=maybe(st.builds(oci.OciPids, int64)),
    devices=several(rules),
    unified=st.dictionaries(st.sampled_from(["cpu.weight", "memory.high"]), text).map(lambda m: tuple(m.items())),
)
mappings = several(st.builds(oci.OciIdMapping, uint32, uint32, uint32))
plain_linux = st.builds(
    oci.OciLinux,
    namespaces=several(namespaces, unique_by=lambda namespace: namespace.type),
    uid_mappings=mappings,
    gid_mappings=mappings,
    devices=several(devices),
    cgroups_path=text,
    resources=maybe(resources),
    sysctl=pairs,
    seccomp=maybe(st.just({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"]}]})),
    rootfs_propagation=st.sampled_from(PROPAGATIONS),
    masked_paths=some_paths,
    readonly_paths=some_paths,
)
timed_linux = st.builds(
    lambda value, clocks: replace(value, namespaces=(*value.namespaces, oci.OciNamespace("time")), time_offsets=clocks),
    plain_linux,
    several(offsets, unique_by=lambda offset: offset.clock),
)
specs = st.builds(
    oci.OciSpec,
    root=st.builds(oci.OciRoot, names, st.booleans()),
    process=maybe(processes),
    oci_version=st.sampled_from(["1.0.0", "1.2.0", "1.2.1-dev"]),
    hostname=text,
    domainname=text,
    mounts=several(mounts),
    linux=plain_linux | timed_linux,
    annotations=pairs,
)


@given(specs)
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


def test_null_and_empty_unbuilt_fields_are_absent() -> None:
    assert parse_oci(MINIMAL | {"hooks": {}, "linux": {"mountLabel": "", "seccomp": None}}, "x") == parse_oci(
        MINIMAL, "x"
    )


@pytest.mark.parametrize(
    ("document", "wanted"),
    [
        ([], "expected an object, found a list"),
        ({}, "/ociVersion: required, but missing"),
        ({"ociVersion": "1.0.0"}, "/root: required, but missing"),
        (MINIMAL | {"ociVersion": "0.5.0"}, "/ociVersion: '0.5.0' is not supported; 1.x is"),
        (MINIMAL | {"root": {"path": ""}}, "/root/path: must not be empty"),
        (MINIMAL | {"hooks": {"prestart": []}}, "/hooks: known to the OCI runtime specification but not built yet"),
        (MINIMAL | {"windows": {"a": 1}}, "/windows: known to the OCI runtime specification but not built yet"),
        (MINIMAL | {"mounts": [{}]}, "/mounts/0/destination: required, but missing"),
        (MINIMAL | {"annotations": {"a": 1}}, "/annotations/a: expected a string, found the number 1"),
        (process(cwd="x"), "/process/cwd: must be an absolute path, found the string 'x'"),
        (process(cwd=None), "/process/cwd: required, but missing"),
        (process(args=[]), "/process/args: required: the program and its arguments"),
        (process(user={"uid": 2**32 - 1}), "/process/user/uid: must be between 0 and 4294967294, found 4294967295"),
        (process(user={"umask": 0o1000}), "/process/user/umask: must be between 0 and 511, found 512"),
        (process(oomScoreAdj=2000), "/process/oomScoreAdj: must be between -1000 and 1000, found 2000"),
        (
            process(scheduler={"policy": "x"}),
            "/process/scheduler: known to the OCI runtime specification but not built yet",
        ),
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
        (linux(devices=[{"path": "/dev/x", "type": "x"}]), "/linux/devices/0/type: 'x' is none of 'c', 'u', 'b', 'p'"),
        (
            linux(resources={"blockIO": {"weight": 1}}),
            "/linux/resources/blockIO: known to the OCI runtime specification but not built yet",
        ),
        (
            linux(resources={"cpu": {"cpus": "0"}}),
            "/linux/resources/cpu/cpus: known to the OCI runtime specification but not built yet",
        ),
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
