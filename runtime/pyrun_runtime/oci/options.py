"""Options as crun and runc take them: ``--name value``, ``--name=value``, ``-n value``; global ones before and after the verb.

A small parser of our own for the reason that :mod:`pyrun_runtime.cli.options` has.
"""

from __future__ import annotations

import os

from pyrun_runtime.cli.message import UsageError, did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    OptionTable: TypeAlias = Mapping[str, str]
    """``name`` or ``name,n`` with its short form -> what its value is called in help texts; empty for a flag."""

TRUE, FALSE = ("true", "1", "t", "T", "TRUE", "True"), ("false", "0", "f", "F", "FALSE", "False")


class Options:
    """What was given, in order: an option may be repeated."""

    def __init__(self) -> None:
        self._values: dict[str, list[str]] = {}

    def add(self, name: str, value: str) -> None:
        self._values.setdefault(name, []).append(value)

    def all(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def get(self, name: str, default: str = "") -> str:
        """The last value given."""
        return self._values.get(name, [default])[-1]

    def make_absolute(self, *names: str) -> None:
        """Paths that were given below the working directory of now; crun's have ``file:`` before them, if callers like."""
        for name in names:
            if self.get(name):
                self._values[name] = [os.path.abspath(path.removeprefix("file:")) for path in self.all(name)]

    def flag(self, name: str) -> bool:
        return self.get(name, "false") == "true"

    def number(self, name: str) -> int:
        """A count; 0 if it was not given."""
        text = self.get(name, "0")
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise UsageError(f"--{name} {text}: not a number")
        return int(text)


def parse_options(argv: list[str], table: OptionTable, options: Options, in_order: bool = False) -> list[str]:
    """Put the options of *argv* into *options* and return the arguments. With *in_order* the first argument ends the options."""
    names = _names(table)
    arguments: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            return [*arguments, *words]
        if not word.startswith("-") or word == "-":
            arguments.append(word)
            if in_order:
                return [*arguments, *words]
            continue
        given, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
        if given not in names:
            known = [f"--{name}" for name in names if len(name) > 1]
            raise UsageError(f"unknown option {word!r}{did_you_mean('--' + given, known)}")
        name, called = names[given]
        if not called:
            options.add(name, _boolean(name, value if equals else "true"))
            continue
        found = value if equals else next(words, None)
        if found is None:
            raise UsageError(f"--{name} needs a value: --{name} {called}")
        options.add(name, found)
    return arguments


def _names(table: OptionTable) -> dict[str, tuple[str, str]]:
    names = {}
    for key, called in table.items():
        name, _, short = key.partition(",")
        names[name] = (name, called)
        if short:
            names[short] = (name, called)
    return names


def _boolean(name: str, text: str) -> str:
    if text in TRUE:
        return "true"
    if text in FALSE:
        return "false"
    raise UsageError(f"--{name} is a flag: {text!r} is neither true nor false")


def container_id(arguments: list[str], most: int = 1) -> str:
    """The first argument; *most* is how many there may be."""
    if not arguments:
        raise UsageError("the ID of a container is missing")
    if len(arguments) > most:
        raise UsageError(f"unexpected argument {arguments[most]!r}")
    return arguments[0]
