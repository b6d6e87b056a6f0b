"""Value types as JSON and back, for what one pyrun keeps for the next: a value is an object whose only key is its class's name.

::

    {"ContainerPort": {"container_port": 80}}    a value; fields that have their default are left out
    {"bytes": "aGVsbG8="}                        bytes, in base64
    [1, "two", null]                             a tuple; what JSON has itself is as it is there

Only classes that the reader names can come out of it.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64

from pyrun.errors import SpecError
from pyrun.spec import handler, image, pod, security, source
from pyrun.value import MISSING, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, TypeAlias

    Classes: TypeAlias = Mapping[str, type[Value]]

BYTES = "bytes"


def classes_of(*more: type[Value]) -> Classes:
    """Those that a :class:`~pyrun.spec.pod.PodSpec` is made of, and *more*."""
    modules = (handler, image, pod, security, source)
    made = [each for module in modules for each in vars(module).values() if _is_class_of(each, module.__name__)]
    return {each.__name__: each for each in (*made, *more)}


def _is_class_of(found: object, module: str) -> bool:
    return isinstance(found, type) and issubclass(found, Value) and found.__module__ == module


def to_plain(value: object) -> Any:
    """*value* in what JSON has."""
    if isinstance(value, Value):
        defaults = type(value)._defaults
        fields = {name: getattr(value, name) for name in type(value)._fields}
        told = {name: to_plain(it) for name, it in fields.items() if it != defaults.get(name, MISSING)}
        return {type(value).__name__: told}
    if isinstance(value, tuple):
        return [to_plain(each) for each in value]
    if isinstance(value, bytes):
        return {BYTES: b2a_base64(value, newline=False).decode()}
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"nothing to keep: {type(value).__name__}")


def from_plain(data: object, classes: Classes, pointer: str = "") -> Any:
    """The value that :func:`to_plain` made *data* of. Raises :class:`SpecError` for what it cannot have made."""
    if isinstance(data, list):
        return tuple([from_plain(each, classes, f"{pointer}/{at}") for at, each in enumerate(data)])
    if not isinstance(data, dict):
        return data
    if len(data) != 1:
        raise SpecError(pointer, "not an object with one key, which says what it is")
    ((name, inner),) = data.items()
    if name == BYTES:
        return _bytes(inner, f"{pointer}/{BYTES}")
    if name not in classes or not isinstance(inner, dict):
        raise SpecError(pointer, f"{name!r} is nothing that is kept")
    return _value(classes[name], inner, classes, f"{pointer}/{name}")


def _bytes(text: object, pointer: str) -> bytes:
    try:
        return a2b_base64(str(text).encode("ascii"), strict_mode=True)
    except ValueError as error:
        raise SpecError(pointer, f"not base64: {error}") from None


def _value(cls: type[Value], fields: Mapping[str, object], classes: Classes, pointer: str) -> Value:
    _check_names(cls, fields, pointer)
    made: Any = cls
    return made(**{name: from_plain(it, classes, f"{pointer}/{name}") for name, it in fields.items()})  # type: ignore[no-any-return]


def _check_names(cls: type[Value], names: Iterable[str], pointer: str) -> None:
    unknown = sorted(set(names) - set(cls._fields))
    missing = sorted(set(cls._fields) - set(cls._defaults) - set(names))
    if unknown or missing:
        told = [f"{name!r} is no field of it" for name in unknown] + [f"{name!r} is missing" for name in missing]
        raise SpecError(pointer, ", ".join(told))
