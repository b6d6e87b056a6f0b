"""What a process of a container is and may: the steps that are the same for its first program and for others beside it. Pure."""

from __future__ import annotations

from pyrun.container.root_plan import ROOT
from pyrun.container.seccomp import DefaultProfile, seccomp_filter, seccomp_flags
from pyrun.container.security import ADMIN_MASK, known_capability_mask
from pyrun.errors import SpecError
from pyrun.kernel.step import (
    ChangeDirectory,
    ControllingTerminal,
    DropCapabilities,
    Duplicate,
    Exec,
    FindProgram,
    Gate,
    JoinKeyring,
    LimitBoundingSet,
    LoadFilter,
    LoadListenedFilter,
    NewSession,
    NewTerminal,
    NoNewPrivileges,
    OwnStdio,
    ParentDeathSignal,
    RaiseCapabilities,
    SetAffinity,
    SetCapabilities,
    SetInitialAffinity,
    SetIoPriority,
    SetMemoryPolicy,
    SetOomScoreAdj,
    SetPersonality,
    SetRlimit,
    SetScheduler,
    SetSecurityLabel,
    SetUmask,
    SetUser,
)
from pyrun.spec.oci import OciCapabilities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyrun.container.plan import Setting
    from pyrun.kernel.step import Step
    from pyrun.spec.oci import OciIdMapping, OciLinux, OciProcess, OciScheduler

STDIO = ("stdin", "stdout", "stderr")
CONSOLE = "console"
INIT = "pyrun-init"
TERMINAL = "terminal"
FIRST_PRESERVED = 3

# Numbers of getrlimit(2), the same on x86_64 and aarch64 (include/uapi/asm-generic/resource.h).
RLIMITS = (
    *("RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_CORE", "RLIMIT_RSS", "RLIMIT_NPROC"),
    *("RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "RLIMIT_AS", "RLIMIT_LOCKS", "RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE"),
    *("RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_RTTIME"),
)
# linux/sched.h and linux/ioprio.h
POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
SCHEDULER_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
TSYNC = 1 << 0  # SECCOMP_FILTER_FLAG_TSYNC and _WAIT_KILLABLE_RECV of linux/seccomp.h
WAIT_KILLABLE = 1 << 5
IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}


# linux/personality.h and linux/mempolicy.h
PERSONALITIES = {"LINUX": 0, "LINUX32": 0x0008}
MEMORY_POLICIES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MEMORY_POLICY_FLAGS = {
    "MPOL_F_NUMA_BALANCING": 1 << 13,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_STATIC_NODES": 1 << 15,
}


def preserved_slot(index: int) -> str:
    """The slot of a descriptor that the program gets as number 3 + *index*."""
    return f"preserved {index}"


def number_mask(text: str) -> int:
    """The bits of a list of numbers such as ``0-3,7``."""
    mask = 0
    for part in text.split(",") if text.strip() else ():
        first, dash, last = part.strip().partition("-")
        mask |= (1 << int(last if dash else first) + 1) - (1 << int(first))
    return mask


# ---- before the namespaces: what needs the host's /proc, or its privileges ----


def before_namespaces(process: OciProcess) -> list[Step]:
    steps: list[Step] = []
    if process.oom_score_adj is not None:
        steps.append(SetOomScoreAdj(process.oom_score_adj))
    for i, limit in enumerate(process.rlimits):
        if limit.type not in RLIMITS:
            raise SpecError(f"/process/rlimits/{i}/type", f"{limit.type!r} is not a resource limit")
        steps.append(SetRlimit(limit.type, RLIMITS.index(limit.type), limit.soft, limit.hard))
    return steps


def own_pipes(process: OciProcess, mappings: Sequence[OciIdMapping], setting: Setting) -> list[Step]:
    """Of a pod's container, whose program may open /dev/stdout anew: its pipes become its user's, if that is not the machine's
    root. What else it has is the launcher's: a terminal, a file. Early, while the machine's ids can be given."""
    uid = process.user.uid + (mappings[0].host_id if mappings else 0)
    return [OwnStdio(uid, *STDIO, only_pipes=True)] if uid and setting.joined else []


def new_session(setting: Setting) -> list[Step]:
    if not setting.new_keyring:
        return [NewSession()]
    return [NewSession(), JoinKeyring(setting.keyring_name or None)]


def security_labels(process: OciProcess) -> list[Step]:
    """Written in the host's /proc: in the container's, another file could lie over them."""
    steps: list[Step] = []
    if process.apparmor_profile:
        steps.append(SetSecurityLabel("AppArmor", "apparmor/exec", process.apparmor_profile))
    if process.selinux_label:
        steps.append(SetSecurityLabel("SELinux", "exec", process.selinux_label))
    return steps


def memory_and_personality(linux: OciLinux) -> list[Step]:
    """What else ``linux`` says of the processes: other programs beside the first have it too, where the kernel hands it on."""
    steps: list[Step] = []
    if linux.personality is not None:
        steps.append(SetPersonality(PERSONALITIES[linux.personality.domain]))
    if linux.memory_policy is not None:
        mode = MEMORY_POLICIES[linux.memory_policy.mode]
        for flag in linux.memory_policy.flags:
            mode |= MEMORY_POLICY_FLAGS[flag]
        steps.append(SetMemoryPolicy(mode, number_mask(linux.memory_policy.nodes)))
    return steps


# ---- inside: down from root ----


def become(process: OciProcess, setting: Setting, filtered: bool) -> list[Step]:
    steps: list[Step] = [ChangeDirectory(process.cwd, at=ROOT, create_mode=0o755), *_scheduling(process)]
    user, sets = process.user, capability_sets(process.capabilities, setting)
    steps.append(LimitBoundingSet(sets["bounding"]))
    if user.uid and (not setting.joined or TERMINAL in _stdio(process, setting)):
        steps.append(OwnStdio(user.uid, *_stdio(process, setting)))
    steps.append(SetUser(user.uid, user.gid, user.additional_gids))
    permitted = sets["permitted"] | (ADMIN_MASK if filtered and _needs_admin(process, sets) else 0)
    steps.append(SetCapabilities(sets["effective"], permitted, sets["inheritable"], sets["ambient"]))
    if process.no_new_privileges:
        steps.append(NoNewPrivileges())
    if setting.death_signal:
        steps.append(ParentDeathSignal(setting.death_signal))
    return steps


def _scheduling(process: OciProcess) -> list[Step]:
    steps: list[Step] = []
    if process.scheduler is not None:
        steps.append(_scheduler(process.scheduler))
    if process.io_priority is not None:
        steps.append(SetIoPriority(IO_CLASSES[process.io_priority.class_], process.io_priority.priority))
    return steps


def _scheduler(asked: OciScheduler) -> SetScheduler:
    flags = 0
    for name in asked.flags:
        flags |= SCHEDULER_FLAGS[name]
    return SetScheduler(
        POLICIES[asked.policy], flags, asked.nice, asked.priority, asked.runtime, asked.deadline, asked.period
    )


def exec_affinity(process: OciProcess) -> tuple[list[Step], list[Step]]:
    """``execCPUAffinity``: what is set at first, and what before the program."""
    asked = process.exec_cpu_affinity
    if asked is None:
        return [], []
    initial, final = number_mask(asked.initial), number_mask(asked.final)
    return ([SetInitialAffinity(initial)] if initial else []), ([SetAffinity(final)] if final else [])


def capability_sets(capabilities: OciCapabilities | None, setting: Setting) -> Mapping[str, int]:
    """The five sets as masks; a configuration without any means none, as with runc and crun. The specification: what cannot be
    granted SHOULD NOT be an error, so what this kernel does not know (:func:`~pyrun.container.security.unknown_capabilities`) or
    we do not hold is left out, and with it what the kernel ties to it."""
    asked = capabilities or OciCapabilities()
    sets = {
        name: known_capability_mask(getattr(asked, name)) & setting.grantable
        for name in ("bounding", "effective", "permitted", "inheritable", "ambient")
    }
    sets["effective"] &= sets["permitted"]
    sets["inheritable"] &= sets["bounding"]
    sets["ambient"] &= sets["permitted"] & sets["inheritable"]
    return sets


def _needs_admin(process: OciProcess, sets: Mapping[str, int]) -> bool:
    """A filter can be loaded with no_new_privs or with CAP_SYS_ADMIN, which the program may not be meant to have."""
    return not process.no_new_privileges and not sets["effective"] & ADMIN_MASK


# ---- the program ----


def run_program(seccomp: Mapping[str, object] | None, process: OciProcess, setting: Setting) -> list[Step]:
    search = next((entry[5:] for entry in process.env if entry.startswith("PATH=")), "/bin:/usr/bin")
    steps: list[Step] = [*_descriptors(process, setting)]
    if process.user.umask is not None:
        steps.append(SetUmask(process.user.umask))
    # Without a gate, the exec is as early to tell of a program that is none.
    if setting.gated or "/" not in process.args[0]:
        steps.append(FindProgram(process.args[0], search))
    gate: list[Step] = [Gate(source=setting.gate or None)] if setting.gated else []
    listened = _is_listened(seccomp)
    filtering = [] if seccomp is None else _filter(seccomp, process, setting, listened)
    filter_and_gate = [*filtering, *gate] if listened else [*gate, *filtering]
    if setting.init:
        return [*steps, *filter_and_gate, Exec((INIT, *process.args), process.env, file=INIT)]
    return [*steps, *filter_and_gate, Exec(process.args, process.env)]


def _is_listened(seccomp: Mapping[str, object] | None) -> bool:
    if seccomp is None or isinstance(seccomp, DefaultProfile):  # of which to ask one thing is to make all of it
        return False
    from pyrun.container.seccomp_notify import has_listener

    return has_listener(seccomp)


def _filter(seccomp: Mapping[str, object], process: OciProcess, setting: Setting, listened: bool) -> list[Step]:
    load = LoadListenedFilter if listened else LoadFilter
    # As libseccomp does: the process has one thread, which with a listener must be said by leaving TSYNC out, and what a listener
    # may wait for means nothing without one. The kernel says EINVAL to either.
    flags = seccomp_flags(seccomp) & ~(TSYNC if listened else WAIT_KILLABLE)
    filtering = load(seccomp_filter(seccomp), flags)
    sets = capability_sets(process.capabilities, setting)
    if not _needs_admin(process, sets):
        return [filtering]
    if listened:
        from pyrun.container.seccomp_notify import refuse_notified_capset

        refuse_notified_capset(seccomp)
    drop = DropCapabilities(sets["effective"], sets["permitted"], sets["inheritable"])
    return [RaiseCapabilities(ADMIN_MASK), filtering, drop]


def _stdio(process: OciProcess, setting: Setting) -> tuple[str, str, str]:
    return (TERMINAL, TERMINAL, TERMINAL) if process.terminal and setting.console else STDIO


def _descriptors(process: OciProcess, setting: Setting) -> list[Step]:
    names = _stdio(process, setting)
    steps: list[Step] = [ControllingTerminal(TERMINAL)] if TERMINAL in names else []
    # Those to keep first: theirs are the numbers that are in nobody's way yet.
    steps += [Duplicate(preserved_slot(i), FIRST_PRESERVED + i) for i in range(setting.preserve_fds)]
    return steps + [Duplicate(name, number) for number, name in enumerate(names)]


def new_terminal(process: OciProcess, path: str, at: str) -> NewTerminal:
    size = process.console_size
    rows, columns = (size.height, size.width) if size is not None else (0, 0)
    return NewTerminal(path, CONSOLE, TERMINAL, at, rows, columns)
