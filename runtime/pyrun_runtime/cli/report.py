"""How a pod ended: the closing table and the exit status of ``pyrun run``. Pure."""

from __future__ import annotations

from pyrun import signal_name
from pyrun_runtime.cli.message import FAILED, TIMED_OUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pyrun import ContainerStatus

HEADER = ("CONTAINER", "EXIT", "REASON", "RUN TIME")


def exit_status(statuses: Sequence[ContainerStatus], timed_out: Collection[str]) -> int:
    """124 if the time was over, as timeout(1); the status of a single container, 128 and the signal if one killed it; else 0 if
    all exited 0, or 1."""
    if timed_out:
        return TIMED_OUT
    codes = [status.exit.exit_code for status in statuses]
    if len(codes) == 1:
        return codes[0]
    return FAILED if any(codes) else 0


def closing_table(statuses: Sequence[ContainerStatus], timed_out: Collection[str]) -> str:
    """A line per container, under a header, in columns."""
    rows = [HEADER] + [
        (
            status.name,
            str(status.exit.exit_code),
            reason(status, status.name in timed_out),
            format_duration(status.run_time_s),
        )
        for status in statuses
    ]
    widths = [max([len(row[column]) for row in rows]) for column in range(len(HEADER))]
    lines = [
        f"{name:{widths[0]}}  {code:>{widths[1]}}  {why:{widths[2]}}  {run_time:>{widths[3]}}"
        for name, code, why, run_time in rows
    ]
    return "\n".join(lines) + "\n"


def reason(status: ContainerStatus, timed_out: bool = False) -> str:
    """``Completed``, ``Error``, ``OOMKilled``, ``Timeout``, or the signal that ended it."""
    if timed_out:
        return "Timeout"
    if status.exit.signal is None or status.reason == "OOMKilled":
        return status.reason
    return signal_name(status.exit.signal) + (" (core dumped)" if status.exit.core_dumped else "")


def format_duration(seconds: float) -> str:
    """``0.042 s``, ``12.3 s``, ``2 min 05 s``, ``1 h 02 min``: three digits or so, whatever the size."""
    if seconds < 10:
        return f"{seconds:.3f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, whole_s = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {whole_s:02} s"
    return "{} h {:02} min".format(*divmod(round(seconds / 60), 60))
