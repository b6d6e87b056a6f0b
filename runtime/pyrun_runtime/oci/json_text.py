"""JSON as text. The module json costs as much at start as a bare interpreter: it compiles regular expressions."""

from __future__ import annotations


def to_json(value: object, indent: str = "  ", _margin: str = "\n") -> str:
    """*value* as JSON, its objects and lists over several lines as runc and crun print them; with *indent* ``""`` on one line."""
    if isinstance(value, str):
        return _quote(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return repr(value)
    margin = _margin + indent if indent else ""
    if isinstance(value, dict):
        colon = ": " if indent else ":"
        items = [f"{_quote(str(name))}{colon}{to_json(inner, indent, margin)}" for name, inner in value.items()]
        opening, closing = "{", "}"
    elif isinstance(value, (list, tuple)):
        items = [to_json(inner, indent, margin) for inner in value]
        opening, closing = "[", "]"
    else:
        raise TypeError(f"{value!r} has no form in JSON")
    if not items:
        return opening + closing
    return f"{opening}{margin}{f',{margin}'.join(items)}{_margin if indent else ''}{closing}"


def _quote(text: str) -> str:
    try:
        # What json itself uses.
        from _json import encode_basestring_ascii
    except ImportError:
        from json.encoder import encode_basestring_ascii
    return encode_basestring_ascii(text)
