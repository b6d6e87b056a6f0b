"""Quantities against a reference in exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrun.errors import SpecError
from pyrun.spec.parse import Reader
from pyrun.spec.quantity import MAX_UNITS, NANO, parse_quantity, read_quantity, to_milli, to_units

SUFFIXES = {"n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": Fraction(1)}
SUFFIXES |= {suffix: Fraction(10) ** (3 * power) for power, suffix in enumerate("kMGTPE", 1)}
SUFFIXES |= {suffix + "i": Fraction(1024) ** power for power, suffix in enumerate("KMGTPE", 1)}

exponents = st.integers(-30, 30).flatmap(
    lambda power: st.sampled_from([(f"e{power}", Fraction(10) ** power), (f"E{power:+}", Fraction(10) ** power)])
)
scales = st.sampled_from(sorted(SUFFIXES.items())) | exponents
numbers = st.from_regex(r"[0-9]{1,20}(\.[0-9]{0,20})?|\.[0-9]{1,20}", fullmatch=True).filter(str.isascii)


@given(st.sampled_from(["", "+"]), numbers, scales)
def test_every_quantity_is_exact_to_the_nano_and_rounded_up(
    sign: str, number: str, scale: tuple[str, Fraction]
) -> None:
    suffix, factor = scale
    exact = Fraction("0" + number if number.startswith(".") else number.rstrip(".")) * factor
    text = sign + number + suffix
    wanted = math.ceil(exact * NANO)
    if wanted > MAX_UNITS * NANO:
        with pytest.raises(ValueError, match="is too large"):
            parse_quantity(text)
    else:
        assert parse_quantity(text) == wanted
        assert to_milli(parse_quantity(text)) == math.ceil(Fraction(wanted, NANO) * 1000)
        assert to_units(parse_quantity(text)) == math.ceil(Fraction(wanted, NANO))


@given(st.text(max_size=120) | st.text(alphabet="0123456789.eE+-numkKMGTPi", max_size=20))
def test_any_text_is_a_quantity_or_a_value_error(text: str) -> None:
    try:
        nano = parse_quantity(text)
    except ValueError as error:
        complaint = str(error)
    else:
        complaint = ""
        assert 0 <= nano <= MAX_UNITS * NANO
    assert "\n" not in complaint


@pytest.mark.parametrize(
    ("value", "nano"),
    [
        (1, 10**9),
        (0.1, 10**8),
        (0.5, 5 * 10**8),
        (1e3, 10**12),
        ("100m", 10**8),
        ("1E", 10**27),
        ("1e3", 10**12),
        ("1Ki", 1024 * 10**9),
        ("0", 0),
        ("-0", 0),
        ("0e999999", 0),
        ("1e-999999", 1),
        ("1n", 1),
        ("0.1n", 1),
        ("1.", 10**9),
    ],
)
def test_known_quantities(value: object, nano: int) -> None:
    assert read_quantity(Reader(value)) == nano


def test_cpu_and_memory_are_rounded_up() -> None:
    assert to_milli(parse_quantity("1.0001")) == 1001
    assert to_units(parse_quantity("100m")) == 1


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("", "'' is not a quantity; write it like 500m, 2, 128Mi or 1.5G"),
        (".", "'.' is not a quantity; write it like 500m, 2, 128Mi or 1.5G"),
        ("lots", "'lots' is not a quantity; write it like 500m, 2, 128Mi or 1.5G"),
        ("1 Gi", "'1 Gi' is not a quantity: there is no suffix ' Gi'; write it like 500m, 2, 128Mi or 1.5G"),
        ("128MB", "'128MB' is not a quantity: for the suffix 'MB' write M or Mi"),
        ("128mi", "'128mi' is not a quantity: for the suffix 'mi' write M or Mi"),
        ("1K", "'1K' is not a quantity: for the suffix 'K' write k or Ki"),
        ("2gb", "'2gb' is not a quantity: for the suffix 'gb' write G or Gi"),
        ("-1", "'-1': must not be negative"),
        (-1, "'-1': must not be negative"),
        ("16Ei", "'16Ei' is too large: the limit is 2**63 - 1"),
        ("1e99999999", "'1e99999999' is too large: the limit is 2**63 - 1"),
        ("--1", "'--1' is not a quantity; write it like 500m, 2, 128Mi or 1.5G"),
        ("１", "'１' is not a quantity; write it like 500m, 2, 128Mi or 1.5G"),
        (True, "expected a quantity such as '500m' or '128Mi', found true"),
        ([], "expected a quantity such as '500m' or '128Mi', found a list"),
    ],
)
def test_what_is_wrong_is_said(value: object, wanted: str) -> None:
    with pytest.raises(SpecError) as caught:
        read_quantity(Reader(value))
    assert str(caught.value) == wanted
