"""What is observed of a container, as a value."""

from __future__ import annotations

from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.kernel.process import ExitStatus


class ContainerStatus(Value):
    """How a container ended. ``reason`` is Kubernetes' word: Completed, Error or OOMKilled.

    Times are of CLOCK_MONOTONIC, in seconds. ``memory_peak_bytes`` is the cgroup's where it has a memory controller, else None.
    """

    name: str
    exit: ExitStatus
    reason: str
    started_s: float
    finished_s: float
    memory_peak_bytes: int | None = None

    @property
    def run_time_s(self) -> float:
        """From the exec to the end."""
        return self.finished_s - self.started_s


def exit_reason(exit: ExitStatus, oom_kills: int) -> str:
    """OOMKilled only if the cgroup's ``oom_kill`` rose *and* the process ended by SIGKILL: one without the other is a
    coincidence."""
    if exit.signal == 9 and oom_kills > 0:
        return "OOMKilled"
    return "Completed" if exit.code == 0 else "Error"
