"""Every error that pyrun raises, and nothing else.

::

    PyrunError
    ├── SpecError (ValueError)        bad input; .pointer is a JSON pointer into the document
    ├── StateError                    the object is not in the state that the call needs
    ├── NotFound (LookupError)
    ├── AlreadyExists
    ├── Unsupported                   this kernel or this machine lacks something; .needs says what
    ├── KernelError (OSError)         a system call failed; .call names it
    │   └── StepError                 a step of a plan failed in the child; .step and .index say which
    ├── ExecError                     the program cannot be run: 127 not found, 126 not executable
    └── CleanupErrors (ExceptionGroup) what could not be undone, each described

A message is one line: what was wanted, which file or field, the errno, and what to do about it where that is known.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType


class PyrunError(Exception):
    """Base of all errors of pyrun. ``about`` says what it is about where one call does many things: "container web"."""

    about: str = ""


def describe_error(error: BaseException) -> str:
    """The error in one line: what it is about, what is wrong, and what could not be undone after it."""
    about = getattr(error, "about", "")
    return ": ".join([part for part in (about, str(error), *getattr(error, "__notes__", ())) if part])


class About:
    """Says in an error of the block what it is about."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, PyrunError) and not error.about:
            error.about = self.what


class SpecError(PyrunError, ValueError):
    """The input is wrong at one place.

    ``pointer`` is the JSON pointer (RFC 6901) of that place, ``""`` for the document itself; ``source`` is the file's name
    or ``None``.
    """

    def __init__(self, pointer: str, message: str, source: str | None = None) -> None:
        super().__init__(pointer, message, source)
        self.pointer = pointer
        self.message = message
        self.source = source

    def __str__(self) -> str:
        return ": ".join([part for part in (self.source, self.pointer, self.message) if part])

    def located(self, source: str) -> SpecError:
        """The same error with the name of the file it was found in."""
        return SpecError(self.pointer, self.message, source)


class StateError(PyrunError):
    """*object* is in *state*, and the call needs *wanted*."""

    def __init__(self, object: str, state: str, wanted: str) -> None:
        super().__init__(object, state, wanted)
        self.object = object
        self.state = state
        self.wanted = wanted

    def __str__(self) -> str:
        return f"{self.object} is {self.state}, but must be {self.wanted}"


class NotFound(PyrunError, LookupError):
    """There is no such thing."""


class AlreadyExists(PyrunError):
    """A thing of this name exists already."""


class Unsupported(PyrunError):
    """*feature* is not available here; *needs* says what would make it so."""

    def __init__(self, feature: str, needs: str) -> None:
        super().__init__(feature, needs)
        self.feature = feature
        self.needs = needs

    def __str__(self) -> str:
        return f"{self.feature} is not available here: {self.needs}"


class KernelError(PyrunError, OSError):
    """A system call failed. ``call`` is its name as the manual has it, e.g. ``move_mount(2)``."""

    def __init__(self, errno: int, call: str, filename: str | None = None) -> None:
        super().__init__(errno, os.strerror(errno), filename)
        self.call = call

    def __str__(self) -> str:
        where = f" {self.filename!r}" if self.filename is not None else ""
        return f"{self.call}{where}: {self.strerror} ({errno_name(self.errno or 0)})"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.errno, self.call, self.filename)


class StepError(KernelError):
    """Step *index* of a plan failed in the child; ``step`` is the step itself, ``hint`` what to do about it."""

    def __init__(self, errno: int, step: object, index: int, hint: str = "") -> None:
        super().__init__(errno, type(step).__name__)
        self.step = step
        self.index = index
        self.hint = hint

    def __str__(self) -> str:
        describe = getattr(self.step, "describe", None)
        what = describe() if describe is not None else repr(self.step)
        text = f"step {self.index}, {what}: {self.strerror} ({errno_name(self.errno or 0)})"
        return f"{text}; {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.errno, self.step, self.index, self.hint)


class ExecError(PyrunError):
    """*program* cannot be executed. ``exit_code`` is the shell's: 127 not found, 126 found but not executable."""

    def __init__(self, program: str, errno: int, where: str = "") -> None:
        super().__init__(program, errno, where)
        self.program = program
        self.errno = errno
        self.where = where

    @property
    def exit_code(self) -> int:
        import errno

        return 127 if self.errno in (errno.ENOENT, errno.ENOTDIR) else 126

    def __str__(self) -> str:
        import errno

        if self.exit_code == 127:
            return f"{self.program!r}: command not found{self.where} ({errno_name(self.errno)})"
        if (
            self.errno == errno.ELIBACC
        ):  # csrc/executable.c: the kernel's ENOENT would read as if the program were missing
            return f"{self.program!r}: cannot be executed: the interpreter that it names is missing (ELIBACC)"
        return f"{self.program!r}: cannot be executed{self.where}: {os.strerror(self.errno)} ({errno_name(self.errno)})"


class CleanupErrors(PyrunError, ExceptionGroup[Exception]):
    """Several undo steps failed; all others were done all the same."""

    def __new__(cls, message: str, errors: Sequence[Exception]) -> CleanupErrors:
        return super().__new__(cls, message, errors)

    def derive(self, excs: Sequence[Exception]) -> CleanupErrors:  # type: ignore[override] # the stub's overloads cannot be met
        return CleanupErrors(self.message, excs)

    def __str__(self) -> str:
        return f"{self.message}: " + "; ".join([str(e) for e in self.exceptions])


def errno_name(number: int) -> str:
    """``ENOENT`` for 2; the bare number for one that the C library does not know."""
    import errno

    return errno.errorcode.get(number, str(number))
