"""Kubernetes resource quantities, exactly, in integers.

A quantity is a whole number of nano-units (10**-9), the finest that Kubernetes keeps: apimachinery's
``resource.Quantity`` documents the grammar and that anything finer is rounded up. Integers of nano-units need neither
:mod:`decimal` nor :mod:`fractions`, whose imports cost more than reading a whole manifest.
"""

from __future__ import annotations

from pyrun.spec.parse import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.parse import Reader

NANO = 1_000_000_000

# apimachinery caps a quantity at 2**63 - 1; silently making less of what was asked for is worse than an error.
MAX_UNITS = 2**63 - 1

_DECIMAL_EXPONENTS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY_POWERS = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_EXAMPLES = "write it like 500m, 2, 128Mi or 1.5G"


def parse_quantity(text: str) -> int:
    """*text* in nano-units, rounded up. ValueError with a message for a person if it is no quantity."""
    negative = text[:1] == "-"
    body = text[1:] if text[:1] in ("+", "-") else text
    whole, fraction, suffix = _split(body)
    if not (whole or fraction) or len(text) > 100:
        raise ValueError(f"{quote(text)} is not a quantity; {_EXAMPLES}")
    scale = _scale(suffix)
    if scale is None:
        raise ValueError(_suffix_message(text, suffix))
    base, exponent = scale
    mantissa = int(whole + fraction) * base
    nano = _shift_up(mantissa, exponent - len(fraction) + 9, text)
    if nano > MAX_UNITS * NANO:
        raise ValueError(f"{quote(text)} is too large: the limit is 2**63 - 1")
    if negative and nano:
        raise ValueError(f"{quote(text)}: must not be negative")
    return nano


def read_quantity(reader: Reader) -> int:
    """The quantity at *reader*'s place, in nano-units. As in Kubernetes' API it may be written as a JSON number."""
    value = reader.value
    if type(value) is int or type(value) is float:
        text = repr(value)
    elif type(value) is str:
        text = reader.string()
    else:
        raise reader.wrong_type("a quantity such as '500m' or '128Mi'")
    try:
        return parse_quantity(text)
    except ValueError as error:
        raise reader.error(str(error)) from None


def to_milli(nano: int) -> int:
    """Nano-units → thousandths, rounded up: milli-CPUs, as ``Quantity.MilliValue``."""
    return -(-nano // 1_000_000)


def to_units(nano: int) -> int:
    """Nano-units → whole units, rounded up: bytes, as ``Quantity.Value``."""
    return -(-nano // NANO)


def format_milli(amount: int) -> str:
    """Processors as Kubernetes writes them: ``500m``, ``2``."""
    return f"{amount}m" if amount % 1000 else str(amount // 1000)


def format_bytes(amount: int) -> str:
    """As Kubernetes writes an amount that was given in powers of two: ``64Mi``; one that is no whole number of KiB as it is."""
    for power, unit in ((6, "Ei"), (5, "Pi"), (4, "Ti"), (3, "Gi"), (2, "Mi"), (1, "Ki")):
        if amount and not amount % 1024**power:
            return f"{amount // 1024**power}{unit}"
    return str(amount)


def is_whole(nano: int) -> bool:
    return nano % NANO == 0


def _split(body: str) -> tuple[str, str, str]:
    """``"1.5Gi"`` → ``("1", "5", "Gi")``."""
    end = _end_of_digits(body, 0)
    whole, fraction = body[:end], ""
    if body[end : end + 1] == ".":
        start = end + 1
        end = _end_of_digits(body, start)
        fraction = body[start:end]
    return whole, fraction, body[end:]


def _end_of_digits(text: str, index: int) -> int:
    while index < len(text) and text[index] in "0123456789":
        index += 1
    return index


def _scale(suffix: str) -> tuple[int, int] | None:
    """(factor, power of ten) of a suffix, or None."""
    if suffix in _DECIMAL_EXPONENTS:
        return 1, _DECIMAL_EXPONENTS[suffix]
    if suffix in _BINARY_POWERS:
        return 1024 ** _BINARY_POWERS[suffix], 0
    if suffix[:1] in ("e", "E"):
        digits = suffix[2:] if suffix[1:2] in ("+", "-") else suffix[1:]
        if digits and _end_of_digits(digits, 0) == len(digits):
            return 1, -int(digits) if suffix[1] == "-" else int(digits)
    return None


def _shift_up(mantissa: int, power: int, text: str) -> int:
    """``mantissa * 10**power``, rounded up, without ever building a number much larger than the result may be."""
    if mantissa == 0:
        return 0
    if power > 40:
        raise ValueError(f"{quote(text)} is too large: the limit is 2**63 - 1")
    if power >= 0:
        return mantissa * int(10**power)
    # A mantissa has at most 100 digits and a factor below 2**60: from here on the result is the smallest step there is.
    return -(-mantissa // int(10 ** min(-power, 200)))


def _suffix_message(text: str, suffix: str) -> str:
    unit = suffix.removesuffix("B").removesuffix("b").removesuffix("i").upper()
    if unit == "K":
        return f"{quote(text)} is not a quantity: for the suffix {suffix!r} write k or Ki"
    if unit in ("M", "G", "T", "P"):
        return f"{quote(text)} is not a quantity: for the suffix {suffix!r} write {unit} or {unit}i"
    return f"{quote(text)} is not a quantity: there is no suffix {quote(suffix)}; {_EXAMPLES}"
