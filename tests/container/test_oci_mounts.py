"""Mounts, devices and propagation of an OCI configuration, as the container sees them."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fixtures.oci_container import IDS, MOUNTS, created, make_root, oci_spec, run_oci, run_to_the_end
from pyrun.container.device_plan import NODES
from pyrun.container.plan import Setting, plan_container
from pyrun.container.root_plan import read_links
from pyrun.errors import SpecError, StepError
from pyrun.kernel.step import NewMount
from pyrun.spec.oci import OciSpec

pytestmark = pytest.mark.root

TABLE = "cat /proc/self/mountinfo"
DEV = {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}
WITH_DEV = [MOUNTS[0], DEV, MOUNTS[1]]
OTHERS = ("pid", "uts", "ipc", "network", "cgroup")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path / "root")


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host with a mount in it: that of a file system of its own."""
    path = tmp_path / "tree"
    (path / "below").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tree", path], check=True)
    (path / "below").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "below", path / "below"], check=True)
    (path / "file").write_text("content\n")
    yield path
    subprocess.run(["umount", "-R", path], check=True)


def mount(destination: str, source: Path | str, *options: str, type: str = "bind", **more: Any) -> dict[str, Any]:
    return {"destination": destination, "type": type, "source": str(source), "options": list(options), **more}


def spec_with(root: Path, script: str, *mounts: dict[str, Any], **fields: Any) -> OciSpec:
    namespaces = fields.pop("namespaces", ("pid", "network"))
    return oci_spec(root, script, *namespaces, mounts=[*fields.pop("base", MOUNTS), *mounts], **fields)


def table(text: str) -> dict[str, dict[str, Any]]:
    """Of a mountinfo: the top mount at each target."""
    found = {}
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        _, _, _, source_root, target, options, *propagation = left.split()
        kind, source, super_options = right.split()
        found[target] = {
            "options": set(options.split(",")),
            "propagation": [part.rstrip("0123456789") for part in propagation],
            "type": kind,
            "source": source,
            "root": source_root,
            "super": set(super_options.split(",")),
        }
    return found


def mounted(root: Path, *mounts: dict[str, Any], **fields: Any) -> dict[str, dict[str, Any]]:
    return table(run_oci(spec_with(root, TABLE, *mounts, **fields)))


# ---- options ---------------------------------------------------------------------------------------------------------


def test_read_only_is_about_one_mount_and_rro_about_all(root: Path, tree: Path) -> None:
    seen = mounted(
        root,
        mount("/one", tree, "rbind", "ro", "nodev"),
        mount("/all", tree, "rbind", "rro", "rnosuid", "rnoatime"),
        mount("/but", tree, "rbind", "rro", "rw"),
    )
    assert {"ro", "nodev"} <= seen["/one"]["options"]
    assert "rw" in seen["/one/below"]["options"]
    for target in ("/all", "/all/below"):
        assert {"ro", "nosuid", "noatime"} <= seen[target]["options"]
    assert ("rw" in seen["/but"]["options"], "ro" in seen["/but/below"]["options"]) == (True, True)


def test_a_bind_keeps_what_nobody_asked_to_change(root: Path, tree: Path) -> None:
    subprocess.run(["mount", "-o", "remount,bind,nosuid,noexec,noatime", tree], check=True)
    seen = mounted(root, mount("/kept", tree, "bind", "ro"), mount("/less", tree, "bind", "suid", "exec", "relatime"))
    assert {"ro", "nosuid", "noexec", "noatime"} <= seen["/kept"]["options"]
    assert seen["/less"]["options"] == {"rw", "relatime"}


def test_options_of_a_new_file_system(root: Path) -> None:
    options = (
        "nosuid",
        "noexec",
        "nosymfollow",
        "strictatime",
        "sync",
        "dirsync",
        "lazytime",
        "size=1m",
        "nr_inodes=50",
    )
    seen = mounted(root, mount("/new", "name", *options, type="tmpfs"))["/new"]
    assert seen["options"] == {"rw", "nosuid", "noexec", "nosymfollow"}
    assert {"sync", "dirsync", "lazytime", "size=1024k", "nr_inodes=50"} <= seen["super"]
    assert seen["source"] == "name"


def test_a_read_only_tmpfs_takes_mounts_before_it_is_closed(root: Path, tree: Path) -> None:
    seen = mounted(root, mount("/ro", "tmpfs", "ro", type="tmpfs"), mount("/ro/inner", tree, "bind"))
    assert ("ro" in seen["/ro"]["options"], "rw" in seen["/ro/inner"]["options"]) == (True, True)


def test_a_read_only_dev_still_has_its_nodes(root: Path) -> None:
    dev = {**DEV, "options": [*DEV["options"], "ro"]}  # type: ignore[misc]
    script = "ls /dev; echo x > /dev/null && echo written; touch /dev/new 2>&1"
    seen = run_oci(spec_with(root, script + "; true", base=[MOUNTS[0], dev, MOUNTS[1]]))
    assert {"null", "urandom", "fd", "written"} <= set(seen.split())
    assert "Read-only file system" in seen


def test_remounts_of_what_is_there(root: Path) -> None:
    seen = mounted(
        root,
        mount("/new", "tmpfs", "size=1m", "nosuid", type="tmpfs"),
        mount("/new", "", "remount", "size=2m", "ro", "noexec", type="tmpfs"),
        mount("/proc", "", "bind", "remount", "nodev", type="none"),
    )
    assert "size=2048k" in seen["/new"]["super"]
    assert seen["/new"]["options"] == {"ro", "nosuid", "noexec", "relatime"}
    assert "nodev" in seen["/proc"]["options"]
    with pytest.raises(StepError, match=r"(?s)/bin.*Invalid argument"):
        mounted(root, mount("/bin", "", "remount", "ro", type="none"))


@pytest.mark.parametrize(("kind", "message"), [("nonesuch", "no file system of type 'nonesuch'"), ("tmpfs", "Invalid")])
def test_types_and_options_that_the_kernel_does_not_know(root: Path, kind: str, message: str) -> None:
    with pytest.raises(StepError, match=message) as caught:
        mounted(root, mount("/x", "x", "nonesuch=1", type=kind))
    assert isinstance(caught.value.step, NewMount)


def test_a_mount_label_without_selinux_is_told(root: Path) -> None:
    if Path("/sys/fs/selinux").is_dir():
        pytest.skip("SELinux is here")
    with pytest.raises(StepError, match="needs a kernel with SELinux"):
        mounted(root, mount("/x", "x", type="tmpfs"), mountLabel="system_u:object_r:container_file_t:s0:c1,c2")


def test_a_mount_label_is_for_file_systems_with_files(root: Path) -> None:
    label = "system_u:object_r:container_file_t:s0:c1,c2"
    own = mount("/own", "", "context=mine", type="tmpfs")
    spec = spec_with(root, TABLE, mount("/x", "x", type="tmpfs"), own, mount("/b", "/", "bind"), mountLabel=label)
    made = {step.tree: step.options for step in plan_container(spec).steps if isinstance(step, NewMount)}
    assert f"context={label}" in made["/x[2]"]
    assert [option for option in made["/own[3]"] if option.startswith("context=")] == ["context=mine"]
    assert not [option for option in made["/proc[0]"] if option.startswith("context=")]


# ---- where, and of what ----------------------------------------------------------------------------------------------


def test_what_is_relative_is_in_the_bundle(tmp_path: Path) -> None:
    make_root(tmp_path / "root")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").write_text("from the bundle\n")
    spec = spec_with(
        Path("root"), "cat /data/file /data2/file", mount("/data", "data"), mount("data2", "./data", "rbind")
    )
    assert run_oci(spec, bundle=str(tmp_path)) == "from the bundle\n" * 2
    with pytest.raises(
        SpecError, match=r"/mounts/2/source: 'data': must be an absolute path, or one relative to a bun"
    ):
        plan_container(spec)
    with pytest.raises(SpecError, match=r"/root/path: 'root': must be"):
        plan_container(spec_with(Path("root"), "true"))


def test_a_file_is_bound_over_a_file_that_is_made(root: Path, tree: Path) -> None:
    seen = run_oci(spec_with(root, f"cat /etc/new; {TABLE}", mount("etc//new", tree / "file", "ro")))
    assert seen.startswith("content\n")
    assert "ro" in table(seen.partition("\n")[2])["/etc/new"]["options"]
    assert (root / "etc/new").read_text() == ""


def test_a_link_as_source_is_copied_when_asked(root: Path, tmp_path: Path, tree: Path) -> None:
    (tmp_path / "link").symlink_to("../somewhere")
    mounts = (mount("/a/link", tmp_path / "link", "copy-symlink"), mount("/plain", tree, "copy-symlink"))
    spec = spec_with(root, "readlink /a/link; cat /plain/file", *mounts)
    links = read_links(spec, "/")
    assert links == ((str(tmp_path / "link"), "../somewhere"),)
    for _ in range(2):  # the same link may be there already
        assert run_oci(spec, links=links) == "../somewhere\ncontent\n"


def test_tmpcopyup_brings_what_the_image_has(root: Path) -> None:
    (root / "etc").mkdir(mode=0o750)
    (root / "etc/passwd").write_text("root:x:0:0\n")
    (root / "etc/link").symlink_to("passwd")
    tmpfs = mount("/etc", "tmpfs", "tmpcopyup", "ro", type="tmpfs")
    seen = run_oci(spec_with(root, "cat /etc/link; stat -c %a /etc; touch /etc/new 2>&1; true", tmpfs)).splitlines()
    assert seen[:2] == ["root:x:0:0", "750"]
    assert "Read-only" in seen[2]
    assert sorted(os.listdir(root / "etc")) == ["link", "passwd"]


def test_a_tmpfs_has_the_mode_of_the_directory_below_it(root: Path) -> None:
    (root / "there").mkdir(mode=0o711)
    mounts = [mount(f"/{name}", "tmpfs", *more, type="tmpfs") for name, more in (("there", []), ("new", []))]
    mounts.append(mount("/set", "tmpfs", "mode=0700", type="tmpfs"))
    assert run_oci(spec_with(root, "stat -c %a /there /new /set", *mounts)).split() == ["711", "1777", "700"]


# ---- ids that are mapped ---------------------------------------------------------------------------------------------


def ids(container: int, host: int, size: int = 1) -> list[dict[str, int]]:
    return [{"containerID": container, "hostID": host, "size": size}]


def test_mapped_ids_as_the_mount_has_them(root: Path, tree: Path) -> None:
    owners = "stat -c %u:%g /m/file /all/below /crun/file"
    mounts = (
        mount("/m", tree, "bind", "idmap", uidMappings=ids(0, 1000), gidMappings=ids(0, 2000)),
        mount("/all", tree, "rbind", "ridmap", uidMappings=ids(0, 3000), gidMappings=ids(0, 4000)),
        mount("/crun", tree, "bind", "idmap=uids=0-50-1;gids=0-60-1"),
    )
    assert run_oci(spec_with(root, owners, *mounts)).split() == ["1000:2000", "3000:4000", "50:60"]


def test_mapped_ids_of_the_containers_own_user_namespace(tmp_path: Path, tree: Path) -> None:
    """What belongs to the host's root belongs to the container's, and the file system learns of no other id."""
    mapped = make_root(tmp_path / "mapped", owner=100000)
    fields: dict[str, Any] = {"namespaces": ("user", *OTHERS), "uidMappings": IDS, "gidMappings": IDS}
    script = "stat -c %u:%g /m/file; touch /m/made"
    assert run_oci(spec_with(mapped, script, mount("/m", tree, "bind", "idmap"), **fields)) == "0:0\n"
    assert (tree / "made").stat().st_uid == 0


# ---- propagation -----------------------------------------------------------------------------------------------------


@contextmanager
def shared(tree: Path) -> Iterator[Path]:
    """*tree* as on a host that systemd has set up: what is mounted in it is mounted wherever it is."""
    subprocess.run(["mount", "--make-rshared", tree], check=True)
    yield tree
    subprocess.run(["mount", "--make-rprivate", tree], check=True)


def test_what_the_container_mounts_does_not_reach_the_host(tree: Path) -> None:
    """Neither in its root nor in a volume: a clone of a shared mount begins as its peer."""
    (tree / "root").mkdir()
    with shared(tree):
        inner = make_root(tree / "root/fs")
        seen = mounted(inner, mount("/volume", tree, "rbind"), mount("/volume/new", "x", type="tmpfs"))
        assert "/volume/new" in seen
        assert {target: each["propagation"] for target, each in seen.items() if each["propagation"]} == {}
        targets = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        assert sorted(target for target in targets if target.startswith(str(tree))) == [str(tree), f"{tree}/below"]


@pytest.mark.parametrize(
    ("rootfs", "options", "top", "below"),
    [
        ("", ["rslave"], ["master:"], ["master:"]),
        ("", ["slave"], ["master:"], ["master:"]),
        ("", ["rshared"], ["shared:"], ["shared:"]),
        ("", ["shared"], ["shared:"], []),
        ("", ["unbindable"], ["unbindable"], []),
        ("rslave", [], ["master:"], ["master:"]),
        ("rslave", ["private"], [], ["master:"]),
        ("slave", ["rprivate"], [], []),
        ("rshared", [], ["shared:"], ["shared:"]),
        ("shared", ["rprivate"], [], []),
        ("rprivate", [], [], []),
    ],
)
def test_propagation_of_a_bind(
    root: Path, tree: Path, rootfs: str, options: list[str], top: list[str], below: list[str]
) -> None:
    with shared(tree):
        seen = mounted(root, mount("/b", tree, "rbind", *options), rootfsPropagation=rootfs)
    assert (seen["/b"]["propagation"], seen["/b/below"]["propagation"]) == (top, below)


def test_the_hosts_mounts_arrive_in_a_slave(root: Path, tree: Path) -> None:
    (tree / "later").mkdir()
    spec = spec_with(root, TABLE, mount("/b", tree, "rbind", "rslave"))
    with shared(tree), created(spec) as (it, output):
        subprocess.run(["mount", "-t", "tmpfs", "late", tree / "later"], check=True)
        try:
            assert "/b/later" in table(run_to_the_end(it, output))
        finally:
            subprocess.run(["umount", tree / "later"], check=True)


@pytest.mark.parametrize(
    ("mode", "found"),
    [("", []), ("private", []), ("shared", ["shared:"]), ("rshared", ["shared:"]), ("unbindable", ["unbindable"])],
)
def test_propagation_of_the_root(root: Path, mode: str, found: list[str]) -> None:
    seen = mounted(root, mount("/x", "x", type="tmpfs"), rootfsPropagation=mode)
    assert seen["/"]["propagation"] == found
    assert seen["/x"]["propagation"] == (found if mode == "rshared" else [])


# ---- devices ---------------------------------------------------------------------------------------------------------


def device(path: str, kind: str = "c", major: int = 1, minor: int = 3, **more: Any) -> dict[str, Any]:
    numbers = {} if kind == "p" else {"major": major, "minor": minor}
    return {"path": path, "type": kind, **numbers, **more}


def test_devices_of_the_configuration(root: Path) -> None:
    devices = [
        device("/dev/net/tun", "c", 10, 200, fileMode=0o620, uid=5, gid=6),
        device("/dev/disk", "b", 300, 70000),
        device("/run/pipe", "p", fileMode=0o600),
        device("/dev/zero", "u", 1, 5, fileMode=0o444),
    ]
    script = "stat -c '%n %F %a %u:%g %t:%T' /dev/net/tun /dev/disk /run/pipe /dev/zero"
    assert run_oci(spec_with(root, script, base=WITH_DEV, devices=devices)).splitlines() == [
        "/dev/net/tun character special file 620 5:6 a:c8",
        "/dev/disk block special file 666 0:0 12c:11170",
        "/run/pipe fifo 600 0:0 0:0",
        "/dev/zero character special file 444 0:0 1:5",
    ]


def test_the_promised_devices_without_a_dev_of_its_own(root: Path) -> None:
    script = "for name in null zero full random urandom tty; do stat -c %t:%T /dev/$name; done; readlink /dev/fd"
    seen = run_oci(spec_with(root, script)).split()
    assert seen == [*[f"{major:x}:{minor:x}" for _, major, minor in NODES], "/proc/self/fd"]
    assert stat.S_ISCHR((root / "dev/null").stat().st_mode)


def test_a_dev_that_is_bound_is_left_as_it_is(root: Path, tree: Path) -> None:
    dev = mount("/dev", tree, "bind")
    assert run_oci(spec_with(root, "ls /dev", base=[MOUNTS[0], dev], devices=[device("/dev/x")])) == "below\nfile\n"


def test_a_name_in_the_image_that_is_another_thing_is_an_error(root: Path) -> None:
    (root / "dev/null").write_text("trap")
    with pytest.raises(StepError, match="/dev/null"):
        run_oci(spec_with(root, "true"))


def test_devices_in_a_user_namespace_are_the_hosts(tmp_path: Path) -> None:
    mapped = make_root(tmp_path / "mapped", owner=100000)
    fields: dict[str, Any] = {"namespaces": ("user", *OTHERS), "uidMappings": IDS, "gidMappings": IDS, "base": WITH_DEV}
    script = "echo x > /dev/null; stat -c %t:%T /dev/null /dev/full; stat -c %F /dev/pipe"
    seen = run_oci(spec_with(mapped, script, devices=[device("/dev/pipe", "p")], maskedPaths=["/proc/keys"], **fields))
    assert seen.splitlines() == ["1:3", "1:7", "fifo"]
    with pytest.raises(StepError, match="/dev/nonesuch"):
        run_oci(spec_with(mapped, "true", devices=[device("/dev/nonesuch")], **fields))


# ---- user namespaces and what they may not mount ---------------------------------------------------------------------


def test_sysfs_of_the_hosts_network_is_bound_in_a_user_namespace(tmp_path: Path) -> None:
    mapped = make_root(tmp_path / "mapped", owner=100000)
    kinds = ("user", "pid", "uts", "ipc", "cgroup")
    fields: dict[str, Any] = {"namespaces": kinds, "uidMappings": IDS, "gidMappings": IDS}
    sysfs = mount("/sys", "sysfs", "ro", "nosuid", "noexec", "nodev", type="sysfs")
    seen = mounted(mapped, sysfs, **fields)["/sys"]
    assert seen["type"] == "sysfs"
    assert {"ro", "nosuid", "noexec", "nodev"} <= seen["options"]


def test_the_own_cgroup_is_bound_where_cgroup2_cannot_be_mounted(tmp_path: Path) -> None:
    """In a user namespace without a cgroup namespace: mounted, it would show the host's whole tree."""
    mapped = make_root(tmp_path / "mapped", owner=100000)
    (tmp_path / "group").mkdir()
    (tmp_path / "group/cgroup.procs").touch()
    kinds = ("user", "pid", "uts", "ipc", "network")
    fields: dict[str, Any] = {"namespaces": kinds, "uidMappings": IDS, "gidMappings": IDS}
    spec = spec_with(mapped, "ls /cg; touch /cg/x 2>&1; true", mount("/cg", "cgroup", "ro", type="cgroup"), **fields)
    first, second = run_oci(spec, cgroup=str(tmp_path / "group")).splitlines()
    assert first == "cgroup.procs"
    assert "Read-only file system" in second


# ---- the root, and what is hidden ------------------------------------------------------------------------------------


@pytest.mark.parametrize("no_pivot", [False, True])
def test_the_root(root: Path, no_pivot: bool) -> None:
    spec = spec_with(root, f"touch /new 2>&1; {TABLE}", mount("/x", "x", type="tmpfs"), maskedPaths=["/proc/keys"])
    made = OciSpec(**{**{name: getattr(spec, name) for name in spec._fields}, "root": type(spec.root)(str(root), True)})
    first, rest = run_oci(made, no_pivot=no_pivot).split("\n", 1)
    assert "Read-only file system" in first
    seen = table(rest)
    assert set(seen) == {"/", "/proc", "/dev/pts", "/x", "/proc/keys"}
    assert ("ro" in seen["/"]["options"], "rw" in seen["/x"]["options"]) == (True, True)


def test_masks_need_no_null_device_of_the_container(root: Path, tree: Path) -> None:
    """The host's is in sight, and nothing in the image can pretend to be it."""
    dev = mount("/dev", tree, "bind")
    paths = {"maskedPaths": ["/proc/keys", "/proc/acpi", "/nonesuch"], "readonlyPaths": ["/proc/sys", "/none"]}
    script = "stat -c %t:%T /proc/keys; cat /proc/keys; ls /proc/acpi 2>/dev/null; echo 1 > /proc/sys/kernel/panic 2>&1"
    seen = run_oci(spec_with(root, script + "; true", base=[MOUNTS[0], dev], **paths))
    assert seen.splitlines()[0] == "1:3"
    assert "Read-only file system" in seen.splitlines()[1]


def test_a_setting_of_a_plan_has_good_defaults() -> None:
    assert (Setting().bundle, Setting().links, Setting().no_pivot) == ("", (), False)
