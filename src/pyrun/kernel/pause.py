"""The pause process: the first of a pod, which holds its namespaces."""

from __future__ import annotations

import os

from pyrun.errors import StateError
from pyrun.kernel.fd import Fd
from pyrun.kernel.program import program_fd
from pyrun.kernel.spawn import create
from pyrun.kernel.step import Duplicate, Exec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from pyrun.errors import StepError
    from pyrun.kernel.process import Process
    from pyrun.kernel.spawn import Created, HasFileno
    from pyrun.kernel.step import Step

READY_FD = 3


class PauseProcess:
    """Runs the static ``pyrun-pause`` at the end of a plan that makes the namespaces.

    ``process`` is the child; its pidfd is what others join the namespaces by.
    """

    def __init__(self, process: Process, setup: Created) -> None:
        self.process = process
        self._setup = setup

    @property
    def warnings(self) -> list[StepError]:
        """Optional steps that failed."""
        return self._setup.warnings

    @property
    def stamps(self) -> list[tuple[int, int]]:
        """When each step began and ended; see :func:`pyrun.kernel.encode.decode_stamps`."""
        return self._setup.stamps

    def fileno(self) -> int:
        return self.process.fileno()

    @classmethod
    def start(
        cls,
        plan: Sequence[Step],
        *,
        namespaces: Collection[str] = (),
        cgroup: HasFileno | None = None,
        fds: Mapping[str, HasFileno | int] | None = None,
    ) -> PauseProcess:
        """Run *plan*, then pause, and return when pause has said that it is ready.

        The plan's slots ``program`` and ``ready`` are filled here; it must not end in an exec of its own.
        """
        ready, child_ready = [Fd(fd) for fd in os.pipe2(os.O_CLOEXEC)]
        with ready:
            with child_ready:
                given = {**(fds or {}), "program": program_fd("pyrun-pause"), "ready": child_ready}
                setup = create((*plan, *PAUSE_STEPS), namespaces=namespaces, cgroup=cgroup, fds=given)
            with setup:
                process = setup.wait_started()
            try:
                _wait_ready(process, ready)
            except BaseException:
                process.end()
                raise
        return cls(process, setup)

    def end(self) -> None:
        """Kill and reap it, close. Idempotent."""
        self.process.end()


PAUSE_STEPS = (Duplicate("ready", READY_FD), Exec(("pause", str(READY_FD)), file="program"))


def _wait_ready(process: Process, ready: Fd) -> None:
    if os.read(ready.fileno(), 1):
        return
    status = process.wait_status()
    raise StateError("pause", f"over ({status.describe()})", "ready")
