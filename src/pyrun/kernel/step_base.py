"""What every step is: a value that describes itself and encodes itself for the C side (csrc/plan.h).

A step names descriptors by *slot*: a name that the caller gives a descriptor for, or that an earlier step fills. ``at`` is
the slot of a directory below which ``path`` is resolved by the kernel with ``RESOLVE_IN_ROOT``; without it the path is
the child's own.

``reason`` says why the step is there at all; why it stands where it stands is in :mod:`pyrun.kernel.order`.
"""

from __future__ import annotations

from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from pyrun.kernel.encode import Encoder

    Fields: TypeAlias = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def below(at: str | None, path: str) -> str:
    return path if at is None else f"{at}:{path}".removesuffix(":")


def words(*parts: str) -> str:
    return " ".join([part for part in parts if part])


class Step(Value):
    """One kernel operation of a plan."""

    kind = ""
    flags = 0
    reason = ""

    def describe(self) -> str:
        """The step in one line, as ``pyrun plan`` and error messages show it."""
        raise NotImplementedError

    def hint(self, error: int) -> str:
        """What to do about *error*, where that is known; else empty."""
        return ""

    def fields(self, encoder: Encoder) -> Fields:
        """(slots, strings, numbers) as csrc/plan.h lists them for the kind."""
        return (), (), ()


Plan = tuple[Step, ...]
"""What a child does, in this order. A value: it can be printed, compared, and held against :data:`pyrun.kernel.order.BEFORE`."""
