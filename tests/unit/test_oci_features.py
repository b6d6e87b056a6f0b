"""The features object: true, because it is what the planner makes of each."""

from __future__ import annotations

import json

import pytest

import pyrun
from pyrun.container.oci_features import HOOKS, MOUNT_OPTIONS, understands_option
from pyrun.linux import seccomp
from pyrun.spec.oci_parse import HOOKS as HOOKS_TABLE


@pytest.fixture(scope="module")
def features() -> dict[str, object]:
    return pyrun.oci_features()


def test_it_is_json_in_the_shape_of_the_specification(features: dict[str, object]) -> None:
    told = json.loads(json.dumps(features))
    assert told["ociVersionMin"] == "1.0.0"
    assert told["ociVersionMax"].startswith("1.")
    assert set(told) == {"ociVersionMin", "ociVersionMax", "hooks", "mountOptions", "linux"}
    linux = told["linux"]
    assert linux["cgroup"]["v2"] is True
    assert linux["cgroup"]["v1"] is False
    assert "CAP_SYS_ADMIN" in linux["capabilities"]
    assert {"SCMP_ACT_ERRNO", "SCMP_ACT_NOTIFY"} <= set(linux["seccomp"]["actions"])
    assert "SCMP_CMP_MASKED_EQ" in linux["seccomp"]["operators"]
    assert set(linux["seccomp"]["supportedFlags"]) <= set(linux["seccomp"]["knownFlags"])
    assert {"mount", "pid", "network", "uts", "ipc", "cgroup"} <= set(linux["namespaces"])
    for name in ("apparmor", "selinux", "intelRdt", "netDevices"):
        assert isinstance(linux[name]["enabled"], bool)
    assert isinstance(linux["mountExtensions"]["idmap"]["enabled"], bool)


def test_the_hooks_are_those_that_are_read() -> None:
    assert {field.name for field in HOOKS_TABLE.fields} == set(HOOKS)


@pytest.mark.parametrize("option", ["ro", "rbind", "rprivate", "nosuid", "bind"])
def test_options_that_everybody_needs(option: str, features: dict[str, object]) -> None:
    assert option in features["mountOptions"]  # type: ignore[operator]


def test_an_option_of_a_file_system_is_none_of_ours() -> None:
    assert not understands_option("size=65536k")
    assert not understands_option("no-such-option")
    assert list(MOUNT_OPTIONS) == sorted(set(MOUNT_OPTIONS))


def test_what_is_refused_is_not_told_of(features: dict[str, object]) -> None:
    """intelRdt: resctrl(5) is not spoken here, so a configuration with it is an error."""
    assert features["linux"]["intelRdt"] == {"enabled": False}  # type: ignore[index]


def test_flags_are_asked_of_the_kernel() -> None:
    assert seccomp.has_flag(seccomp.SECCOMP_FILTER_FLAG_LOG)
    assert not seccomp.has_flag(1 << 30)
