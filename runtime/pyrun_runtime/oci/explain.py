"""An error as one line for callers, some of whom look for words of runc's and crun's in it.

podman takes "executable file not found in $PATH" for exit status 127 and "Permission denied" for 126, and "does not exist" for a
container that is gone; containerd looks for "container not running" and "does not exist".
"""

from __future__ import annotations

import errno
import os

from pyrun import ExecError, PyrunError, describe_error
from pyrun_runtime.cli.message import FAILED, CommandError


class NotRunning(CommandError):
    """A container has no process that could do what is asked."""


class ProgramFailed(CommandError):
    """The program of ``exec`` could not be started; ``status`` is as a shell has it."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


def explain(error: Exception) -> tuple[str, int]:
    """One line about *error*, and the exit status it leads to."""
    if isinstance(error, CommandError):
        return str(error), error.status if isinstance(error, ProgramFailed) else FAILED
    if isinstance(error, ExecError):
        return explain_exec(error), FAILED
    if isinstance(error, PyrunError):
        return describe_error(error), FAILED
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename is not None else ""
        return f"{place}{error.strerror or error}", FAILED
    return f"unexpected {type(error).__name__}{_where(error)}: {error} (PYRUN_DEBUG=1 shows more)", FAILED


def explain_exec(error: ExecError) -> str:
    if error.errno == errno.ENOENT and "/" not in error.program:
        return f"executable file {error.program!r} not found in $PATH: {os.strerror(errno.ENOENT)}"
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
        return f"exec {error.program!r}: {os.strerror(error.errno)}"
    return str(error)


def _where(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f" at {os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"
