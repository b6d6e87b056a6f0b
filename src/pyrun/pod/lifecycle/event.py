"""What happens to a pod, as its lifecycle machine is told."""

from __future__ import annotations

from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    from pyrun.spec.pod import Container

    Hook: TypeAlias = Literal["postStart", "preStop"]
    ProbeKind: TypeAlias = Literal["startup", "liveness", "readiness"]


class SandboxReady(Value):
    """The sandbox is there: the pod begins. The first event."""


class ContainerStarted(Value):
    """The container's program runs. ``pid`` is for display."""

    name: str
    pid: int = 0


class StartFailed(Value):
    """The container could not be started; ``reason`` is StartError, ContainerCannotRun, CreateContainerConfigError or
    CreateContainerError; ``exit_code`` as a shell has it: 127 not found, 126 not executable, else 128."""

    name: str
    reason: str
    message: str
    exit_code: int = 128


class ContainerExited(Value):
    """The container's program has ended. ``reason`` is Completed, Error or OOMKilled; ``message`` its termination message;
    ``signal`` None unless one ended it. ``detail`` is what Kubernetes does not tell: which limit was hit, who was killed."""

    name: str
    exit_code: int
    signal: int | None = None
    reason: str = "Completed"
    message: str = ""
    detail: str = ""


class HookFinished(Value):
    """A hook has ended, well or not."""

    name: str
    hook: Hook
    ok: bool
    message: str = ""


class ProbeAnswered(Value):
    """A probe has been answered, or has failed to be within its time."""

    name: str
    probe: ProbeKind
    ok: bool
    message: str = ""


class TimerFired(Value):
    """The time of a timer has come. ``key`` is that of :class:`~pyrun.pod.lifecycle.action.SetTimer`."""

    key: str


class StopAsked(Value):
    """Somebody wants the pod to end. ``grace_s`` None is the pod's own; 0 kills at once. Asked again, the shorter time counts.

    ``reason`` (such as Evicted or DeadlineExceeded) makes the pod's phase Failed; empty: asked by the user.
    """

    grace_s: float | None = None
    reason: str = ""
    message: str = ""


class RestartAsked(Value):
    """A container that runs is to be ended, within the pod's grace period, and started again; ``message`` is why.

    ``always``: whatever its restart policy is, without a back-off, and also if it has ended already.
    """

    name: str
    message: str
    always: bool = False


class EphemeralAdded(Value):
    """An ephemeral container is to run in the pod."""

    container: Container


Event = (
    SandboxReady
    | ContainerStarted
    | StartFailed
    | ContainerExited
    | HookFinished
    | ProbeAnswered
    | TimerFired
    | StopAsked
    | RestartAsked
    | EphemeralAdded
)
