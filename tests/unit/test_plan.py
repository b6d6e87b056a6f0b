"""Every plan that a pod can become: its order, its slots, its encoding, and that making it touches nothing."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.pod_documents import pods
from fixtures.pods import host_path, mount, pod_spec, shell
from pyrun._core import lib
from pyrun.container.lower import lower_container
from pyrun.container.plan import PAUSE, PAUSE_READY, Setting, plan_container
from pyrun.container.process import STDIO
from pyrun.container.security import ALL_CAPABILITIES_MASK, DEFAULT_CAPABILITY_MASK
from pyrun.errors import SpecError, Unsupported
from pyrun.kernel.encode import encode_plan
from pyrun.kernel.order import check_order
from pyrun.kernel.step import (
    Attach,
    DropCapabilities,
    Duplicate,
    Exec,
    FindProgram,
    Gate,
    JoinNamespaces,
    LimitBoundingSet,
    LoadFilter,
    LoopbackUp,
    MakeNode,
    MakeSymlink,
    MaskPath,
    NewMount,
    NewTimeNamespace,
    NoNewPrivileges,
    OpenTree,
    ParentDeathSignal,
    PivotRoot,
    ReadonlyPath,
    SetCapabilities,
    SetDomainname,
    SetHostname,
    SetMountAttributes,
    SetOomScoreAdj,
    SetPropagation,
    SetRlimit,
    SetSysctl,
    SetUmask,
    SetUser,
    Step,
    Unshare,
    WriteFile,
)
from pyrun.pod.machine import Machine
from pyrun.pod.names import HOSTS
from pyrun.pod.plan import PodPlan, ProcessPlan, opened_paths, plan_pod, pod_paths
from pyrun.pod.sandbox_plan import LAUNCHER
from pyrun.spec import oci
from pyrun.spec.oci_parse import oci_to_json, parse_oci
from pyrun.spec.pod import PodSpec
from pyrun.value import replace

UID = "uid"
DIRECTORY = "/run/x/pod"
machines = st.builds(
    Machine,
    memory_bytes=st.sampled_from([1 << 30, 64 << 30]),
    capabilities=st.sampled_from([ALL_CAPABILITIES_MASK, DEFAULT_CAPABILITY_MASK, 1 << 0, 0]),
    lacking=st.just(()),
    resolv_conf=st.binary(max_size=20),
    hosts=st.binary(max_size=20),
)
signals = st.sampled_from([0, int(signal.SIGKILL)])
MACHINE = Machine(memory_bytes=1 << 30)


def plan(pod: PodSpec, machine: Machine = MACHINE, death_signal: int = 0) -> PodPlan:
    return plan_pod(pod, UID, DIRECTORY, machine, death_signal)


def given_slots(pod_plan: PodPlan, process: ProcessPlan, pod: PodSpec) -> dict[str, int]:
    """The descriptors that whoever performs the plan gives it; the numbers do not matter."""
    if process is pod_plan.pause:
        return {"null": 3, "program": 4, "ready": 5, LAUNCHER: 6}
    return dict.fromkeys([PAUSE, PAUSE_READY, *STDIO, *opened_paths(pod, pod_paths(DIRECTORY)).values()], 3)


class Slots:
    """An encoder that only looks at which slots are used and filled, and in which order."""

    def __init__(self, given: dict[str, int]) -> None:
        self.there = set(given)
        self.missing: list[str] = []

    def slot(self, name: str | None) -> int:
        if name is not None and name not in self.there:
            self.missing.append(name)
        return 0

    def fill(self, name: str) -> int:
        self.there.add(name)
        return 0

    def text(self, _value: str | None) -> int:
        return 0

    texts = data = text


# ---- every plan ------------------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(pods(), machines, signals)
def test_every_plan_keeps_every_rule(pod: PodSpec, machine: Machine, death_signal: int) -> None:
    pod_plan = plan(pod, machine, death_signal)
    for process in (pod_plan.pause, *pod_plan.containers):
        assert check_order(process.steps) == []


@settings(max_examples=80, deadline=None)
@given(pods(), machines, signals)
def test_every_slot_is_given_or_filled_before_it_is_used(pod: PodSpec, machine: Machine, death_signal: int) -> None:
    pod_plan = plan(pod, machine, death_signal)
    for process in (pod_plan.pause, *pod_plan.containers):
        slots = Slots(given_slots(pod_plan, process, pod))
        for step in process.steps:
            step.fields(slots)  # type: ignore[arg-type]
            assert slots.missing == [], step.describe()


@settings(max_examples=60, deadline=None)
@given(pods(), machines, signals)
def test_every_plan_encodes(pod: PodSpec, machine: Machine, death_signal: int) -> None:
    pod_plan = plan(pod, machine, death_signal)
    for process in (pod_plan.pause, *pod_plan.containers):
        block = encode_plan(process.steps, given_slots(pod_plan, process, pod), 7, 8)
        assert len(process.steps) < lib.PLAN_MAX_STEPS // 2  # room for what is yet to come
        assert len(block) < 1 << 20


@settings(max_examples=60, deadline=None)
@given(pods(), machines, signals)
def test_every_step_tells_what_and_why_in_a_line(pod: PodSpec, machine: Machine, death_signal: int) -> None:
    pod_plan = plan(pod, machine, death_signal)
    for process in (pod_plan.pause, *pod_plan.containers):
        for step in process.steps:
            assert step.describe()
            assert step.reason
            assert "\n" not in step.reason


@settings(max_examples=60, deadline=None)
@given(pods(), machines, signals)
def test_the_shape_of_every_plan(pod: PodSpec, machine: Machine, death_signal: int) -> None:
    pod_plan = plan(pod, machine, death_signal)
    for process in (pod_plan.pause, *pod_plan.containers):
        kinds = [type(step) for step in process.steps]
        assert kinds[-1] is Exec
        last = [kind for kind in kinds if kind in (Exec, PivotRoot, SetUser, SetCapabilities, NoNewPrivileges)]
        assert [kind for kind in last if kind is not NoNewPrivileges] == [PivotRoot, SetUser, SetCapabilities, Exec]
        assert last.count(NoNewPrivileges) == (process.oci is None or process.oci.process.no_new_privileges)
        assert kinds.count(ParentDeathSignal) == bool(death_signal)
    for process in pod_plan.containers:
        kinds = [type(step) for step in process.steps]
        last = [kind for kind in kinds if kind in (FindProgram, Gate, LoadFilter, DropCapabilities, Exec)]
        assert [kind for kind in last if kind is not DropCapabilities] == [FindProgram, Gate, LoadFilter, Exec]
        assert kinds.count(Gate) == kinds.count(JoinNamespaces) == 1
        assert {step.number for step in process.steps if isinstance(step, Duplicate)} == {0, 1, 2}
        # Attached is what was cloned or made before, each tree once.
        trees = [step.tree for step in process.steps if isinstance(step, OpenTree | NewMount)]
        attached = [step.tree for step in process.steps if isinstance(step, Attach)]
        assert len(attached) == len(set(attached))
        assert set(attached) <= set(trees)
    assert Gate not in [type(step) for step in pod_plan.pause.steps]
    assert [process.name for process in pod_plan.containers] == [container.name for container in pod.containers]
    assert len({process.cgroup for process in (pod_plan.pause, *pod_plan.containers)}) == 1 + len(pod.containers)


@settings(max_examples=60, deadline=None)
@given(pods(), machines, signals)
def test_nothing_is_cloned_out_of_or_attached_to_a_detached_tree(
    pod: PodSpec, machine: Machine, death_signal: int
) -> None:
    """Both work since Linux 6.15 only."""
    pod_plan = plan(pod, machine, death_signal)
    for process in (pod_plan.pause, *pod_plan.containers):
        detached: set[str] = set()
        for step in process.steps:
            if isinstance(step, OpenTree | Attach):
                assert step.at not in detached, step.describe()
            if isinstance(step, OpenTree | NewMount):
                detached.add(step.tree)
            if isinstance(step, Attach):
                detached.discard(step.tree)


@settings(max_examples=60, deadline=None)
@given(pods(), machines, signals)
def test_where_the_pid_namespace_comes_from(pod: PodSpec, machine: Machine, death_signal: int) -> None:
    pod_plan = plan(pod, machine, death_signal)
    assert pod_plan.pause.namespaces == (("pid",) if pod.share_process_namespace else ())
    own = not pod.share_process_namespace and not pod.host_pid
    for process in pod_plan.containers:
        assert process.namespaces == (("pid",) if own else ())


@settings(max_examples=60, deadline=None)
@given(pods(), machines)
def test_each_container_is_a_configuration_that_json_can_hold(pod: PodSpec, machine: Machine) -> None:
    for process in plan(pod, machine).containers:
        assert process.oci is not None
        text = json.dumps(oci_to_json(process.oci))
        again = parse_oci(json.loads(text), "config.json")
        assert json.dumps(oci_to_json(again)) == text
        profile = process.oci.linux.seccomp
        assert profile is not None
        assert dict(again.linux.seccomp or {}) == dict(profile)
        without = replace(process.oci, linux=replace(process.oci.linux, seccomp=None))
        assert replace(again, linux=replace(again.linux, seccomp=None)) == without


@settings(max_examples=40, deadline=None)
@given(pods(), machines, signals)
def test_planning_is_a_function(pod: PodSpec, machine: Machine, death_signal: int) -> None:
    assert plan(pod, machine, death_signal) == plan(pod, machine, death_signal)


# ---- nothing is touched ----------------------------------------------------------------------------------------------

_events: list[str] | None = None


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    if _events is not None and event.startswith(
        ("open", "os.", "socket.", "subprocess.", "shutil.", "glob.", "fcntl.")
    ):
        _events.append(f"{event} {arguments[:1]}")


sys.addaudithook(_listen)  # it cannot be taken away again, so it mostly looks away


@contextmanager
def audited() -> Iterator[list[str]]:
    """The audit events of the block that have to do with the system."""
    global _events
    _events = found = []
    try:
        yield found
    finally:
        _events = None


def test_the_audit_sees_what_is_touched() -> None:
    with audited() as events, open("/dev/null", "rb"):
        pass
    assert len(events) == 1


@settings(max_examples=40, deadline=None)
@given(pods(), machines)
def test_lowering_touches_nothing(pod: PodSpec, machine: Machine) -> None:
    plan(pod, machine)  # modules are imported when first needed
    with audited() as events:
        for container in pod.containers:
            lower_container(pod, container, UID, pod_paths(DIRECTORY), machine.memory_bytes, machine.capabilities)
    assert events == []


@settings(max_examples=40, deadline=None)
@given(pods(), machines, signals)
def test_planning_reads_one_file_of_the_package(pod: PodSpec, machine: Machine, death_signal: int) -> None:
    """The filter, compiled when the package was built; once per container."""
    plan(pod, machine, death_signal)
    with audited() as events:
        plan(pod, machine, death_signal)
    assert all("/container/seccomp-" in event for event in events)
    assert len(events) <= len(pod.containers)


# ---- one plan in full ------------------------------------------------------------------------------------------------


def steps_of(*containers: Any, **spec: Any) -> tuple[Step, ...]:
    return plan(pod_spec(*containers, **spec)).containers[0].steps


def kinds_of(steps: tuple[Step, ...]) -> list[str]:
    """The names of the steps, repeated ones once."""
    names = [type(step).__name__ for step in steps]
    return [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name]


def test_the_order_of_pause() -> None:
    assert kinds_of(plan(pod_spec(shell("true"))).pause.steps) == [
        "SetOomScoreAdj",
        "NewSession",
        "NewTimeNamespace",
        "Unshare",
        "LoopbackUp",
        "SetHostname",
        "SetPropagation",
        "NewMount",
        "Attach",
        "MakeDirectory",
        "WriteFile",
        "NewMount",
        "Attach",
        "PivotRoot",
        "SetMountAttributes",
        "ChangeDirectory",
        "LimitBoundingSet",
        "SetUser",
        "SetCapabilities",
        "NoNewPrivileges",
        "Duplicate",
        "Exec",
    ]


def test_the_order_of_a_container() -> None:
    mounts = kinds_of(steps_of(shell("true")))
    assert mounts[:13] == [
        "SetOomScoreAdj",
        "NewSession",
        "JoinKeyring",
        "OpenTree",
        "Await",
        "JoinNamespaces",
        "Unshare",
        "SetPropagation",
        "OpenTree",
        "NewMount",
        "Attach",
        "MakeDirectory",
        "ChangeDirectory",
    ]
    assert set(mounts[13 : mounts.index("MakeNode")]) == {"Attach", "NewMount"}
    assert mounts[mounts.index("MakeNode") :] == [
        "MakeNode",
        "MakeSymlink",
        "MakeNode",
        "ReadonlyPath",
        "MaskPath",
        "PivotRoot",
        "ChangeDirectory",
        "LimitBoundingSet",
        "SetUser",
        "SetCapabilities",
        "Duplicate",
        "SetUmask",
        "FindProgram",
        "Gate",
        "RaiseCapabilities",
        "LoadFilter",
        "DropCapabilities",
        "Exec",
    ]


def test_trees_of_the_host_are_cloned_before_its_mount_namespace_is_left() -> None:
    """open_tree(2) clones only what is in the caller's mount namespace."""
    steps = steps_of(shell("true", volumeMounts=[mount("it", "/it")]), volumes=[host_path("it", "/host")])
    clone = next(i for i, step in enumerate(steps) if isinstance(step, OpenTree) and step.at == "volume it")
    assert clone < next(i for i, step in enumerate(steps) if isinstance(step, Unshare))
    inside = [i for i, step in enumerate(steps) if isinstance(step, OpenTree) and step.path.startswith("/etc/")]
    assert min(inside) > next(i for i, step in enumerate(steps) if isinstance(step, JoinNamespaces))


# A device in a volume is none, unless the manifest may mean it: a hostPath without a type.
DEVICES: dict[str, tuple[str, ...]] = {"/disk": ("nodev",), "/memory": ("nodev",), "/host": ()}


def trees_of(**fields: Any) -> dict[str, OpenTree]:
    """The clones for volumes of each sort, mounted with *fields*, by target."""
    volumes = [
        {"name": "disk"},
        {"name": "memory", "emptyDir": {"medium": "Memory"}},
        host_path("host", "/host/path"),
    ]
    mounts = [mount(volume["name"], f"/{volume['name']}", **fields) for volume in volumes]
    steps = steps_of(shell("true", volumeMounts=mounts), volumes=volumes)
    trees = {step.tree: step for step in steps if isinstance(step, OpenTree)}
    return {step.target: trees[step.tree] for step in steps if isinstance(step, Attach) and step.tree in trees}


def test_a_volume_is_what_its_slot_holds() -> None:
    trees = trees_of()
    assert (trees["/disk"].at, trees["/disk"].path) == ("volume disk", "")
    assert (trees["/host"].at, trees["/host"].path) == ("volume host", "")
    assert (trees["/memory"].at, trees["/memory"].path) == (None, "/volumes/memory")
    for target in ("/disk", "/host", "/memory"):
        assert trees[target].recursive
        assert trees[target].propagation == "private"
        assert trees[target].create_mode == 0
        assert trees[target].attributes == DEVICES[target]


def test_a_sub_path_is_resolved_below_its_volume() -> None:
    trees = trees_of(subPath="a/b", readOnly=True)
    for target in ("/disk", "/host", "/memory"):
        assert trees[target].path == "a/b"
        assert trees[target].at is not None
        assert trees[target].create_mode == 0o755
        assert trees[target].attributes == ("ro", *DEVICES[target])


def test_read_only_is_for_all_that_is_below() -> None:
    trees = trees_of(readOnly=True)
    for target, device in DEVICES.items():
        assert (trees[target].attributes, trees[target].recursive) == (("ro", *device), True)


@pytest.mark.parametrize("kind", ["", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"])
def test_a_device_is_one_only_where_the_manifest_may_mean_one(kind: str) -> None:
    steps = steps_of(shell("true", volumeMounts=[mount("it", "/it")]), volumes=[host_path("it", "/host", kind)])
    (tree,) = [step for step in steps if isinstance(step, OpenTree) and step.at == "volume it"]
    assert tree.attributes == (() if kind == "" else ("nodev",))


def test_what_is_hidden_is_looked_for_in_the_mount_that_has_it() -> None:
    """Not by its name in the root, which a link or a later mount may have changed."""
    steps = steps_of(shell("true", volumeMounts=[mount("it", "/proc/fs")]), volumes=[{"name": "it"}])
    trees = {step.tree.rpartition("[")[0]: step.tree for step in steps if isinstance(step, Attach)}
    hidden = {(step.at, step.path) for step in steps if isinstance(step, MaskPath | ReadonlyPath)}
    assert {(trees["/proc"], "/sys"), (trees["/proc"], "/kcore"), (trees["/sys"], "/firmware")} <= hidden
    assert (trees["/proc/fs"], "/") in hidden
    assert {at for at, _ in hidden} == {trees["/proc"], trees["/sys"], trees["/proc/fs"]}


def test_nodes_and_links_of_dev_make_room_for_volumes() -> None:
    volumes = [host_path("node", "/dev/urandom"), {"name": "directory"}]
    mounts = [mount("node", "/dev/random"), mount("directory", "/dev/fd")]
    steps = steps_of(shell("true", volumeMounts=mounts), volumes=volumes)
    made = {step.path for step in steps if isinstance(step, MakeNode | MakeSymlink)}
    assert "null" in made
    assert not made & {"random", "fd"}


def test_root_of_the_host_with_a_sub_path() -> None:
    spec = shell("true", volumeMounts=[mount("it", "/it", subPath="etc")])
    trees = [step for step in steps_of(spec, volumes=[host_path("it", "/")]) if isinstance(step, OpenTree)]
    assert ("volume it", "etc") in [(tree.at, tree.path) for tree in trees]


@pytest.mark.parametrize("path", ["/a b", "/a:b", "/a\\b", "/a,b", "/é"])
def test_an_image_of_any_name_is_a_layer(path: str) -> None:
    """The name is no part of the overlay's options, where a colon or a comma would separate."""
    steps = steps_of(shell("true", image=f"rootfs:{path}"))
    (image,) = [step for step in steps if isinstance(step, OpenTree) and step.tree == "image"]
    assert (image.path, image.recursive) == (path, False)
    (overlay,) = [step for step in steps if isinstance(step, NewMount) and step.type == "overlay"]
    assert overlay.options == ("lowerdir=lower", "upperdir=upper", "workdir=work")


def test_the_mount_table_of_the_host_is_not_copied() -> None:
    """A container copies pause's, which has one mount, so that a start costs the same however many the host has."""
    steps = steps_of(shell("true", image="rootfs:/image"))
    joined = next(i for i, step in enumerate(steps) if isinstance(step, JoinNamespaces))
    assert "mount" in steps[joined].kinds  # type: ignore[attr-defined]
    assert all(i > joined for i, step in enumerate(steps) if isinstance(step, Unshare))


def test_a_kernel_without_time_namespaces() -> None:
    machine = Machine(memory_bytes=1 << 30, lacking=("time",))
    pod_plan = plan(pod_spec(shell("true")), machine)
    for process in (pod_plan.pause, *pod_plan.containers):
        assert NewTimeNamespace not in [type(step) for step in process.steps]
        for step in process.steps:
            assert "time" not in getattr(step, "kinds", ())
    with pytest.raises(Unsupported, match="a time offset is not available here"):
        plan(pod_spec(shell("true"), annotations={"pyrun.dev/time-offset-boottime": "1"}), machine)


def test_an_oom_score_that_cannot_be_lowered_is_not_asked_for() -> None:
    without = ALL_CAPABILITIES_MASK & ~(1 << 24)  # CAP_SYS_RESOURCE
    for mask, wanted in ((ALL_CAPABILITIES_MASK, [-998]), (without, [])):
        steps = plan(pod_spec(shell("true")), Machine(1 << 30, capabilities=mask)).pause.steps
        assert [step.value for step in steps if isinstance(step, SetOomScoreAdj)] == wanted


def test_capabilities_are_cut_to_what_the_launcher_has() -> None:
    steps = plan(pod_spec(shell("true")), Machine(1 << 30, capabilities=0b1001)).containers[0].steps
    assert [step.mask for step in steps if isinstance(step, LimitBoundingSet)] == [0b1001]
    assert [step.permitted for step in steps if isinstance(step, DropCapabilities)] == [0b1001]


def test_pause_has_no_capability_and_no_name_of_the_host() -> None:
    steps = plan(pod_spec(shell("true"), hostname="web")).pause.steps
    assert [step.mask for step in steps if isinstance(step, LimitBoundingSet)] == [0]
    assert [(step.uid, step.gid) for step in steps if isinstance(step, SetUser)] == [(65535, 65535)]
    assert [step.name for step in steps if isinstance(step, SetHostname)] == ["web"]


@pytest.mark.parametrize(
    ("fields", "name", "hosts"),
    [
        ({}, "test", HOSTS + b"127.0.0.1\ttest\n"),
        ({"hostNetwork": True}, "node", b"10.0.0.1 node"),
        ({"hostNetwork": True, "hostname": "web"}, "web", b"10.0.0.1 node\n127.0.0.1\tweb\n"),
    ],
)
def test_name_of_a_pod(fields: dict[str, Any], name: str, hosts: bytes) -> None:
    """On the machine's network it is the machine's, if the manifest gives none."""
    made = plan(pod_spec(shell("true"), **fields), Machine(1 << 30, hostname="node", hosts=b"10.0.0.1 node"))
    written = {step.path: step.data for step in made.pause.steps if isinstance(step, WriteFile)}
    assert [step.name for step in made.pause.steps if isinstance(step, SetHostname)] == [name]
    assert (written["etc/hostname"], written["etc/hosts"]) == (f"{name}\n".encode(), hosts)
    config = made.containers[0].oci
    assert config is not None
    assert config.process is not None
    assert config.hostname == name
    assert f"HOSTNAME={name}" in config.process.env


# ---- an OCI configuration of its own ---------------------------------------------------------------------------------


def config(**fields: Any) -> oci.OciSpec:
    """A configuration without a pod around it."""
    linux = oci.OciLinux(
        namespaces=tuple([oci.OciNamespace(kind) for kind in ("mount", "pid", "uts", "network", "time")])
    )
    spec = oci.OciSpec(root=oci.OciRoot("/image"), process=oci.OciProcess(cwd="/", args=("sh",)), linux=linux)
    for name, value in fields.items():
        if name in oci.OciLinux._fields:
            spec = replace(spec, linux=replace(spec.linux, **{name: value}))
        elif name in oci.OciProcess._fields:
            assert spec.process is not None
            spec = replace(spec, process=replace(spec.process, **{name: value}))
        else:
            spec = replace(spec, **{name: value})
    return spec


def alone(**fields: Any) -> tuple[Step, ...]:
    made = plan_container(config(**fields)).steps
    assert check_order(made) == []
    encode_plan(made, dict.fromkeys(STDIO, 3), 7, 8)
    return made


def one(steps: tuple[Step, ...], kind: type[Step]) -> Any:
    (found,) = [step for step in steps if type(step) is kind]
    return found


def test_without_a_sandbox_every_namespace_is_its_own() -> None:
    made = plan_container(config(hostname="h", domainname="d"))
    assert made.clone_namespaces == ("pid",)
    assert JoinNamespaces not in [type(step) for step in made.steps]
    assert [step.kinds for step in made.steps if isinstance(step, Unshare)] == [("mount", "uts", "network")]
    assert one(made.steps, SetHostname).name == "h"
    assert one(made.steps, SetDomainname).name == "d"
    assert one(made.steps, LoopbackUp)
    assert one(made.steps, NewTimeNamespace) == NewTimeNamespace(0, 0)


def test_a_root_without_the_overlay_is_the_directory_itself() -> None:
    assert alone()[2] == OpenTree("/image", "root", propagation="private")
    assert one(alone(root=oci.OciRoot("/image", readonly=True)), SetMountAttributes).attributes == ("ro",)


def test_limits_settings_and_offsets() -> None:
    made = alone(
        rlimits=(oci.OciRlimit("RLIMIT_NOFILE", 10, 20), oci.OciRlimit("RLIMIT_AS", 2**64 - 1, 2**64 - 1)),
        namespaces=tuple([oci.OciNamespace(kind) for kind in ("mount", "network", "ipc", "time")]),
        sysctl=(("net.ipv4.ip_forward", "1"), ("kernel/msgmax", "5")),
        time_offsets=(oci.OciTimeOffset("monotonic", -2, 5 * 10**8), oci.OciTimeOffset("boottime", 3)),
        oom_score_adj=7,
    )
    assert [(s.resource, s.soft, s.hard) for s in made if isinstance(s, SetRlimit)] == [
        (7, 10, 20),
        (9, 2**64 - 1, 2**64 - 1),
    ]
    assert [step.describe() for step in made if isinstance(step, SetSysctl)] == [
        "sysctl net.ipv4.ip_forward = 1",
        "sysctl kernel/msgmax = 5",
    ]
    assert one(made, NewTimeNamespace) == NewTimeNamespace(-15 * 10**8, 3 * 10**9)
    assert one(made, SetOomScoreAdj).value == 7


def test_user_groups_mask_and_capabilities() -> None:
    sets = oci.OciCapabilities(
        bounding=("CAP_CHOWN", "CAP_KILL"),
        effective=("CAP_CHOWN",),
        permitted=("CAP_CHOWN", "CAP_KILL"),
        inheritable=("CAP_KILL",),
        ambient=("CAP_KILL",),
    )
    made = alone(user=oci.OciUser(5, 6, 0o077, (7, 8)), capabilities=sets, no_new_privileges=True)
    assert one(made, SetUser) == SetUser(5, 6, (7, 8))
    assert one(made, SetUmask).mask == 0o077
    assert one(made, LimitBoundingSet).mask == 0b100001
    assert one(made, SetCapabilities) == SetCapabilities(0b1, 0b100001, 0b100000, 0b100000)
    plain = alone(capabilities=None)
    for kind in (NoNewPrivileges, SetUmask, LoadFilter):
        assert kind not in [type(step) for step in plain]
    assert one(plain, LimitBoundingSet).mask == 0
    assert one(plain, SetCapabilities) == SetCapabilities(0, 0, 0, 0)


def test_devices_are_made_in_a_dev_of_ours_and_not_in_one_that_was_bound() -> None:
    tmpfs = oci.OciMount("/dev", "tmpfs", "tmpfs", ("nosuid",))
    bound = oci.OciMount("/dev", "bind", "/dev", ("rbind",))
    assert [type(step) for step in alone(mounts=(tmpfs,))].count(MakeNode) == 6
    assert MakeNode not in [type(step) for step in alone(mounts=(bound,))]
    assert [step.path for step in alone() if isinstance(step, MakeNode)][:2] == ["/dev/null", "/dev/zero"]


def test_masked_and_read_only_paths() -> None:
    made = alone(masked_paths=("/a", "/b"), readonly_paths=("/c",))
    assert [step.path for step in made if type(step) is MaskPath] == ["/a", "/b"]
    assert [step.path for step in made if type(step) is ReadonlyPath] == ["/c"]


def test_without_a_gate_it_runs_at_once() -> None:
    assert Gate not in [type(step) for step in plan_container(config(), Setting(gated=False)).steps]


def test_the_program_is_searched_for_in_the_path_of_its_environment() -> None:
    assert one(alone(env=("A=1", "PATH=/x:/y", "PATH=/z")), FindProgram) == FindProgram("sh", "/x:/y")
    assert one(alone(), FindProgram).path == "/bin:/usr/bin"


def test_propagation_is_private_before_anything_is_mounted() -> None:
    kinds = [type(step) for step in alone(mounts=(oci.OciMount("/x", "tmpfs", "tmpfs"),))]
    assert kinds.index(SetPropagation) < kinds.index(Attach)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"process": None}, "/process/args: there is no program to run"),
        ({"args": ()}, "/process/args: there is no program to run"),
        ({"namespaces": ()}, "/linux/namespaces: a container needs a mount namespace of its own"),
        (
            {"namespaces": (oci.OciNamespace("mount"), oci.OciNamespace("user"))},
            "/linux/uidMappings: a new user namespace needs a mapping of its root, containerID 0",
        ),
        (
            {
                "namespaces": (oci.OciNamespace("mount"), oci.OciNamespace("user", "/x")),
                "gid_mappings": (oci.OciIdMapping(0, 1, 1),),
            },
            "/linux/gidMappings: the user namespace at /linux/namespaces/1/path has its mappings",
        ),
        (
            {"rlimits": (oci.OciRlimit("RLIMIT_X", 1, 1),)},
            "/process/rlimits/0/type: 'RLIMIT_X' is not a resource limit",
        ),
        (
            {"mounts": (oci.OciMount("/x", "bind", "relative", ("bind",)),)},
            "/mounts/0/source: 'relative': must be an absolute path, or one relative to a bundle",
        ),
        (
            {"mounts": (oci.OciMount("/x", "tmpfs", "", ("idmap",)),)},
            "/mounts/0/options: idmap is for a bind mount",
        ),
        (
            {"mounts": (oci.OciMount("/x", "bind", "/y", ("idmap",)),)},
            "/mounts/0: needs uidMappings and gidMappings, or a container with a user namespace",
        ),
    ],
)
def test_what_cannot_be_planned_is_told_with_its_place(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        plan_container(config(**fields))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("source", "limits", "size"),
    [
        ({"sizeLimit": "5Mi"}, {}, 5 << 20),
        ({"sizeLimit": "5Mi"}, {"memory": "3Mi"}, 3 << 20),  # the pod's limit
        ({}, {"memory": "3Mi"}, 3 << 20),
        ({}, {}, 1 << 30),  # the machine's memory
        ({"sizeLimit": "5Gi"}, {}, 1 << 30),
    ],
)
def test_the_size_of_an_empty_dir_in_memory_is_the_least_of_all(
    source: dict[str, str], limits: dict[str, str], size: int
) -> None:
    volumes = [{"name": "it", "emptyDir": {"medium": "Memory", **source}}]
    spec = pod_spec(shell("true", resources={"limits": limits}), volumes=volumes)
    made = [step for step in plan(spec).pause.steps if isinstance(step, NewMount) and step.tree == "tmpfs volumes/it"]
    assert [step.options for step in made] == [("mode=0777", f"size={size}")]


def test_what_was_planned_is_remembered_for_pods_of_other_uids_and_directories() -> None:
    """Neither is in the steps; both are in the configurations."""
    spec = pod_spec(shell("true", volumeMounts=[mount("it", "/it", subPath="x")]), volumes=[{"name": "it"}])
    first, second = [plan_pod(spec, uid, f"/run/{uid}", Machine()) for uid in ("1", "2")]
    assert first.containers[0].steps is second.containers[0].steps
    assert first.pause.steps is second.pause.steps
    configurations = [plan.containers[0].oci for plan in (first, second)]
    assert [oci.linux.cgroups_path for oci in configurations if oci] == [
        "/pyrun/besteffort/pod1/main",
        "/pyrun/besteffort/pod2/main",
    ]
    other = plan_pod(spec, "3", "/run/3", Machine(memory_bytes=1 << 40, hosts=b"x"))
    assert other.pause.steps is not first.pause.steps
