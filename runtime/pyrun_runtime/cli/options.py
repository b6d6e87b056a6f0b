"""Options of the command line.

Forty lines instead of a module of the standard library, because of what those import: argparse costs 4 to 9 ms and getopt, by way
of gettext and re, hardly less; a bare interpreter starts in 10.
"""

from __future__ import annotations

import os

from pyrun_runtime.cli.message import UsageError, did_you_mean, naming

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import TypeAlias

    Options: TypeAlias = dict[str, str]
    OptionTable: TypeAlias = Mapping[str, str]
    """Name without dashes, and behind a comma its letter if it has one -> what its value is called in help texts; empty for an
    option that takes none, and with ``...`` at its end for one that may be given again: :func:`values_of` has all of them."""


def parse_options(argv: list[str], table: OptionTable) -> tuple[Options, list[str]]:
    """Options and arguments, in any order; what comes behind ``--`` is an argument. ``-h`` and ``--help`` are always known."""
    options: Options = {}
    arguments: list[str] = []
    known = _names(table)
    words = iter(argv)
    for word in words:
        if word == "--":
            arguments += words
        elif word in ("-h", "--help"):
            options["help"] = ""
        elif not word.startswith("-") or word == "-":
            arguments.append(word)
        else:
            for given, value in _split(word, known):
                if given not in known:
                    raise UsageError(
                        f"unknown option {word!r}{did_you_mean(word.partition('=')[0], options_of(table))}"
                    )
                name, called = known[given]
                _add(options, name, called, _value(name, called, value, words))
    return options, arguments


def _names(table: OptionTable) -> dict[str, tuple[str, str]]:
    """``--name`` and ``-n`` -> the name, and what its value is called."""
    known = {}
    for key, called in table.items():
        name, _, letter = key.partition(",")
        known[f"--{name}"] = (name, called)
        if letter:
            known[f"-{letter}"] = (name, called)
    return known


def _split(word: str, known: Mapping[str, tuple[str, str]]) -> list[tuple[str, str | None]]:
    """The options in one word, each with the value that stands there: ``--name=value``, ``-n5``, ``-n=5``, ``-it``."""
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        return [(name, value if equals else None)]
    found: list[tuple[str, str | None]] = []
    for at in range(1, len(word)):
        letter, rest = f"-{word[at]}", word[at + 1 :]
        if letter in known and known[letter][1] and rest:
            return [*found, (letter, rest.removeprefix("="))]
        found.append((letter, None))
    return found


def _add(options: Options, name: str, called: str, given: str) -> None:
    again = name in options and called.endswith("...")
    options[name] = f"{options[name]}\0{given}" if again else given


def _value(name: str, called: str, value: str | None, words: Iterable[str]) -> str:
    if not called:
        if value is not None:
            raise UsageError(f"--{name} takes no value")
        return ""
    if value is None:
        value = next(iter(words), None)
    if not value:
        raise UsageError(f"--{name} needs a value: --{name} {called.removesuffix('...')}")
    return value


def options_of(table: OptionTable) -> list[str]:
    return [*[f"--{key.partition(',')[0]}" for key in table], "--help"]


def values_of(options: Options, name: str) -> list[str]:
    """All values of an option that may be given again."""
    return options[name].split("\0") if name in options else []


def one_argument(arguments: list[str], what: str) -> str:
    if len(arguments) != 1:
        raise UsageError(f"expected one {what}, found {len(arguments) or 'none'}")
    return arguments[0]


def setting(options: Options, name: str, variable: str, default: str) -> str:
    """An option, else an environment variable, else *default*; as an absolute path."""
    path = options.get(name) or os.environ.get(variable) or default
    with naming(f"the working directory, in which {path} would be"):
        return os.path.abspath(path)
