"""What the command says: exit statuses, text on standard output, and messages of one line each on standard error."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

FAILED, BAD_INPUT, TIMED_OUT, INTERRUPTED, BROKEN_PIPE = 1, 2, 124, 130, 141


class CommandError(Exception):
    """Something that ends the command with a message; ``status`` is its exit status."""

    status = FAILED


class UsageError(CommandError):
    """The command line is wrong; the message says where."""

    status = BAD_INPUT


class InputError(CommandError):
    """A file that the command line names cannot be read."""

    status = BAD_INPUT


class naming:
    """An OSError that leaves the block and names nothing names *place*: "Too many open files" alone helps nobody.

    One about a pipe that nobody reads stays as it is, for it is no mistake (see main), and so does the library's, which names
    the call.
    """

    def __init__(self, place: str) -> None:
        self._place = place

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        known = isinstance(error, BrokenPipeError) or hasattr(error, "call")
        if isinstance(error, OSError) and error.filename is None and not known:
            error.filename = self._place


def show(text: str, end: str = "\n") -> None:
    """Lines on standard output, which may be closed."""
    with naming("standard output"):
        print(text, end=end)


def flush() -> None:
    """What a full disk does not take is an error here, and would be none at the end of the interpreter."""
    with naming("standard output"):
        if sys.stdout is not None:
            sys.stdout.flush()


def one_line(text: str) -> str:
    """*text* on one line, whatever file names and manifests have put into it."""
    return text if text.isprintable() else "".join([c if c.isprintable() else repr(c)[1:-1] for c in text])


def encode_message(text: str) -> bytes:
    """``pyrun: text`` as a line of bytes; a file name that is not UTF-8 comes out as it is."""
    return f"pyrun: {one_line(text)}\n".encode("utf-8", "backslashreplace")


def say(text: str) -> None:
    """A message on standard error."""
    try:
        os.write(2, encode_message(text))
    except OSError:
        pass  # nobody listens; the exit status still tells


def describe_foreign(error: Exception) -> str:
    """A line about an error that is none of pyrun's own: the system's, or one that nobody has thought of."""
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename is not None else ""
        return f"{place}{error.strerror or error}"
    return f"unexpected {type(error).__name__}{_where(error)}: {error} (PYRUN_DEBUG=1 shows more)"


def _where(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f" at {os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``"; did you mean '--trace'?"``, or nothing where nothing is near."""
    import difflib

    near = difflib.get_close_matches(word[:100], list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else ""
