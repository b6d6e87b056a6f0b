"""Medians, quantiles and ratios."""

from __future__ import annotations

import pytest

from bench.statistics import median, quantile, ratio


def test_median_of_an_odd_and_an_even_number() -> None:
    assert median([3, 1, 2]) == 2
    assert median([4, 1, 2, 3]) == 2.5


@pytest.mark.parametrize(("part", "expected"), [(0, 1), (0.1, 1.4), (0.5, 3), (0.9, 4.6), (1, 5)])
def test_quantile_lies_on_the_line_between_two_values(part: float, expected: float) -> None:
    assert quantile([5, 4, 3, 2, 1], part) == pytest.approx(expected)


def test_quantile_of_one_value_is_that_value() -> None:
    assert quantile([7.0], 0.99) == 7


def test_quantile_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)


def test_ratio_is_taken_pair_by_pair() -> None:
    """A disturbance that lasts a round is in both of a pair: the medians' ratio would be 1.0 here."""
    assert ratio([2, 20, 200], [1, 10, 100]) == 2
    assert ratio([10, 2, 30], [10, 1, 10]) == 2


def test_ratio_needs_the_same_rounds() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratio([1, 2], [1])
