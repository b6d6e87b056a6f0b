"""A driver that is killed at each of its steps, and the one that goes on: the pod ends as if nothing had been."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fixtures.machine import ROOT, in_virtual_machine, patience
from fixtures.pods import Document, document, host_path, mount, shell
from pyrun.errors import SpecError
from pyrun.pod import resume
from pyrun.pod.leftover import remove_leftovers
from pyrun.pod.lifecycle.action import Signal
from pyrun.pod.lifecycle.pod_life import PodLife
from pyrun.pod.usage import Usage
from pyrun.spec.pod_parse import parse_pod

pytestmark = pytest.mark.root

DRIVEN = ROOT / "tests" / "fixtures" / "driven.py"
TRAPPING = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done"


def lifecycle(**hooks: str) -> Document:
    return {name: {"exec": {"command": ["/bin/sh", "-c", script]}} for name, script in hooks.items()}


def three_kinds(top: Path) -> Document:
    """An init container, a sidecar with a probe, hooks, and two that end by themselves."""
    probe = {"exec": {"command": ["true"]}, "periodSeconds": 1}
    shared = {"volumeMounts": [mount("top", "/top")]}
    hooks = lifecycle(postStart="sleep 0.05; echo post >> /top/hooks", preStop="echo pre >> /top/hooks")
    sidecar = shell(TRAPPING, "side", restartPolicy="Always", startupProbe=probe, lifecycle=hooks, **shared)
    return document(
        shell("sleep 0.1; exit 3", lifecycle=lifecycle(postStart="sleep 0.02")),
        shell("exit 0", "quick"),
        initContainers=[shell("echo one >> /top/init", "first", **shared), sidecar],
        volumes=[host_path("top", top / "shared")],
        terminationGracePeriodSeconds=20,
    )


def one_that_stays(_top: Path) -> Document:
    return document(
        shell(TRAPPING, lifecycle=lifecycle(preStop="sleep 0.02")),
        initContainers=[shell(TRAPPING, "side", restartPolicy="Always")],
        terminationGracePeriodSeconds=20,
    )


def one_that_is_restarted(_top: Path) -> Document:
    script = "trap 'exit 7' TERM; if [ -e /again/x ]; then exit 5; fi; touch /again/x; echo ready; while :; do sleep 0.01; done"
    return document(
        shell(script, volumeMounts=[mount("again", "/again")]),
        volumes=[{"name": "again", "emptyDir": {}}],
        terminationGracePeriodSeconds=20,
    )


LIVES = {"nothing": three_kinds, "stop": one_that_stays, "restart": one_that_is_restarted}


def drive(top: Path, how: str, kill_at: int, what: str) -> dict[str, Any] | None:
    """How it ended; None if it was killed."""
    done = subprocess.run(
        [sys.executable, DRIVEN, top, how, str(kill_at), what],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
        timeout=patience(60),
    )
    if done.returncode == -signal.SIGKILL and kill_at:
        return None
    assert (done.returncode, done.stderr) == (0, ""), f"{how}, killed at step {kill_at}"
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def fresh(top: Path, what: str) -> Path:
    """A directory for one more pod."""
    number = len(list(top.iterdir()))
    made = top / str(number)
    (made / "shared").mkdir(parents=True)
    (made / "pod.json").write_text(json.dumps(LIVES[what](made)))
    return made


def check_nothing_is_left(top: Path) -> None:
    assert not (top / "data").exists()
    uid = (top / "uid").read_text()
    assert not list(Path("/sys/fs/cgroup").rglob(f"pod{uid}"))


@pytest.mark.parametrize("what", LIVES)
def test_killed_at_each_step(tmp_path: Path, what: str) -> None:
    whole = drive(fresh(tmp_path, what), "begin", 0, what)
    assert whole is not None
    points = range(1, whole["steps"] + 1, 7 if in_virtual_machine() else 2)
    for kill_at in points:
        top = fresh(tmp_path, what)
        if drive(top, "begin", kill_at, what) is not None:
            continue  # what takes longer leads to other steps, such as one probe less
        if not (top / "run" / "state").exists():
            remove_leftovers((top / "uid").read_text(), str(top / "data"))
            continue
        ended = drive(top, "resume", 0, what)
        assert ended is not None
        assert ended["status"] == whole["status"], f"killed at step {kill_at} of {whole['steps']}"
        check_nothing_is_left(top)
        if what == "nothing":
            assert (top / "shared/init").read_text().count("one") in (1, 2)
            assert {"post", "pre"} == set((top / "shared/hooks").read_text().split())


def test_killed_again_and_again(tmp_path: Path) -> None:
    """Each driver may do some steps more than the one before: at some point that is enough for the rest."""
    whole = drive(fresh(tmp_path, "nothing"), "begin", 0, "nothing")
    assert whole is not None
    top = fresh(tmp_path, "nothing")
    ended = drive(top, "begin", 9, "nothing")
    killed = 0
    while ended is None:
        killed += 1
        ended = drive(top, "resume", 6 + killed, "nothing")
    assert killed > 3
    assert ended is not None
    assert ended["status"] == whole["status"]
    check_nothing_is_left(top)


def test_a_document_comes_back_as_it_was() -> None:
    spec = parse_pod(document(shell("true")), "test")
    usage = Usage(cpu_us=5, stalled_us=(("cpu", 1), ("io", 0)))
    saved = resume.Saved(PodLife(spec), {"kill/main": 7.5}, (Signal("main", 15),), {"main": usage})
    written = json.loads(json.dumps(resume.write(saved)))
    again = resume.read(spec, written)
    assert resume.write(again) == resume.write(saved)
    assert (again.timers, again.signals, again.usages) == (saved.timers, saved.signals, saved.usages)


@pytest.mark.parametrize(
    "change", [{"version": 2}, {"timers": []}, {"signals": [{}]}, {"more": 1}, {"usages": {"main": {}}}]
)
def test_what_is_no_document(change: dict[str, object]) -> None:
    spec = parse_pod(document(shell("true")), "test")
    written = resume.write(resume.Saved(PodLife(spec), {}, (), {}))
    with pytest.raises(SpecError):
        resume.read(spec, {**written, **change})
