"""What other commands ask of a pod that this process drives: stop, kill, restart, wait, and the way into a container.

Each is answered when it is done.
"""

from __future__ import annotations

from pyrun import NotFound, StateError, entry_document
from pyrun_runtime.cli.message import CommandError
from pyrun_runtime.control import Later

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pyrun import Driver
    from pyrun_runtime.control import Answer, Request

SIGKILL = 9
DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


def perform(driver: Driver, request: Request) -> Answer | Later | None:
    """Do what *request* says. Raises what :class:`pyrun.Driver` raises."""
    return _ACTS[request["verb"]](driver, request)


def outcome(driver: Driver) -> Mapping[str, object]:
    """How the regular containers of a pod that is over have ended."""
    statuses = [
        (name, driver.pod.containers[name].status)
        for name in [each.name for each in driver.pod.spec.containers]
        if name in driver.pod.containers
    ]
    codes = {name: status.exit.exit_code for name, status in statuses if status is not None}
    return {"phase": driver.life.status().phase, "exitCodes": codes}


def _stop(driver: Driver, request: Request) -> Later:
    """Until the pod is removed."""
    driver.stop(request.get("grace"))
    return Later(lambda: None, lambda: outcome(driver))


def _kill(driver: Driver, request: Request) -> Later | None:
    """SIGKILL until each has ended; another signal may mean anything, so it is only sent."""
    number, name = request["signal"], request.get("container")
    names = [name] if name else driver.running
    runs = []
    for each in names:
        driver.signal(each, number)
        runs.append(driver.pod.containers[each])
    if number != SIGKILL:
        return None
    return Later(lambda: {} if all([run.status is not None for run in runs]) else None, dict)


def _restart(driver: Driver, request: Request) -> Later:
    """Until each runs anew."""
    lives, name = driver.life.containers, request.get("container")
    wanted = [name] if name else [each.name for each in driver.life.of_role("regular", "sidecar") if each.begun]
    before = {each: lives[each].restart_count for each in wanted if each in lives}
    for each in wanted:
        driver.restart(each)

    def look() -> Answer | None:
        done = [lives[each].restart_count > before[each] and lives[each].stage != "starting" for each in wanted]
        failed = [each for each in wanted if lives[each].restart_count > before[each] and not lives[each].alive]
        for each in failed:
            ended = lives[each].ended
            if ended is not None and ended.started_s is None:
                raise CommandError(f"container {each} could not be started again: {ended.message or ended.reason}")
        return {} if all(done) else None

    def at_end() -> Answer:
        raise CommandError(f"pod {driver.pod.spec.metadata.name} has ended meanwhile")

    return Later(look, at_end)


def _wait(driver: Driver, request: Request) -> Later:
    wanted, value = request["for"], request.get("value", "")

    def reached() -> bool:
        if wanted == "phase":
            return bool(driver.life.status().phase == value)
        return driver.life.was_ready and not driver.over

    def at_end() -> Answer:
        found = outcome(driver)
        if wanted == "exit" or (wanted == "phase" and found["phase"] == value):
            return found
        name = driver.pod.spec.metadata.name
        raise CommandError(f"pod {name} is over, and its phase is {found['phase']}")

    return Later(lambda: outcome(driver) if wanted != "exit" and reached() else None, at_end)


def _enter(driver: Driver, request: Request) -> Answer:
    """How to get into a container, and which that is where nobody said."""
    spec = driver.pod.spec
    every = [each.name for each in spec.containers]
    default = dict(spec.metadata.annotations).get(DEFAULT_CONTAINER, "")
    name = request.get("container") or (default if default in driver.life.containers else every[0])
    if name not in driver.life.containers:
        raise NotFound(
            f"pod {spec.metadata.name} has no container {name!r}; it has {', '.join(driver.life.containers)}"
        )
    if name not in driver.running:
        raise StateError(f"container {name}", "not running", "running")
    pause = driver.pod.sandbox.pause.process.pid
    return {"entry": entry_document(driver.pod.containers[name]), "containers": every, "pause": pause}


_ACTS: dict[str, Callable[[Driver, Request], Answer | Later | None]] = {
    "stop": _stop,
    "kill": _kill,
    "restart": _restart,
    "wait": _wait,
    "enter": _enter,
}
