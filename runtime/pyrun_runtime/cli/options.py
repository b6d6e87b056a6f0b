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
    """Name without dashes -> what its value is called in help texts; empty for an option that takes none."""


def parse_options(argv: list[str], table: OptionTable) -> tuple[Options, list[str]]:
    """Options and arguments, in any order; what comes behind ``--`` is an argument. ``-h`` and ``--help`` are always known."""
    options: Options = {}
    arguments: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            arguments += words
        elif word in ("-h", "--help"):
            options["help"] = ""
        elif not word.startswith("-") or word == "-":
            arguments.append(word)
        else:
            name, equals, value = word.removeprefix("--").partition("=")
            if not word.startswith("--") or name not in table:
                raise UsageError(f"unknown option {word!r}{did_you_mean(word.partition('=')[0], options_of(table))}")
            options[name] = _value(name, table[name], value if equals else None, words)
    return options, arguments


def _value(name: str, called: str, value: str | None, words: Iterable[str]) -> str:
    if not called:
        if value is not None:
            raise UsageError(f"--{name} takes no value")
        return ""
    if value is None:
        value = next(iter(words), None)
    if not value:
        raise UsageError(f"--{name} needs a value: --{name} {called}")
    return value


def options_of(table: OptionTable) -> list[str]:
    return [*[f"--{name}" for name in table], "--help"]


def one_argument(arguments: list[str], what: str) -> str:
    if len(arguments) != 1:
        raise UsageError(f"expected one {what}, found {len(arguments) or 'none'}")
    return arguments[0]


def setting(options: Options, name: str, variable: str, default: str) -> str:
    """An option, else an environment variable, else *default*; as an absolute path."""
    path = options.get(name) or os.environ.get(variable) or default
    with naming(f"the working directory, in which {path} would be"):
        return os.path.abspath(path)
