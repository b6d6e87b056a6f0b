"""Going on in the background: a child in a session of its own, whose parent waits for what it has to say and ends.

What it says goes through a pipe: a JSON object in one line, once.
"""

from __future__ import annotations

import os

from pyrun import Fd
from pyrun_runtime.cli.message import FAILED, INTERRUPTED, CommandError, naming, say
from pyrun_runtime.control import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signals
    from collections.abc import Callable, Mapping
    from typing import Any, TypeAlias

    Report: TypeAlias = Mapping[str, Any]
    Work: TypeAlias = Callable[["Teller"], int]
else:
    import _signal as signals  # the built-in part: the module signal makes enums, which costs some milliseconds

READ_BYTES = 65536


class Teller:
    """The child's end."""

    def __init__(self, fd: Fd) -> None:
        self._fd = fd

    @property
    def told(self) -> bool:
        return self._fd.closed

    def tell(self, report: Report) -> None:
        """The first word is the last; who does not listen any more misses it."""
        import json

        if self.told:
            return
        try:
            os.write(self._fd.fileno(), json.dumps(dict(report)).encode() + b"\n")
        except OSError:
            pass
        self._fd.close()


class Background:
    """*work* in a child. Ctrl-C and SIGTERM while :meth:`wait` waits are handed on to it."""

    def __init__(self, work: Work) -> None:
        with naming("a pipe to the supervisor"):
            reading, writing = [Fd.adopt(fd) for fd in os.pipe2(os.O_CLOEXEC)]
        with naming("fork(2)"):
            # No exec follows: the child goes on with what was read and loaded, and there are no threads.
            self.pid = os.fork()  # noqa: TID251
        if self.pid == 0:
            reading.close()
            _go_on(work, Teller(writing))
        writing.close()
        self._reading = reading

    def wait(self) -> Report:
        """What it says. Raises :class:`Refused` for an error, and CommandError for a child that ends without a word."""
        import json

        old = {number: signals.signal(number, _interrupt) for number in (signals.SIGINT, signals.SIGTERM)}
        try:
            line = self._read()
        finally:
            for number, handler in old.items():
                signals.signal(number, handler)
            self._reading.close()
        if not line.endswith(b"\n"):
            status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            how = f"was killed by signal {-status}" if status < 0 else "was stopped"
            raise CommandError(f"the supervisor {how} before the pod ran")
        report = dict(json.loads(line))
        if "error" in report:
            raise Refused(report["error"], report["status"])
        return report

    def _read(self) -> bytes:
        interrupted = False
        line = b""
        while not line.endswith(b"\n"):
            try:
                data = os.read(self._reading.fileno(), READ_BYTES)
            except KeyboardInterrupt:
                # Our child, not waited for yet: its pid is its own.
                os.kill(self.pid, signals.SIGQUIT if interrupted else signals.SIGTERM)  # noqa: TID251
                interrupted = True
                continue
            if not data:
                break
            line += data
        if interrupted:
            raise KeyboardInterrupt
        return line


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _go_on(work: Work, teller: Teller) -> None:
    """Does not return."""
    status = FAILED
    try:
        os.setsid()
        status = work(teller)
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BaseException as error:
        status = _explain(error, teller)
    finally:
        os._exit(status)


def _explain(error: BaseException, teller: Teller) -> int:
    from pyrun_runtime.cli.main import explain

    if not isinstance(error, Exception):
        return FAILED
    text, status = explain(error)
    if teller.told:
        say(text)  # into its log
    teller.tell({"error": text, "status": status})
    return status
