"""Bytes → document: every way in which a file can be wrong is one sentence, and comes fast."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrun.errors import SpecError
from pyrun.spec.parse import MAX_DEPTH, Reader, describe, did_you_mean, load_document


def error_of(data: bytes) -> SpecError | None:
    try:
        load_document(data, "x")
    except SpecError as error:
        return error
    return None


def message(data: bytes) -> str:
    with pytest.raises(SpecError) as caught:
        load_document(data, "spec.json")
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("spec.json: ")
    return text.removeprefix("spec.json: ")


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), JSON_VALUES, max_size=4))
def test_json_is_read_as_the_standard_library_does(document: dict[str, object]) -> None:
    text = json.dumps(document, ensure_ascii=False)
    try:
        data = text.encode()
    except UnicodeEncodeError:
        data = json.dumps(document).encode()
    assert load_document(data, "x") == json.loads(text)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_document_or_a_spec_error(data: bytes) -> None:
    error = error_of(data)
    assert error is None or error.source == "x"


@given(st.text(alphabet='{}[]",:\\ \n01e.-+tnN&*!<#aé\ud800', max_size=60))
def test_any_text_gives_a_document_or_a_spec_error(text: str) -> None:
    error = error_of(text.encode("utf-8", "surrogatepass"))
    assert error is None or "\n" not in str(error)


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"", "the file is empty"),
        (b" \n\t", "the file is empty"),
        (b"\xef\xbb\xbf", "the file is empty"),
        (b'{"a": \xff}', "not UTF-8 text: byte 0xff at offset 6"),
        (b"\x7fELF\x02\x01\x01\x00\x80", "not UTF-8 text: byte 0x80 at offset 8"),
        (b'{"a": 1,\n  "b" 2}', "line 2, column 7: not JSON: expecting ':' delimiter"),
        (b'{"a": @}', "line 1, column 7: not JSON: a value is missing here"),
        (b"[1, 2", "line 1, column 6: not JSON: expecting ',' delimiter"),
        (b'{"a": "x', "line 1, column 7: not JSON: unterminated string"),
        (b'{"a": 1} {"b": 2}', "line 1, column 10: not JSON: there is more after the end of the document"),
        (b'{"a": NaN}', "NaN is not a JSON value"),
        (b'{"a": -Infinity}', "-Infinity is not a JSON value"),
        (b'{"a": 1e999}', "the number 1e999 is too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "a number has thousands of digits"),
        (b'{"a": {"b/c": [0, {"x": 1, "x": 2}]}}', "/a/b~1c/1/x: stands here twice"),
        (b'{"a\\nb": 1, "a\\nb": 2}', "the field 'a\\nb': stands here twice"),
        (b"[" * 100_000, f"nested deeper than {MAX_DEPTH} levels"),
        (b"[" * 65 + b"]" * 65, f"nested deeper than {MAX_DEPTH} levels"),
        (b" " * 10_000_000, "9.5 MiB are too much: the limit is 3.0 MiB"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, wanted: str) -> None:
    assert message(data) == wanted


def test_depth_up_to_the_limit_is_read() -> None:
    assert load_document(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, "x")


@pytest.mark.parametrize(
    "data",
    [
        b"x" * 3_000_000,
        b"[" * 3_000_000,
        b"- " * 1_500_000,
        b'{"a":' * 500_000,
        b"a: &a [*a]\n" * 1000,
        b"{" * 3_000_000,
    ],
    ids=["text", "brackets", "sequences", "objects", "aliases", "braces"],
)
def test_nonsense_is_refused_fast(data: bytes) -> None:
    start = time.monotonic()
    with pytest.raises(SpecError):
        Reader(load_document(data, "x")).object(())
    assert time.monotonic() - start < 2


# The cursor


def test_pointers_are_escaped() -> None:
    reader = Reader({"a/b": [{"~": 5}]})
    place = reader.object(("a/b",)).need("a/b").items()[0].object(("~",)).need("~")
    assert place.pointer == "/a~1b/0/~0"
    with pytest.raises(SpecError, match=r"^/a~1b/0/~0: expected a string, found the number 5$"):
        place.string()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (5, "the number 5"),
        (1.5, "the number 1.5"),
        ("", "an empty string"),
        ("a\nb", "the string 'a\\nb'"),
        ("x" * 100, f"the string '{'x' * 57}...'"),
        ([], "a list"),
        ({}, "an object"),
    ],
)
def test_values_in_words(value: object, words: str) -> None:
    assert describe(value) == words


@pytest.mark.parametrize(
    ("call", "value", "wanted"),
    [
        ("string", True, "expected a string, found true"),
        ("string", "a\0b", "must not contain a NUL character"),
        ("string", "\udc80", "contains half of a surrogate pair, which is not Unicode text"),
        ("integer", True, "expected an integer, found true"),
        ("integer", 1.0, "expected an integer, found the number 1.0"),
        ("integer", "1", "expected an integer, found the string '1'"),
        ("boolean", "true", "expected true or false, found the string 'true'"),
        ("boolean", 0, "expected true or false, found the number 0"),
        ("items", {}, "expected a list, found an object"),
        ("strings", ["a", None], "/1: expected a string, found null"),
        ("members", [], "expected an object, found a list"),
        ("members", {"a\n": 1}, "the name 'a\\n' is too long or not printable"),
        ("mapping_of_strings", {"a": 1}, "/a: expected a string, found the number 1"),
    ],
)
def test_type_errors_say_what_was_found(call: str, value: object, wanted: str) -> None:
    with pytest.raises(SpecError) as caught:
        getattr(Reader(value), call)()
    assert str(caught.value) == wanted


def test_ranges_and_choices() -> None:
    with pytest.raises(SpecError, match=r"^must be between 1 and 5, found 6$"):
        Reader(6).integer(1, 5)
    with pytest.raises(SpecError, match=r"^must be at least 0, found -1$"):
        Reader(-1).integer(0)
    with pytest.raises(SpecError, match=r"^'never' is none of 'Always', 'Never'; did you mean 'Never'\?$"):
        Reader("never").one_of(("Always", "Never"))


def test_null_is_absent() -> None:
    fields = Reader({"a": None, "unknown": None}).object(("a",))
    assert fields.get("a") is None
    assert fields.string("a", "default") == "default"
    with pytest.raises(SpecError, match=r"^/a: required, but missing$"):
        fields.need("a")


def test_unknown_fields() -> None:
    with pytest.raises(SpecError, match=r"^/imgae: no such field; did you mean 'image'\?$"):
        Reader({"imgae": 1}).object(("image", "name"))
    with pytest.raises(SpecError, match=r"^/zzz: no such field$"):
        Reader({"zzz": 1}).object(("image", "name"))
    with pytest.raises(SpecError, match=r"^the field 'a\\nb': no such field$"):
        Reader({"a\nb": 1}).object(("image",))


def test_did_you_mean_prefers_the_same_letters() -> None:
    assert did_you_mean("workingdir", ("workingDir", "working")) == "; did you mean 'workingDir'?"
    assert did_you_mean("qqq", ("workingDir",)) == ""


def test_reading_a_pod_imports_nothing_heavy() -> None:
    """The import cost of the run path: json alone would be as dear as the bare interpreter."""
    heavy = ["json", "re", "enum", "typing", "dataclasses", "difflib", "yaml", "decimal", "fractions", "collections"]
    heavy += ["pyrun.spec.kubernetes", "pyrun.spec.oci"]
    pod = '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"name":"a","image":"host:",'
    pod += '"command":["a"]}]}}'
    program = f"""
import sys
sys.path[:0] = {sys.path!r}
before = set(sys.modules)
from pyrun.spec.pod_parse import load_pod
load_pod({pod.encode()!r}, "x")
print(*sorted(set({heavy!r}) & (set(sys.modules) - before)))
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_key_twice_among_very_many() -> None:
    """Not each compared with each: that took minutes."""
    text = "{" + ",".join([f'"{number}":0' for number in range(200_000)]) + ',"199999":1}'
    with pytest.raises(SpecError, match="/199999: stands here twice"):
        load_document(text.encode(), "x")
