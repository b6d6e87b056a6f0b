"""What a pod has of its monitor: where it lives, and the ends of its containers' streams."""

from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socketpair

from pyrun.container.process import CONSOLE, STDIO
from pyrun.errors import KernelError
from pyrun.kernel.fd import Fd
from pyrun.kernel.monitor import LogFile, Monitor
from pyrun.kernel.monitor_protocol import CONSOLE as CONSOLE_FD
from pyrun.kernel.monitor_protocol import STDERR, STDIN, STDOUT
from pyrun.pod.ends import Ends
from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyrun.spec.pod import Container

KEPT_RUNS = 2  # of each container, whose logs are kept: the last one, and the one before (kubectl logs --previous)


class MonitorPlace(Value):
    """Where a pod's monitor is to be found (``<directory>/monitor``, its exit records in ``<directory>/exits``), and where its
    containers' output goes: ``<logs>/<container>/<run>.log``, no more than *max_files* of about *max_bytes* for each run.

    Both directories must exist, and stay the caller's.
    """

    directory: str
    logs: str
    max_bytes: int = 10 * 1024 * 1024
    max_files: int = 5


class PodMonitor:
    """A pod's monitor, and where it writes."""

    def __init__(self, monitor: Monitor, place: MonitorPlace) -> None:
        self.monitor = monitor
        self._place = place

    def streams(self, container: Container, null: Fd) -> Ends:
        """Those of the container's next run, whose other ends the monitor has from now on."""
        log = self._next_log(container.name)
        if container.tty:
            ours, theirs = [Fd.adopt(each.detach()) for each in socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)]
            return self._hand_over(container, log, {CONSOLE: (theirs, ours)}, {CONSOLE_FD: ours}, {})
        pipes = {slot: _pipe(slot == "stdin") for slot in STDIO if slot != "stdin" or container.stdin}
        others = {kind: pipes[slot][1] for slot, kind in _KINDS.items() if slot in pipes}
        return self._hand_over(container, log, pipes, others, {} if container.stdin else {"stdin": null})

    def _hand_over(
        self,
        container: Container,
        log: LogFile,
        pairs: Mapping[str, tuple[Fd, Fd]],
        others: Mapping[int, Fd],
        more: Mapping[str, Fd],
    ) -> Ends:
        try:
            self.monitor.write_logs(container.name, log, others, container.stdin_once)
        except BaseException:
            for theirs, _ in pairs.values():
                theirs.close()
            raise
        finally:
            for _, ours in pairs.values():
                ours.close()
        mine = {slot: theirs for slot, (theirs, _) in pairs.items()}
        return Ends({**mine, **more}, tuple(mine.values()))

    def _next_log(self, name: str) -> LogFile:
        """After those that are there; of them only the newest stay."""
        directory = f"{self._place.logs}/{name}"
        try:
            os.makedirs(directory, 0o755, exist_ok=True)
            runs = log_runs(directory)
            for entry in os.listdir(directory):
                run = _run_of(entry)
                if run is not None and run not in runs[-KEPT_RUNS + 1 :]:
                    os.unlink(f"{directory}/{entry}")
        except OSError as error:
            raise KernelError(error.errno or 0, "mkdir(2)", directory) from None
        number = runs[-1] + 1 if runs else 0
        return LogFile(directory, number, self._place.max_bytes, self._place.max_files)


def log_runs(directory: str) -> list[int]:
    """The runs that there are logs of in a container's directory, in order; none where there is no directory."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    return sorted({run for name in names if (run := _run_of(name)) is not None})


def _run_of(name: str) -> int | None:
    run, dot, rest = name.partition(".log")
    return int(run) if dot and run.isdecimal() and run.isascii() and not rest.strip(".0123456789") else None


def _pipe(is_input: bool) -> tuple[Fd, Fd]:
    """The container's end, and the other."""
    reading, writing = [Fd.adopt(fd) for fd in os.pipe2(os.O_CLOEXEC)]
    return (reading, writing) if is_input else (writing, reading)


_KINDS = {"stdin": STDIN, "stdout": STDOUT, "stderr": STDERR}
