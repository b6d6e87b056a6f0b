"""The machinery that reads and writes OCI values from tables: one row per field, used in both directions.

A row ties a JSON name to an attribute and to a :class:`Kind`, which knows how to read and how to write one sort of value.
A field is required if its attribute has no default, or if the row says so. The runtime specification says that properties which a
runtime does not know must be ignored ("Extensibility"); one that the specification defines for other platforms must not
be, because the container would run without it: such names are listed with the table and refused.
"""

from __future__ import annotations

from pyrun.spec.parse import describe, ignore_unknown, quote
from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any

    from pyrun.errors import SpecError
    from pyrun.spec.parse import Reader

FOREIGN = "belongs to another platform than a Linux container"


class Kind(Value):
    """How one sort of value is read from a document and written into one."""

    read: Callable[[Reader], Any]
    write: Callable[[Any], object]


class Field(Value):
    """One row: JSON name, attribute, kind.

    ``always``: written even where it has its default; ``required``: missing is an error although there is a default.
    """

    name: str
    attribute: str
    kind: Kind
    always: bool = False
    required: bool = False


class Table:
    """All fields of one object of the specification, and the value type that they make."""

    def __init__(
        self,
        cls: type[Value],
        fields: tuple[Field, ...],
        foreign: str = "",
        check: Callable[[Any, Reader], None] | None = None,
    ) -> None:
        self.cls = cls
        self.fields = fields
        self.known = frozenset([field.name for field in fields])
        self.foreign = frozenset(foreign.split())
        self.check = check
        self.kind = Kind(self.read, self.write)

    def read(self, reader: Reader) -> Any:
        members = reader.object(self.known, self._refuse)
        values: dict[str, Any] = {}
        for field in self.fields:
            if field.attribute in self.cls._defaults and not field.required:
                found = members.get(field.name)
                if found is not None:
                    values[field.attribute] = field.kind.read(found)
            else:
                values[field.attribute] = field.kind.read(members.need(field.name))
        value = self.cls(**values)
        if self.check is not None:
            self.check(value, reader)
        return value

    def write(self, value: Value) -> dict[str, object]:
        members: dict[str, object] = {}
        for field in self.fields:
            content = getattr(value, field.attribute)
            needed = field.always or field.required or field.attribute not in self.cls._defaults
            if needed or content != self.cls._defaults[field.attribute]:
                members[field.name] = field.kind.write(content)
        return members

    def _refuse(self, reader: Reader, name: str, known: Collection[str]) -> SpecError | None:
        if name not in self.foreign or (isinstance(reader.value, dict) and reader.value[name] in ("", [], {})):
            return ignore_unknown(reader, name, known)
        return reader.member_error(name, FOREIGN)


def _same(value: Any) -> object:
    return value


def one_of(*choices: str) -> Kind:
    return Kind(lambda reader: reader.one_of(choices), _same)


def integer(minimum: int, maximum: int) -> Kind:
    return Kind(lambda reader: reader.integer(minimum, maximum), _same)


def list_of(kind: Kind) -> Kind:
    return Kind(
        lambda reader: tuple([kind.read(item) for item in reader.items()]),
        lambda values: [kind.write(value) for value in values],
    )


def map_of(read: Callable[[Reader], Any], write: Callable[[Any], tuple[str, object]]) -> Kind:
    """A JSON object whose names are data: each member is read as one value, which *write* turns into its name and its content."""
    return Kind(
        lambda reader: tuple([read(member) for member in reader.members()]),
        lambda values: dict([write(value) for value in values]),
    )


def _read_absolute(reader: Reader) -> str:
    text = reader.string()
    if not text.startswith("/"):
        raise reader.error(f"must be an absolute path, found {describe(text)}")
    return text


def _read_not_empty(reader: Reader) -> str:
    text = reader.string()
    if not text:
        raise reader.error("must not be empty")
    return text


def _read_object(reader: Reader) -> object:
    if not isinstance(reader.value, dict):
        raise reader.wrong_type("an object")
    return reader.value


def _read_number_list(reader: Reader) -> str:
    text = reader.string()
    for part in text.split(",") if text.strip() else ():
        first, dash, last = part.strip().partition("-")
        ends = (first, last if dash else first)
        if not all([end.isdecimal() and end.isascii() and len(end) < 6 for end in ends]) or int(ends[0]) > int(ends[1]):
            raise reader.error(f"{quote(text)} is no list of numbers such as '0-3,7'")
    return text


STRING = Kind(lambda reader: reader.string(), _same)
NOT_EMPTY = Kind(_read_not_empty, _same)
ABSOLUTE = Kind(_read_absolute, _same)
ABSOLUTE_OR_EMPTY = Kind(lambda reader: _read_absolute(reader) if reader.value != "" else "", _same)
BOOLEAN = Kind(lambda reader: reader.boolean(), _same)
STRINGS = list_of(STRING)
ABSOLUTE_PATHS = list_of(ABSOLUTE)
STRING_MAP = Kind(lambda reader: reader.mapping_of_strings(), dict)
RAW_OBJECT = Kind(_read_object, dict)
NUMBER_LIST = Kind(_read_number_list, _same)
UINT32 = integer(0, 2**32 - 1)
UINT64 = integer(0, 2**64 - 1)
INT64 = integer(-(2**63), 2**63 - 1)
# (uid_t)-1 means "leave as it is" to setresuid(2): taken for a user it would leave the process root.
USER_ID = integer(0, 2**32 - 2)
# Some callers send a whole st_mode; what kind of file it is, the device's type says.
FILE_MODE = Kind(lambda reader: reader.integer(0, 0o177777) & 0o7777, _same)
