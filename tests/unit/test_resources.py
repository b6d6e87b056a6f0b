"""The formulas against the tables of their sources."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrun.container.resources import (
    NO_LIMIT,
    blkio_weight_to_io_weight,
    limited_swap_max_bytes,
    memory_high_bytes,
    memory_volume_size_bytes,
    milli_cpu_to_quota_us,
    milli_cpu_to_shares,
    oom_score_adj,
    shares_to_weight,
    shares_to_weight_linear,
    swap_to_swap_max_bytes,
)

GIB = 1 << 30

# (milliCPU, shares, weight by the linear formula, weight)
CPU = [
    (0, 2, 1, 1),
    (1, 2, 1, 1),
    (2, 2, 1, 1),
    (10, 10, 1, 4),
    (50, 51, 2, 11),
    (100, 102, 4, 17),
    (250, 256, 10, 35),
    (500, 512, 20, 59),
    (1000, 1024, 39, 100),
    (2000, 2048, 79, 174),
    (4000, 4096, 157, 303),
    (8000, 8192, 313, 532),
    (16000, 16384, 625, 942),
    (32000, 32768, 1250, 1681),
    (64000, 65536, 2500, 3023),
    (256000, 262144, 10000, 10000),
    (10**9, 262144, 10000, 10000),
]


@pytest.mark.parametrize(("milli", "shares", "linear", "weight"), CPU)
def test_cpu_table(milli: int, shares: int, linear: int, weight: int) -> None:
    assert milli_cpu_to_shares(milli) == shares
    assert shares_to_weight(shares) == weight
    assert shares_to_weight_linear(shares) == linear


# The points of opencontainers/cgroups' own test.
@pytest.mark.parametrize(
    ("shares", "weight"),
    [(0, 0), (1, 1), (2, 1), (3, 2), (1024, 100), (262143, 10000), (262144, 10000), (262145, 10000)],
)
def test_weight_at_the_points_of_the_source(shares: int, weight: int) -> None:
    assert shares_to_weight(shares) == weight


@given(st.integers(1, 300_000))
def test_weight_grows_with_shares_and_stays_in_range(shares: int) -> None:
    assert 1 <= shares_to_weight(shares) <= shares_to_weight(shares + 1) <= 10_000


@pytest.mark.parametrize(
    ("milli", "period", "quota"),
    [
        (0, 100_000, 0),
        (1, 100_000, 1000),
        (9, 100_000, 1000),
        (10, 100_000, 1000),
        (11, 100_000, 1100),
        (200, 100_000, 20_000),
        (500, 100_000, 50_000),
        (1000, 100_000, 100_000),
        (1500, 100_000, 150_000),
        (1, 5000, 1000),
        (1000, 5000, 5000),
    ],
)
def test_quota(milli: int, period: int, quota: int) -> None:
    assert milli_cpu_to_quota_us(milli, period) == quota


@pytest.mark.parametrize(
    ("swap", "limit", "expected"),
    [
        (0, 0, None),
        (0, 100, None),
        (0, NO_LIMIT, NO_LIMIT),
        (NO_LIMIT, 0, NO_LIMIT),
        (NO_LIMIT, 100, NO_LIMIT),
        (NO_LIMIT, NO_LIMIT, NO_LIMIT),
        (100, NO_LIMIT, 100),
        (100, 100, 0),
        (150, 100, 50),
    ],
)
def test_swap(swap: int, limit: int, expected: int | None) -> None:
    assert swap_to_swap_max_bytes(swap, limit) == expected


@pytest.mark.parametrize(("swap", "limit"), [(100, 0), (99, 100), (-2, 0), (100, -2)])
def test_swap_that_cannot_be(swap: int, limit: int) -> None:
    with pytest.raises(ValueError, match="memory"):
        swap_to_swap_max_bytes(swap, limit)


def test_limited_swap_is_the_request_s_part_of_the_node() -> None:
    assert limited_swap_max_bytes(1 * GIB, 8 * GIB, 4 * GIB) == GIB // 2
    assert limited_swap_max_bytes(0, 8 * GIB, 4 * GIB) == 0
    assert limited_swap_max_bytes(1, 3, 10) == 3


def test_memory_high() -> None:
    assert memory_high_bytes(GIB, 2 * GIB, 8 * GIB, 0.9) == int(1.9 * GIB) // 4096 * 4096
    assert memory_high_bytes(GIB, None, 8 * GIB, 0.5) == 9 * GIB // 2
    assert memory_high_bytes(0, None, 8 * GIB, 0.9) == int(7.2 * GIB) // 4096 * 4096
    assert memory_high_bytes(GIB, GIB, 8 * GIB, 0.9) is None
    assert memory_high_bytes(GIB + 1, GIB + 2, 8 * GIB, 0.9) is None


def test_memory_volume_is_the_least_that_is_set() -> None:
    assert memory_volume_size_bytes(None, None, 8 * GIB) == 8 * GIB
    assert memory_volume_size_bytes(GIB, None, 8 * GIB) == GIB
    assert memory_volume_size_bytes(3 * GIB, 2 * GIB, 8 * GIB) == 2 * GIB
    assert memory_volume_size_bytes(0, 2 * GIB, 8 * GIB) == 2 * GIB


@pytest.mark.parametrize(
    ("qos_class", "request_bytes", "expected"),
    [
        ("Guaranteed", GIB, -997),
        ("BestEffort", 0, 1000),
        ("Burstable", 0, 999),
        ("Burstable", 1, 999),
        ("Burstable", 4 * GIB, 500),
        ("Burstable", 7 * GIB, 125),
        ("Burstable", 8 * GIB, 3),
        ("Burstable", 9 * GIB, 3),
    ],
)
def test_oom_score_adj(qos_class: str, request_bytes: int, expected: int) -> None:
    assert oom_score_adj(qos_class, request_bytes, 8 * GIB) == expected


def test_burstable_divides_before_it_subtracts() -> None:
    """1000 - (1000 * 1 / 3) is 1000 - 333, not (3000 - 1000) / 3 rounded down."""
    assert oom_score_adj("Burstable", 1, 3) == 667


@given(st.integers(0, 1 << 50), st.integers(1, 1 << 50))
def test_burstable_lies_between_the_others(request_bytes: int, node_bytes: int) -> None:
    assert -997 < 3 <= oom_score_adj("Burstable", request_bytes, node_bytes) <= 999 < 1000


@pytest.mark.parametrize(("weight", "expected"), [(0, 0), (10, 1), (100, 910), (500, 4950), (1000, 10000)])
def test_io_weight(weight: int, expected: int) -> None:
    assert blkio_weight_to_io_weight(weight) == expected
