"""One container of a pod: its cgroup, its process, how it ended."""

from __future__ import annotations

import errno
import time

from pyrun.errors import KernelError, StateError
from pyrun.pod.status import ContainerStatus, exit_reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrun.errors import StepError
    from pyrun.kernel.cgroup import Cgroup
    from pyrun.kernel.process import ExitStatus, Process
    from pyrun.kernel.spawn import Created
    from pyrun.kernel.step import Step


class PodContainer:
    """A container that has been created. ``state`` is OCI's word: created, running or stopped."""

    def __init__(
        self, name: str, cgroup: Cgroup, setup: Created, steps: Sequence[Step], own_pid_namespace: bool
    ) -> None:
        self.name = name
        self.cgroup = cgroup
        self.steps = steps
        self.status: ContainerStatus | None = None
        self._setup = setup
        self._own_pid_namespace = own_pid_namespace
        self._started_s = 0.0

    @property
    def process(self) -> Process:
        """The container's first process; a selector can wait for it."""
        return self._setup.process

    @property
    def state(self) -> str:
        """``created``, ``running`` or ``stopped``."""
        if self.status is not None:
            return "stopped"
        return "running" if self._started_s else "created"

    @property
    def warnings(self) -> list[StepError]:
        """Optional steps that failed."""
        return self._setup.warnings

    @property
    def stamps(self) -> list[tuple[int, int]]:
        """When each step began and ended, once it runs."""
        return self._setup.stamps

    def wait_created(self) -> None:
        """Wait until the plan has reached the gate."""
        self._setup.wait_created()

    def open_gate(self) -> None:
        """Let the program start."""
        if self._started_s:
            raise StateError(f"container {self.name}", self.state, "created")
        self._started_s = time.monotonic()
        self._setup.open_gate()

    def wait_started(self) -> None:
        """Wait until the program runs."""
        self._setup.wait_started()

    def poll(self) -> ContainerStatus | None:
        """Reap the process if it has ended."""
        exit = self.process.poll() if self.status is None else None
        if exit is not None:
            self.status = self._finish(exit)
        return self.status

    def abandon(self) -> None:
        """Kill and reap the process, wherever it is; ``status`` says how it ended then, too. Idempotent."""
        self._setup.abandon()
        if self.status is None and self.process.status is not None:
            self.status = self._finish(self.process.status)

    def _finish(self, exit: ExitStatus) -> ContainerStatus:
        finished_s = time.monotonic()
        if not self._own_pid_namespace:
            # The end of a first process that is PID 1 of nothing does not end its children.
            self.cgroup.kill()
        oom_kills, peak_bytes = self._account()
        reason = exit_reason(exit, oom_kills)
        return ContainerStatus(self.name, exit, reason, self._started_s or finished_s, finished_s, peak_bytes)

    def _account(self) -> tuple[int, int | None]:
        """OOM kills, and the most memory in use. Nothing is known of a group that somebody has removed."""
        try:
            events = self.cgroup.read_memory_events()
            return events.oom_kill if events is not None else 0, self.cgroup.read_memory_peak_bytes()
        except KernelError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise
            return 0, None
