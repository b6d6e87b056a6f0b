"""Value: what a frozen dataclass with slots does, without its import."""

from __future__ import annotations

import copy
import pickle
from typing import ClassVar

import pytest

from pyrun.value import Value, replace


class Point(Value):
    x: int
    y: int = 2
    unit: ClassVar[str] = "m"

    def norm(self) -> int:
        return self.x + self.y


class Named(Point):
    name: str = "origin"


class Other(Value):
    x: int
    y: int = 2


def test_fields_by_position_by_name_and_by_default() -> None:
    assert (Point(1).x, Point(1).y) == (1, 2)
    assert Point(1, 3) == Point(y=3, x=1) == Point(1, y=3)
    assert Point(1).unit == "m"
    assert Point(1).norm() == 3


@pytest.mark.parametrize(
    ("arguments", "named", "message"),
    [
        ((), {}, r"Point\(\) needs 'x'"),
        ((1, 2, 3), {}, r"Point\(\) takes 2 values, got 3"),
        ((1,), {"z": 1, "w": 2}, r"Point\(\) does not take 'z', 'w'"),
        ((1,), {"x": 2}, r"Point\(\) does not take 'x'"),
    ],
)
def test_wrong_arguments(arguments: tuple[int, ...], named: dict[str, int], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Point(*arguments, **named)


def test_frozen() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match="Point is frozen: 'x' cannot be set"):
        point.x = 5  # type: ignore[misc]
    with pytest.raises(AttributeError, match="Point is frozen: 'new' cannot be set"):
        point.new = 5  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="Point is frozen: 'x' cannot be deleted"):
        del point.x
    assert not hasattr(point, "__dict__")


def test_equality_and_hash_are_of_type_and_fields() -> None:
    assert Point(1) == Point(1)
    assert Point(1) != Point(2)
    assert Point(1) != Other(1)
    assert Point(1) != Named(1)
    assert Point(1) != (1, 2)
    assert len({Point(1), Point(1), Point(2), Other(1)}) == 3


def test_inheritance_puts_the_bases_fields_first() -> None:
    assert Named(1, 2, "p") == Named(x=1, name="p")
    assert Named(1).norm() == 3
    assert repr(Named(1)) == "Named(x=1, y=2, name='origin')"


def test_a_subclass_may_give_a_field_another_default() -> None:
    class Far(Point):
        y: int = 9

    assert Far(1).y == 9
    assert Point(1).y == 2


def test_repr_is_what_would_make_it_again() -> None:
    assert repr(Point(1)) == "Point(x=1, y=2)"
    assert eval(repr(Point(7, 8))) == Point(7, 8)


def test_replace() -> None:
    assert replace(Point(1), y=5) == Point(1, 5)
    assert type(replace(Named(1), name="n")) is Named
    with pytest.raises(TypeError, match="does not take 'z'"):
        replace(Point(1), z=1)


def test_copies_and_pickles() -> None:
    for again in (copy.copy(Named(1)), copy.deepcopy(Named(1)), pickle.loads(pickle.dumps(Named(1)))):
        assert again == Named(1)


def test_a_type_with_no_fields() -> None:
    class Nothing(Value):
        pass

    assert Nothing() == Nothing()
    assert repr(Nothing()) == "Nothing()"
