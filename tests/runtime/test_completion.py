"""``pyrun completion`` in the shells themselves, and ``pyrun man`` as man(1) reads it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.command import Store, emptied_store
from fixtures.pods import FOREVER, shell
from pyrun_runtime.cli.main import VERBS, load_verb

BASH = """
eval "$(pyrun completion bash)"
COMP_WORDS=(pyrun "$@"); COMP_CWORD=$#
_pyrun
printf '%s\\n' "${COMPREPLY[@]}"
"""
# Outside of its line editor zsh completes nothing: compadd, which takes what was found, is ours.
ZSH = """
compdef() { : }
compadd() { print -rl -- "${(@P)2}" }
_files() { print FILES }
eval "$(pyrun completion zsh)"
words=(pyrun "$@"); CURRENT=$(($# + 1))
_pyrun
"""
FISH = """
pyrun completion fish | source
complete -C (string join ' ' -- pyrun $argv)
"""
SHELLS = {
    "bash": ["bash", "-c", BASH, "x"],
    "zsh": ["zsh", "-fc", ZSH, "x"],
    "fish": ["fish", "--no-config", "-c", FISH],
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    yield from emptied_store(tmp_path)


def complete(store: Store, shell_name: str, *words: str) -> list[str]:
    """What the shell offers for the last word."""
    programs = store.top / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "pyrun").write_text(f'#!/bin/sh\nexec {sys.executable} -m pyrun_runtime.cli.main "$@"\n')
    (programs / "pyrun").chmod(0o755)
    environment = {**store.environment, "PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(store.top)}
    done = subprocess.run(
        [*SHELLS[shell_name], *words], env=environment, cwd=store.top, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return [line.split("\t")[0] for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize("name", SHELLS)
def test_verbs_options_and_values(store: Store, name: str) -> None:
    assert set(complete(store, name, "st")) >= {"stop", "status"}
    assert "stop" not in complete(store, name, "sta")
    assert complete(store, name, "logs", "--prev") == ["--previous"]
    assert set(complete(store, name, "ps", "--output", "")) == {"table", "wide", "json", "yaml", "name"}
    assert complete(store, name, "events", "--types", "W") == ["Warning"]
    assert set(complete(store, name, "completion", "")) == {"bash", "zsh", "fish"}


@pytest.mark.root
@pytest.mark.parametrize("name", SHELLS)
def test_pods_and_containers(store: Store, name: str) -> None:
    spec = store.manifest(shell(FOREVER, "one"), shell(FOREVER, "two"), terminationGracePeriodSeconds=1)
    with store.detached(spec):
        assert complete(store, name, "stop", "te") == ["test"]
        assert complete(store, name, "logs", "test", "--container", "t") == ["two"]


def test_files_are_the_shells(store: Store) -> None:
    (store.top / "manifest.yaml").touch()
    assert complete(store, "fish", "run", "manif") == ["manifest.yaml"]
    assert complete(store, "zsh", "run", "manif") == ["FILES"]
    assert complete(store, "bash", "run", "manif") == []  # then bash's own default: complete -o default


def test_an_unknown_shell(store: Store) -> None:
    for words in ((), ("csh",), ("bash", "zsh")):
        assert store.command("completion", *words).status == 2


# ---- man ----


def page(store: Store, *verb: str) -> str:
    done = store.command("man", *verb)
    assert (done.status, done.err) == (0, "")
    return done.out


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_pages_are_right_and_have_every_option(store: Store, verb: str) -> None:
    text = page(store, *([verb] if verb else []))
    checked = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning"], input=text, capture_output=True, text=True, check=False
    )
    told = [line for line in checked.stdout.splitlines() if "missing date" not in line and "unknown manual" not in line]
    assert told == []
    if not verb:
        assert all(f"pyrun\\-{each.replace('-', chr(92) + '-')}" in text for each in VERBS)
        return
    shown = subprocess.run(["mandoc", "-T", "ascii"], input=text, capture_output=True, text=True, check=True).stdout
    plain = re.sub(".\b", "", shown)
    for key in load_verb(verb).OPTIONS:
        assert f"--{key.partition(',')[0]}" in plain, f"pyrun {verb}: {key}"


def test_all_pages_at_once(store: Store) -> None:
    assert store.command("man", "--all", store.top / "man").status == 0
    assert {path.name for path in (store.top / "man").iterdir()} == {"pyrun.1", *[f"pyrun-{verb}.1" for verb in VERBS]}
    assert store.command("man", "nothing").status == 2
