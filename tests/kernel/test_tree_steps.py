"""What OCI's rarer mount options need of the steps: the top of a tree by itself, mapped ids, remounts, copies, chroot."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from fixtures.child import MOUNT_CALLS, Seen, at_gate, shell
from pyrun.container.id_map import make_id_map
from pyrun.errors import KernelError, StepError
from pyrun.kernel.namespace import Namespace
from pyrun.kernel.step import (
    Attach,
    ChangeRoot,
    CopyUp,
    MakeDirectory,
    MakeNode,
    MakeSymlink,
    NewMount,
    OpenDirectory,
    OpenTree,
    Reconfigure,
    SetMountAttributes,
    SetPropagation,
    SetRootPropagation,
    Step,
    WriteFile,
)
from pyrun.spec.oci import OciIdMapping

pytestmark = pytest.mark.root

Gate = Callable[..., AbstractContextManager[Seen]]
ALL = tuple(MOUNT_CALLS)


@pytest.fixture(params=["new", "old"])
def gate(request: pytest.FixtureRequest) -> Gate:
    """A child in a mount namespace of its own, with the new mount API and without it."""
    return partial(at_gate, namespaces=("mount",), without=() if request.param == "new" else ALL)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    path = tmp_path / "top"
    path.mkdir()
    return path


def start(top: Path) -> tuple[Step, ...]:
    """The host hears nothing, and `top` is a tmpfs, open as slot "root", with a tree of two mounts at src and src/sub."""
    return (
        SetPropagation("/", "private"),
        NewMount("tmpfs", "top", ("mode=0755",)),
        Attach("top", str(top)),
        OpenDirectory(str(top), "root"),
        *tmpfs("src"),
        *tmpfs("src/sub"),
    )


def tmpfs(target: str, *options: str, attributes: tuple[str, ...] = ()) -> tuple[Step, ...]:
    return NewMount("tmpfs", target, options, attributes), Attach(target, target, at="root", create=True)


def bind(target: str = "dst", **how: object) -> tuple[Step, ...]:
    tree = OpenTree("src", target, "root", **how)  # type: ignore[arg-type]
    return tree, Attach(target, target, at="root", create=True)


def inside(seen: Seen, path: Path) -> Path:
    return Path(f"{seen.root}{path}")


def options(seen: Seen, path: Path) -> set[str]:
    return set(seen.mount(path)["options"].split(","))


def propagation(seen: Seen, path: Path) -> list[str]:
    return [part.rstrip("0123456789") for part in seen.mount(path)["propagation"].split()]


def failure(*steps: Step, **how: object) -> StepError:
    with pytest.raises(StepError) as caught, at_gate(*steps, namespaces=("mount",), **how):
        pass
    return caught.value


# ---- the top of a tree -----------------------------------------------------------------------------------------------


def test_an_attribute_of_the_top_alone(gate: Gate, top: Path) -> None:
    """OCI's ``ro``, as against ``rro``."""
    with gate(*start(top), *bind(attributes=("nodev",), top_attributes=("ro", "nosuid"))) as seen:
        assert {"ro", "nodev", "nosuid"} <= options(seen, top / "dst")
        assert {"rw", "nodev"} <= options(seen, top / "dst/sub")
        assert "nosuid" not in options(seen, top / "dst/sub")
        assert {"ro", "nodev"}.isdisjoint(options(seen, top / "src"))


def test_an_attribute_that_is_taken_from_the_top_alone(gate: Gate, top: Path) -> None:
    with gate(
        *start(top), *bind(attributes=("ro", "noatime"), top_clear=("ro",), top_attributes=("relatime",))
    ) as seen:
        assert {"rw", "relatime"} <= options(seen, top / "dst")
        assert {"ro", "noatime"} <= options(seen, top / "dst/sub")


@pytest.mark.parametrize(
    ("then", "found", "below"),
    [
        (None, [], []),
        (("shared", False), ["shared:"], []),
        (("shared", True), ["shared:"], ["shared:"]),
        (("unbindable", False), ["unbindable"], []),
    ],
)
def test_a_second_propagation(
    gate: Gate, top: Path, then: tuple[str, bool] | None, found: list[str], below: list[str]
) -> None:
    """A clone of a shared tree is its peer; first it has to leave, then it can be what it is to be."""
    shared = SetPropagation(str(top / "src"), "shared")
    with gate(*start(top), shared, *bind(propagation="private", then=then)) as seen:
        assert (propagation(seen, top / "dst"), propagation(seen, top / "dst/sub")) == (found, below)
        peers = {seen.mount(top / path)["propagation"] for path in ("src", "src/sub")}
        assert seen.mount(top / "dst")["propagation"] not in peers


def test_propagation_of_a_mount_that_is_attached(gate: Gate, top: Path) -> None:
    step = SetMountAttributes("src", "root", attributes=("nosuid",), propagation=("shared", True))
    with gate(*start(top), step) as seen:
        assert propagation(seen, top / "src") == propagation(seen, top / "src/sub") == ["shared:"]
        assert "nosuid" in options(seen, top / "src")
        assert propagation(seen, top) == []


# ---- ids that are mapped ---------------------------------------------------------------------------------------------


@pytest.fixture
def maps() -> Iterator[Namespace]:
    with make_id_map([OciIdMapping(0, 1000, 1), OciIdMapping(5, 2000, 2)], [OciIdMapping(0, 3000, 1)]) as namespace:
        yield namespace


def owner(path: Path) -> tuple[int, int]:
    return path.stat().st_uid, path.stat().st_gid


@pytest.mark.parametrize("map_all", [False, True])
def test_ids_are_mapped(top: Path, maps: Namespace, map_all: bool) -> None:
    files = [WriteFile(f"src/{name}", b"", at="root", create_mode=0o600) for name in ("file", "sub/file")]
    plan = (*start(top), *files, *bind(id_map="maps", map_all=map_all))
    with at_gate(*plan, namespaces=("mount",), fds={"maps": maps}) as seen:
        assert owner(inside(seen, top / "dst/file")) == (1000, 3000)
        assert owner(inside(seen, top / "dst/sub/file")) == ((1000, 3000) if map_all else (0, 0))
        assert owner(inside(seen, top / "src/file")) == (0, 0)
        assert "idmapped" in seen.mount(top / "dst")["options"]


def test_a_namespace_of_mappings_is_what_was_asked_for(maps: Namespace) -> None:
    assert maps.kind == "user"
    with Namespace.open("user") as ours:
        assert maps != ours


@pytest.mark.parametrize("bad", [[OciIdMapping(0, 0, 5), OciIdMapping(4, 100, 5)], [], [OciIdMapping(0, 0, 0)]])
def test_mappings_that_the_kernel_refuses(bad: list[OciIdMapping]) -> None:
    good = [OciIdMapping(0, 0, 1)]
    for uids, gids in ((bad, good), (good, bad)):
        with pytest.raises(KernelError, match="_map of a mount with mapped ids"):
            make_id_map(uids, gids)


def test_a_file_system_that_maps_no_ids_is_told(top: Path, maps: Namespace) -> None:
    plan = (*start(top), *bind(recursive=False), OpenTree("/proc", "proc", id_map="maps", recursive=False))
    error = failure(*plan, fds={"maps": maps})
    assert error.errno == errno.EINVAL
    assert "maps no ids" in str(error)


def test_without_the_call_ids_are_not_silently_unmapped(top: Path, maps: Namespace) -> None:
    error = failure(*start(top), *bind(id_map="maps"), fds={"maps": maps}, without=("mount_setattr",))
    assert error.errno == errno.ENOSYS
    assert "Linux 5.12" in str(error)


# ---- remounts --------------------------------------------------------------------------------------------------------


def test_a_file_system_is_reconfigured_and_keeps_what_its_mount_is(gate: Gate, top: Path) -> None:
    plan = (*tmpfs("t", "size=64k", attributes=("nosuid", "noexec")), Reconfigure("t", ("size=128k",), at="root"))
    with gate(*start(top), *plan) as seen:
        assert "size=128k" in seen.mount(top / "t")["super"].split(",")
        assert {"rw", "nosuid", "noexec"} <= options(seen, top / "t")


def test_what_cannot_be_reconfigured(gate: Gate, top: Path) -> None:
    for path, option in (("plain", "size=1m"), ("src", "nonesuch=1")):
        plan = (*start(top), MakeDirectory("plain", "root"), Reconfigure(path, (option,), at="root"))
        with pytest.raises(StepError) as caught, gate(*plan):
            pass
        assert caught.value.errno == errno.EINVAL
        assert isinstance(caught.value.step, Reconfigure)


def test_a_value_that_is_longer_than_the_new_call_takes(top: Path) -> None:
    """Layers of an overlay: mount(2) takes a page, fsconfig(2) 255 bytes."""
    layers = [f"layer-{i}-{'x' * 40}" for i in range(8)]
    value = ":".join([f"{top}/{name}" for name in layers])
    assert len(value) > 300
    plan = (
        *[MakeDirectory(f"{name}/{i}", "root") for i, name in enumerate(layers)],
        NewMount("overlay", "o", (f"lowerdir={value}",), ("nosuid", "noatime")),
        Attach("o", "merged", at="root", create=True),
    )
    with at_gate(*start(top), *plan, namespaces=("mount",)) as seen:
        assert sorted(os.listdir(inside(seen, top / "merged"))) == [str(i) for i in range(8)]
        assert {"nosuid", "noatime"} <= options(seen, top / "merged")


# ---- copies ----------------------------------------------------------------------------------------------------------


def copied(*steps: Step, content: bool = True, mode: bool = True) -> tuple[Step, ...]:
    """A tmpfs over root:below, with what was there."""
    return (
        *steps,
        OpenDirectory("below", "below", at="root", if_exists=True),
        NewMount("tmpfs", "over"),
        Attach("over", "below", at="root", create=True),
        CopyUp("below", "over", mode=mode, content=content),
    )


# More names than one reading of a directory brings.
MANY = [f"name {i} {'x' * 200}" for i in range(200)]
IN_THE_IMAGE = ("dir", "dir/deep", "dir/deep/deeper", "dir/deep/file", "link", "pipe", "node", *MANY)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A directory with one of each sort."""
    below = tmp_path / "image/below"
    (below / "dir/deep/deeper").mkdir(parents=True)
    (below / "dir/deep/file").write_bytes(bytes(range(256)) * 4096)
    (below / "dir/deep/file").chmod(0o4751)
    os.chown(below / "dir", 5, 6)
    (below / "dir").chmod(0o2750)
    os.setxattr(below / "dir/deep/file", "trusted.kind", b"value")
    os.chown(below / "dir/deep/file", 7, 8)
    (below / "dir/deep/file").chmod(0o4751)
    os.symlink("../nowhere", below / "link")
    os.chown(below / "link", 9, 10, follow_symlinks=False)
    os.mkfifo(below / "pipe", 0o640)
    os.mknod(below / "node", stat.S_IFCHR | 0o604, os.makedev(300, 70000))
    for name in MANY:
        (below / name).touch()
    os.utime(below / "dir/deep", ns=(10**18, 2 * 10**18))
    below.chmod(0o1733)
    return tmp_path / "image"


def describe(path: Path, top: Path) -> tuple[object, ...]:
    status = path.lstat()
    kind = stat.S_IFMT(status.st_mode)
    content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
    names = os.listxattr(path, follow_symlinks=False) if kind == stat.S_IFREG else []
    extended = [(name, os.getxattr(path, name)) for name in names]
    return (path.relative_to(top), status.st_mode, status.st_uid, status.st_gid, status.st_rdev, content, extended)


def test_everything_is_copied_as_it_is(gate: Gate, image: Path) -> None:
    root = (SetPropagation("/", "private"), OpenDirectory(str(image), "root"))
    with gate(*root, *copied()) as seen:
        over, below = inside(seen, image / "below"), image / "below"
        assert seen.mount(image / "below")["type"] == "tmpfs"
        for name in IN_THE_IMAGE:
            assert describe(over / name, over) == describe(below / name, below)
        assert {str(each.relative_to(over)) for each in over.rglob("*")} == set(IN_THE_IMAGE)
        assert stat.S_IMODE(over.stat().st_mode) == 0o1733
        assert (over / "dir/deep").stat().st_mtime_ns == 2 * 10**18
        (over / "new").touch()
    assert not (image / "below/new").exists()


def test_the_mode_alone(gate: Gate, image: Path) -> None:
    root = (SetPropagation("/", "private"), OpenDirectory(str(image), "root"))
    with gate(*root, *copied(content=False)) as seen:
        assert stat.S_IMODE(inside(seen, image / "below").stat().st_mode) == 0o1733
        assert os.listdir(inside(seen, image / "below")) == []
    with gate(*root, *copied(mode=False)) as seen:
        assert stat.S_IMODE(inside(seen, image / "below").stat().st_mode) == 0o1777


def test_where_there_is_nothing_nothing_is_copied(gate: Gate, top: Path) -> None:
    with gate(*start(top), *copied()) as seen:
        assert os.listdir(inside(seen, top / "below")) == []
        assert stat.S_IMODE(inside(seen, top / "below").stat().st_mode) == 0o1777


def test_a_link_in_the_image_is_copied_and_not_followed(gate: Gate, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (tmp_path / "image/below").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret").write_text("host")
    (tmp_path / "image/below/dir").symlink_to(outside)
    (tmp_path / "image/below/file").symlink_to(outside / "secret")
    with gate(SetPropagation("/", "private"), OpenDirectory(str(tmp_path / "image"), "root"), *copied()) as seen:
        over = inside(seen, tmp_path / "image/below")
        assert (os.readlink(over / "dir"), os.readlink(over / "file")) == (str(outside), str(outside / "secret"))


def test_a_copy_that_does_not_fit_is_an_error(top: Path) -> None:
    plan = (
        *start(top),
        WriteFile("below/big", bytes(100_000), at="root", create_mode=0o600),
        OpenDirectory("below", "below", at="root"),
        NewMount("tmpfs", "over", ("size=64k",)),
        Attach("over", "below", at="root"),
        CopyUp("below", "over", content=True),
    )
    error = failure(*start(top), MakeDirectory("below", "root"), *plan[len(start(top)) :])
    assert error.errno == errno.ENOSPC
    assert isinstance(error.step, CopyUp)


def test_a_tree_without_end_is_an_error(top: Path) -> None:
    deep = MakeDirectory("below/" + "d/" * 150, "root")
    assert failure(*start(top), *copied(deep)).errno == errno.ENAMETOOLONG


# ---- nodes and links that are there already --------------------------------------------------------------------------


def test_a_node_that_is_there_already_is_good_if_it_is_the_same(top: Path) -> None:
    null = MakeNode("null", stat.S_IFCHR | 0o666, 1, 3, at="root")
    with at_gate(*start(top), null, null, namespaces=("mount",)):
        pass
    others = (
        MakeNode("null", stat.S_IFCHR | 0o666, 1, 5, at="root"),
        MakeNode("null", stat.S_IFBLK | 0o666, 1, 3, at="root"),
        MakeSymlink("null", "real", at="root"),
        WriteFile("null", b"", at="root", create_mode=0o666),
    )
    for other in others:
        real = MakeNode("real", stat.S_IFCHR | 0o666, 1, 3, at="root")
        assert failure(*start(top), real, other, null).errno == errno.EEXIST


def test_a_link_that_is_there_already(top: Path) -> None:
    link = MakeSymlink("link", "target", at="root")
    with at_gate(
        *start(top), link, link, MakeSymlink("link", "other", at="root", keep=True), namespaces=("mount",)
    ) as seen:
        assert os.readlink(inside(seen, top / "link")) == "target"
    for other in ("targe", "target2", "tarGet"):
        assert failure(*start(top), link, MakeSymlink("link", other, at="root")).errno == errno.EEXIST


def test_a_node_has_the_owner_that_was_asked_for(top: Path) -> None:
    with at_gate(*start(top), MakeNode("n", stat.S_IFIFO | 0o620, 0, 0, "root", 5, 6), namespaces=("mount",)) as seen:
        status = inside(seen, top / "n").stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (5, 6, 0o620)


# ---- the root --------------------------------------------------------------------------------------------------------

CHROOTED = (
    SetPropagation("/", "private"),
    OpenTree("/", "new", recursive=False, propagation="private"),
    Attach("new", "/"),
    NewMount("proc", "p"),
    Attach("p", "/proc", at="new"),
    ChangeRoot("new"),
)


def test_a_chroot_leads_nowhere_else() -> None:
    """The classic way out, tried by root with all capabilities; and what the old root had of /proc and /sys is gone."""
    escape = """
        mkdir -p /tmp/jail; cd /; exec 9</
        chroot /tmp/jail true 2>/dev/null || true
        cat /proc/self/mountinfo | cut -d' ' -f5
    """
    seen = shell(escape, *CHROOTED, namespaces=("mount", "pid")).split()
    assert seen == ["/", "/proc"]


def test_a_whole_proc_cannot_be_had_after_a_chroot() -> None:
    """The kernel lets a user namespace mount one only where one is mounted already, and all of it is to be seen."""
    hide = (NewMount("tmpfs", "t"), Attach("t", "/proc/sys", at="new"))
    script = "unshare -Urmpf mount -t proc proc /mnt 2>&1 || echo refused"
    assert "refused" in shell(script, *CHROOTED[:-1], *hide, CHROOTED[-1], namespaces=("mount", "pid"))


@pytest.mark.parametrize(("mode", "recursive", "found"), [("shared", True, ["shared:"]), ("unbindable", False, [])])
def test_propagation_of_the_new_root(top: Path, mode: str, recursive: bool, found: list[str]) -> None:
    from pyrun.kernel.step import PivotRoot

    with at_gate(*start(top), PivotRoot("root"), SetRootPropagation(mode, recursive), namespaces=("mount",)) as seen:
        assert propagation(seen, Path("/"))[0].startswith(mode)
        assert propagation(seen, Path("/src")) == found
