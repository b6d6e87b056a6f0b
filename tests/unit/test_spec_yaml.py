"""YAML as kubectl reads it, and the traps of YAML."""

from __future__ import annotations

import json
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pyrun.errors import SpecError
from pyrun.spec.parse import MAX_DEPTH, load_document


def load(text: str) -> object:
    return load_document(text.encode(), "x")


def message(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        load(text)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix("x: ")


@pytest.fixture(params=["libyaml", "python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both of PyYAML's parsers: Debian has libyaml's, a source build may not."""
    if request.param == "python":
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    return str(request.param)


# -.5 is a number to kubectl's parser and text to PyYAML, which therefore writes it without quotes.
PLAIN = st.text(alphabet="abc XYZ019_-.:#é", max_size=8).filter(lambda text: not text.startswith("-."))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(-1e9, 1e9) | PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PLAIN, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(PLAIN, VALUES, min_size=1, max_size=3))
def test_what_is_dumped_is_read_back(document: dict[str, object]) -> None:
    text = "---\n" + yaml.safe_dump(document, allow_unicode=True)
    assert json.dumps(load(text), sort_keys=True) == json.dumps(document, sort_keys=True)


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-5", -5),
        ("+5", 5),
        ("0644", 420),
        ("0o644", 420),
        ("0x1F", 31),
        ("0b101", 5),
        ("1_000", 1000),
        ("089", "089"),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("true", True),
        ("Yes", True),
        ("off", False),
        ("~", None),
        ("null", None),
        ('"5"', "5"),
        ("!!str 5", "5"),
        ("!!int 5", 5),
        ("2024-01-02", "2024-01-02"),
        ("80:80", "80:80"),
        ("1.2.3", "1.2.3"),
        ("500m", "500m"),
        ("128Mi", "128Mi"),
        ("-", ["x"]),
        ("--flag", "--flag"),
        ("y", "y"),
        ("1e", "1e"),
        ("0xZZ", "0xZZ"),
        ("cafe", "cafe"),
        ("deadbeef0", "deadbeef0"),
        ("192.168.0.1", "192.168.0.1"),
    ],
)
def test_scalars(text: str, value: object) -> None:
    if text == "-":
        text = "[x]"
    assert load(f"a: {text}\n") == {"a": value}
    assert type(load(f"a: {text}\n")["a"]) is type(value)  # type: ignore[index]


@pytest.mark.usefixtures("parser")
def test_anchors_and_merge_keys() -> None:
    text = "base: &base {a: 1, b: 2}\nover:\n  <<: *base\n  b: 3\nmany: {<<: [*base, {a: 9, c: 4}]}\nagain: *base\n"
    assert load(text) == {
        "base": {"a": 1, "b": 2},
        "over": {"a": 1, "b": 3},
        "many": {"a": 1, "b": 2, "c": 4},
        "again": {"a": 1, "b": 2},
    }


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a: 1\na: 2\n", "/a: line 2, column 1: stands here twice"),
        ("s:\n  c:\n  - {n: 1, n: 2}\n", "/s/c/0/n: line 3, column 12: stands here twice"),
        ("a: 1\nb: 2\n c: 3\n", "line 3, column 3: not YAML: mapping values are not allowed"),
        ("80: x\n", "line 1, column 1: a key must be a string; put '80' in quotes"),
        ("a: {on: 1}\n", "/a: line 1, column 5: a key must be a string; put 'on' in quotes"),
        ("? [a]\n: 1\n", "line 1, column 3: a key must be a string"),
        ("a: *b\n", "/a: line 1, column 4: the alias *b names nothing"),
        ("a: &a [*a]\n", "/a/0: line 1, column 8: the alias *a names nothing"),
        ("a: !!python/name:x y\n", "/a: line 1, column 4: the tag tag:yaml.org,2002:python/name:x is not supported"),
        ("a: !!binary aGk=\n", "/a: line 1, column 4: the tag tag:yaml.org,2002:binary is not supported"),
        ("a: !mine {}\n", "/a: line 1, column 4: the tag !mine is not supported"),
        ("a: host:\n", "line 1, column 8: not YAML: mapping values are not allowed"),
        ("a: .inf\n", "/a: .inf is not a JSON value"),
        ("a: -.inf\n", "/a: -.inf is not a JSON value"),
        ("a: 1e999\n", "/a: the number 1e999 is too large"),
        ("a: " + "9" * 5000, "/a: a number has thousands of digits"),
        ("a: 0x" + "f" * 4000, "/a: a number has thousands of digits"),
        ("a: {<<: 1}\n", "/a: '<<' takes a mapping or a list of mappings"),
        ("# nothing\n", "the file is empty"),
        ("---\n", "the file is empty"),
        ("---\n---\nnull\n...\n", "the file is empty"),
        ("a: &x 1\n---\n*x\n", "line 3, column 1: the alias *x names nothing"),
        ("a: " + "[" * 100, f"nested deeper than {MAX_DEPTH} levels"),
    ],
)
def test_what_is_wrong_is_said(text: str, wanted: str) -> None:
    found = message(text)
    if "not YAML" in wanted:  # the two parsers word it differently
        assert found.startswith(wanted)
        assert found.endswith("; a value with ': ' in it, or ':' at its end, needs quotes")
    else:
        assert found == wanted


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    "text",
    [
        "a: 1\n---\n",
        "---\n---\na: 1\n",
        "---\n# nothing\n---\na: 1\n...\n",
        "a: 1\n---\nnull\n---\n~\n",
        "a: 1\n---\n# end",
        '{"a": 1}\n---\n',
    ],
)
def test_empty_documents_are_none(text: str) -> None:
    assert load(text) == {"a": 1}


@pytest.mark.usefixtures("parser")
def test_several_documents_are_a_list() -> None:
    wanted = {"apiVersion": "v1", "kind": "List", "items": [{"a": 1}, {"b": 2}]}
    assert load('{"a": 1}\n---\n{"b": 2}') == load("a: 1\n---\n---\nb: 2\n...\n") == wanted


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("text", ["{a: 1}", '{"a": 1, }', "{a: 1} # one", "{\n  'a': 0x1,\n}\n", "  {a: 1}\n"])
def test_flow_style_begins_like_json(text: str) -> None:
    assert load(text) == {"a": 1}
    assert load(f"[{text.partition('#')[0].strip()}, x]") == [{"a": 1}, "x"]


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('{"a": @}', "line 1, column 7: not JSON: a value is missing here"),
        ("{a: 1, a: 2}", "line 1, column 2: not JSON: expecting property name enclosed in double quotes"),
        ('{"a": 1, "a": 2}', "/a: stands here twice"),
        ("// x\n{}", "line 1: neither JSON nor YAML begins with '/'; a comment in YAML begins with '#'"),
        ("\n\n/* x */ {}", "line 3: neither JSON nor YAML begins with '/'; a comment in YAML begins with '#'"),
    ],
)
def test_what_is_neither_is_wrong_json(text: str, wanted: str) -> None:
    assert message(text) == wanted


@pytest.mark.usefixtures("parser")
def test_control_characters_are_not_yaml() -> None:
    assert "not YAML: " in message("a: \x01\n")


@pytest.mark.usefixtures("parser")
def test_an_alias_bomb_is_refused_early() -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    assert message("\n".join(lines)) == "more than 500000 values, aliases written out"


@pytest.mark.usefixtures("parser")
def test_aliases_cannot_pass_the_depth_limit() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, MAX_DEPTH + 5)]
    assert message("\n".join(lines)) == f"nested deeper than {MAX_DEPTH} levels"


def test_without_pyyaml_the_message_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert message("a: 1\n") == "this is not JSON, and to read YAML PyYAML must be installed"
