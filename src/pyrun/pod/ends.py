"""The ends of a container's standard streams."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from pyrun.kernel.fd import Fd
    from pyrun.kernel.spawn import HasFileno


class Ends:
    """A container's ends of its standard streams, by the slots of its plan. *owned* are closed with it."""

    def __init__(self, slots: Mapping[str, HasFileno | int], owned: tuple[Fd, ...] = ()) -> None:
        self.slots = slots
        self._owned = owned

    def __enter__(self) -> Mapping[str, HasFileno | int]:
        return self.slots

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for fd in self._owned:
            fd.close()
