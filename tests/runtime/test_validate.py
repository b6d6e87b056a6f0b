"""``pyrun validate``: each file a line, good or bad, and never a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fixtures.command import Done, pyrun
from fixtures.machine import ROOT
from fixtures.pods import document, mount, shell


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.json"
    path.write_text(json.dumps(document(shell("true"))))
    return path


def validate(data: bytes, tmp_path: Path) -> Done:
    """Of a file with *data*; its name is taken out of the output."""
    path = tmp_path / "spec.json"
    path.write_bytes(data)
    done = pyrun("validate", path)
    assert done.err == ""
    return Done(done.status, done.out.replace(f"{path}: ", ""), done.err)


def test_good_file(good: Path) -> None:
    assert pyrun("validate", good) == Done(0, f"{good}: ok\n", "")


def test_examples_are_good() -> None:
    examples = sorted((ROOT / "examples").glob("*.json"))
    done = pyrun("validate", *examples)
    assert (done.status, done.out) == (0, "".join([f"{path}: ok\n" for path in examples]))


def test_each_file_is_told_of_and_one_bad_makes_the_status(good: Path, tmp_path: Path) -> None:
    done = pyrun("validate", good, tmp_path / "nope.json", good)
    assert done == Done(2, f"{good}: ok\n{tmp_path}/nope.json: No such file or directory\n{good}: ok\n", "")


def test_standard_input(good: Path) -> None:
    assert pyrun("validate", "-", stdin=good.read_bytes()) == Done(0, "standard input: ok\n", "")
    assert (
        pyrun("validate", "-", stdin=b"[]").out == "standard input: expected a Pod, which is an object, found a list\n"
    )


YAML = b"""\
apiVersion: v1
kind: Pod
metadata: {name: yaml}
spec:
  restartPolicy: Never
  containers:
  - {name: a, image: "host:", command: ["true"]}
"""


def test_yaml(tmp_path: Path) -> None:
    assert validate(YAML, tmp_path).out == "ok\n"


def test_warnings_follow(tmp_path: Path) -> None:
    lines = validate(
        json.dumps(document(shell("true"), nodeSelector={"disk": "ssd"})).encode(), tmp_path
    ).out.splitlines()
    assert lines[0] == "ok"
    assert lines[1].startswith("warning: /spec: nodeSelector: accepted, and without meaning on one node")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b" \n", "the file is empty"),
        (b'{"kind": Pod', "line 1, column 10: not JSON: a value is missing here"),
        (b"\xff\xfe", "not UTF-8 text: byte 0xff at offset 0"),
        (b"[1]", "expected a Pod, which is an object, found a list"),
        (b"{}", "/kind: required, but missing"),
    ],
)
def test_what_is_no_manifest(data: bytes, message: str, tmp_path: Path) -> None:
    assert validate(data, tmp_path) == Done(2, message + "\n", "")


@pytest.mark.parametrize(
    "data",
    [b"x" * 10_000_000, b"[" * 10_000_000, bytes(10_000_000), b"\xff" * 10_000_000, b"- " * 5_000_000],
    ids=["letters", "brackets", "zeros", "no text", "yaml"],
)
def test_ten_megabytes_of_nonsense(data: bytes, tmp_path: Path) -> None:
    assert validate(data, tmp_path).out == "9.5 MiB are too much: the limit is 3.0 MiB\n"


def test_what_is_no_file(tmp_path: Path) -> None:
    assert pyrun("validate", tmp_path) == Done(2, f"{tmp_path}: Is a directory\n", "")
    assert pyrun("validate", "/dev/zero").out == "/dev/zero: 64.0 MiB are too much: the limit is 3.0 MiB\n"
    assert pyrun("validate", "a\nb").out == "a\\nb: No such file or directory\n"


def test_place_of_each_mistake(tmp_path: Path) -> None:
    twins = document(shell("true", "web"), shell("true", "web"))
    assert validate(json.dumps(twins).encode(), tmp_path).out == (
        "/spec/containers/1/name: 'web' is the name of container 0 already\n"
    )
    mounts = [mount("v", "/data"), mount("v", "/data/")]
    doubled = document(shell("true", volumeMounts=mounts), volumes=[{"name": "v"}])
    assert validate(json.dumps(doubled).encode(), tmp_path).out == (
        "/spec/containers/0/volumeMounts/1/mountPath: '/data' is mounted already, "
        "by /spec/containers/0/volumeMounts/0\n"
    )
    typo = document({**shell("true"), "comand": []})
    assert validate(json.dumps(typo).encode(), tmp_path).out == (
        "/spec/containers/0/comand: no such field; did you mean 'command'?\n"
    )
