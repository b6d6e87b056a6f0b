"""OCI mount options, one by one."""

from __future__ import annotations

from typing import Any

import pytest

from pyrun.container.mounts import MountPlan, plan_mount
from pyrun.errors import SpecError
from pyrun.spec.oci import OciIdMapping, OciMount

SETS = ("ro", "nosuid", "nodev", "noexec", "nodiratime", "nosymfollow")
CLEARS = {
    "rw": "ro",
    "suid": "nosuid",
    "dev": "nodev",
    "exec": "noexec",
    "diratime": "nodiratime",
    "symfollow": "nosymfollow",
}
TIMES = ("noatime", "strictatime", "relatime")


def plan(*options: str, type: str = "tmpfs", **fields: Any) -> MountPlan:
    return plan_mount(OciMount("/x", type, "source", options, **fields), "/mounts/3")


def refusal(*options: str, type: str = "tmpfs", **fields: Any) -> str:
    with pytest.raises(SpecError) as caught:
        plan(*options, type=type, **fields)
    return str(caught.value)


# ---- attributes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*SETS, *TIMES])
def test_an_attribute_of_the_mount(name: str) -> None:
    for made in (plan(name), plan("rbind", name), plan("remount", name)):
        assert made.attributes == (name,)
        assert made.all_attributes == made.data == ()


@pytest.mark.parametrize(("name", "cleared"), CLEARS.items())
def test_an_attribute_that_is_taken_away(name: str, cleared: str) -> None:
    """Of a bind: a new file system does not have it to begin with."""
    assert plan("bind", name).clear == (cleared,)
    assert plan("remount", name).clear == (cleared,)
    assert plan(name).clear == ()


@pytest.mark.parametrize("name", [*SETS, *TIMES])
def test_an_attribute_of_a_whole_tree(name: str) -> None:
    made = plan("rbind", "r" + name)
    assert (made.attributes, made.all_attributes, made.all_clear) == ((), (name,), ())
    assert plan("r" + name).attributes == (name,), "a new file system is a tree of one"


@pytest.mark.parametrize(("name", "cleared"), CLEARS.items())
def test_an_attribute_that_is_taken_away_from_a_whole_tree(name: str, cleared: str) -> None:
    made = plan("rbind", "r" + name)
    assert (made.clear, made.all_clear) == ((), (cleared,))


def test_the_last_of_two_that_contradict_each_other_holds() -> None:
    assert plan("bind", "ro", "rw").clear == ("ro",)
    assert plan("bind", "ro", "rw").attributes == ()
    assert plan("rw", "ro").attributes == ("ro",)
    assert plan("noatime", "strictatime").attributes == ("strictatime",)
    assert plan("rbind", "rro", "rw").all_attributes == plan("rbind", "rw", "rro").all_attributes == ("ro",)


@pytest.mark.parametrize(
    ("on", "off"), [("noatime", "atime"), ("strictatime", "nostrictatime"), ("relatime", "norelatime")]
)
def test_access_times_that_are_taken_back(on: str, off: str) -> None:
    assert plan("bind", on, off) == plan("bind")
    assert plan("bind", off, on).attributes == (on,)
    assert plan("rbind", "r" + off).all_attributes == ("relatime",), "mount_setattr(2) has no way to leave it"


@pytest.mark.parametrize("name", ["defaults", "atime", "nostrictatime", "silent", "loud", "iversion", "acl", "noacl"])
def test_what_is_so_anyway(name: str) -> None:
    assert plan(name) == plan()


@pytest.mark.parametrize("name", ["sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand"])
def test_flags_of_the_file_system(name: str) -> None:
    assert (plan(name).super_options, plan(name).data) == ((name,), ())


# ---- what sort of mount ----------------------------------------------------------------------------------------------


def test_bind_by_option_and_by_type() -> None:
    for made in (plan("bind"), plan(type="bind"), plan("bind", type="none"), plan("bind", type="")):
        assert (made.type, made.source, made.recursive) == ("", "source", False)
    for made in (plan("rbind"), plan("rbind", type="bind"), plan("bind", "rbind"), plan("rbind", "bind")):
        assert (made.type, made.recursive) == ("", True)


def test_without_a_type_it_must_be_a_bind_or_a_remount() -> None:
    for kind in ("", "none"):
        assert refusal(type=kind) == "/mounts/3/type: required, unless the mount is a bind or a remount"
        assert plan("remount", "ro", type=kind).remount


@pytest.mark.parametrize("kind", ["private", "slave", "shared", "unbindable"])
def test_propagation(kind: str) -> None:
    assert plan(kind).propagation == (kind, False)
    assert plan(f"r{kind}").propagation == (kind, True)
    assert plan().propagation is None


def test_what_is_none_of_these_is_for_the_file_system() -> None:
    made = plan("nosuid", "mode=755", "size=65536k", "newinstance", "gid=5", "nofail", "rsize=4k")
    assert made.data == ("mode=755", "size=65536k", "newinstance", "gid=5", "nofail", "rsize=4k")
    assert made.attributes == ("nosuid",)


def test_cgroup_is_what_the_kernel_calls_cgroup2() -> None:
    assert plan(type="cgroup").type == "cgroup2"
    assert plan(type="proc").type == "proc"


def test_a_bind_takes_no_options_of_a_file_system() -> None:
    assert (
        refusal("bind", "size=1k", "mode=1")
        == "/mounts/3/options: a bind mount takes no file system options, but has 'size=1k,mode=1'"
    )


def test_copies() -> None:
    assert plan("tmpcopyup").copy_up
    assert plan("bind", "copy-symlink").copy_link
    assert (
        refusal("tmpcopyup", type="proc")
        == refusal("bind", "tmpcopyup")
        == "/mounts/3/options: tmpcopyup is for a tmpfs"
    )
    assert refusal("copy-symlink") == "/mounts/3/options: copy-symlink is for a bind mount"


# ---- ids that are mapped ---------------------------------------------------------------------------------------------

ONE, TWO = OciIdMapping(0, 1000, 1), OciIdMapping(1, 2000, 5)


def test_mapped_ids_by_option_and_by_mappings() -> None:
    assert plan("bind").id_map == ""
    assert plan("bind", "idmap").id_map == "idmap"
    assert plan("rbind", "ridmap").id_map == "ridmap"
    made = plan("bind", "ridmap", uid_mappings=(ONE,), gid_mappings=(TWO,))
    assert (made.id_map, made.uid_mappings, made.gid_mappings) == ("ridmap", (ONE,), (TWO,))
    assert plan("bind", uid_mappings=(ONE,), gid_mappings=(TWO,)).id_map == "idmap"


def test_mappings_in_the_option_as_crun_has_them() -> None:
    made = plan("bind", "idmap=uids=0-1000-1#1-2000-5;gids=0-1000-1")
    assert (made.id_map, made.uid_mappings, made.gid_mappings) == ("idmap", (ONE, TWO), (ONE,))


@pytest.mark.parametrize(
    "text", ["", "uids", "uids=", "uids=1-2", "uids=@1-2-3", "uids=1-2-x", "pids=1-2-3", "uids=1-2-3;"]
)
def test_mappings_that_are_none(text: str) -> None:
    assert "must be uids= or gids= and ranges" in refusal("bind", f"idmap={text}")


def test_mapped_ids_are_for_binds_and_come_in_pairs() -> None:
    assert refusal("idmap") == "/mounts/3/options: idmap is for a bind mount"
    assert "for a bind mount" in refusal(uid_mappings=(ONE,), gid_mappings=(ONE,))
    assert "come together" in refusal("bind", uid_mappings=(ONE,))
    assert "come together" in refusal("bind", gid_mappings=(ONE,))
