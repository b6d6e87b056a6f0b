"""OCI mount options, one by one."""

from __future__ import annotations

import pytest

from pyrun.container.mounts import MountPlan, plan_mount
from pyrun.errors import SpecError
from pyrun.spec.oci import OciMount


def plan(*options: str, type: str = "tmpfs") -> MountPlan:
    return plan_mount(OciMount("/x", type, "source", options), "/mounts/3")


@pytest.mark.parametrize(
    "name", ["ro", "nosuid", "nodev", "noexec", "noatime", "strictatime", "nodiratime", "nosymfollow"]
)
def test_an_attribute_of_the_mount(name: str) -> None:
    assert plan(name).attributes == (name,)
    assert plan(name).data == ()
    assert plan("bind", name).attributes == (name,)


@pytest.mark.parametrize(
    ("name", "cleared"),
    [
        ("rw", "ro"),
        ("suid", "nosuid"),
        ("dev", "nodev"),
        ("exec", "noexec"),
        ("diratime", "nodiratime"),
        ("symfollow", "nosymfollow"),
    ],
)
def test_an_attribute_that_is_taken_away(name: str, cleared: str) -> None:
    """Of a bind: a new file system does not have it to begin with."""
    assert plan("bind", name).clear == (cleared,)
    assert plan(name).clear == ()


@pytest.mark.parametrize("name", ["defaults", "relatime", "atime", "async", "nostrictatime"])
def test_what_is_so_anyway(name: str) -> None:
    assert plan(name) == plan()


def test_bind_by_option_and_by_type() -> None:
    for made in (plan("bind"), plan(type="bind"), plan("bind", type="none"), plan("bind", type="")):
        assert (made.type, made.source, made.recursive) == ("", "source", False)
    for made in (plan("rbind"), plan("rbind", type="bind"), plan("bind", "rbind"), plan("rbind", "bind")):
        assert (made.type, made.recursive) == ("", True)


@pytest.mark.parametrize("kind", ["private", "slave", "shared", "unbindable"])
def test_propagation(kind: str) -> None:
    assert plan(kind).propagation == plan(f"r{kind}").propagation == kind
    assert plan().propagation is None


def test_what_is_none_of_these_is_for_the_file_system() -> None:
    made = plan("nosuid", "mode=755", "size=65536k", "newinstance", "gid=5")
    assert made.data == ("mode=755", "size=65536k", "newinstance", "gid=5")
    assert made.attributes == ("nosuid",)


def test_cgroup_is_what_the_kernel_calls_cgroup2() -> None:
    assert plan(type="cgroup").type == "cgroup2"
    assert plan(type="proc").type == "proc"


@pytest.mark.parametrize(
    "name", ["idmap", "tmpcopyup", "rro", "sync", "remount", "lazytime", "rnosuid", "copy-symlink"]
)
def test_what_is_known_and_not_built_is_refused(name: str) -> None:
    with pytest.raises(SpecError) as caught:
        plan("nosuid", name)
    assert str(caught.value) == f"/mounts/3/options/1: mount option {name!r} is known to OCI but not built yet"


def test_a_bind_takes_no_options_of_a_file_system() -> None:
    with pytest.raises(SpecError) as caught:
        plan("bind", "size=1k", "mode=1")
    assert str(caught.value) == "/mounts/3/options: a bind mount takes no file system options, but has 'size=1k,mode=1'"
