"""What ``pyrun debug`` asks of the ``pyrun run`` of a pod."""

from __future__ import annotations

from pyrun import settle_security, with_ephemeral
from pyrun_runtime.cli.message import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from pyrun import Driver, SecurityPolicy

    class TakesContainers(Protocol):
        """Where the output of a pod's containers goes."""

        def add(self, name: str) -> None: ...


def debug_pod(driver: Driver, outputs: TakesContainers, policy: SecurityPolicy, document: object) -> None:
    """Start the ephemeral container in *document*. Raises :class:`SpecError`, :class:`StateError` and CommandError."""
    changed = settle_security(with_ephemeral(driver.pod.spec, document), policy)
    container = changed.ephemeral_containers[-1]
    outputs.add(container.name)
    driver.add_ephemeral(container)
    ended = driver.life.containers[container.name].ended
    if ended is not None and ended.started_s is None:  # it never ran
        raise CommandError(ended.message or ended.reason)
