"""Rows of text in columns."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def align(rows: Sequence[Sequence[str]], gap: str = "   ") -> list[str]:
    """A line for each row, whose cells begin where those above them do; rows are all of one length."""
    widths = [max([len(cell) for cell in column]) for column in zip(*rows, strict=True)]
    return [gap.join([cell.ljust(width) for cell, width in zip(row, widths, strict=True)]).rstrip() for row in rows]
