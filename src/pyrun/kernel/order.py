"""Why the steps of a plan stand in the order they do, as data.

Each rule says: in any plan that has both, every step of the first kind stands before every step of the second.
:func:`check_order` returns what a plan breaks; a property test asks it about every plan, and ``pyrun plan`` shows the reasons.
"""

from __future__ import annotations

from pyrun.kernel import step as s
from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Rule(Value):
    """``first`` before ``second``, because ``reason``."""

    first: type[s.Step]
    second: type[s.Step]
    reason: str


BEFORE = (
    Rule(s.SetOomScoreAdj, s.JoinNamespaces, "it is written in the host's /proc"),
    Rule(s.SetOomScoreAdj, s.PivotRoot, "it is written in the host's /proc"),
    Rule(s.SetOomScoreAdj, s.SetUser, "lowering it needs CAP_SYS_RESOURCE"),
    Rule(s.SetRlimit, s.SetUser, "raising a hard limit needs CAP_SYS_RESOURCE"),
    Rule(s.NewTimeNamespace, s.PivotRoot, "offsets are written in the host's /proc"),
    Rule(s.SetSysctl, s.PivotRoot, "sysctls are written in the host's /proc"),
    Rule(s.Await, s.JoinNamespaces, "before that they may not be there yet"),
    Rule(s.JoinUserNamespace, s.BecomeNamespaceRoot, "only the root of a namespace that we are in can be become"),
    Rule(s.BecomeNamespaceRoot, s.Unshare, "what is made belongs to the user namespace and its root"),
    Rule(s.Unshare, s.NewPidNamespace, "the child is born into the namespaces that are there"),
    Rule(
        s.NewTimeNamespace, s.BecomeNamespaceRoot, "offsets are written as the host's root, who owns our files in /proc"
    ),
    Rule(s.JoinNamespaces, s.EnterPidNamespace, "it is entered by the first child after that"),
    Rule(s.EnterPidNamespace, s.NewSession, "the session is the process's that becomes the program"),
    Rule(s.EnterPidNamespace, s.NewMount, "/proc shows the PID namespace of whoever mounts it"),
    Rule(s.NewPidNamespace, s.NewSession, "the session is the process's that becomes the program"),
    Rule(s.NewPidNamespace, s.NewMount, "/proc shows the PID namespace of whoever mounts it"),
    Rule(s.NewTerminal, s.MaskPath, "a mask must lie above the console"),
    Rule(s.NewTerminal, s.ControllingTerminal, "it is this one"),
    Rule(s.ControllingTerminal, s.Exec, "the program gets its terminal"),
    Rule(s.JoinNamespaces, s.PivotRoot, "the root is built in the namespace that it is for"),
    Rule(s.SetPropagation, s.PivotRoot, "or the unmount of the old root would reach the host"),
    Rule(s.Attach, s.PivotRoot, "what is mounted comes from outside the new root"),
    Rule(s.MakeNode, s.SetUser, "mknod needs CAP_MKNOD"),
    Rule(s.Attach, s.ChangeRoot, "what is mounted comes from outside the new root"),
    Rule(s.MaskPath, s.ChangeRoot, "the container must not see what is not masked yet"),
    Rule(s.CopyUp, s.SetUser, "the files may be anybody's, and their owners stay"),
    Rule(s.MakeNode, s.MaskPath, "a masked file is hidden by the container's /dev/null"),
    Rule(s.Attach, s.MaskPath, "a mount made later would lie over the mask"),
    Rule(s.Attach, s.ReadonlyPath, "a mount made later would lie over the read-only path"),
    Rule(s.ReadonlyPath, s.MaskPath, "a mask inside a read-only path has to lie on top of it"),
    Rule(s.MaskPath, s.PivotRoot, "the container must not see what is not masked yet"),
    Rule(s.ChangeRoot, s.LimitBoundingSet, "chroot needs CAP_SYS_CHROOT, and what goes before CAP_SYS_ADMIN"),
    Rule(s.PivotRoot, s.SetRootPropagation, "or it would reach the mounts of the old root, and stop the pivot"),
    Rule(s.SetRootPropagation, s.LimitBoundingSet, "it needs CAP_SYS_ADMIN"),
    Rule(s.PivotRoot, s.LimitBoundingSet, "pivot_root needs CAP_SYS_ADMIN"),
    Rule(s.PivotRoot, s.FindProgram, "the program is looked up as the container sees it"),
    Rule(s.LoopbackUp, s.SetCapabilities, "it needs CAP_NET_ADMIN"),
    Rule(s.SetHostname, s.SetCapabilities, "it needs CAP_SYS_ADMIN"),
    Rule(s.NewSession, s.ControllingTerminal, "only a session leader gets a controlling terminal"),
    Rule(s.SetScheduler, s.SetUser, "real-time policies need CAP_SYS_NICE"),
    Rule(s.SetIoPriority, s.SetUser, "the real-time class needs CAP_SYS_NICE"),
    Rule(s.OwnStdio, s.SetUser, "it needs CAP_CHOWN"),
    Rule(s.PivotRoot, s.SetScheduler, "the set-up itself is not to run by it"),
    Rule(s.SetSecurityLabel, s.PivotRoot, "it is written in the host's /proc"),
    Rule(s.NewPidNamespace, s.SetSecurityLabel, "it is the process's that becomes the program"),
    Rule(s.LimitBoundingSet, s.SetUser, "it needs CAP_SETPCAP in the effective set, which the change of uid clears"),
    Rule(s.SetUser, s.SetCapabilities, "the change of uid clears the effective set; this sets it"),
    Rule(s.SetCapabilities, s.FindProgram, "what may be executed depends on user and capabilities"),
    Rule(s.SetUser, s.ParentDeathSignal, "the kernel forgets the signal when ids change (prctl(2))"),
    Rule(s.SetCapabilities, s.NoNewPrivileges, "nothing of it is needed any more"),
    Rule(s.NoNewPrivileges, s.LoadFilter, "without CAP_SYS_ADMIN a filter needs it (seccomp(2))"),
    Rule(s.ParentDeathSignal, s.Gate, "a launcher that dies while this one waits is to end it"),
    Rule(s.Checkpoint, s.PivotRoot, "the launcher reaches the process and its mounts as the host has them"),
    Rule(s.FindProgram, s.Gate, "what can fail has failed before the first container starts"),
    Rule(s.SetCapabilities, s.RaiseCapabilities, "it leaves permitted what this raises"),
    Rule(s.RaiseCapabilities, s.LoadFilter, "without no_new_privs a filter needs CAP_SYS_ADMIN (seccomp(2))"),
    Rule(s.LoadFilter, s.DropCapabilities, "until then CAP_SYS_ADMIN is needed"),
    Rule(s.DropCapabilities, s.Exec, "the program gets its own capabilities only"),
    Rule(s.FindProgram, s.LoadListenedFilter, "nobody answers yet: what comes after it makes as few calls as can be"),
    Rule(s.LoadListenedFilter, s.Gate, "at the gate the launcher takes the listener"),
    Rule(s.Gate, s.LoadFilter, "reporting and waiting are system calls that the filter may refuse"),
    Rule(s.LoadFilter, s.Exec, "the program never runs without it"),
    Rule(s.Duplicate, s.Exec, "the program gets its descriptors"),
)


def check_order(steps: Sequence[s.Step]) -> list[str]:
    """The rules that *steps* break, each in a sentence; empty when all hold."""
    broken = []
    for rule in BEFORE:
        firsts = [i for i, step in enumerate(steps) if type(step) is rule.first]
        seconds = [i for i, step in enumerate(steps) if type(step) is rule.second]
        if firsts and seconds and firsts[-1] > seconds[0]:
            late, early = steps[firsts[-1]].describe(), steps[seconds[0]].describe()
            broken.append(f"{late!r} must come before {early!r}: {rule.reason}")
    return broken


def reasons(step: s.Step) -> list[str]:
    """Why *step* stands where it stands: its own reason, and the rules in which it is the first."""
    return [step.reason, *[rule.reason for rule in BEFORE if type(step) is rule.first]]
