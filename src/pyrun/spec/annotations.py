"""Annotations under ``pyrun.dev/``: what Kubernetes' API has no field for."""

from __future__ import annotations

from pyrun.spec.parse import did_you_mean, quote
from pyrun.spec.pod import TimeOffsets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.parse import Reader

PREFIX = "pyrun.dev/"
MONOTONIC = PREFIX + "time-offset-monotonic"
BOOTTIME = PREFIX + "time-offset-boottime"
KNOWN = (MONOTONIC, BOOTTIME)

# The kernel refuses a clock that would pass half of KTIME_SEC_MAX (kernel/time/namespace.c, proc_timens_set_offset).
MAX_OFFSET_S = (2**63 - 1) // 1_000_000_000 // 2


def read_time_offsets(annotations: Reader | None) -> TimeOffsets:
    """The pod's clock offsets; an annotation of ours that is not known is an error, others are not ours to judge."""
    if annotations is None:
        return TimeOffsets()
    offsets = {MONOTONIC: 0, BOOTTIME: 0}
    for member in annotations.members():
        if member.key.startswith(PREFIX):
            if member.key not in offsets:
                raise member.error("no such annotation" + did_you_mean(member.key, KNOWN))
            offsets[member.key] = _read_seconds(member)
    return TimeOffsets(offsets[MONOTONIC], offsets[BOOTTIME])


def _read_seconds(reader: Reader) -> int:
    """Decimal seconds, e.g. ``"86400"`` or ``"-1.5"``, in nanoseconds."""
    text = reader.string()
    whole, _, fraction = text.removeprefix("-").partition(".")
    digits = whole + fraction
    if not whole or not digits.isascii() or not digits.isdigit() or len(fraction) > 9 or text.endswith("."):
        raise reader.error(f"expected seconds such as '86400' or '-1.5', with at most 9 decimals, found {quote(text)}")
    if len(whole) > 12 or int(whole) >= MAX_OFFSET_S:
        raise reader.error(f"must be less than {MAX_OFFSET_S} seconds either way")
    nanoseconds = int(whole) * 1_000_000_000 + int(fraction.ljust(9, "0"))
    return -nanoseconds if text[0] == "-" else nanoseconds
