"""A pod driven through its life: what the lifecycle machine wants is done, and what happens is told to it.

Nothing here blocks, and nothing is decided. Whoever has a loop polls :meth:`Driver.interests` for :meth:`Driver.wait_s` seconds
at most and calls :meth:`Driver.turn`; whoever has none calls :meth:`Driver.run`.
"""

from __future__ import annotations

import math
import select
import time

from pyrun.errors import ExecError, NotFound, PyrunError, SpecError, StateError, StepError, describe_error
from pyrun.kernel.poll import poll_ms
from pyrun.kernel.process import TRACER_LOOK_S
from pyrun.pod.lifecycle.action import (
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
from pyrun.pod.lifecycle.event import (
    ContainerExited,
    ContainerStarted,
    EphemeralAdded,
    HookFinished,
    ProbeAnswered,
    RestartAsked,
    SandboxReady,
    StartFailed,
    StopAsked,
    TimerFired,
)
from pyrun.pod.lifecycle.pod_life import PodLife
from pyrun.pod.lifecycle.probing import probe_of
from pyrun.pod.message import open_message, read_message
from pyrun.pod.task import begin_task
from pyrun.pod.usage import Usage, read_usage, tell_limits
from pyrun.spec.qos import has_storage_limits
from pyrun.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from typing import Any

    from pyrun.kernel.fd import Fd
    from pyrun.kernel.process import Process
    from pyrun.pod.container import PodContainer
    from pyrun.pod.lifecycle.action import Action
    from pyrun.pod.lifecycle.container_life import ContainerLife
    from pyrun.pod.lifecycle.event import Event, Hook
    from pyrun.pod.pod import Pod
    from pyrun.pod.storage import StorageWatch
    from pyrun.pod.task import Task
    from pyrun.spec.pod import Container


class Driver:
    """Drives *pod*, which was created by this process, from its start to its end; it does not remove it.

    *tell* hears of every event that Kubernetes would publish, with its time of CLOCK_MONOTONIC. ``life`` has the status.
    ``error`` is why a container could not be started at first, which ends the pod. ``usages`` is what the last run of each
    container has used. *tail_of* gives the end of a container's output, for terminationMessagePolicy FallbackToLogsOnError.

    *save*, if given, gets a JSON document whenever the machine has decided something, and before that is done: who keeps it can
    go on in another process (:meth:`resume`).
    """

    def __init__(
        self,
        pod: Pod,
        tell: Callable[[Publish, float], object] | None = None,
        tail_of: Callable[[str], bytes] | None = None,
        save: Callable[[dict[str, Any]], object] | None = None,
    ) -> None:
        self.pod = pod
        self._save = save
        self.life = PodLife(pod.spec)
        self.error: PyrunError | OSError | None = None
        self.usages: dict[str, Usage] = {}
        self._tell = tell
        self._timers: dict[str, float] = {}
        self._tasks: dict[tuple[str, str], Task] = {}
        self._running: dict[str, PodContainer] = {}
        self._messages: dict[str, Fd] = {}  # what containers write their termination messages into
        self._tail_of = tail_of
        self._events: list[tuple[Event, float | None]] = []  # and when it happened, if that was not just now
        self._busy = False
        self._storage: StorageWatch | None = None
        self._traced: list[Process] = []  # ended, and somebody who traces them has not waited for them yet

    @property
    def over(self) -> bool:
        """Whether nothing of the pod runs any more, and nothing will."""
        return self.life.over

    @property
    def running(self) -> list[str]:
        """The names of the containers that run."""
        return list(self._running)

    # ---- for a loop ----

    def begin(self) -> None:
        """Start what is to be started first; once. What cannot be started is told in ``error`` and the status, and raises
        nothing."""
        self._prepare()
        self._happens(SandboxReady())

    def _prepare(self) -> None:
        if has_storage_limits(self.pod.spec):
            self._storage = _watch_storage(self.pod)
        self.pod.when_removed("let go of what its driver has begun", self._let_go)

    @classmethod
    def resume(
        cls,
        pod: Pod,
        document: object,
        tell: Callable[[Publish, float], object] | None = None,
        tail_of: Callable[[str], bytes] | None = None,
        save: Callable[[dict[str, Any]], object] | None = None,
    ) -> Driver:
        """Go on where the driver was that has saved *document* last, with *pod* as :meth:`Pod.adopt` has found it: in place of
        :meth:`begin`. Who has ended meanwhile is told with its own time. Raises :class:`SpecError` for what is no document."""
        from pyrun.pod.resume import read

        saved = read(pod.spec, document)
        driver = cls(pod, tell, tail_of, save)
        driver.life, driver.usages = saved.life, saved.usages
        driver._timers = saved.timers
        driver._prepare()
        driver._take_up(saved.signals)
        return driver

    def _take_up(self, signals: Collection[Signal]) -> None:
        """Bring what was found and what is known together. Nothing is told to the machine before all of that is known."""
        lives = list(self.life.containers.values())
        found = {life.name: self._find_run(life) for life in lives}
        self._busy = True
        for life in lives:
            container = found[life.name]
            if life.alive and container is not None:
                self._take_up_run(life, container)
            elif life.stage in ("running", "stopping"):
                message = "the container was gone when its pod was taken up again"
                self._events.append((ContainerExited(life.name, 137, None, "ContainerStatusUnknown", message), None))
        missing = tuple([life.name for life in lives if life.stage == "starting" and found[life.name] is None])
        again: list[Action] = [StartContainers(missing)] if missing else []
        for life in lives:
            if life.name in self._running and self._running[life.name].status is None:
                again += _under_way(life, signals)
        self._busy = False
        self._settle(again)
        for name, container in list(self._running.items()):
            if container.status is not None:
                self._ended(name, container)
        if self.life.initialized_s is not None:
            for added in self.pod.spec.ephemeral_containers:
                self._happens(EphemeralAdded(added))

    def _find_run(self, life: ContainerLife) -> PodContainer | None:
        """Its present run, which may be over; None if there is none, or only that which the machine knows to be over."""
        container = self.pod.containers.get(life.name)
        if container is None or not container.has_run:
            return None
        last = life.ended or life.before
        is_new = last is None or container.started_s > last.finished_s
        return container if life.stage != "starting" or is_new else None

    def _take_up_run(self, life: ContainerLife, container: PodContainer) -> None:
        self._running[life.name] = container
        if container.status is None:
            file = open_message(life.spec, container.process, self.pod.sandbox.root, empty=False)
            if file is not None:
                self._messages[life.name] = file
            if self._storage is not None:
                self._storage.keep_root(life.name, container.process)
        if life.stage == "starting":
            self._events.append((ContainerStarted(life.name, container.process.pid), container.started_s))

    def interests(self) -> list[tuple[int, int]]:
        """What to poll for, as (descriptor, events)."""
        wanted = [(process.fileno(), select.POLLIN) for process in self._awaited() if process not in self._traced]
        for task in self._tasks.values():
            wanted += task.interests()
        monitor = self.pod.sandbox.monitor
        if monitor is not None and not self.life.ending:
            wanted.append((monitor.fileno(), select.POLLIN))
        return wanted

    def _awaited(self) -> list[Process]:
        pause = [] if self.over else [self.pod.sandbox.pause.process]
        return [process for each in self._running.values() for process in each.awaited] + pause

    def wait_s(self) -> float:
        """How long a loop may sleep if nothing happens; infinity for as long as it likes."""
        times = [*self._timers.values(), *[task.deadline_s for task in self._tasks.values()]]
        if self._storage is not None and not self.over:
            times.append(self._storage.due_s)
        if self._traced:
            times.append(time.monotonic() + TRACER_LOOK_S)
        return max(0.0, min(times) - time.monotonic()) if times else math.inf

    def turn(self, ready: Collection[int] = ()) -> None:
        """See to what has happened, *ready* being the descriptors that poll(2) has told of."""
        told = [process for process in self._awaited() if process.fileno() in ready]
        self._look_at_monitor()
        for name, container in list(self._running.items()):
            if container.poll() is not None:
                self._look_at_monitor()
                self._ended(name, container)
        for key, task in list(self._tasks.items()):
            answer = task.turn(ready, time.monotonic())
            # With a container that has just ended its probes fail and its hooks do, which says nothing about it.
            ended = answer is not None and self._running[key[0]].poll() is not None
            if answer is not None and not ended and self._tasks.pop(key, None) is not None:
                self._answered(*key, *answer)
        pause = self.pod.sandbox.pause.process
        if not self.over and pause.fileno() in ready and pause.poll() is not None:
            self.stop(0, "SandboxLost", "pause, which holds the pod's namespaces, has ended")
        now_s = time.monotonic()
        if self._storage is not None and not self.life.ending:
            excess = self._storage.look(now_s)
            if excess is not None:
                self._happens(excess)
        for timer in [timer for timer, at_s in self._timers.items() if at_s <= now_s]:
            if self._timers.pop(timer, None) is not None:  # one that fired before may have cancelled it
                self._happens(TimerFired(timer))
        self._traced = [process for process in told if not process.closed and process.status is None]

    def _look_at_monitor(self) -> None:
        """Before anything that its end has brought about is taken for something else: its children end with it."""
        monitor = self.pod.sandbox.monitor
        if monitor is not None and not self.life.ending and monitor.gone:
            self.stop(0, "MonitorLost", "the monitor, whose children the pod's processes are, has ended")

    def run(self, timeout_s: float | None = None) -> bool:
        """Until the pod is over: True; False when *timeout_s* seconds have run out first, and it may be run on."""
        end_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while not self.over:
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                return False
            self.turn(wait_for(self.interests(), min(left_s, self.wait_s())))
        return True

    # ---- what somebody wants ----

    def stop(self, grace_s: float | None = None, reason: str = "", message: str = "") -> None:
        """Let the pod end, within *grace_s* seconds (None: its own; 0 kills). Returns at once: it is over when ``over`` says so.
        See :class:`~pyrun.pod.lifecycle.event.StopAsked`."""
        self._happens(StopAsked(grace_s, reason, message))

    def signal(self, name: str, number: int) -> None:
        """Send a signal to the first process of a container. Raises :class:`NotFound`, :class:`StateError` unless it runs."""
        self._check_runs(name)
        self._running[name].process.signal(number)

    def restart(self, name: str, message: str = "somebody asked for it") -> None:
        """End a container and start it again, whatever its restart policy is and without a back-off; one that has ended is
        started. Raises :class:`NotFound`, and :class:`StateError` for one whose turn has not come or has passed."""
        life = self._find(name)
        state = "one that is never started again" if life.role in ("init", "ephemeral") else ""
        state = state or ("" if life.begun else "waiting for its turn")
        if state or self.life.ending:
            raise StateError(f"container {name}", state or "in a pod that is ending", "one that has started")
        self._happens(RestartAsked(name, message, always=True))

    def _find(self, name: str) -> ContainerLife:
        if name not in self.life.containers:
            raise NotFound(
                f"pod {self.pod.spec.metadata.name} has no container {name!r}; it has {', '.join(self.life.containers)}"
            )
        return self.life.containers[name]

    def _check_runs(self, name: str) -> None:
        life = self._find(name)
        if name not in self._running:
            raise StateError(f"container {name}", "waiting" if life.stage == "waiting" else "not running", "running")

    def add_ephemeral(self, container: Container) -> None:
        """Run an ephemeral container in the pod. Raises :class:`StateError` for a name that is taken, or a pod that ends."""
        if self.life.ending or container.name in self.life.containers:
            state = "ending" if self.life.ending else f"one with a container {container.name}"
            raise StateError(f"pod {self.pod.spec.metadata.name}", state, "a running one without")
        spec = self.pod.spec
        self.pod.change_spec(replace(spec, ephemeral_containers=(*spec.ephemeral_containers, container)))
        self._happens(EphemeralAdded(container))

    def resize(
        self, name: str, requests: Mapping[str, str] | None = None, limits: Mapping[str, str] | None = None
    ) -> None:
        """Give a container other resources, see :meth:`Pod.resize`; one whose ``resizePolicy`` wants that is restarted for it."""
        restart = self.pod.resize(name, requests, limits)
        self._publish(Publish("Normal", "ResizeCompleted", "resized", name))
        if restart and name in self._running:
            self._happens(RestartAsked(name, f"its {' and '.join(restart)} was resized"))

    # ---- telling the machine ----

    def _happens(self, event: Event, at_s: float | None = None) -> None:
        """Tell the machine, and do what it wants; what comes of that is told to it in turn."""
        self._events.append((event, at_s))
        if not self._busy:
            self._settle()

    def _settle(self, actions: Sequence[Action] = ()) -> None:
        """Do *actions*, and what the events that wait lead to. What fails keeps nothing else from being done; the first error is
        raised in the end."""
        errors: list[Exception] = []
        self._busy = True
        try:
            if actions:  # else nothing has been decided, and what happens has not been heard yet
                self._perform(actions, errors)
            while self._events:
                event, at_s = self._events.pop(0)
                self._perform(self.life.handle(event, at_s or time.monotonic()), errors)
        finally:
            self._busy = False
        self.pod.notify()
        if errors:
            raise errors[0]

    def _perform(self, actions: Sequence[Action], errors: list[Exception]) -> None:
        """Timers first, because they are part of what is saved before the rest is done."""
        others: list[Action] = []
        for action in actions:
            if isinstance(action, SetTimer | CancelTimer):
                _PERFORM[type(action)](self, action)
            else:
                others.append(action)
        signals = tuple([action for action in others if isinstance(action, Signal)])
        self._keep(signals)
        for action in others:
            try:
                _PERFORM[type(action)](self, action)
            except Exception as error:
                errors.append(error)
        if signals:
            self._keep(())

    def _keep(self, signals: tuple[Signal, ...]) -> None:
        if self._save is not None:
            from pyrun.pod.resume import Saved, write

            self._save(write(Saved(self.life, self._timers, signals, self.usages)))

    def _answered(self, name: str, what: str, ok: bool, message: str) -> None:
        if what in ("postStart", "preStop"):
            hook: Hook = "postStart" if what == "postStart" else "preStop"
            self._happens(HookFinished(name, hook, ok, f"{what} hook: {message}" if message else ""))
        else:
            self._happens(ProbeAnswered(name, what, ok, message))  # type: ignore[arg-type]

    def _ended(self, name: str, container: PodContainer) -> None:
        status = container.status
        assert status is not None
        del self._running[name]
        self._drop_tasks(name)
        usage = self.usages[name] = read_usage(container.cgroup)
        detail = tell_limits(usage, status)
        exit = status.exit
        message = self._take_message(name, exit.exit_code)
        event = ContainerExited(name, exit.exit_code, exit.signal, status.reason, message, detail)
        self._happens(event, container.process.finished_s)

    def _keep_message(self, name: str) -> None:
        """Open the file while the process waits at its gate: one that ends at once has no root any more."""
        process = self.pod.containers[name].process
        file = open_message(self.life.containers[name].spec, process, self.pod.sandbox.root)
        if file is not None:
            self._messages[name] = file

    def _take_message(self, name: str, exit_code: int) -> str:
        file = self._messages.pop(name, None)
        tail = self._tail_of(name) if self._tail_of is not None else b""
        try:
            return read_message(file, self.life.containers[name].spec, exit_code, tail)
        finally:
            if file is not None:
                file.close()

    def _let_go(self) -> None:
        """Of a pod that is removed before it is over."""
        for name in list(self._running):
            self._drop_tasks(name)
        while self._messages:
            self._messages.popitem()[1].close()

    def _drop_tasks(self, name: str) -> None:
        for key in [key for key in self._tasks if key[0] == name]:
            self._tasks.pop(key).cancel()

    # ---- doing what it wants ----

    def _start(self, action: StartContainers) -> None:
        names = action.names
        missing = [name for name in names if not self._is_created(name)]
        try:
            if missing:
                self.pod.create_containers(missing)
            for name in names:
                self._keep_message(name)
            self.pod.start_containers(names)
        except (PyrunError, OSError) as error:
            self._could_not_start(names, error)
            return
        for name in names:
            self._running[name] = self.pod.containers[name]
            if self._storage is not None:
                self._storage.keep_root(name, self._running[name].process)
            self._events.append((ContainerStarted(name, self._running[name].process.pid), None))

    def _is_created(self, name: str) -> bool:
        container = self.pod.containers.get(name)
        return container is not None and container.state == "created"

    def _could_not_start(self, names: tuple[str, ...], error: PyrunError | OSError) -> None:
        for name in names:
            if name in self._messages:
                self._messages.pop(name).close()
        lives = [self.life.containers[name] for name in names]
        if self.error is None and not any([life.restart_count or life.role == "ephemeral" for life in lives]):
            self.error = error
        about = getattr(error, "about", "").removeprefix("container ")
        guilty = about if about in names else names[0]
        reason = _reason(error)
        for name in names:
            message = describe_error(error) if name == guilty else f"not started, since {guilty} could not be"
            code = error.exit_code if isinstance(error, ExecError) and name == guilty else 128
            self._events.append((StartFailed(name, reason, message, code), None))

    def _signal(self, action: Signal) -> None:
        self.pod.containers[action.name].process.signal(action.number)

    def _kill(self, action: Kill) -> None:
        self.pod.containers[action.name].cgroup.kill()

    def _hook(self, action: RunHook) -> None:
        container = self.pod.containers[action.name]
        lifecycle = self.life.containers[action.name].spec.lifecycle
        handler = lifecycle.post_start if action.hook == "postStart" else lifecycle.pre_stop
        assert handler is not None
        task = begin_task(self.pod, container, handler, time.monotonic(), math.inf, action.hook)
        self._tasks[action.name, action.hook] = task

    def _probe(self, action: RunProbe) -> None:
        container = self.pod.containers[action.name]
        if container.poll() is not None:
            return  # it has just ended, which is told in the same turn: no probe of it has failed
        probe = probe_of(self.life.containers[action.name].spec, action.probe)
        assert probe is not None
        task = begin_task(self.pod, container, probe.action, time.monotonic(), probe.timeout_s, action.probe)
        self._tasks[action.name, action.probe] = task

    def _set_timer(self, action: SetTimer) -> None:
        self._timers[action.key] = action.at_s

    def _cancel_timer(self, action: CancelTimer) -> None:
        self._timers.pop(action.key, None)
        what, _, rest = action.key.partition("/")
        if what == "probe":
            name, _, kind = rest.partition("/")
            task = self._tasks.pop((name, kind), None)
            if task is not None:
                task.cancel()

    def _publish(self, action: Publish) -> None:
        if self._tell is not None:
            self._tell(action, time.monotonic())

    def _pod_over(self, _action: PodOver) -> None:
        self._timers.clear()


def _under_way(life: ContainerLife, signals: Collection[Signal]) -> list[Action]:
    """What is done again for a container that runs, if its driver was killed while it was being done."""
    again: list[Action] = [Kill(life.name)] if life.killed else []
    if life.hooking:
        again.append(RunHook(life.name, life.hooking))  # type: ignore[arg-type]
    again += [RunProbe(life.name, kind) for kind, probing in life.probings.items() if probing.waiting]
    return again + [signal for signal in signals if signal.name == life.name]


def _watch_storage(pod: Pod) -> StorageWatch:
    from pyrun.pod.storage import StorageWatch

    watch = StorageWatch(pod.spec, pod.paths, time.monotonic())
    pod.when_removed("close what measures its storage", watch.close)
    return watch


def wait_for(interests: Collection[tuple[int, int]], timeout_s: float) -> list[int]:
    """The descriptors that have what is wanted of them, after *timeout_s* at most."""
    poll = select.poll()
    for fd, events in interests:
        poll.register(fd, events)
    return [fd for fd, _events in poll.poll(poll_ms(timeout_s))]


def _reason(error: PyrunError | OSError) -> str:
    """Kubernetes' word for it."""
    if isinstance(error, ExecError):
        return "ContainerCannotRun"
    if isinstance(error, SpecError):
        return "CreateContainerConfigError"
    return "StartError" if isinstance(error, StepError) else "CreateContainerError"


_PERFORM: dict[type, Callable[[Driver, Any], None]] = {
    StartContainers: Driver._start,
    Signal: Driver._signal,
    Kill: Driver._kill,
    RunHook: Driver._hook,
    RunProbe: Driver._probe,
    SetTimer: Driver._set_timer,
    CancelTimer: Driver._cancel_timer,
    Publish: Driver._publish,
    PodOver: Driver._pod_over,
}
