"""``process`` of ``config.json``, also what ``exec --process`` is given: the runtime specification's ``config.md``, "Process"."""

from __future__ import annotations

from pyrun.spec import oci
from pyrun.spec.oci_check import check_unique
from pyrun.spec.oci_table import (
    ABSOLUTE,
    BOOLEAN,
    NUMBER_LIST,
    STRING,
    STRINGS,
    UINT64,
    USER_ID,
    Field,
    Table,
    integer,
    list_of,
    one_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.parse import Reader

RLIMITS = (
    "RLIMIT_AS",
    "RLIMIT_CORE",
    "RLIMIT_CPU",
    "RLIMIT_DATA",
    "RLIMIT_FSIZE",
    "RLIMIT_LOCKS",
    "RLIMIT_MEMLOCK",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_NOFILE",
    "RLIMIT_NPROC",
    "RLIMIT_RSS",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
    "RLIMIT_SIGPENDING",
    "RLIMIT_STACK",
)
REAL_TIME_POLICIES = ("SCHED_FIFO", "SCHED_RR")
POLICIES = ("SCHED_OTHER", *REAL_TIME_POLICIES, "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE")
MAX_PRIORITY = 99  # sched_get_priority_max(2) of the real-time policies
SCHEDULER_FLAGS = (
    "SCHED_FLAG_RESET_ON_FORK",
    "SCHED_FLAG_RECLAIM",
    "SCHED_FLAG_DL_OVERRUN",
    "SCHED_FLAG_KEEP_POLICY",
    "SCHED_FLAG_KEEP_PARAMS",
    "SCHED_FLAG_UTIL_CLAMP_MIN",
    "SCHED_FLAG_UTIL_CLAMP_MAX",
)
IO_CLASSES = ("IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE")
CAPABILITY_SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")


# Rules between fields -----------------------------------------------------------------------------------------------


def _check_rlimit(limit: oci.OciRlimit, reader: Reader) -> None:
    if limit.soft > limit.hard:
        raise reader.member_error("soft", f"{limit.soft} is more than the hard limit {limit.hard}")


def _check_scheduler(scheduler: oci.OciScheduler, reader: Reader) -> None:
    """What the kernel would leave aside for a policy must not be asked for with it."""
    if scheduler.priority and scheduler.policy not in REAL_TIME_POLICIES:
        raise reader.member_error("priority", f"is for {' and '.join(REAL_TIME_POLICIES)} only")
    for name in ("runtime", "deadline", "period"):
        if getattr(scheduler, name) and scheduler.policy != "SCHED_DEADLINE":
            raise reader.member_error(name, "is for SCHED_DEADLINE only")


def _check_process(process: oci.OciProcess, reader: Reader) -> None:
    if not process.args:
        raise reader.member_error("args", "required: the program and its arguments")
    check_unique(reader, "rlimits", "type", [limit.type for limit in process.rlimits])


# The tables ---------------------------------------------------------------------------------------------------------

USER = Table(
    oci.OciUser,
    (
        Field("uid", "uid", USER_ID, always=True),
        Field("gid", "gid", USER_ID, always=True),
        Field("umask", "umask", integer(0, 0o777)),
        Field("additionalGids", "additional_gids", list_of(USER_ID)),
    ),
    foreign="username",
)

CAPABILITIES = Table(oci.OciCapabilities, tuple([Field(name, name, STRINGS) for name in CAPABILITY_SETS]))

RLIMIT = Table(
    oci.OciRlimit,
    (
        Field("type", "type", one_of(*RLIMITS)),
        Field("soft", "soft", UINT64),
        Field("hard", "hard", UINT64),
    ),
    check=_check_rlimit,
)

CONSOLE_SIZE = Table(
    oci.OciConsoleSize,
    (
        # struct winsize has 16 bits for each.
        Field("height", "height", integer(0, 2**16 - 1)),
        Field("width", "width", integer(0, 2**16 - 1)),
    ),
)

SCHEDULER = Table(
    oci.OciScheduler,
    (
        Field("policy", "policy", one_of(*POLICIES)),
        Field("nice", "nice", integer(-20, 19)),
        Field("priority", "priority", integer(0, MAX_PRIORITY)),
        Field("flags", "flags", list_of(one_of(*SCHEDULER_FLAGS))),
        Field("runtime", "runtime", UINT64),
        Field("deadline", "deadline", UINT64),
        Field("period", "period", UINT64),
    ),
    check=_check_scheduler,
)

IO_PRIORITY = Table(
    oci.OciIoPriority,
    (
        Field("class", "class_", one_of(*IO_CLASSES)),
        Field("priority", "priority", integer(0, 7)),
    ),
)

EXEC_CPU_AFFINITY = Table(
    oci.OciExecCpuAffinity,
    (
        Field("initial", "initial", NUMBER_LIST),
        Field("final", "final", NUMBER_LIST),
    ),
)

PROCESS = Table(
    oci.OciProcess,
    (
        Field("terminal", "terminal", BOOLEAN),
        Field("consoleSize", "console_size", CONSOLE_SIZE.kind),
        Field("user", "user", USER.kind, always=True),
        Field("args", "args", STRINGS),
        Field("env", "env", STRINGS),
        Field("cwd", "cwd", ABSOLUTE),
        Field("capabilities", "capabilities", CAPABILITIES.kind),
        Field("rlimits", "rlimits", list_of(RLIMIT.kind)),
        Field("noNewPrivileges", "no_new_privileges", BOOLEAN),
        Field("oomScoreAdj", "oom_score_adj", integer(-1000, 1000)),
        Field("scheduler", "scheduler", SCHEDULER.kind),
        Field("ioPriority", "io_priority", IO_PRIORITY.kind),
        Field("execCPUAffinity", "exec_cpu_affinity", EXEC_CPU_AFFINITY.kind),
        Field("apparmorProfile", "apparmor_profile", STRING),
        Field("selinuxLabel", "selinux_label", STRING),
    ),
    foreign="commandLine",
    check=_check_process,
)
