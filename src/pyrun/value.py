"""Frozen, slotted value types without the import cost of :mod:`dataclasses`.

``import dataclasses`` pulls in ``inspect``, ``ast`` and ``dis`` and then compiles source text for every class: together a
third of what ``pyrun run`` may cost (measured: 8 to 11 ms for the import alone, next to 10 ms for the bare interpreter).
A value type here is a class whose annotations are its fields::

    class Rlimit(Value):
        resource: str
        soft: int
        hard: int = 0

It gets ``__slots__``, a constructor that takes the fields by position or by name, equality, hash, ``repr`` and
:func:`replace`. Type checkers see a frozen dataclass (PEP 681). Defaults must be immutable, because they are shared.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, TypeVar, dataclass_transform

    V = TypeVar("V", bound="Value")
else:

    def dataclass_transform(**_kwargs):
        return lambda cls: cls


MISSING: Any = object()


@dataclass_transform(frozen_default=True, eq_default=True)
class ValueMeta(type):
    """Turns the annotations of a class body into slots."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> ValueMeta:
        fields: list[str] = []
        defaults: dict[str, Any] = {}
        for base in bases:
            fields += getattr(base, "_fields", ())
            defaults |= getattr(base, "_defaults", {})
        own = [f for f, note in namespace.get("__annotations__", {}).items() if not str(note).startswith("ClassVar")]
        for field in own:
            if field in namespace:
                defaults[field] = namespace.pop(field)
        namespace["__slots__"] = tuple(f for f in own if f not in fields)
        namespace["_fields"] = tuple(fields) + namespace["__slots__"]
        namespace["_defaults"] = defaults
        cls: Any = super().__new__(mcs, name, bases, namespace)
        # What the constructor needs, in the order of the fields. A slot's own setter does not look the field up again.
        cls._filled = tuple([defaults.get(field, MISSING) for field in cls._fields])
        cls._index = {field: i for i, field in enumerate(cls._fields)}
        cls._setters = tuple([getattr(cls, field).__set__ for field in cls._fields])
        return cls  # type: ignore[no-any-return]


class Value(metaclass=ValueMeta):
    """Base of all value types; see the module's docstring."""

    if TYPE_CHECKING:
        _fields: ClassVar[tuple[str, ...]]
        _defaults: ClassVar[dict[str, Any]]
    else:

        def __init__(self, *args, **kwargs):
            cls = type(self)
            values = args + cls._filled[len(args) :]
            if kwargs:
                values = _with_names(cls, values, len(args), kwargs)
            if len(values) != len(cls._setters):
                raise TypeError(f"{cls.__name__}() takes {len(cls._fields)} values, got {len(args)}")
            for set_field, value in zip(cls._setters, values):
                if value is MISSING:
                    raise TypeError(f"{cls.__name__}() needs {cls._fields[values.index(MISSING)]!r}")
                set_field(self, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name!r} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name!r} cannot be deleted")

    def _values(self) -> tuple[Any, ...]:
        return tuple([getattr(self, f) for f in self._fields])

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), self._values()))

    def __repr__(self) -> str:
        inner = ", ".join([f"{f}={getattr(self, f)!r}" for f in self._fields])
        return f"{type(self).__name__}({inner})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._values()


def _with_names(cls: Any, values: tuple[Any, ...], given: int, named: dict[str, Any]) -> list[Any]:
    """*values* with the *named* ones in their places; the first *given* are there already."""
    wrong = [name for name in named if cls._index.get(name, -1) < given]
    if wrong:
        raise TypeError(f"{cls.__name__}() does not take {', '.join(map(repr, wrong))}")
    merged = list(values)
    for name, value in named.items():
        merged[cls._index[name]] = value
    return merged


def replace(value: V, **changes: Any) -> V:
    """A copy of *value* with some fields changed, as :func:`dataclasses.replace`."""
    merged = dict(zip(value._fields, value._values())) | changes
    return type(value)(**merged)
