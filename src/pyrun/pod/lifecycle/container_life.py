"""What the machine knows of one container. Mutable; only :mod:`pyrun.pod.lifecycle.pod_life` changes it."""

from __future__ import annotations

from pyrun.pod.lifecycle.backoff import Backoff
from pyrun.pod.lifecycle.probing import PROBE_KINDS, Probing, probe_of
from pyrun.pod.lifecycle.status import Running, Terminated, Waiting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    from pyrun.pod.lifecycle.event import ProbeKind
    from pyrun.pod.lifecycle.restart import Role
    from pyrun.spec.pod import Container, RestartPolicy

    # waiting   not yet started, or to be started again     → starting, done
    # starting  StartContainers is on its way               → running, waiting, done
    # running   its program runs                            → stopping, waiting, done
    # stopping  it has been asked to end                    → waiting, done
    # done      it has ended, or never was, and stays so    (RestartAllContainers: → waiting)
    Stage: TypeAlias = Literal["waiting", "starting", "running", "stopping", "done"]

SIGTERM = 15


class ContainerLife:
    """One container, over all its runs.

    ``hooking`` is the hook that runs. ``held`` is a sidecar whose turn to end has not come. ``restart_anyway``: it was ended to
    be started again, whatever it exits with; ``restart_at_once``: somebody waits for that, so no back-off.
    """

    def __init__(self, spec: Container, role: Role, policy: RestartPolicy) -> None:
        self.spec = spec
        self.name = spec.name
        self.role = role
        self.policy = policy
        self.stage: Stage = "waiting"
        self.waiting_for = Waiting("PodInitializing" if role == "regular" else "ContainerCreating")
        self.restart_count = 0
        self.started_s = 0.0
        self.started = False
        self.begun = False  # since the pod came up, or all containers were restarted
        self.was_up = False  # likewise: has started, if only once
        self.ended: Terminated | None = None
        self.before: Terminated | None = None  # how the run before the one that is shown ended
        self.backoff = Backoff()
        self.probings: dict[ProbeKind, Probing] = {}
        self.hooking = ""
        self.held = False
        self.signalled = False
        self.killed = False
        self.restart_anyway = False
        self.restart_at_once = False
        self.stop_deadline_s = 0.0

    @property
    def alive(self) -> bool:
        """Whether something of it runs, or is about to."""
        return self.stage in ("starting", "running", "stopping")

    @property
    def through(self) -> bool:
        """Whether what comes after this init container or sidecar may start."""
        return self.was_up if self.role == "sidecar" else self.stage == "done"

    @property
    def succeeded(self) -> bool:
        """Whether its last run is over and went well."""
        return self.ended is not None and self.ended.exit_code == 0

    @property
    def ready(self) -> bool:
        """An init container is ready when it is through; any other when it has started and its readiness probe is content."""
        if self.role == "init":
            return self.stage == "done" and self.succeeded
        readiness = self.probings.get("readiness")
        good = readiness is None or readiness.good
        return self.role != "ephemeral" and self.stage in ("running", "stopping") and self.started and good

    @property
    def stop_signal(self) -> int:
        """The signal that asks it to end."""
        return self.spec.lifecycle.stop_signal or SIGTERM

    def begin_run(self, now_s: float) -> None:
        """Its program runs from now on."""
        self.stage = "running"
        self.started_s = now_s
        self.before = self.ended or self.before
        self.ended = None
        found = [(kind, probe_of(self.spec, kind)) for kind in PROBE_KINDS]
        self.probings = {kind: Probing(kind, probe) for kind, probe in found if probe is not None}

    def end_run(self, how: Terminated) -> None:
        """Its program has ended."""
        if self.ended is not None:
            self.before = self.ended
        self.ended = how
        self.started = self.held = self.signalled = self.killed = False
        self.hooking = ""
        self.probings = {}

    @property
    def shown(self) -> Waiting | Running | Terminated:
        """Its state, as Kubernetes shows it."""
        if self.stage in ("running", "stopping"):
            return Running(self.started_s)
        if self.stage == "done" and self.ended is not None:
            return self.ended
        return self.waiting_for

    @property
    def shown_before(self) -> Terminated | None:
        """``lastState``."""
        return self.before if self.shown is self.ended else self.ended or self.before
