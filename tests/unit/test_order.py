"""The rules about the order of steps: that they can all be kept, that breaking one is noticed, and that each says something."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.pods import mount, pod_spec, shell
from pyrun.container.plan import Setting, plan_container
from pyrun.kernel import step as s
from pyrun.kernel.order import BEFORE, Rule, check_order, reasons
from pyrun.pod.machine import Machine
from pyrun.pod.plan import plan_pod
from pyrun.spec import oci
from pyrun.value import replace

# One of each kind that a rule speaks of.
EXAMPLES: dict[type[s.Step], s.Step] = {
    type(step): step
    for step in (
        s.SetOomScoreAdj(1),
        s.SetRlimit("RLIMIT_NOFILE", 7, 1, 1),
        s.NewTimeNamespace(),
        s.SetSysctl("a.b", "1"),
        s.Await("pause"),
        s.JoinNamespaces("pause", ("uts",)),
        s.JoinUserNamespace("x", ("user",)),
        s.SetPropagation("/", "private"),
        s.Attach("tree", "/"),
        s.MakeNode("/dev/null", 0o20666, 1, 3),
        s.ReadonlyPath("/proc/sys"),
        s.MaskPath("/proc/kcore"),
        s.PivotRoot("root"),
        s.BecomeNamespaceRoot(),
        s.Unshare(("uts",)),
        s.NewPidNamespace(),
        s.EnterPidNamespace(),
        s.NewMount("proc", "tree"),
        s.NewTerminal("ptmx", "console", "terminal"),
        s.ChangeRoot("root"),
        s.SetRootPropagation("shared"),
        s.CopyUp("below", "tree"),
        s.SetScheduler(1),
        s.SetIoPriority(1, 1),
        s.OwnStdio(1, "a", "b", "c"),
        s.SetSecurityLabel("SELinux", "exec", "label"),
        s.RaiseCapabilities(1),
        s.DropCapabilities(1, 1, 1),
        s.LoadListenedFilter(b""),
        s.LoopbackUp(),
        s.SetHostname("h"),
        s.NewSession(),
        s.ControllingTerminal("terminal"),
        s.LimitBoundingSet(0),
        s.SetUser(0, 0),
        s.SetCapabilities(0, 0, 0, 0),
        s.ParentDeathSignal(9),
        s.NoNewPrivileges(),
        s.FindProgram("sh", "/bin"),
        s.Checkpoint("hooks"),
        s.Gate(),
        s.LoadFilter(b""),
        s.Duplicate("null", 0),
        s.Exec(("sh",)),
    )
}


def test_every_rule_is_about_steps_and_has_a_reason() -> None:
    for rule in BEFORE:
        assert issubclass(rule.first, s.Step)
        assert issubclass(rule.second, s.Step)
        assert rule.first is not rule.second
        assert rule.reason
        assert not rule.reason.endswith(".")
    assert len({(rule.first, rule.second) for rule in BEFORE}) == len(BEFORE)


def test_all_rules_can_be_kept_at_once() -> None:
    """No circle: there is an order of all kinds that keeps every rule."""
    kinds = {rule.first for rule in BEFORE} | {rule.second for rule in BEFORE}
    order: list[s.Step] = []
    while kinds:
        free = [kind for kind in kinds if not any(rule.second is kind and rule.first in kinds for rule in BEFORE)]
        assert free, f"a circle among {kinds}"
        order += [EXAMPLES[kind] for kind in free]
        kinds -= set(free)
    assert check_order(order) == []


@pytest.mark.parametrize("rule", BEFORE, ids=lambda rule: f"{rule.first.__name__}-{rule.second.__name__}")
def test_each_rule_is_noticed_when_it_is_broken(rule: Rule) -> None:
    first, second = EXAMPLES[rule.first], EXAMPLES[rule.second]
    assert check_order([first, second]) == []
    assert check_order([first]) == check_order([second]) == []
    assert check_order([second, first]) == [
        f"{first.describe()!r} must come before {second.describe()!r}: {rule.reason}"
    ]
    # Every step of the first kind stands before every step of the second.
    assert len(check_order([first, second, first])) == 1


def test_a_plan_of_nothing_breaks_nothing() -> None:
    assert check_order([]) == []


@given(st.lists(st.sampled_from(list(EXAMPLES.values())), max_size=12))
def test_what_is_found_is_what_is_there(steps: list[s.Step]) -> None:
    broken = [
        rule
        for rule in BEFORE
        if any(
            isinstance(later, rule.first) and isinstance(earlier, rule.second) and type(later) is rule.first
            for i, earlier in enumerate(steps)
            for later in steps[i + 1 :]
            if type(earlier) is rule.second
        )
    ]
    assert [line.rpartition(": ")[2] for line in check_order(steps)] == [
        rule.reason.rpartition(": ")[2] for rule in broken
    ]


def sample_plans() -> list[tuple[s.Step, ...]]:
    """Pods and a configuration that between them have all that the planner makes."""
    volumes = [{"name": "it"}]
    plans = []
    for fields in ({}, {"shareProcessNamespace": True}, {"hostNetwork": True}):
        quiet = shell("true", volumeMounts=[mount("it", "/it")], securityContext={"allowPrivilegeEscalation": False})
        spec = pod_spec(quiet, shell("true", "other"), volumes=volumes, **fields)
        pod_plan = plan_pod(spec, "uid", "/x", Machine(1 << 30), 9)
        plans += [process.steps for process in (pod_plan.pause, *pod_plan.containers)]
    namespaces = tuple([oci.OciNamespace(kind) for kind in ("mount", "uts", "time", "network")])
    process = oci.OciProcess(
        cwd="/", args=("sh",), capabilities=oci.OciCapabilities(), rlimits=(oci.OciRlimit("RLIMIT_NOFILE", 1, 2),)
    )
    linux = oci.OciLinux(
        namespaces=namespaces, sysctl=(("net.a", "1"),), rootfs_propagation="shared", masked_paths=("/proc/keys",)
    )
    config = oci.OciSpec(
        oci.OciRoot("/"),
        process,
        hostname="h",
        mounts=(oci.OciMount("/x", "tmpfs", "", ("tmpcopyup",)),),
        linux=linux,
    )
    plans += [plan_container(config, Setting(placed=True, no_pivot=no_pivot)).steps for no_pivot in (False, True)]
    plans += [plan_container(in_user_namespace(process, joined_pid)).steps for joined_pid in (False, True)]
    plans += [plan_container(with_everything(process, f"SCMP_ACT_{action}")).steps for action in ("NOTIFY", "LOG")]
    return plans


def in_user_namespace(process: oci.OciProcess, joined_pid: bool = False) -> oci.OciSpec:
    """With a terminal, and with a namespace that is joined."""
    namespaces = [oci.OciNamespace(kind) for kind in ("user", "mount", "pid", "time")]
    maps = (oci.OciIdMapping(0, 1000, 1),)
    linux = oci.OciLinux(
        namespaces=(*namespaces, oci.OciNamespace("ipc", "/x")),
        uid_mappings=maps,
        gid_mappings=maps,
        masked_paths=("/proc/kcore",),
    )
    if joined_pid:
        namespaces = [oci.OciNamespace("pid", "/x") if each.type == "pid" else each for each in namespaces]
        linux = replace(linux, namespaces=tuple(namespaces))
    mounts = (oci.OciMount("/proc", "proc"), oci.OciMount("/dev/pts", "devpts"))
    return oci.OciSpec(oci.OciRoot("/"), replace(process, terminal=True), mounts=mounts, linux=linux)


def with_everything(process: oci.OciProcess, action: str) -> oci.OciSpec:
    """What a process can have besides, and a filter without no_new_privs."""
    process = replace(
        process,
        user=oci.OciUser(5),
        scheduler=oci.OciScheduler("SCHED_BATCH"),
        io_priority=oci.OciIoPriority("IOPRIO_CLASS_BE", 1),
        selinux_label="label",
        capabilities=oci.OciCapabilities(),
    )
    rule = {"names": ["getpid"], "action": action}
    seccomp = {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x", "syscalls": [rule]}
    maps = (oci.OciIdMapping(0, 1000, 1),)
    namespaces = tuple([oci.OciNamespace(kind) for kind in ("user", "pid", "mount")])
    linux = oci.OciLinux(namespaces=namespaces, uid_mappings=maps, gid_mappings=maps, seccomp=seccomp)
    return oci.OciSpec(oci.OciRoot("/"), process, linux=linux)


def test_every_plan_keeps_every_rule() -> None:
    for steps in sample_plans():
        assert check_order(steps) == []


def test_every_rule_is_about_a_plan_that_there_is() -> None:
    """A rule about steps that never meet would say nothing."""
    met: set[Rule] = set()
    for steps in sample_plans():
        kinds = {type(step) for step in steps}
        met |= {rule for rule in BEFORE if {rule.first, rule.second} <= kinds}
    assert [rule for rule in BEFORE if rule not in met] == []


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_moving_one_step_of_a_real_plan_is_noticed_when_it_matters(data: st.DataObject) -> None:
    """Move the first step of a rule behind the second one."""
    steps = data.draw(st.sampled_from(sample_plans()))
    kinds = {type(step) for step in steps}
    rule = data.draw(st.sampled_from([rule for rule in BEFORE if {rule.first, rule.second} <= kinds]))
    moved = next(step for step in steps if type(step) is rule.first)
    without = [step for step in steps if step is not moved]
    last = max(i for i, step in enumerate(without) if type(step) is rule.second)
    broken = check_order([*without[: last + 1], moved, *without[last + 1 :]])
    assert any(line.endswith(rule.reason) for line in broken)


def test_reasons_are_the_steps_own_and_those_of_its_rules() -> None:
    found: Any = reasons(s.LoadFilter(b""))
    assert found == [s.LoadFilter.reason, "until then CAP_SYS_ADMIN is needed", "the program never runs without it"]
    assert reasons(s.Exec(("sh",))) == [s.Exec.reason]
