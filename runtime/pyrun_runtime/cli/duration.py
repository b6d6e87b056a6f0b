"""Durations as kubectl takes them: ``30s``, ``5m``, ``1h30m``, ``1.5h``, ``2d``."""

from __future__ import annotations

from pyrun_runtime.cli.message import UsageError

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(name: str, text: str) -> float:
    """Seconds; a number alone is seconds, too. Raises UsageError, which names the option."""
    total, rest = 0.0, text
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        letters = len(rest[digits:]) - len(rest[digits:].lstrip("abcdefghijklmnopqrstuvwxyz"))
        number, unit, rest = rest[:digits], rest[digits : digits + letters], rest[digits + letters :]
        alone = not unit and not rest and not total
        if number.count(".") > 1 or not number.strip(".") or (unit not in UNITS and not alone):
            break
        total += float(number) * UNITS.get(unit, 1.0)
    else:
        if text and total < 1e10:
            return total
    raise UsageError(f"--{name} {text}: not a duration such as 30s, 5m or 1h30m")
