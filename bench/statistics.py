"""What is told of a row of measurements: medians, quantiles, and ratios pair by pair."""

from __future__ import annotations

from collections.abc import Sequence


def quantile(values: Sequence[float], part: float) -> float:
    """The value below which *part* (0 to 1) of the values lie, between two of them by straight line."""
    if not values:
        raise ValueError("there are no values")
    ordered = sorted(values)
    place = part * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def median(values: Sequence[float]) -> float:
    return quantile(values, 0.5)


def ratio(values: Sequence[float], reference: Sequence[float]) -> float:
    """The median of the ratios of what was measured in the same round.

    What disturbs a machine lasts longer than a round, so both of a pair have it, and the ratio has it not.
    """
    return median([value / other for value, other in zip(values, reference, strict=True)])
