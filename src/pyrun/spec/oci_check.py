"""Rules that several parts of ``config.json`` have in common."""

from __future__ import annotations

from pyrun.errors import SpecError
from pyrun.spec.parse import escape, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyrun.spec.parse import Reader


def check_unique(reader: Reader, field: str, member: str, names: Iterable[str]) -> None:
    """The specification: a runtime MUST generate an error for a second entry of the same type."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            raise SpecError(
                f"{reader.pointer}/{field}/{index}/{escape(member)}", f"{quote(name)} is in the list already"
            )
        seen.add(name)
