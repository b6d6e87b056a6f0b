"""Undoing what was done so far, all of it, in reverse, whatever fails."""

from __future__ import annotations

from pyrun.errors import CleanupErrors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import TypeAlias

    Entry: TypeAlias = tuple[str, Callable[..., object], tuple[object, ...]]


class Undo:
    """A stack of described undo steps. As a context manager it runs them when the block fails, and keeps them when it does not.

    Unlike :class:`contextlib.ExitStack` it tells every failure, each with what could not be undone.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._steps: list[Entry] = []

    def push(self, description: str, call: Callable[..., object], *arguments: object) -> None:
        """``call(*arguments)`` undoes what has just been done; *description* says what that is, as in "remove cgroup x"."""
        self._steps.append((description, call, arguments))

    def run(self) -> None:
        """Undo everything. Steps that succeed are gone; those that fail stay for another try.

        Raises :class:`CleanupErrors` with each failure. An interrupt (Ctrl-C) is raised when all is undone; a second one at once,
        and then the rest stays for another try, too.
        """
        errors: list[Exception] = []
        failed: list[Entry] = []
        interrupt: BaseException | None = None
        try:
            while self._steps:
                entry = description, call, arguments = self._steps.pop()
                try:
                    call(*arguments)
                except Exception as error:
                    error.add_note(description)
                    errors.append(error)
                    failed.append(entry)
                except BaseException as error:
                    self._steps.append(entry)
                    if interrupt is not None:
                        raise
                    interrupt = error
        finally:
            self._steps += failed[::-1]
        if interrupt is not None:
            raise interrupt
        if errors:
            raise CleanupErrors(f"{self._what}: could not be undone", errors)

    def forget(self) -> None:
        """What was done is to stay."""
        self._steps.clear()

    def __enter__(self) -> Undo:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            return
        try:
            self.run()
        except CleanupErrors as more:
            error.add_note(str(more))
