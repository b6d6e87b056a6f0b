"""``pyrun check``: the table, the verdict, the JSON, the exit status."""

from __future__ import annotations

import json

import pytest

from pyrun.kernel.program import program_fd
from pyrun.linux.features import Feature
from pyrun_runtime.cli import check
from pyrun_runtime.cli.main import main

# Stays open for good once something is spawned: not a leak of the test that happens to be the first.
program_fd("pyrun-stage")

GOOD = (
    Feature("namespace", "mount", True, required=True),
    Feature("cgroup", "cgroup v2", True, "unified layout, /sys/fs/cgroup", required=True),
    Feature("cgroup", "memory controller", True),
)
NO_MEMORY = Feature("cgroup", "memory controller", False, "it is mounted as v1", "boot otherwise")
NO_TIME = Feature("namespace", "time", False, "clone3(2): Invalid argument (EINVAL)", "CONFIG_TIME_NS", True)
UNKNOWN = Feature("namespace", "network", None, "only root can tell", "run as root", True)


@pytest.fixture
def features(monkeypatch: pytest.MonkeyPatch):
    def use(*found: Feature) -> None:
        monkeypatch.setattr(check, "read_features", lambda: found)

    return use


def test_good_machine(features, capsys: pytest.CaptureFixture[str]) -> None:
    features(*GOOD)
    assert check.run({}, []) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  cgroup v2          yes  unified layout, /sys/fs/cgroup" in lines
    assert lines[-1] == "Pods can run here."
    assert lines.index("namespace") < lines.index("cgroup")


def test_missing_controller_is_no_failure_but_said(features, capsys: pytest.CaptureFixture[str]) -> None:
    features(*GOOD[:2], NO_MEMORY)
    assert check.run({}, []) == 0
    out = capsys.readouterr().out
    assert "  memory controller  no   it is mounted as v1; needs: boot otherwise" in out
    assert "Limits that need these cgroup controllers are refused: memory. To have them: boot otherwise." in out


def test_missing_requirement_is_a_failure(features, capsys: pytest.CaptureFixture[str]) -> None:
    features(*GOOD, NO_TIME)
    assert check.run({}, []) == 1
    out = capsys.readouterr().out
    assert "no   REQUIRED; clone3(2): Invalid argument (EINVAL); needs: CONFIG_TIME_NS" in out
    assert out.endswith("Pods cannot run here: time is missing.\n")


def test_what_only_root_can_tell(features, capsys: pytest.CaptureFixture[str]) -> None:
    features(*GOOD, UNKNOWN)
    assert check.run({}, []) == 1
    out = capsys.readouterr().out
    assert "  network            ?    REQUIRED; only root can tell; needs: run as root" in out
    assert "run 'sudo pyrun check'" in out


def test_json(features, capsys: pytest.CaptureFixture[str]) -> None:
    features(*GOOD, NO_TIME)
    assert check.run({"json": ""}, []) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["pods"] is False
    assert document["features"][-1] == {
        "area": "namespace",
        "name": "time",
        "available": False,
        "detail": "clone3(2): Invalid argument (EINVAL)",
        "needs": "CONFIG_TIME_NS",
        "required": True,
    }


def test_argument_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "pod.json"]) == 2
    assert "check takes no argument, found 'pod.json'" in capfd.readouterr().err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--help"]) == 0
    assert "usage: pyrun check" in capsys.readouterr().out


@pytest.mark.root
def test_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    assert "\nPods can run here.\n" in capsys.readouterr().out
    assert main(["check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pods"] is True
