"""What pyrun-oci reads from a command line and says to its callers, without a container."""

from __future__ import annotations

import errno
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrun import ExecError
from pyrun_runtime.cli.message import UsageError
from pyrun_runtime.oci.explain import explain
from pyrun_runtime.oci.json_text import to_json
from pyrun_runtime.oci.kill import parse_signal
from pyrun_runtime.oci.options import Options, parse_options

TABLE = {"bundle,b": "DIR", "force,f": "", "env,e": "NAME=VALUE"}
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@given(VALUES, st.sampled_from(["", "  ", "\t"]))
def test_json_is_what_json_reads(value: object, indent: str) -> None:
    text = to_json(value, indent)
    assert json.loads(text) == value
    assert indent or "\n" not in text


@given(VALUES)
def test_json_over_several_lines_is_laid_out_as_json_does(value: object) -> None:
    assert to_json(value) == json.dumps(value, indent=2)


def parsed(*words: str, in_order: bool = False) -> tuple[Options, list[str]]:
    options = Options()
    return options, parse_options(list(words), TABLE, options, in_order)


@pytest.mark.parametrize("words", [("--bundle", "x"), ("--bundle=x",), ("-b", "x"), ("-b=x",), ("-bundle", "x")])
def test_an_option_with_a_value(words: tuple[str, ...]) -> None:
    options, arguments = parsed(*words, "id")
    assert (options.get("bundle"), arguments) == ("x", ["id"])


@pytest.mark.parametrize(
    ("word", "value"), [("--force", True), ("-f", True), ("--force=true", True), ("--force=0", False)]
)
def test_a_flag(word: str, value: bool) -> None:
    options, arguments = parsed("id", word)
    assert (options.flag("force"), arguments) == (value, ["id"])


def test_the_last_one_counts_and_all_are_kept() -> None:
    options, _ = parsed("-e", "a=1", "--env=b=2")
    assert (options.get("env"), options.all("env")) == ("b=2", ["a=1", "b=2"])


def test_where_options_end() -> None:
    assert parsed("id", "--", "--force")[1] == ["id", "--force"]
    options, arguments = parsed("-f", "id", "--force=no", in_order=True)
    assert (options.flag("force"), arguments) == (True, ["id", "--force=no"])
    assert parsed("-", "id")[1] == ["-", "id"]


@pytest.mark.parametrize("words", [("--nonsense",), ("-x",), ("--bundle",), ("--force=maybe",)])
def test_what_is_no_option(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        parsed(*words)


@pytest.mark.parametrize(
    ("text", "number"),
    [("TERM", 15), ("sigkill", 9), ("9", 9), ("SIGRTMIN+3", 37), ("RTMAX-1", 63), ("SIGRTMAX", 64), ("WINCH", 28)],
)
def test_signals(text: str, number: int) -> None:
    assert parse_signal(text) == number


@pytest.mark.parametrize("text", ["", "SIG", "0", "65", "TERM+1", "RTMIN+", "RTMIN+40", "RTMIN-5x", "SIG_IGN", "١"])
def test_what_is_no_signal(text: str) -> None:
    with pytest.raises(UsageError):
        parse_signal(text)


@pytest.mark.parametrize(
    ("program", "error", "words"),
    [
        ("sh", errno.ENOENT, "executable file 'sh' not found in $PATH: No such file or directory"),
        ("/bin/sh", errno.ENOENT, "exec '/bin/sh': No such file or directory"),
        ("/bin/sh", errno.EACCES, "exec '/bin/sh': Permission denied"),
    ],
)
def test_the_words_that_podman_takes_for_127_and_126(program: str, error: int, words: str) -> None:
    assert explain(ExecError(program, error)) == (words, 1)


def test_a_mistake_of_ours_is_one_line_as_well() -> None:
    text, status = explain(ZeroDivisionError("oh"))
    assert (text.splitlines(), status) == ([text], 1)
    assert text.startswith("unexpected ZeroDivisionError: oh")
