"""``pyrun-oci features``: what callers decide by."""

from __future__ import annotations

import json

import pytest

import pyrun
from pyrun_runtime.oci.main import main


def test_it_is_the_librarys_with_the_programs_annotations(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["features"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told.pop("annotations") == {"org.pyrun.version": pyrun.__version__}
    assert told.pop("potentiallyUnsafeConfigAnnotations") == ["org.systemd.property."]
    assert told == pyrun.oci_features()


def test_what_containerd_and_cri_o_look_for(capsys: pytest.CaptureFixture[str]) -> None:
    """Recursive read-only mounts, and mounts with mapped ids for pods in user namespaces."""
    main(["features"])
    told = json.loads(capsys.readouterr().out)
    assert {"rro", "ridmap", "idmap", "rbind", "rprivate"} <= set(told["mountOptions"])
    assert told["linux"]["mountExtensions"]["idmap"]["enabled"] is True
    assert "user" in told["linux"]["namespaces"]
    assert told["linux"]["cgroup"]["systemd"] is True


def test_it_takes_no_argument(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["features", "more"]) == 1
    assert "unexpected argument 'more'" in capfd.readouterr().err
