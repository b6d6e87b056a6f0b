"""Steps that set what a process is and may, and the last ones: find the program, wait at the gate, become it."""

from __future__ import annotations

from pyrun._core import lib
from pyrun.kernel.step_base import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.kernel.encode import Encoder
    from pyrun.kernel.step_base import Fields


class SetRlimit(Step):
    """prlimit(2). ``resource`` is the number, ``name`` for people; -1 is no limit."""

    name: str
    resource: int
    soft: int
    hard: int
    kind = "RLIMIT"
    reason = "a limit of the process"

    def describe(self) -> str:
        return f"rlimit {self.name} {self.soft}:{self.hard}"

    def fields(self, encoder: Encoder) -> Fields:
        return (), (), (self.resource, self.soft, self.hard)


class SetOomScoreAdj(Step):
    """Write /proc/self/oom_score_adj. Lowering it needs CAP_SYS_RESOURCE; where that is missing this is a warning."""

    value: int
    kind = "OOM_SCORE_ADJ"
    flags = lib.PLAN_OPTIONAL
    reason = "whom the kernel kills first when memory is short"

    def describe(self) -> str:
        return f"oom_score_adj {self.value}"

    def fields(self, encoder: Encoder) -> Fields:
        return (), (), (self.value,)


class LimitBoundingSet(Step):
    """prctl(2) PR_CAPBSET_DROP of everything that is not in ``mask``."""

    mask: int
    kind = "BOUNDING_SET"
    reason = "no exec can bring back what is not in it"

    def describe(self) -> str:
        return f"bounding set {self.mask:#x}"

    def fields(self, encoder: Encoder) -> Fields:
        return (), (), (self.mask,)


class SetUser(Step):
    """setgroups(2), setresgid(2), setresuid(2), keeping the permitted capabilities."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    kind = "USER"
    reason = "groups first, while that is still allowed"

    def describe(self) -> str:
        extra = f" groups {','.join(map(str, self.groups))}" if self.groups else ""
        return f"user {self.uid}:{self.gid}{extra}"

    def fields(self, encoder: Encoder) -> Fields:
        groups = b"".join([group.to_bytes(4, "little") for group in self.groups])
        return (), (encoder.data(groups) if groups else 0,), (self.uid, self.gid, len(self.groups))


class OwnStdio(Step):
    """fchown(2) of the descriptors in three slots: so that ``uid`` can open /dev/stdout, or its terminal. Shared devices stay,
    and with ``only_pipes`` whatever is no pipe."""

    uid: int
    stdin: str
    stdout: str
    stderr: str
    only_pipes: bool = False
    kind = "STDIO_OWNER"
    reason = "the program may open its own descriptors anew"

    def describe(self) -> str:
        return f"owner {self.uid} of {self.stdin}, {self.stdout}, {self.stderr}"

    def fields(self, encoder: Encoder) -> Fields:
        return (
            tuple([encoder.slot(name) for name in (self.stdin, self.stdout, self.stderr)]),
            (),
            (self.uid, self.only_pipes),
        )


class SetCapabilities(Step):
    """capset(2) and the ambient set."""

    effective: int
    permitted: int
    inheritable: int
    ambient: int
    kind = "CAPABILITIES"
    reason = "what the program may do"

    def describe(self) -> str:
        sets = (self.effective, self.permitted, self.inheritable, self.ambient)
        return "capabilities effective {:#x} permitted {:#x} inheritable {:#x} ambient {:#x}".format(*sets)

    def fields(self, encoder: Encoder) -> Fields:
        return (), (), (self.effective, self.permitted, self.inheritable, self.ambient)


class RaiseCapabilities(Step):
    """capset(2): what is in ``mask``, of what is permitted, into the effective set."""

    mask: int
    kind = "RAISE_CAPABILITIES"
    reason = "a filter without no_new_privs needs CAP_SYS_ADMIN (seccomp(2))"

    def describe(self) -> str:
        return f"raise capabilities {self.mask:#x}"

    def fields(self, encoder: Encoder) -> Fields:
        return (), (), (self.mask,)


class DropCapabilities(Step):
    """capset(2) alone: the sets that the program is to have. The filter that is on by then must allow it, and no more than it."""

    effective: int
    permitted: int
    inheritable: int
    kind = "CAPABILITY_SETS"
    reason = "what loading the filter needed is not the program's"

    def describe(self) -> str:
        sets = (self.effective, self.permitted, self.inheritable)
        return "capabilities effective {:#x} permitted {:#x} inheritable {:#x}".format(*sets)

    def fields(self, encoder: Encoder) -> Fields:
        return (), (), (self.effective, self.permitted, self.inheritable)


class NoNewPrivileges(Step):
    """prctl(2) PR_SET_NO_NEW_PRIVS."""

    kind = "NO_NEW_PRIVILEGES"
    reason = "set-uid programs give nothing"

    def describe(self) -> str:
        return "no new privileges"


class SetUmask(Step):
    """umask(2). Until here it is 0, so that modes of what is made mean what they say."""

    mask: int
    kind = "UMASK"
    reason = "for the program"

    def describe(self) -> str:
        return f"umask {self.mask:04o}"

    def fields(self, encoder: Encoder) -> Fields:
        return (), (), (self.mask,)


class NewSession(Step):
    """setsid(2)."""

    kind = "NEW_SESSION"
    reason = "no controlling terminal of the launcher's, whose input could be faked (CVE-2016-9016)"

    def describe(self) -> str:
        return "new session"


class ControllingTerminal(Step):
    """ioctl_tty(2) TIOCSCTTY of the terminal in a slot."""

    terminal: str
    kind = "CONTROLLING_TERMINAL"
    reason = "job control and Ctrl-C"

    def describe(self) -> str:
        return f"controlling terminal {self.terminal}"

    def fields(self, encoder: Encoder) -> Fields:
        return (encoder.slot(self.terminal),), (), ()


class JoinKeyring(Step):
    """keyctl(2) KEYCTL_JOIN_SESSION_KEYRING: a session keyring of its own."""

    name: str | None = None
    kind = "KEYRING"
    flags = lib.PLAN_OPTIONAL
    reason = "the launcher's keys are not the container's"

    def describe(self) -> str:
        return f"session keyring {self.name or '(anonymous)'}"

    def fields(self, encoder: Encoder) -> Fields:
        return (), (encoder.text(self.name),), ()


class ParentDeathSignal(Step):
    """prctl(2) PR_SET_PDEATHSIG: the signal to get when the thread that spawned us ends.

    A launcher that has ended before is noticed by its ends of the pipes, and for sure by its pidfd in the slot ``launcher``.
    """

    signal: int
    launcher: str | None = None
    kind = "PARENT_DEATH_SIGNAL"
    reason = "a killed launcher leaves nothing running"

    def describe(self) -> str:
        return f"signal {self.signal} at the launcher's death"

    def fields(self, encoder: Encoder) -> Fields:
        return (encoder.slot(self.launcher),), (), (self.signal,)


class FindProgram(Step):
    """Look the program up as the exec will: in ``path`` if it has no slash."""

    program: str
    path: str
    kind = "FIND_PROGRAM"
    reason = "a missing program is an error of the creation, before any container of the pod runs"

    def describe(self) -> str:
        where = "" if "/" in self.program else f" in {self.path}"
        return f"find {self.program}{where}"

    def fields(self, encoder: Encoder) -> Fields:
        return (), (encoder.text(self.program), encoder.text(self.path)), ()


class Gate(Step):
    """Tell the launcher that all is set up, and wait until it opens the gate.

    With a ``source``, the slot of a FIFO, the gate outlives the launcher: whoever writes a byte there opens it.
    """

    name: str = "start"
    source: str | None = None
    kind = "GATE"
    reason = "the containers of a pod are all created before one is started"

    def describe(self) -> str:
        return "wait at the gate"

    def fields(self, encoder: Encoder) -> Fields:
        return (encoder.slot(self.source),), (), ()


class Checkpoint(Gate):
    """A gate on the way, named after what the launcher does there: something to the process, before it goes on."""

    reason = "the launcher does something to the process meanwhile"

    def describe(self) -> str:
        return f"wait for the launcher: {self.name}"


class LoadFilter(Step):
    """seccomp(2) with a classic BPF program (8 bytes an instruction)."""

    program: bytes
    filter_flags: int = 0
    kind = "SECCOMP"
    reason = "fewer system calls, fewer ways into the kernel"

    def describe(self) -> str:
        return f"seccomp filter of {len(self.program) // 8} instructions"

    def fields(self, encoder: Encoder) -> Fields:
        return (), (encoder.data(self.program),), (len(self.program), self.filter_flags)


class LoadListenedFilter(LoadFilter):
    """The same with SECCOMP_FILTER_FLAG_NEW_LISTENER: what it refers to a supervisor arrives at the descriptor in ``listener``.

    The launcher takes it from the process at its gate, so this step stands before it. The filter must allow write(2), by which
    the process tells that it is there.
    """

    listener: str = "seccomp listener"

    def describe(self) -> str:
        return f"{super().describe()} -> {self.listener}"

    def fields(self, encoder: Encoder) -> Fields:
        _, strings, (size, flags) = super().fields(encoder)
        return (encoder.fill(self.listener),), strings, (size, flags | lib.SECCOMP_FILTER_FLAG_NEW_LISTENER)


class Exec(Step):
    """execve(2) of ``program``, or of what :class:`FindProgram` found; with ``file`` execveat(2) of the program in a slot."""

    argv: tuple[str, ...]
    env: tuple[str, ...] = ()
    program: str | None = None
    file: str | None = None
    kind = "EXEC"
    reason = "the stage becomes the program"

    def describe(self) -> str:
        return f"exec {' '.join(self.argv)}"

    def fields(self, encoder: Encoder) -> Fields:
        # A name without a slash is what FindProgram looked up; one with a slash needs no looking up.
        program = self.argv[0] if self.program is None and "/" in self.argv[0] else self.program
        strings = (encoder.text(program), encoder.texts(self.argv), encoder.texts(self.env))
        return (encoder.slot(self.file),), strings, (len(self.argv), len(self.env))
