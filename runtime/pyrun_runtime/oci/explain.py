"""An error as one line for callers, some of whom look for words of runc's and crun's in it.

podman takes "executable file not found in $PATH" for exit status 127 and "Permission denied" for 126, and "does not exist" for a
container that is gone; containerd looks for "container not running" and "does not exist".
"""

from __future__ import annotations

import errno
import os

from pyrun import ExecError, PyrunError, describe_error
from pyrun_runtime.cli.message import FAILED, CommandError, describe_foreign


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
    return describe_foreign(error), FAILED


def explain_exec(error: ExecError) -> str:
    if error.errno == errno.ENOENT and "/" not in error.program:
        return f"executable file {error.program!r} not found in $PATH: {os.strerror(errno.ENOENT)}"
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
        return f"exec {error.program!r}: {os.strerror(error.errno)}"
    return str(error)
