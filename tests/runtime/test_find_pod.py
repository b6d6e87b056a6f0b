"""Which pod a word on the command line means."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyrun import NotFound, StateError
from pyrun_runtime.store import find_pod

PODS = {
    "0a11": ("web", "default"),
    "0a22": ("web", "shop"),
    "0b33": ("web-cache", "default"),
    "0c44": ("queue", "shop"),
}


@pytest.fixture
def root(tmp_path: Path) -> str:
    for uid, (name, namespace) in PODS.items():
        (tmp_path / "pods" / uid).mkdir(parents=True)
        (tmp_path / "pods" / uid / "pod.json").write_text(json.dumps({"name": name, "namespace": namespace}))
    return str(tmp_path)


@pytest.mark.parametrize(
    ("word", "uid"),
    [
        ("0a11", "0a11"),
        ("0b", "0b33"),
        ("web-", "0b33"),
        ("queue", "0c44"),
        ("q", "0c44"),
        ("shop/web", "0a22"),
        ("default/web", "0a11"),  # whole, though also the beginning of default/web-cache
        ("shop/q", "0c44"),
    ],
)
def test_one_is_meant(root: str, word: str, uid: str) -> None:
    assert find_pod(root, word) == uid


@pytest.mark.parametrize(
    ("word", "what", "several"),
    [
        ("web", "name", ["0a11 (default/web)", "0a22 (shop/web)"]),
        ("we", "beginning", ["0a11 (default/web)", "0a22 (shop/web)", "0b33 (default/web-cache)"]),
        ("0a", "beginning", ["0a11 (default/web)", "0a22 (shop/web)"]),
    ],
)
def test_several_are_all_told(root: str, word: str, what: str, several: list[str]) -> None:
    with pytest.raises(StateError) as caught:
        find_pod(root, word)
    assert f"the {what} {word!r}" in str(caught.value)
    assert ", ".join(several) in str(caught.value)


@pytest.mark.parametrize(
    ("word", "near"),
    [("quue", "; did you mean 'queue'?"), ("shop/webb", "; did you mean 'shop/web'?"), ("", ""), ("zzz", "")],
)
def test_none_is_told_with_the_nearest(root: str, word: str, near: str) -> None:
    with pytest.raises(NotFound) as caught:
        find_pod(root, word)
    assert str(caught.value) == f"no pod {word!r} runs (looked below {root}){near}"


def test_one_that_has_just_come_or_gone_has_no_name_yet(root: str, tmp_path: Path) -> None:
    (tmp_path / "pods" / "0d55").mkdir()
    assert find_pod(root, "0d") == "0d55"
    with pytest.raises(NotFound):
        find_pod(root, "None")
