"""YAML text → document, as kubectl reads it.

Built on PyYAML's events, not on its loaders: a loader drops repeated keys, makes dates and sexagesimal numbers out of
plain text, and lets a kilobyte of aliases grow into gigabytes. Events come one at a time, so depth and size are
bounded while the text is still being read, and nothing recurses.
"""

from __future__ import annotations

from pyrun.errors import SpecError
from pyrun.spec.parse import MAX_DEPTH, escape, finite_float, quote, shorten, too_deep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

# Nodes of one document with every alias written out. A full 3 MiB manifest has fewer; an alias bomb has billions.
MAX_NODES = 500_000

_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_TRUES = frozenset(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"))
_FALSES = frozenset(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"))
_INFINITE = frozenset((".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"))
_CORE_TAG = "tag:yaml.org,2002:"


def load_yaml(text: str) -> object:
    """The document in *text*, or, of several, a List of them. Empty ones before, between and behind are none, as for kubectl."""
    try:
        import yaml
    except ImportError:
        raise SpecError("", "this is not JSON, and to read YAML PyYAML must be installed") from None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _Builder().build(yaml.parse(text, Loader=loader))
    except yaml.MarkedYAMLError as error:
        place, problem = _place(error.problem_mark), _one_line(error.problem)
        colon = "mapping values" in problem or "unexpected ':'" in problem
        hint = "; a value with ': ' in it, or ':' at its end, needs quotes" if colon else ""
        raise SpecError("", f"{place}not YAML: {problem}{hint}") from None
    except yaml.YAMLError as error:
        raise SpecError("", f"not YAML: {_one_line(str(error))}") from None
    except RecursionError:
        raise too_deep() from None


def _one_line(message: str | None) -> str:
    return shorten(" ".join((message or "syntax error").split()), 120)


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""


class _Open:
    """A collection whose end has not been read yet."""

    __slots__ = ("anchor", "event", "first_node", "key", "keys", "merged", "pointer", "value")

    def __init__(self, value: dict[str, object] | list[object], pointer: str, event: Any, first_node: int) -> None:
        self.value = value
        self.pointer = pointer
        self.event = event
        self.anchor: str | None = event.anchor
        self.first_node = first_node
        self.key: str | None = None
        self.keys: set[str] = set()
        self.merged: list[object] = []

    def child_pointer(self) -> str:
        token = str(len(self.value)) if isinstance(self.value, list) else self.key or ""
        return f"{self.pointer}/{escape(token)}" if token.isprintable() else self.pointer


class _Builder:
    """Puts one document together from events."""

    def __init__(self) -> None:
        self.stack: list[_Open] = []
        self.anchors: dict[str, tuple[object, int]] = {}
        self.nodes = 0
        self.roots: list[object] = []

    def build(self, events: Iterator[Any]) -> object:
        for event in events:
            handler = getattr(self, "_on_" + type(event).__name__, None)
            if handler is not None:
                handler(event)
        if not self.roots:
            raise SpecError("", "the file is empty")
        if len(self.roots) > 1:
            return {"apiVersion": "v1", "kind": "List", "items": self.roots}
        return self.roots[0]

    def _on_DocumentStartEvent(self, _event: Any) -> None:
        self.anchors.clear()

    def _on_MappingStartEvent(self, event: Any) -> None:
        self._open({}, event)

    def _on_SequenceStartEvent(self, event: Any) -> None:
        self._open([], event)

    def _on_MappingEndEvent(self, _event: Any) -> None:
        self._close()

    def _on_SequenceEndEvent(self, _event: Any) -> None:
        self._close()

    def _on_ScalarEvent(self, event: Any) -> None:
        self._count(1)
        value = _scalar(event, self._pointer())
        if not self.stack and value is None:
            return  # an empty document
        if event.anchor:
            self.anchors[event.anchor] = (value, 1)
        self._add(value, event)

    def _on_AliasEvent(self, event: Any) -> None:
        if event.anchor not in self.anchors:
            raise SpecError(
                self._pointer(), f"{_place(event.start_mark)}the alias *{shorten(event.anchor)} names nothing"
            )
        value, size = self.anchors[event.anchor]
        self._count(size)
        self._add(value, event)

    def _pointer(self) -> str:
        return self.stack[-1].child_pointer() if self.stack else ""

    def _count(self, nodes: int) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            raise SpecError("", f"more than {MAX_NODES} values, aliases written out")

    def _open(self, value: dict[str, object] | list[object], event: Any) -> None:
        if len(self.stack) >= MAX_DEPTH:
            raise too_deep()
        if event.tag is not None and not event.tag.startswith(_CORE_TAG):
            raise SpecError(self._pointer(), f"{_place(event.start_mark)}the tag {shorten(event.tag)} is not supported")
        top = self.stack[-1] if self.stack else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            raise SpecError(top.pointer, f"{_place(event.start_mark)}a key must be a string")
        self._count(1)
        self.stack.append(_Open(value, self._pointer(), event, self.nodes))

    def _close(self) -> None:
        done = self.stack.pop()
        if isinstance(done.value, dict):
            for source in done.merged:
                _merge(done, source)
        if done.anchor:
            self.anchors[done.anchor] = (done.value, self.nodes - done.first_node + 1)
        self._add(done.value, done.event)

    def _add(self, value: object, event: Any) -> None:
        """Puts a finished *value* where the open collection wants it: next item, next key, or value of the last key."""
        if not self.stack:
            self.roots.append(value)
            return
        top = self.stack[-1]
        if isinstance(top.value, list):
            top.value.append(value)
        elif top.key is None:
            top.key = _key(top, value, event)
        else:
            if top.key == "<<":
                top.merged.append(value)
            else:
                top.value[top.key] = value
            top.key = None


def _key(top: _Open, value: object, event: Any) -> str:
    if not isinstance(value, str):
        written = getattr(event, "value", None)
        hint = f"; put {quote(written)} in quotes" if written else ""
        raise SpecError(top.pointer, f"{_place(event.start_mark)}a key must be a string{hint}")
    if value in top.keys:
        token = f"/{escape(value)}" if value.isprintable() else ""
        raise SpecError(top.pointer + token, f"{_place(event.start_mark)}stands here twice")
    top.keys.add(value)
    return value


def _merge(into: _Open, source: object) -> None:
    """The merge key ``<<`` (yaml.org/type/merge): what is written in the mapping itself wins, then earlier sources."""
    sources = source if isinstance(source, list) else [source]
    for mapping in sources:
        if not isinstance(mapping, dict):
            raise SpecError(into.pointer, "'<<' takes a mapping or a list of mappings")
        for key, value in mapping.items():
            into.value.setdefault(key, value)  # type: ignore[union-attr]


def _scalar(event: Any, pointer: str) -> object:
    tag, text = event.tag, event.value
    if tag is None:
        return _plain(text, pointer) if event.implicit[0] else text
    if tag in ("!", _CORE_TAG + "str"):
        return text
    if tag in [_CORE_TAG + name for name in ("null", "bool", "int", "float")]:
        return _plain(text, pointer)
    raise SpecError(pointer, f"{_place(event.start_mark)}the tag {shorten(tag)} is not supported")


def _plain(text: str, pointer: str) -> object:
    """A plain scalar by the YAML 1.1 rules that kubectl's parser keeps: no dates, no sexagesimal numbers."""
    if text in _NULLS:
        return None
    if text in _TRUES:
        return True
    if text in _FALSES:
        return False
    if text.lstrip("+-") in _INFINITE:
        raise SpecError(pointer, f"{text} is not a JSON value")
    if text[0] in "+-.0123456789" and text[-1] in ".0123456789abcdefABCDEF":
        return _number(text, pointer)
    return text


def _number(text: str, pointer: str) -> object:
    body = text[1:] if text[0] in "+-" else text
    digits = body.replace("_", "")
    if not digits or not digits.isascii() or body[0] in "_+-":
        return text
    sign = -1 if text[0] == "-" else 1
    based = digits[:2] in ("0x", "0o", "0b")
    # The interpreter refuses to print an integer of more than 4300 digits, and an error message may have to.
    if len(digits) > 3000 and (based or digits.isdigit()):
        raise SpecError(pointer, "a number has thousands of digits")
    try:
        if based:
            return sign * int(digits, 0)
        if digits.isdigit():
            # A leading zero is octal in YAML 1.1: the mode 0644 of a volume is 420, and 09 is no number.
            octal = len(digits) > 1 and digits[0] == "0"
            return sign * int(digits, 8 if octal else 10)
        if set(body) <= set("0123456789.eE+-"):
            return sign * finite_float(body)
    except SpecError as error:
        raise SpecError(pointer, error.message) from None
    except ValueError:
        pass
    return text
