"""The last gate of a process, opened from another process than the one that created it: two FIFOs in a directory.

The child holds ``gate`` open for reading and writing, so that it waits there whoever comes and goes, and ``report`` for writing.
Both are close-on-exec, so the kernel itself tells where the process is: as long as ``gate`` has a reader it waits, and the end of
``report`` is the start of its program. Nothing has to be written down for that, so nothing written down can be wrong.
"""

from __future__ import annotations

import errno
import os
import select

from pyrun._core import lib
from pyrun.errors import KernelError, StateError
from pyrun.kernel.fd import Fd
from pyrun.kernel.report import REPORT
from pyrun.linux.call import convert

GATE = "gate"
REPORTS = "report"


class Door:
    """The FIFOs in *directory*, which nobody else may enter."""

    def __init__(self, directory: str) -> None:
        self._gate = f"{directory}/{GATE}"
        self._report = f"{directory}/{REPORTS}"

    def make(self) -> None:
        """Make the FIFOs, which must not exist."""
        for path in (self._gate, self._report):
            try:
                os.mkfifo(path, 0o600)
            except OSError as error:
                raise convert(error, "mkfifo(3)") from None

    def open_gate(self) -> Fd:
        """The child's end of the gate: for the slot that its :class:`~pyrun.kernel.step.Gate` names."""
        return Fd.open(self._gate, os.O_RDWR)

    def open_report(self) -> tuple[Fd, Fd]:
        """Both ends of the report, as :func:`~pyrun.kernel.spawn.create` takes them."""
        reading = self._open_reading()
        try:
            return reading, Fd.open(self._report, os.O_WRONLY)
        except BaseException:
            reading.close()
            raise

    def is_awaited(self) -> bool:
        """Whether a process waits behind the door."""
        gate = self._open_writing()
        if gate is None:
            return False
        gate.close()
        return True

    def open(self) -> int:
        """Let the process go on, and wait until its program runs. Returns 0, or the errno with which its last step failed.

        Raises :class:`StateError` if nobody waits.
        """
        gate = self._open_writing()
        if gate is None:
            raise StateError("the process", "past its gate", "at its gate")
        with gate, self._open_reading() as report:
            try:
                os.write(gate.fileno(), b"1")
            except BrokenPipeError:  # it has died since
                raise StateError("the process", "dead", "at its gate") from None
            result = _read_failure(report)
            _wait_closed(gate)
        return result

    def _open_writing(self) -> Fd | None:
        """None where nobody reads (fifo(7): ENXIO), or where there is no FIFO."""
        try:
            return Fd.open(self._gate, os.O_WRONLY | os.O_NONBLOCK)
        except KernelError as error:
            if error.errno not in (errno.ENXIO, errno.ENOENT):
                raise
            return None

    def _open_reading(self) -> Fd:
        """For waiting in read(2). Without O_NONBLOCK the open itself would wait for a writer."""
        report = Fd.open(self._report, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(report.fileno(), True)
        return report


def _read_failure(report: Fd) -> int:
    """The errno of a failure; 0 for the end of the file."""
    while data := os.read(report.fileno(), REPORT.size):
        kind, _, error = REPORT.unpack(data)
        if kind == lib.PLAN_REPORT_FAILED:
            return int(error)
    return 0


def _wait_closed(gate: Fd) -> None:
    """Until the gate has no reader: the exec closes the process's descriptors one after the other, and whoever looks at the door
    after us is not to find it half open."""
    poll = select.poll()
    poll.register(gate.fileno(), 0)  # POLLERR comes unasked
    poll.poll()
