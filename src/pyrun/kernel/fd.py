"""One file descriptor with one owner."""

from __future__ import annotations

import os
from _warnings import warn

from pyrun.errors import KernelError, StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType


class Fd:
    """Owns a descriptor: it is close-on-exec, and closed when its owner says so.

    ``fileno()`` is the number, so an Fd goes wherever a file does. One that is forgotten is closed with a ResourceWarning: who
    drops the last reference may not be who knows that the descriptor is still needed. As a context manager it closes.
    """

    __slots__ = ("_number",)

    def __init__(self, number: int) -> None:
        self._number = -1  # what __del__ finds when the next line raises
        try:
            os.set_inheritable(number, False)
        except OSError as error:
            raise KernelError(error.errno or 0, "fcntl(2)", f"descriptor {number}") from None
        self._number = number

    @classmethod
    def adopt(cls, number: int) -> Fd:
        """Own a descriptor that was made close-on-exec (O_CLOEXEC and its kin): it is not asked to be so once more."""
        fd = cls.__new__(cls)
        fd._number = number
        return fd

    @classmethod
    def open(cls, path: str, flags: int = os.O_RDONLY, mode: int = 0o777, *, dir_fd: int | None = None) -> Fd:
        """open(2), close-on-exec. Raises :class:`KernelError`."""
        try:
            return cls.adopt(os.open(path, flags | os.O_CLOEXEC, mode, dir_fd=dir_fd))
        except OSError as error:
            raise KernelError(error.errno or 0, "open(2)", path) from None

    def __repr__(self) -> str:
        return f"<Fd {'closed' if self.closed else self._number}>"

    @property
    def closed(self) -> bool:
        return self._number < 0

    def fileno(self) -> int:
        """The descriptor's number. Raises :class:`StateError` once it is closed or detached."""
        if self._number < 0:
            raise StateError("descriptor", "closed", "open")
        return self._number

    def dup(self) -> Fd:
        """Another descriptor of the same open file."""
        try:
            return Fd.adopt(os.dup(self.fileno()))
        except OSError as error:
            raise KernelError(error.errno or 0, "fcntl(2)", f"descriptor {self._number}") from None

    def detach(self) -> int:
        """The number, which is from now on the caller's to close."""
        number, self._number = self.fileno(), -1
        return number

    def close(self) -> None:
        """Close it. Idempotent. An error is none of ours: on Linux the descriptor is gone in any case (close(2))."""
        number, self._number = self._number, -1
        if number >= 0:
            try:
                os.close(number)
            except OSError:
                pass

    def __enter__(self) -> Fd:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # The defaults keep what is needed alive while the interpreter takes its modules down.
    def __del__(self, _warn=warn, _category=ResourceWarning) -> None:  # type: ignore[no-untyped-def]
        if self._number >= 0:
            number = self._number
            self.close()
            _warn(f"descriptor {number} was not closed", _category, 2, source=self)
