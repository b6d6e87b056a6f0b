"""Another program in a container that runs: the steps that put it beside the first one. Pure."""

from __future__ import annotations

from pyrun.container.plan import Setting
from pyrun.container.process import (
    become,
    before_namespaces,
    exec_affinity,
    memory_and_personality,
    new_session,
    new_terminal,
    own_pipes,
    run_program,
    security_labels,
)
from pyrun.container.root_plan import ROOT
from pyrun.kernel.step import BecomeNamespaceRoot, EnterPidNamespace, JoinNamespaces, JoinUserNamespace, OpenDirectory
from pyrun.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrun.kernel.step import Plan, Step
    from pyrun.spec.oci import OciProcess, OciSpec

CONTAINER = "container"


def exec_process(
    process: OciProcess, argv: Sequence[str], env: Sequence[str] | None = None, cwd: str | None = None
) -> OciProcess:
    """*process* of a container, running *argv* instead: what is not said is as for the first program."""
    return replace(
        process,
        args=tuple(argv),
        env=process.env if env is None else tuple(env),
        cwd=process.cwd if cwd is None else cwd,
    )


def plan_exec(
    spec: OciSpec, process: OciProcess, kinds: Sequence[str], death_signal: int = 0, setting: Setting | None = None
) -> Plan:
    """The steps that run *process* in the container of *spec*, whose first process is behind the slot ``container``.

    *kinds* are the namespaces to join; the cgroup is for spawn, and so is the PID namespace if it is not among them. The program
    has what the container's has: capabilities, user, filter, no new privileges. Of *setting* what concerns a process counts.
    """
    setting = setting or Setting(joined=tuple(kinds), death_signal=death_signal, gated=False)
    terminal = [new_terminal(process, "/dev/pts/ptmx", ROOT)] if process.terminal and setting.console else []
    pipes = [] if terminal else own_pipes(process, spec.linux.uid_mappings, setting)
    first, last = exec_affinity(process)
    return (
        *first,
        *before_namespaces(process),
        *pipes,
        *memory_and_personality(spec.linux),
        *security_labels(process),
        *join_container(kinds),
        *([EnterPidNamespace()] if "pid" in kinds else []),
        *new_session(setting),
        OpenDirectory("/", ROOT),
        *terminal,
        *last,
        *become(process, setting, filtered=spec.linux.seccomp is not None),
        *run_program(spec.linux.seccomp, process, setting),
    )


def join_container(kinds: Sequence[str]) -> list[Step]:
    """The steps that join *kinds* of the process behind the slot ``container``.

    What does not belong to its user namespace cannot be joined from inside that, so the others come first. The mount namespace
    comes in one call with it: from inside, a process that is not dumpable, such as one that waits to be started, is out of reach.
    """
    if "user" not in kinds:
        return [JoinNamespaces(CONTAINER, tuple(kinds))] if kinds else []
    first = tuple([kind for kind in kinds if kind not in ("user", "mount")])
    last = tuple([kind for kind in ("user", "mount") if kind in kinds])
    steps: list[Step] = [JoinNamespaces(CONTAINER, first)] if first else []
    return [*steps, JoinUserNamespace(CONTAINER, last), BecomeNamespaceRoot()]
