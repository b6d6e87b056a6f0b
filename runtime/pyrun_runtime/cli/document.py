"""What a command prints for programs: a document as JSON or YAML, and dates in it."""

from __future__ import annotations

import time

from pyrun_runtime.cli.message import UsageError, did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun_runtime.cli.options import Options

FORMATS = ("json", "yaml")


def check_format(name: str) -> str:
    """*name* if it is one. Raises UsageError."""
    if name not in FORMATS:
        raise UsageError(f"--output {name}: not one of {', '.join(FORMATS)}")
    return name


OUTPUTS = ("table", "wide", "json", "yaml", "name")


def list_output(options: Options) -> str:
    """What ``--output`` of a command that lists something says, one of :data:`OUTPUTS`. Raises UsageError."""
    output = options.get("output", OUTPUTS[0])
    if output not in OUTPUTS:
        raise UsageError(f"--output {output}: not one of {', '.join(OUTPUTS)}{did_you_mean(output, OUTPUTS)}")
    return output


def render(document: dict[str, Any], name: str) -> str:
    """*document* in the format *name*, ending in a newline."""
    import json

    if name == "json":
        return json.dumps(document, indent=2) + "\n"
    return "\n".join(_yaml(document, "")) + "\n"


def _yaml(value: Any, indent: str) -> list[str]:
    """Block style; scalars as in JSON, which YAML 1.2 includes."""
    if isinstance(value, dict) and value:
        return [line for key, member in value.items() for line in _member(f"{indent}{_key(key)}:", member, indent)]
    if isinstance(value, list) and value:
        return [line for item in value for line in _item(item, indent)]
    return [indent + _scalar(value)]


def _member(head: str, value: Any, indent: str) -> list[str]:
    if isinstance(value, dict | list) and value:
        return [head, *_yaml(value, indent + "  " if isinstance(value, dict) else indent)]
    return [f"{head} {_scalar(value)}"]


def _item(value: Any, indent: str) -> list[str]:
    first, *rest = _yaml(value, indent + "  ")
    return [f"{indent}- {first.strip()}", *rest]


def _key(text: str) -> str:
    return text if text.replace("-", "").replace("_", "").isalnum() and text[0].isalpha() else _scalar(text)


def _scalar(value: Any) -> str:
    import json

    return json.dumps(value)


def date(wall_s: float) -> str:
    """An RFC 3339 date with microseconds, as Kubernetes' MicroTime."""
    seconds, microseconds = divmod(round(wall_s * 1_000_000), 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{microseconds:06}Z"
