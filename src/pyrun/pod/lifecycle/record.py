"""Values as JSON and back, by tables: attribute → :class:`Kind`. A key is the attribute's name without its underscore; None is
left out. What cannot be read is a :class:`SpecError` that points at the place."""

from __future__ import annotations

import math

from pyrun.spec.parse import Reader, ignore_unknown
from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from typing import Any, TypeAlias

    Table: TypeAlias = Mapping[str, "Kind"]

NEVER = "never"  # JSON has no infinity


class Kind(Value):
    """How one attribute is written and read. One that is *optional* may be None."""

    write: Callable[[Any], Any]
    read: Callable[[Reader], Any]
    optional: bool = False


def write_fields(thing: object, table: Table) -> dict[str, Any]:
    """The attributes of *thing* that *table* names."""
    values = [(name, kind, getattr(thing, name)) for name, kind in table.items()]
    return {name.lstrip("_"): kind.write(value) for name, kind, value in values if value is not None}


def read_fields(reader: Reader, table: Table, beside: Collection[str] = ()) -> dict[str, Any]:
    """By the attributes' names; *beside* are keys that somebody else reads."""
    keys = {name: name.lstrip("_") for name in table}
    fields = reader.object([*keys.values(), *beside])
    read = {}
    for name, kind in table.items():
        found = fields.get(keys[name]) if kind.optional else fields.need(keys[name])
        read[name] = None if found is None else kind.read(found)
    return read


def optional(kind: Kind) -> Kind:
    """The same, or None."""
    return Kind(kind.write, kind.read, True)


def one_of(*choices: str) -> Kind:
    """One of these words."""
    return Kind(_same, lambda reader: reader.one_of(choices))


def value_of(cls: Callable[..., Any], table: Table) -> Kind:
    """A value whose fields are *table*."""
    return Kind(lambda value: write_fields(value, table), lambda reader: cls(**read_fields(reader, table)))


def list_of(kind: Kind) -> Kind:
    """A list; read as a tuple."""
    return Kind(
        lambda values: [kind.write(value) for value in values],
        lambda reader: tuple([kind.read(item) for item in reader.items()]),
    )


def mapping_of(kind: Kind) -> Kind:
    """An object whose names are data."""
    return Kind(
        lambda values: {name: kind.write(value) for name, value in values.items()},
        lambda reader: {member.key: kind.read(member) for member in reader.members()},
    )


def choice_of(tables: Mapping[type, Table]) -> Kind:
    """A value of one of these classes, whose name is under ``is``."""
    names = {cls.__name__: cls for cls in tables}

    def read(reader: Reader) -> Any:
        cls = names[reader.object((), ignore_unknown).need("is").one_of(names)]
        return cls(**read_fields(reader, tables[cls], ("is",)))

    return Kind(lambda value: {"is": type(value).__name__, **write_fields(value, tables[type(value)])}, read)


def _same(value: Any) -> Any:
    return value


def _read_text(reader: Reader) -> str:
    """Any text: what a container has written may hold what no name may."""
    if type(reader.value) is not str:
        raise reader.wrong_type("a string")
    return reader.value


def _read_number(reader: Reader) -> float:
    value = reader.value
    if type(value) not in (int, float) or not math.isfinite(value):  # type: ignore[arg-type]
        raise reader.wrong_type("a number")
    return value  # type: ignore[return-value]


def _read_seconds(reader: Reader) -> float:
    return math.inf if reader.value == NEVER else _read_number(reader)


TEXT = Kind(_same, _read_text)
BOOLEAN = Kind(_same, lambda reader: reader.boolean())
INTEGER = Kind(_same, lambda reader: reader.integer())
COUNT = Kind(_same, lambda reader: reader.integer(0))
SECONDS = Kind(lambda value: NEVER if value == math.inf else value, _read_seconds)
