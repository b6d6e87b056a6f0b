"""What other commands may ask of a pod that this process drives, by its verb. What is behind each is loaded when it is used."""

from __future__ import annotations

from pyrun_runtime.cli.message import UsageError
from pyrun_runtime.cli.report import pod_document
from pyrun_runtime.control import ACTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyrun import Driver, LimitPolicy, PodSpec, SecurityPolicy
    from pyrun_runtime.admission import Admission
    from pyrun_runtime.control import Handler, Later, Request
    from pyrun_runtime.debug import TakesContainers


def handlers(
    driver: Driver, outputs: TakesContainers, security: SecurityPolicy, admission: Admission, policy: LimitPolicy
) -> dict[str, Handler]:
    """For :class:`~pyrun_runtime.control.Control`."""

    def debug(request: Request) -> None:
        from pyrun_runtime.debug import debug_pod

        debug_pod(driver, outputs, security, request["container"])

    def resize(request: Request) -> None:
        from pyrun_runtime.resize import resize_pod

        name = request["container"] or _only_container(driver.pod.spec)
        resize_pod(driver, admission, policy.pids_max, name, request["requests"], request["limits"])

    def act(request: Request) -> Mapping[str, object] | Later | None:
        from pyrun_runtime.act import perform

        return perform(driver, request)

    acts: dict[str, Handler] = dict.fromkeys(ACTS, act)
    return {"debug": debug, "resize": resize, "status": lambda _request: pod_document(driver), **acts}


def explain(error: Exception) -> tuple[str, int]:
    """What is told of an error of theirs: the message and the exit status that it leads to."""
    from pyrun_runtime.cli.main import explain

    return explain(error)


def _only_container(pod: PodSpec) -> str:
    names = [container.name for container in pod.containers]
    if len(names) > 1:
        raise UsageError(f"pod {pod.metadata.name} has several containers: --container {' or '.join(names)}")
    return names[0]
