"""The life of one pod: restart policies, init containers and sidecars, probes, hooks, grace periods, deadlines.

:meth:`PodLife.handle` takes an event and the time and answers with actions; nothing else happens here. The stages of a
container are in :mod:`~pyrun.pod.lifecycle.container_life`. A pod goes through three: it *comes up* (init containers in their
order, then the regular ones as one unit), it *lives*, and it *ends*: regular containers first, then sidecars in reverse order.
"""

from __future__ import annotations

from pyrun.pod.lifecycle.action import (
    Action,
    CancelTimer,
    Kill,
    PodOver,
    Publish,
    RunHook,
    RunProbe,
    SetTimer,
    Signal,
    StartContainers,
)
from pyrun.pod.lifecycle.container_life import ContainerLife
from pyrun.pod.lifecycle.event import (
    ContainerExited,
    ContainerStarted,
    EphemeralAdded,
    Event,
    HookFinished,
    ProbeAnswered,
    RestartAsked,
    SandboxReady,
    StartFailed,
    StopAsked,
    TimerFired,
)
from pyrun.pod.lifecycle.outcome import pod_status
from pyrun.pod.lifecycle.restart import after_exit, effective_policy, role_of
from pyrun.pod.lifecycle.status import Terminated, Waiting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from pyrun.pod.lifecycle.event import ProbeKind
    from pyrun.pod.lifecycle.probing import Probing
    from pyrun.pod.lifecycle.restart import Role
    from pyrun.pod.lifecycle.status import PodStatus
    from pyrun.spec.pod import Container, PodSpec

MIN_GRACE_S = (
    2.0  # what a container gets between its signal and the end in any case (kubelet, minimumGracePeriodInSeconds)
)
DEADLINE = "deadline"
AGAIN = "again"


class PodLife:
    """The lifecycle machine of one pod. Not thread-safe; one event after the other."""

    def __init__(self, spec: PodSpec) -> None:
        self.spec = spec
        self.containers: dict[str, ContainerLife] = {}
        for container in spec.init_containers:
            self._add(container, role_of(container, "init"))
        for container in spec.containers:
            self._add(container, "regular")
        self.began_s = 0.0
        self.initialized_s: float | None = None
        self.ready_s: float | None = None  # when readiness last changed
        self.was_ready = False
        self.ending = False
        self.over = False
        self.failed = False  # it ends for a reason of its own, whatever its containers exit with
        self.reason = ""
        self.message = ""
        self._restarting_all = False
        self._again_at_s = 0.0
        self._stop_by_s = 0.0
        self._actions: list[Action] = []

    def handle(self, event: Event, now_s: float) -> list[Action]:
        """What is to be done about *event*, in this order. Events about what is no more are nothing to it."""
        self._actions = []
        if not self.over:
            _HANDLERS[type(event)](self, event, now_s)
            self._note_readiness(now_s)
        return self._actions

    def status(self) -> PodStatus:
        """How the pod is."""
        return pod_status(self)

    def restarts(self) -> dict[str, int]:
        """How often each container was started again."""
        return {each.name: each.restart_count for each in self.containers.values()}

    def have_run(self) -> list[str]:
        """The containers whose last run began, in the order of the manifest."""
        return [
            each.name
            for each in self.containers.values()
            if each.ended is not None and each.ended.started_s is not None
        ]

    def of_role(self, *roles: Role) -> list[ContainerLife]:
        """The containers of these roles, in the order of the manifest."""
        return [each for each in self.containers.values() if each.role in roles]

    def _add(self, container: Container, role: Role) -> ContainerLife:
        life = ContainerLife(container, role, effective_policy(container, role, self.spec.restart_policy))
        self.containers[container.name] = life
        return life

    # ---- coming up ----

    def _sandbox_ready(self, _event: SandboxReady, now_s: float) -> None:
        self.began_s = now_s
        self._tell("Normal", "Scheduled", f"pod {self.spec.metadata.namespace}/{self.spec.metadata.name} is admitted")
        if self.spec.active_deadline_s is not None:
            self._do(SetTimer(DEADLINE, now_s + self.spec.active_deadline_s))
        self._advance(now_s)

    def _advance(self, now_s: float) -> None:
        """Start what is next, if it is time for it. Until the init containers are through there is one next at most."""
        if self.ending or self._restarting_all:
            return
        if self.initialized_s is not None:
            return
        for life in self.of_role("init", "sidecar"):
            if not life.through:
                if not life.begun:
                    self._start([life])
                return
        self.initialized_s = now_s
        self._start(self.of_role("regular"))
        for container in self.spec.ephemeral_containers:
            self._ephemeral_added(EphemeralAdded(container), now_s)

    def _start(self, lives: list[ContainerLife]) -> None:
        for life in lives:
            life.stage = "starting"
            life.begun = True
            if life.waiting_for.reason != "ContainerCreating":
                life.waiting_for = Waiting("ContainerCreating")
        self._do(StartContainers(tuple([life.name for life in lives])))

    def _container_started(self, event: ContainerStarted, now_s: float) -> None:
        life = self.containers[event.name]
        if life.stage != "starting":
            return
        life.begin_run(now_s)
        self._tell("Normal", "Started", "started", life)
        if self._restarting_all:
            self._kill(life)
        elif self.ending:
            self._stop(life, self._stop_by_s, now_s)
        elif life.spec.lifecycle.post_start is not None:
            life.hooking = "postStart"
            self._do(RunHook(life.name, "postStart"))
        else:
            self._begin_probing(life, now_s)

    def _begin_probing(self, life: ContainerLife, now_s: float) -> None:
        if "startup" in life.probings:
            self._schedule(life, life.probings["startup"], life.probings["startup"].first_at_s(life.started_s, now_s))
        else:
            self._is_up(life, now_s)

    def _is_up(self, life: ContainerLife, now_s: float) -> None:
        life.started = life.was_up = True
        for probing in life.probings.values():
            if probing.kind != "startup":
                self._schedule(life, probing, probing.first_at_s(life.started_s, now_s))
        self._advance(now_s)

    def _start_failed(self, event: StartFailed, now_s: float) -> None:
        """What has never run and cannot be started fails the pod: that is no crash but a mistake. A restart that fails counts as
        an exit."""
        life = self.containers[event.name]
        if life.stage != "starting":
            return
        first = life.before is None and life.ended is None
        life.end_run(Terminated(event.exit_code, event.reason, None, now_s, message=event.message))
        self._tell("Warning", "Failed", event.message, life)
        if not first or life.role == "ephemeral" or self.ending or self._restarting_all:
            self._after_end(life, event.exit_code, now_s, now_s)
            return
        life.stage = "done"
        self.failed = True
        self._end(now_s, self.spec.termination_grace_period_s, event.reason, event.message)
        self._look_for_end(now_s)

    # ---- hooks and probes ----

    def _hook_finished(self, event: HookFinished, now_s: float) -> None:
        life = self.containers[event.name]
        if life.hooking != event.hook:
            return
        life.hooking = ""
        if event.hook == "preStop":
            if not event.ok:
                self._tell("Warning", "FailedPreStopHook", event.message, life)
            self._ask_to_end(life, now_s)
        elif life.stage == "running":
            if event.ok:
                self._begin_probing(life, now_s)
            else:
                self._tell("Warning", "FailedPostStartHook", event.message, life)
                self._restart_running(life, "its postStart hook failed", None, now_s)

    def _probe_answered(self, event: ProbeAnswered, now_s: float) -> None:
        life = self.containers[event.name]
        probing = life.probings.get(event.probe)
        if probing is None or not probing.waiting:
            return
        probing.waiting = False
        if not event.ok:
            self._tell("Warning", "Unhealthy", f"{event.probe.capitalize()} probe failed: {event.message}", life)
        decided = probing.answer(event.ok)
        if event.probe == "startup" and decided and event.ok:
            self._is_up(life, now_s)
            return
        if event.probe != "readiness" and decided and not event.ok:
            why = f"its {event.probe} probe failed"
            self._restart_running(life, why, probing.probe.grace_period_s, now_s)
            return
        self._schedule(life, probing, probing.next_at_s(now_s))

    def _schedule(self, life: ContainerLife, probing: Probing, at_s: float) -> None:
        self._do(SetTimer(f"probe/{life.name}/{probing.kind}", at_s))

    def _probe(self, life: ContainerLife, kind: ProbeKind, now_s: float) -> None:
        probing = life.probings.get(kind)
        if probing is None or probing.waiting:
            return
        probing.asked_s = now_s
        probing.waiting = True
        self._do(RunProbe(life.name, kind))

    def _restart_running(
        self, life: ContainerLife, why: str, grace_s: float | None, now_s: float, *, always: bool = False
    ) -> None:
        """End a container that runs so that it is started again, unless it is never to be."""
        if life.stage != "running":
            return
        life.restart_anyway = always or life.policy != "Never"
        life.restart_at_once = always
        ahead = "will be restarted" if life.restart_anyway else "will be stopped"
        self._tell("Normal", "Killing", f"{why}, {ahead}", life)
        grace = self.spec.termination_grace_period_s if grace_s is None else grace_s
        self._stop(life, now_s + grace, now_s)

    def _restart_asked(self, event: RestartAsked, now_s: float) -> None:
        life = self.containers[event.name]
        self._restart_running(life, event.message, None, now_s, always=event.always)
        if not event.always or self.ending or self._restarting_all or life.role in ("init", "ephemeral"):
            return
        if life.stage == "stopping":
            life.restart_anyway = life.restart_at_once = True
        elif life.begun and life.stage in ("waiting", "done"):
            self._do(CancelTimer(f"restart/{life.name}"))
            self._start_again(life)

    # ---- one container's end ----

    def _stop(self, life: ContainerLife, deadline_s: float, now_s: float) -> None:
        """Let *life* end by *deadline_s*: preStop, its signal, and at the deadline SIGKILL."""
        life.stage = "stopping"
        life.stop_deadline_s = deadline_s
        for kind in ("startup", "liveness"):
            if kind in life.probings:
                self._do(CancelTimer(f"probe/{life.name}/{kind}"))
                life.probings[kind].waiting = False
        if deadline_s <= now_s:
            self._kill(life)
            return
        self._do(SetTimer(f"kill/{life.name}", deadline_s))
        if life.spec.lifecycle.pre_stop is not None:
            life.hooking = "preStop"
            self._do(RunHook(life.name, "preStop"))
        else:
            self._ask_to_end(life, now_s)

    def _ask_to_end(self, life: ContainerLife, now_s: float) -> None:
        """Signal it, if it is its turn."""
        if life.stage != "stopping" or life.signalled:
            return
        life.held = self.ending and life.role == "sidecar" and not self._is_turn_of(life) and now_s < self._stop_by_s
        if life.held:
            return
        life.signalled = True
        life.stop_deadline_s = max(life.stop_deadline_s, now_s + MIN_GRACE_S if self._late(life) else 0.0)
        self._do(Signal(life.name, life.stop_signal))
        self._do(SetTimer(f"kill/{life.name}", life.stop_deadline_s))

    def _late(self, life: ContainerLife) -> bool:
        """Whether a hook, or waiting for its turn, may have used up a container's time."""
        return life.spec.lifecycle.pre_stop is not None or life.role == "sidecar"

    def _is_turn_of(self, sidecar: ContainerLife) -> bool:
        """A sidecar ends when all that came after it has ended."""
        names = list(self.containers)
        after = names[names.index(sidecar.name) + 1 :]
        return not any([self.containers[name].alive for name in after if self.containers[name].role != "ephemeral"])

    def _time_is_up(self, life: ContainerLife, now_s: float) -> None:
        if life.stage != "stopping" or life.killed:
            return
        if life.signalled:
            self._kill(life)
            return
        # preStop, or those before it, took all the time: it still gets its signal.
        life.hooking = ""
        self._ask_to_end(life, now_s)

    def _kill(self, life: ContainerLife) -> None:
        if not life.killed:
            life.killed = True
            life.stage = "stopping"
            self._do(CancelTimer(f"kill/{life.name}"))
            self._do(Kill(life.name))

    def _container_exited(self, event: ContainerExited, now_s: float) -> None:
        life = self.containers[event.name]
        if life.stage not in ("starting", "running", "stopping"):
            return
        self._drop_timers(life)
        started_s = now_s if life.stage == "starting" else life.started_s
        life.end_run(
            Terminated(event.exit_code, event.reason, started_s, now_s, event.signal, event.message, event.detail)
        )
        self._after_end(life, event.exit_code, started_s, now_s)

    def _drop_timers(self, life: ContainerLife) -> None:
        keys = [f"probe/{life.name}/{kind}" for kind in life.probings]
        if life.stage == "stopping" and not life.killed:
            keys.append(f"kill/{life.name}")
        for key in keys:
            self._do(CancelTimer(key))

    def _after_end(self, life: ContainerLife, exit_code: int, started_s: float, now_s: float) -> None:
        anyway, life.restart_anyway = life.restart_anyway, False
        at_once, life.restart_at_once = life.restart_at_once, False
        life.stage = "done"
        if self._restarting_all:
            self._begin_again(now_s)
            return
        if self.ending:
            self._look_for_end(now_s)
            return
        if at_once:
            self._start_again(life)
            return
        verdict = after_exit(life.spec, life.policy, exit_code)
        if verdict == "restart all":
            self._restart_all(life, started_s, now_s)
        elif verdict == "restart" or anyway:
            self._restart(life, started_s, now_s)
        else:
            self._ended_for_good(life, now_s)

    def _restart(self, life: ContainerLife, started_s: float, now_s: float) -> None:
        at_s = life.backoff.restart_at_s(started_s, now_s)
        if at_s <= now_s:
            self._start_again(life)
            return
        life.stage = "waiting"
        text = f"back-off {at_s - now_s:g} s restarting failed container {life.name}"
        life.waiting_for = Waiting("CrashLoopBackOff", text)
        self._tell("Warning", "BackOff", text, life)
        self._do(SetTimer(f"restart/{life.name}", at_s))

    def _start_again(self, life: ContainerLife) -> None:
        life.restart_count += 1
        self._start([life])

    def _ended_for_good(self, life: ContainerLife, now_s: float) -> None:
        if life.role == "init":
            if life.succeeded:
                self._advance(now_s)
                return
            self.failed = True
            message = f"init container {life.name} failed"
            self._end(now_s, self.spec.termination_grace_period_s, "", message)
        elif life.role == "regular" and all([each.stage == "done" for each in self.of_role("regular")]):
            self._end(now_s, self.spec.termination_grace_period_s, "", "")
        self._look_for_end(now_s)

    # ---- all containers again ----

    def _restart_all(self, cause: ContainerLife, started_s: float, now_s: float) -> None:
        """The back-off is that of the container whose rule it is."""
        self._restarting_all = True
        self._again_at_s = cause.backoff.restart_at_s(started_s, now_s)
        self._tell("Normal", "RestartAllContainers", "its restart rule starts all containers again", cause)
        self._hurry([life for life in self.containers.values() if life.role != "ephemeral"])
        self._begin_again(now_s)

    def _begin_again(self, now_s: float) -> None:
        lives = [life for life in self.containers.values() if life.role != "ephemeral"]
        if any([life.alive for life in lives]):
            return
        if now_s < self._again_at_s:
            for life in lives:
                life.stage = "waiting"
                life.waiting_for = Waiting("CrashLoopBackOff", "back-off restarting all containers")
            self._do(SetTimer(AGAIN, self._again_at_s))
            return
        self._restarting_all = False
        self.initialized_s = None
        for life in lives:
            life.restart_count += life.ended is not None
            life.before, life.ended = life.ended or life.before, None
            life.stage = "waiting"
            life.waiting_for = Waiting("PodInitializing")
            life.begun = life.was_up = life.restart_anyway = life.restart_at_once = False
        self._advance(now_s)

    def _hurry(self, lives: Iterable[ContainerLife]) -> None:
        """Kill what runs; what waits is over; what is on its way is killed when it is there."""
        for life in lives:
            if life.stage in ("running", "stopping"):
                self._kill(life)
            elif life.stage == "waiting":
                self._do(CancelTimer(f"restart/{life.name}"))
                life.stage = "done"

    # ---- the pod's end ----

    def _stop_asked(self, event: StopAsked, now_s: float) -> None:
        grace_s = self.spec.termination_grace_period_s if event.grace_s is None else event.grace_s
        if event.reason and not self.reason:
            self.failed = True
            self._tell("Warning" if event.reason == "Evicted" else "Normal", event.reason, event.message)
        self._end(now_s, grace_s, event.reason, event.message)
        self._look_for_end(now_s)

    def _end(self, now_s: float, grace_s: float, reason: str, message: str) -> None:
        """Begin to end, or, where that is under way, have it done sooner."""
        self.reason = self.reason or reason
        self.message = self.message or message
        by_s = now_s + grace_s
        if self.ending and by_s >= self._stop_by_s:
            return
        first = not self.ending
        self.ending = True
        self._restarting_all = False
        self._stop_by_s = by_s
        self._do(CancelTimer(DEADLINE))
        self._do(CancelTimer(AGAIN))
        for life in self.containers.values():
            if life.stage == "waiting":
                self._do(CancelTimer(f"restart/{life.name}"))
                life.stage = "done"
            elif life.stage == "running":
                self._tell("Normal", "Killing", "stopping", life)
                self._stop(life, by_s, now_s)
            elif life.stage == "stopping" and not life.killed and (by_s < life.stop_deadline_s or first):
                self._shorten(life, min(by_s, life.stop_deadline_s), now_s)

    def _shorten(self, life: ContainerLife, deadline_s: float, now_s: float) -> None:
        life.stop_deadline_s = deadline_s
        if deadline_s <= now_s:
            self._kill(life)
        else:
            self._do(SetTimer(f"kill/{life.name}", deadline_s))

    def _look_for_end(self, now_s: float) -> None:
        """Let the sidecar go whose turn it is; when nothing is left, the pod is over."""
        if not self.ending:
            return
        for life in self.of_role("sidecar"):
            if life.held:
                self._ask_to_end(life, now_s)
        if not any([life.alive for life in self.containers.values()]):
            self.over = True
            self._do(PodOver())

    # ---- the rest ----

    def _ephemeral_added(self, event: EphemeralAdded, _now_s: float) -> None:
        if self.ending or event.container.name in self.containers:
            return
        self._start([self._add(event.container, "ephemeral")])

    def _timer_fired(self, event: TimerFired, now_s: float) -> None:
        if event.key == AGAIN:
            if self._restarting_all:
                self._begin_again(now_s)
            return
        if event.key == DEADLINE:
            message = (
                f"Pod was active on the node longer than the specified deadline of {self.spec.active_deadline_s} s"
            )
            grace_s = self.spec.termination_grace_period_s
            self._stop_asked(StopAsked(grace_s, "DeadlineExceeded", message), now_s)
            return
        what, name, *kind = event.key.split("/")
        life = self.containers[name]
        if what == "probe":
            self._probe(life, kind[0], now_s)  # type: ignore[arg-type]
        elif what == "kill":
            self._time_is_up(life, now_s)
        elif life.stage == "waiting" and life.begun and not self.ending:
            self._start_again(life)

    def _note_readiness(self, now_s: float) -> None:
        regular = self.of_role("regular", "sidecar")
        ready = self.initialized_s is not None and all(
            [life.ready or (life.stage == "done" and life.succeeded) for life in regular]
        )
        ready = ready and any([life.alive for life in regular]) and not self.over
        if ready is not self.was_ready:
            self.was_ready = ready
            self.ready_s = now_s

    def _tell(self, type: str, reason: str, message: str, life: ContainerLife | None = None) -> None:
        self._do(Publish(type, reason, message, life.name if life is not None else ""))  # type: ignore[arg-type]

    def _do(self, action: Action) -> None:
        self._actions.append(action)


_HANDLERS: dict[type, Callable[[PodLife, Any, float], None]] = {
    SandboxReady: PodLife._sandbox_ready,
    ContainerStarted: PodLife._container_started,
    StartFailed: PodLife._start_failed,
    ContainerExited: PodLife._container_exited,
    HookFinished: PodLife._hook_finished,
    ProbeAnswered: PodLife._probe_answered,
    TimerFired: PodLife._timer_fired,
    StopAsked: PodLife._stop_asked,
    RestartAsked: PodLife._restart_asked,
    EphemeralAdded: PodLife._ephemeral_added,
}
