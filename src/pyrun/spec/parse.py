"""Bytes → document, and :class:`Reader`, which walks a document and says exactly where it is wrong.

Whatever the bytes are, the only exception is a one-line :class:`~pyrun.errors.SpecError` with a JSON pointer (RFC
6901), and it comes fast. JSON is scanned by the interpreter's own C scanner without importing :mod:`json`, whose
import (it compiles regular expressions) costs as much as a bare interpreter; :mod:`json` is loaded only to word a
syntax error. YAML is loaded only for text that is no JSON.

As in Kubernetes' API a null is the same as an absent field.
"""

from __future__ import annotations

from pyrun.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from typing import Any, TypeVar

    S = TypeVar("S", bound=str)

# Kubernetes' API server takes no request above 3 MiB (apiserver, MaxRequestBodyBytes).
MAX_DOCUMENT_BYTES = 3 * 1024 * 1024

# A Pod is 12 levels deep. The bound keeps every later walk over a document safe from the interpreter's recursion limit.
MAX_DEPTH = 64

_SPACE = " \t\n\r"


def load_document(data: bytes, source: str) -> object:
    """The JSON or YAML document in *data*; *source* names it in errors."""
    return _load(data, source, _load_any)


def load_json(data: bytes, source: str) -> object:
    """The JSON document in *data*; *source* names it in errors."""
    return _load(data, source, _load_json)


def _load(data: bytes, source: str, load: Callable[[str], object]) -> object:
    try:
        document = load(_decode(data))
        _check_depth(document)
    except SpecError as error:
        raise error.located(source) from None
    return document


def _decode(data: bytes) -> str:
    if len(data) > MAX_DOCUMENT_BYTES:
        raise SpecError("", f"{_mebibytes(len(data))} are too much: the limit is {_mebibytes(MAX_DOCUMENT_BYTES)}")
    try:
        text = data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise SpecError("", f"not UTF-8 text: byte 0x{data[error.start]:02x} at offset {error.start}") from None
    if not text.strip():
        raise SpecError("", "the file is empty")
    return text


def _load_any(text: str) -> object:
    start = text.lstrip()[:1]
    if start in "{[":
        return _load_json_or_flow(text)
    if start == "/":
        raise _slash(text)
    from pyrun.spec.yaml_document import load_yaml

    return load_yaml(text)


def _load_json_or_flow(text: str) -> object:
    """YAML's flow style begins like JSON: ``{apiVersion: v1, ...}``. What is neither was most likely meant as JSON."""
    try:
        return _load_json(text)
    except _NotJson as not_json:
        from pyrun.spec.yaml_document import load_yaml

        try:
            return load_yaml(text)
        except SpecError:
            raise not_json from None


def _slash(text: str) -> SpecError:
    """A comment of other languages, most likely: no Pod begins with a slash."""
    line = text.count("\n", 0, text.index("/")) + 1
    return SpecError("", f"line {line}: neither JSON nor YAML begins with '/'; a comment in YAML begins with '#'")


def _mebibytes(size: int) -> str:
    return f"{size / (1024 * 1024):.1f} MiB"


def _check_depth(document: object) -> None:
    """Level by level, so that it cannot recurse."""
    level: list[object] = [document]
    for _ in range(MAX_DEPTH + 1):
        below: list[object] = []
        collections = 0
        for value in level:
            if type(value) is dict:
                below += value.values()
                collections += 1
            elif type(value) is list:
                below += value
                collections += 1
        if not collections:
            return
        level = below
    raise too_deep()


def too_deep() -> SpecError:
    return SpecError("", f"nested deeper than {MAX_DEPTH} levels")


# JSON ---------------------------------------------------------------------------------------------------------------


class _NotJson(SpecError):
    """The syntax is not that of JSON."""


def _first_repeated(pairs: list[tuple[str, object]]) -> str:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            break
        seen.add(name)
    return name


class _JsonRules:
    """What the C scanner asks of its context, and the keys that it met twice."""

    strict = True
    object_hook = None
    parse_int = int

    def __init__(self) -> None:
        self.repeated: list[tuple[dict[str, object], str]] = []

    def object_pairs_hook(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        members = dict(pairs)
        if len(members) != len(pairs):
            self.repeated.append((members, _first_repeated(pairs)))
        return members

    def parse_float(self, text: str) -> float:
        return finite_float(text)

    def parse_constant(self, name: str) -> object:
        raise SpecError("", f"{name} is not a JSON value")

    def scanner(self) -> Callable[[str, int], tuple[object, int]]:
        rules: Any = self
        try:
            from _json import make_scanner
        except ImportError:
            import json

            hooks = ("object_pairs_hook", "parse_float", "parse_constant")
            decoder: Any = json.JSONDecoder(**{hook: getattr(rules, hook) for hook in hooks})
            return decoder.scan_once  # type: ignore[no-any-return]
        return make_scanner(rules)


def _load_json(text: str) -> object:
    rules = _JsonRules()
    try:
        document, end = rules.scanner()(text, _skip_space(text, 0))
    except StopIteration as stop:
        raise _syntax_error(text, stop.value, "a value is missing here") from None
    except RecursionError:
        raise too_deep() from None
    except SystemError:
        # CPython 3.11's scanner words its errors with json.decoder, and raises nothing where that is not loaded yet.
        import json.decoder  # noqa: F401 - for its effect

        return _load_json(text)
    except SpecError:
        raise
    except ValueError as error:
        if hasattr(error, "pos"):
            raise _syntax_error(text, error.pos, _reworded(error.msg)) from None  # type: ignore[attr-defined]
        raise SpecError("", "a number has thousands of digits") from None
    end = _skip_space(text, end)
    if end != len(text):
        raise _syntax_error(text, end, "there is more after the end of the document")
    if rules.repeated:
        raise _repeated_key(document, rules.repeated)
    return document


def finite_float(text: str) -> float:
    """*text* as a float; one that overflows to infinity is refused."""
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise SpecError("", f"the number {shorten(text)} is too large")
    return value


def _skip_space(text: str, index: int) -> int:
    while index < len(text) and text[index] in _SPACE:
        index += 1
    return index


def _syntax_error(text: str, index: int, message: str) -> _NotJson:
    line = text.count("\n", 0, index) + 1
    column = index - text.rfind("\n", 0, index)
    return _NotJson("", f"line {line}, column {column}: not JSON: {message}")


def _reworded(message: str) -> str:
    """A message of the standard library's, without the place that it expects to follow."""
    message = message.removesuffix(" at").removesuffix(" starting")
    return message[:1].lower() + message[1:]


def _repeated_key(document: object, repeated: list[tuple[dict[str, object], str]]) -> SpecError:
    """The pointer of the first repeated key that can still be reached in *document*."""
    queue = [Reader(document)]
    for reader in queue:
        value = reader.value
        for members, name in repeated:
            if members is value:
                return reader.member_error(name, "stands here twice")
        children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        queue += [Reader(child, reader, str(key)) for key, child in children]
    return SpecError("", f"the key {quote(repeated[0][1])} stands twice in one object")


# The cursor ---------------------------------------------------------------------------------------------------------


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """``"; did you mean 'image'?"`` for ``"imagee"``, or nothing where no candidate is near."""
    names = sorted(candidates)
    same = [candidate for candidate in names if candidate.lower() == name.lower() and candidate != name]
    if not same:
        import difflib

        same = difflib.get_close_matches(name[:100], names, 1)
    return f"; did you mean {same[0]!r}?" if same else ""


def shorten(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


def quote(text: str) -> str:
    """*text* for an error message: in quotes, on one line whatever is in it, and not too long."""
    return repr(shorten(text))


def describe(value: object) -> str:
    """A value in the words of an error message: ``the number 5``, ``a list``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"the number {shorten(repr(value))}"
    if isinstance(value, str):
        return f"the string {quote(value)}" if value else "an empty string"
    return "a list" if isinstance(value, list) else "an object"


def escape(token: str) -> str:
    """One reference token of a JSON pointer (RFC 6901, section 3)."""
    return token.replace("~", "~0").replace("/", "~1")


def refuse_unknown(reader: Reader, name: str, known: Collection[str]) -> SpecError | None:
    """The error for a field that nobody knows."""
    return reader.member_error(name, "no such field" + did_you_mean(name, known))


def ignore_unknown(_reader: Reader, _name: str, _known: Collection[str]) -> SpecError | None:
    """For formats that say: ignore what you do not know."""
    return None


class Reader:
    """One place in a document: its value, and where it stands. The pointer is put together only when it is asked
    for."""

    __slots__ = ("key", "parent", "value")

    def __init__(self, value: object, parent: Reader | None = None, key: str = "") -> None:
        self.value = value
        self.parent = parent
        self.key = key

    @property
    def pointer(self) -> str:
        tokens: list[str] = []
        place: Reader = self
        while place.parent is not None:
            tokens.append(escape(place.key))
            place = place.parent
        return "".join(["/" + token for token in reversed(tokens)])

    def error(self, message: str) -> SpecError:
        return SpecError(self.pointer, message)

    def member_error(self, name: str, message: str) -> SpecError:
        """An error at member *name*; at the object itself if the name would spoil a one-line message."""
        if name.isprintable() and len(name) <= 256:
            return SpecError(f"{self.pointer}/{escape(name)}", message)
        return SpecError(self.pointer, f"the field {quote(name)}: {message}")

    def wrong_type(self, wanted: str) -> SpecError:
        return self.error(f"expected {wanted}, found {describe(self.value)}")

    def object(
        self,
        known: Collection[str],
        refuse: Callable[[Reader, str, Collection[str]], SpecError | None] = refuse_unknown,
    ) -> Fields:
        """The object's fields; for one that is not in *known*, *refuse* says what is wrong with it, or None to ignore
        it."""
        if type(self.value) is not dict:
            raise self.wrong_type("an object")
        for name, value in self.value.items():
            if name not in known and value is not None:
                error = refuse(self, name, known)
                if error is not None:
                    raise error
        return Fields(self, self.value)

    def items(self) -> list[Reader]:
        if type(self.value) is not list:
            raise self.wrong_type("a list")
        return [Reader(item, self, str(index)) for index, item in enumerate(self.value)]

    def string(self) -> str:
        value = self.value
        if type(value) is not str:
            raise self.wrong_type("a string")
        # Neither can reach the kernel: a NUL ends a C string, half of a surrogate pair has no encoding.
        if "\0" in value:
            raise self.error("must not contain a NUL character")
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise self.error("contains half of a surrogate pair, which is not Unicode text")
        return value

    def boolean(self) -> bool:
        if type(self.value) is not bool:
            raise self.wrong_type("true or false")
        return self.value

    def integer(self, minimum: int | None = None, maximum: int | None = None) -> int:
        value = self.value
        if type(value) is not int:
            raise self.wrong_type("an integer")
        if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
            raise self.error(f"must be {_range(minimum, maximum)}, found {shorten(str(value))}")
        return value

    def one_of(self, choices: Collection[S]) -> S:
        text = self.string()
        for choice in choices:
            if choice == text:
                return choice
        wanted = ", ".join([repr(choice) for choice in choices])
        raise self.error(f"{quote(text)} is none of {wanted}{did_you_mean(text, choices)}")

    def strings(self) -> tuple[str, ...]:
        return tuple([item.string() for item in self.items()])

    def integers(self, minimum: int | None = None, maximum: int | None = None) -> tuple[int, ...]:
        return tuple([item.integer(minimum, maximum) for item in self.items()])

    def members(self) -> list[Reader]:
        """Every member of an object whose names are data; a name is in its reader's ``key``."""
        if type(self.value) is not dict:
            raise self.wrong_type("an object")
        for name in self.value:
            if not name.isprintable() or len(name) > 512:
                raise self.error(f"the name {quote(name)} is too long or not printable")
        return [Reader(value, self, name) for name, value in self.value.items()]

    def mapping_of_strings(self) -> tuple[tuple[str, str], ...]:
        return tuple([(member.key, member.string()) for member in self.members()])


def _range(minimum: int | None, maximum: int | None) -> str:
    if maximum is None:
        return f"at least {minimum}"
    return f"at most {maximum}" if minimum is None else f"between {minimum} and {maximum}"


class Fields:
    """The fields of one object. A field that is null is absent."""

    __slots__ = ("_members", "reader")

    def __init__(self, reader: Reader, members: dict[str, object]) -> None:
        self.reader = reader
        self._members = members

    def get(self, name: str) -> Reader | None:
        value = self._members.get(name)
        return None if value is None else Reader(value, self.reader, name)

    def need(self, name: str) -> Reader:
        found = self.get(name)
        if found is None:
            raise self.reader.member_error(name, "required, but missing")
        return found

    def names(self) -> list[str]:
        """Those that are there, in the order of the document."""
        return [name for name, value in self._members.items() if value is not None]

    def items(self, name: str) -> list[Reader]:
        found = self.get(name)
        return [] if found is None else found.items()

    def string(self, name: str, default: str = "") -> str:
        found = self.get(name)
        return default if found is None else found.string()

    def boolean(self, name: str, default: bool = False) -> bool:
        found = self.get(name)
        return default if found is None else found.boolean()

    def one_of(self, name: str, choices: Collection[S], default: S) -> S:
        found = self.get(name)
        return default if found is None else found.one_of(choices)

    def strings(self, name: str) -> tuple[str, ...]:
        found = self.get(name)
        return () if found is None else found.strings()

    def mapping_of_strings(self, name: str) -> tuple[tuple[str, str], ...]:
        found = self.get(name)
        return () if found is None else found.mapping_of_strings()
