"""What the lifecycle machine wants done. Whoever drives it does all of them, in their order."""

from __future__ import annotations

from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    from pyrun.pod.lifecycle.event import Hook, ProbeKind

    EventType: TypeAlias = Literal["Normal", "Warning"]


class StartContainers(Value):
    """Create all of these, and when all are created start them, as one unit. Answered per container with ContainerStarted or
    StartFailed; if one of several cannot be created, none starts, and each is answered with StartFailed."""

    names: tuple[str, ...]


class Signal(Value):
    """Send a signal to the container's first process."""

    name: str
    number: int


class Kill(Value):
    """End every process of the container, at once."""

    name: str


class RunHook(Value):
    """Run a hook. Answered with HookFinished; ends by itself when the container does."""

    name: str
    hook: Hook


class RunProbe(Value):
    """Probe once, within the probe's time. Answered with ProbeAnswered, unless the container ends before."""

    name: str
    probe: ProbeKind


class SetTimer(Value):
    """Answer with TimerFired at ``at_s``, on the clock of ``handle()``'s *now*. A timer of the same key is replaced."""

    key: str
    at_s: float


class CancelTimer(Value):
    """The timer is not wanted any more; nothing if there is none."""

    key: str


class Publish(Value):
    """Tell the world, as a Kubernetes Event does. ``type`` is Normal or Warning, ``reason`` one word such as Started, ``message``
    a sentence. ``container`` is empty for the pod itself."""

    type: EventType
    reason: str
    message: str
    container: str = ""


class PodOver(Value):
    """Nothing of the pod runs any more, and nothing will: remove it. The last action."""


Action = StartContainers | Signal | Kill | RunHook | RunProbe | SetTimer | CancelTimer | Publish | PodOver
