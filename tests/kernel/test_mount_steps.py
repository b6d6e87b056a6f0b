"""Each mount step, performed and then looked at in /proc; those with a fallback also where the kernel lacks the new calls."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import pytest

from fixtures.child import MOUNT_CALLS, Seen, at_gate, run
from fixtures.machine import cgroup2_root
from pyrun.errors import StepError
from pyrun.kernel.spawn import create
from pyrun.kernel.step import (
    Attach,
    Exec,
    MakeDirectory,
    MakeNode,
    MakeSymlink,
    MaskPath,
    NewMount,
    OpenDirectory,
    OpenTree,
    PivotRoot,
    ReadonlyPath,
    SetMountAttributes,
    SetPropagation,
    Step,
    WriteFile,
)

pytestmark = pytest.mark.root

Gate = Callable[..., AbstractContextManager[Seen]]
ALL = tuple(MOUNT_CALLS)


@pytest.fixture(params=["new", "old"])
def gate(request: pytest.FixtureRequest) -> Gate:
    """A child in a mount namespace of its own, with the new mount API and without it."""
    return partial(at_gate, namespaces=("mount",), without=() if request.param == "new" else ALL)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """Where the children mount the tmpfs that they work in."""
    path = tmp_path / "top"
    path.mkdir()
    return path


def start(top: Path) -> tuple[Step, ...]:
    """The host hears nothing, and `top` is a tmpfs, open as slot "root"."""
    return (
        SetPropagation("/", "private"),
        NewMount("tmpfs", "top", ("mode=0755",)),
        Attach("top", str(top)),
        OpenDirectory(str(top), "root"),
    )


def inside(seen: Seen, path: Path) -> Path:
    return Path(f"{seen.root}{path}")


def options(seen: Seen, path: Path) -> set[str]:
    return set(seen.mount(path)["options"].split(","))


def failure(*steps: Step, namespaces: tuple[str, ...] = ("mount",)) -> StepError:
    with pytest.raises(StepError) as caught, at_gate(*steps, namespaces=namespaces):
        pass
    return caught.value


# ---- new file systems ------------------------------------------------------------------------------------------------------


def test_tmpfs_with_options_and_attributes(gate: Gate, top: Path) -> None:
    tree = NewMount("tmpfs", "t", ("size=64k", "mode=01777", "nr_inodes=100"), ("nosuid", "nodev", "noexec", "noatime"))
    with gate(*start(top), tree, Attach("t", "a/b", at="root", create=True)) as seen:
        mount = seen.mount(top / "a/b")
        assert mount["type"] == "tmpfs"
        assert {"rw", "nosuid", "nodev", "noexec", "noatime"} == set(mount["options"].split(","))
        assert {"size=64k", "nr_inodes=100"} <= set(mount["super"].split(","))
        assert inside(seen, top / "a/b").stat().st_mode & 0o7777 == 0o1777
        assert inside(seen, top / "a").stat().st_mode & 0o7777 == 0o755
        assert os.statvfs(inside(seen, top / "a/b")).f_blocks * 4096 == 64 * 1024
    assert not any(top.iterdir()), "the host saw it"


def test_read_only_tmpfs(gate: Gate, top: Path) -> None:
    with gate(*start(top), NewMount("tmpfs", "t", (), ("ro",)), Attach("t", "x", at="root", create=True)) as seen:
        assert "ro" in options(seen, top / "x")
        with pytest.raises(OSError, match="Read-only"):
            (inside(seen, top / "x") / "f").touch()


def test_proc_of_the_own_pid_namespace(gate: Gate, top: Path) -> None:
    tree = NewMount("proc", "p", (), ("nosuid", "nodev", "noexec"), source="proc")
    plan = (*start(top), tree, Attach("p", "proc", at="root", create=True))
    with gate(*plan, namespaces=("mount", "pid")) as seen:
        mount = seen.mount(top / "proc")
        assert (mount["type"], mount["source"]) == ("proc", "proc")
        assert [name for name in os.listdir(inside(seen, top / "proc")) if name.isdigit()] == ["1"]


def test_sysfs_read_only(gate: Gate, top: Path) -> None:
    tree = NewMount("sysfs", "s", (), ("ro", "nosuid", "nodev", "noexec"))
    plan = (*start(top), tree, Attach("s", "sys", at="root", create=True))
    with gate(*plan, namespaces=("mount", "network")) as seen:
        assert os.listdir(inside(seen, top / "sys/class/net")) == ["lo"]
        assert {"ro", "nosuid", "nodev", "noexec"} <= options(seen, top / "sys")


def test_devpts_of_its_own(gate: Gate, top: Path) -> None:
    tree = NewMount("devpts", "d", ("newinstance", "ptmxmode=0666", "mode=0620"), ("nosuid", "noexec"))
    with gate(*start(top), tree, Attach("d", "pts", at="root", create=True)) as seen:
        ptmx = inside(seen, top / "pts/ptmx").stat()
        assert (stat.S_IMODE(ptmx.st_mode), os.listdir(inside(seen, top / "pts"))) == (0o666, ["ptmx"])
        assert "mode=620" in seen.mount(top / "pts")["super"]


def test_mqueue_of_the_own_ipc_namespace(gate: Gate, top: Path) -> None:
    plan = (*start(top), NewMount("mqueue", "q"), Attach("q", "mqueue", at="root", create=True))
    with gate(*plan, namespaces=("mount", "ipc")) as seen:
        assert seen.mount(top / "mqueue")["type"] == "mqueue"


def test_cgroup2(gate: Gate, top: Path) -> None:
    if cgroup2_root() is None:
        pytest.skip("no cgroup v2 here")
    tree = NewMount("cgroup2", "c", (), ("ro", "nosuid", "nodev", "noexec"))
    plan = (*start(top), tree, Attach("c", "cgroup", at="root", create=True))
    with gate(*plan, namespaces=("mount", "cgroup")) as seen:
        assert inside(seen, top / "cgroup/cgroup.procs").exists()
        assert "ro" in options(seen, top / "cgroup")


def test_overlay(gate: Gate, top: Path) -> None:
    layers = [MakeDirectory(f"{name}", "root") for name in ("lower", "upper", "work")]
    names = tuple(
        [f"{name}={top}/{path}" for name, path in zip(("lowerdir", "upperdir", "workdir"), ("lower", "upper", "work"))]
    )
    plan = (
        *start(top),
        *layers,
        WriteFile("lower/old", b"from below", at="root", create_mode=0o644),
        NewMount("overlay", "o", names),
        Attach("o", "merged", at="root", create=True),
        WriteFile("merged/old", b"from above", at="root"),
        WriteFile("merged/new", b"x", at="root", create_mode=0o600),
    )
    with gate(*plan) as seen:
        assert inside(seen, top / "merged/old").read_bytes() == b"from above"
        assert inside(seen, top / "lower/old").read_bytes() == b"from below"
        assert inside(seen, top / "upper/new").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("tree", "number"),
    [
        (NewMount("nonesuch", "t"), errno.ENODEV),
        (NewMount("tmpfs", "t", ("nonesuch=1",)), errno.EINVAL),
        (NewMount("tmpfs", "t", ("k" * 64 + "=1",)), errno.ENAMETOOLONG),
        (NewMount("overlay", "t", ("lowerdir=/nonexistent",)), errno.ENOENT),
    ],
)
def test_a_file_system_that_cannot_be_made(tree: NewMount, number: int) -> None:
    assert failure(SetPropagation("/", "private"), tree).errno == number


# ---- binds ---------------------------------------------------------------------------------------------------------------


def bind_source(*extra: Step) -> tuple[Step, ...]:
    """root:src with a file, and a tmpfs mounted at root:src/sub."""
    return (
        MakeDirectory("src", "root"),
        WriteFile("src/file", b"content", at="root", create_mode=0o644),
        NewMount("tmpfs", "sub", (), ("nosuid",)),
        Attach("sub", "src/sub", at="root", create=True),
        WriteFile("src/sub/below", b"content", at="root", create_mode=0o644),
        *extra,
    )


def test_bind_of_a_directory_with_what_is_mounted_below(gate: Gate, top: Path) -> None:
    with gate(
        *start(top), *bind_source(), OpenTree("src", "t", at="root"), Attach("t", "dst", at="root", create=True)
    ) as seen:
        assert inside(seen, top / "dst/sub/below").read_bytes() == b"content"
        assert "nosuid" in options(seen, top / "dst/sub")
        assert "rw" in options(seen, top / "dst")


def test_bind_of_one_mount_only(gate: Gate, top: Path) -> None:
    tree = OpenTree("src", "t", at="root", recursive=False)
    with gate(*start(top), *bind_source(), tree, Attach("t", "dst", at="root", create=True)) as seen:
        assert inside(seen, top / "dst/file").read_bytes() == b"content"
        assert os.listdir(inside(seen, top / "dst/sub")) == []


def test_bind_of_a_file_makes_a_file(gate: Gate, top: Path) -> None:
    tree = OpenTree("src/file", "t", at="root", attributes=("ro", "nosuid"))
    with gate(*start(top), *bind_source(), tree, Attach("t", "etc/new/file", at="root", create=True)) as seen:
        assert inside(seen, top / "etc/new/file").read_bytes() == b"content"
        assert {"ro", "nosuid"} <= options(seen, top / "etc/new/file")
        with pytest.raises(OSError, match="Read-only"):
            inside(seen, top / "etc/new/file").write_bytes(b"x")


def test_read_only_bind_reaches_what_is_mounted_below(gate: Gate, top: Path) -> None:
    """Recursively, as mount_setattr(2) does it: a volume that is read-only on top only would be a hole."""
    plan = (
        *bind_source(NewMount("tmpfs", "deep"), Attach("deep", "src/sub/de ep", at="root", create=True)),
        OpenTree("src", "t", at="root", attributes=("ro", "nodev")),
        Attach("t", "dst", at="root", create=True),
    )
    with gate(*start(top), *plan) as seen:
        for path in ("dst", "dst/sub", "dst/sub/de\\040ep"):
            assert {"ro", "nodev"} <= options(seen, top / path), path
        assert "nosuid" in options(seen, top / "dst/sub"), "what it had, it keeps"
        for path in ("src", "src/sub"):
            with pytest.raises(OSError, match="Read-only"):
                (inside(seen, top / "dst") / path.removeprefix("src").lstrip("/") / "new").touch()
            (inside(seen, top / path) / "new").touch()


def test_bind_keeps_the_attributes_of_its_source(gate: Gate, top: Path) -> None:
    plan = (
        NewMount("tmpfs", "t", (), ("nosuid", "nodev", "noexec", "noatime")),
        Attach("t", "src", at="root", create=True),
        OpenTree("src", "u", at="root", attributes=("ro",)),
        Attach("u", "dst", at="root", create=True),
        OpenTree("src", "v", at="root", clear=("noexec", "noatime")),
        Attach("v", "cleared", at="root", create=True),
    )
    with gate(*start(top), *plan) as seen:
        assert options(seen, top / "dst") == {"ro", "nosuid", "nodev", "noexec", "noatime"}
        assert options(seen, top / "cleared") == {"rw", "nosuid", "nodev", "relatime"}


@pytest.mark.parametrize("wanted", ["noatime", "strictatime", "relatime", "nodiratime", "nosymfollow"])
def test_access_time_and_other_attributes(gate: Gate, top: Path, wanted: str) -> None:
    plan = (OpenTree("", "t", at="root", attributes=(wanted,)), Attach("t", "dst", at="root", create=True))
    with gate(*start(top), MakeDirectory("src", "root"), *plan) as seen:
        found = options(seen, top / "dst") - {"rw"}
        assert (found == set()) if wanted == "strictatime" else (wanted in found)


@pytest.mark.parametrize(("mode", "letters"), [("private", ""), ("shared", "shared:"), ("slave", "master:")])
def test_propagation_of_a_bind(gate: Gate, top: Path, mode: str, letters: str) -> None:
    plan = (
        NewMount("tmpfs", "src"),
        Attach("src", "src", at="root", create=True),
        SetPropagation(str(top / "src"), "shared"),
        OpenTree("src", "t", at="root", propagation=mode),
        Attach("t", "dst", at="root", create=True),
    )
    with gate(*start(top), *plan) as seen:
        assert [part.rstrip("0123456789") for part in seen.mount(top / "dst")["propagation"].split()] == (
            [letters] if letters else []
        )


def test_missing_source_is_made_when_asked(gate: Gate, top: Path) -> None:
    tree = OpenTree("made/here", "t", at="root", create_mode=0o711)
    with gate(*start(top), tree, Attach("t", "dst", at="root", create=True)) as seen:
        assert inside(seen, top / "made/here").stat().st_mode & 0o7777 == 0o711
        assert inside(seen, top / "made").stat().st_mode & 0o7777 == 0o755
    assert failure(*start(top), OpenTree("made/here", "t", at="root")).errno == errno.ENOENT


def test_source_given_by_descriptor(gate: Gate, top: Path, tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given/file").touch()
    fd = os.open(tmp_path / "given", os.O_PATH)
    try:
        plan = (*start(top), OpenTree("", "t", at="given"), Attach("t", "dst", at="root", create=True))
        # A descriptor of a mount of the parent's namespace: only what the namespace's copy has can be bound (open_tree(2)).
        with pytest.raises(StepError) as caught, gate(*plan, fds={"given": fd}):
            pass
        assert caught.value.errno == errno.EINVAL
    finally:
        os.close(fd)


def test_a_tree_made_before_the_namespace_is_joined_is_attached_inside(top: Path, tmp_path: Path) -> None:
    """How a container gets a directory of the host: cloned while it can be seen, carried over by descriptor."""
    (tmp_path / "host").mkdir()
    (tmp_path / "host/file").write_text("x")
    from pyrun.kernel.step import JoinNamespaces

    with at_gate(*start(top), namespaces=("mount",)) as holder:
        plan = (
            OpenTree(str(tmp_path / "host"), "t", attributes=("ro",), propagation="private"),
            JoinNamespaces("holder", ("mount",)),
            Attach("t", str(top / "dst"), create=True),
        )
        with at_gate(*plan, fds={"holder": holder.created.process}) as seen:
            assert seen.namespace("mnt") == holder.namespace("mnt")
            assert (inside(seen, top / "dst") / "file").read_text() == "x"
            assert "ro" in options(seen, top / "dst")


def test_target_must_exist_unless_it_is_to_be_made(gate: Gate, top: Path) -> None:
    with pytest.raises(StepError) as caught, gate(*start(top), NewMount("tmpfs", "t"), Attach("t", "x", at="root")):
        pass
    assert (caught.value.errno, caught.value.index) == (errno.ENOENT, 5)


def test_directory_cannot_lie_on_a_file(gate: Gate, top: Path) -> None:
    plan = (WriteFile("f", b"", at="root", create_mode=0o600), NewMount("tmpfs", "t"), Attach("t", "f", at="root"))
    with pytest.raises(StepError) as caught, gate(*start(top), *plan):
        pass
    assert caught.value.errno in (errno.ENOTDIR, errno.EINVAL)  # mount(2), move_mount(2)


@pytest.mark.parametrize("link", ["/run/made/file", "../run/made/file"])
def test_a_symlink_to_nothing_is_followed_and_what_it_names_is_made(gate: Gate, top: Path, link: str) -> None:
    """/etc/resolv.conf of many images leads to a file of a service that does not run there."""
    plan = (
        MakeDirectory("etc", "root"),
        MakeSymlink("etc/resolv.conf", link, at="root"),
        WriteFile("source", b"nameserver", at="root", create_mode=0o644),
        OpenTree("source", "t", at="root"),
        Attach("t", "etc/resolv.conf", at="root", create=True),
    )
    with gate(*start(top), *plan) as seen:
        assert inside(seen, top / "run/made/file").read_bytes() == b"nameserver"
        assert seen.mount(top / "run/made/file")


def test_a_symlink_loop_is_an_error(top: Path) -> None:
    plan = (MakeSymlink("a", "b", at="root"), MakeSymlink("b", "a", at="root"), NewMount("tmpfs", "t"))
    assert failure(*start(top), *plan, Attach("t", "a/x", at="root", create=True)).errno == errno.ELOOP


# ---- attributes, masks, read-only paths --------------------------------------------------------------------------------------


def test_attributes_of_a_mount_that_is_attached(gate: Gate, top: Path) -> None:
    tree = NewMount("tmpfs", "t", (), ("nodev", "noatime"))
    plan = (*bind_source(), tree, Attach("t", "dst", at="root", create=True))
    change = SetMountAttributes("dst", at="root", attributes=("ro", "nosuid"), clear=("nodev",))
    with gate(*start(top), *plan, change) as seen:
        assert options(seen, top / "dst") == {"ro", "nosuid", "noatime"}
    recursive = SetMountAttributes("src", at="root", attributes=("ro",), recursive=True)
    with gate(
        *start(top), *bind_source(OpenTree("src", "b", at="root"), Attach("b", "src", at="root"), recursive)
    ) as seen:
        assert "ro" in options(seen, top / "src")
        assert {"ro", "nosuid"} <= options(seen, top / "src/sub")


def test_masked_directory_is_empty_and_read_only(gate: Gate, top: Path) -> None:
    with gate(*start(top), *bind_source(), MaskPath("src", at="root", root="root")) as seen:
        assert os.listdir(inside(seen, top / "src")) == []
        assert {"ro", "nosuid", "nodev", "noexec"} <= options(seen, top / "src")
        with pytest.raises(OSError, match="Read-only"):
            (inside(seen, top / "src") / "x").touch()


NULL = (MakeDirectory("dev", "root"), MakeNode("dev/null", stat.S_IFCHR | 0o666, 1, 3, at="root"))


def test_masked_file_is_the_null_device(gate: Gate, top: Path) -> None:
    with gate(*start(top), *NULL, *bind_source(), MaskPath("/src/file", at="root", root="root")) as seen:
        masked = inside(seen, top / "src/file")
        assert masked.stat().st_rdev == os.makedev(1, 3)
        assert masked.read_bytes() == b""


def test_masked_and_read_only_paths_may_be_missing(gate: Gate, top: Path) -> None:
    missing = (MaskPath("no/such", at="root", root="root"), ReadonlyPath("no/such", at="root"))
    with gate(*start(top), *missing) as seen:
        assert seen.created.warnings == []


def test_a_link_to_what_is_masked_is_masked_too(gate: Gate, top: Path) -> None:
    link = MakeSymlink("link", "/src", at="root")
    with gate(*start(top), *bind_source(), link, MaskPath("link", at="root", root="root")) as seen:
        assert os.listdir(inside(seen, top / "src")) == []


@pytest.mark.parametrize(
    "null",
    [
        (WriteFile("dev/null", b"trap", at="root", create_mode=0o666),),
        (MakeNode("dev/null", stat.S_IFCHR | 0o666, 1, 5, at="root"),),
        (MakeNode("dev/null", stat.S_IFBLK | 0o666, 1, 3, at="root"),),
        (MakeNode("dev/real", stat.S_IFCHR | 0o666, 1, 3, at="root"), MakeSymlink("dev/null", "real", at="root")),
        (MakeSymlink("dev/null", "/proc/sys/kernel/core_pattern", at="root"),),
        (MakeDirectory("dev/null", at="root"),),
    ],
    ids=["file", "another device", "block device", "symlink to it", "symlink out", "directory"],
)
def test_a_file_is_masked_with_the_null_device_only(gate: Gate, top: Path, null: tuple[Step, ...]) -> None:
    """CVE-2025-31133: the image's /dev/null was a symlink, and what it led to was mounted instead, writable."""
    plan = (
        *start(top),
        MakeDirectory("dev", "root"),
        *null,
        *bind_source(),
        MaskPath("src/file", at="root", root="root"),
    )
    with pytest.raises(StepError) as caught, gate(*plan):
        pass
    assert caught.value.errno == errno.ENODEV
    assert isinstance(caught.value.step, MaskPath)


def test_a_file_cannot_be_masked_without_a_null_device(top: Path) -> None:
    """The missing path is /dev/null, not the file that was to be hidden: this must not pass as "nothing to hide"."""
    error = failure(*start(top), *bind_source(), MaskPath("src/file", at="root", root="root"))
    assert isinstance(error.step, MaskPath)
    assert error.errno == errno.ENODEV


def test_read_only_path(gate: Gate, top: Path) -> None:
    with gate(*start(top), *bind_source(), ReadonlyPath("src", at="root"), ReadonlyPath("src/file", at="root")) as seen:
        for path in ("src", "src/sub"):
            assert "ro" in options(seen, top / path)
            with pytest.raises(OSError, match="Read-only"):
                (inside(seen, top / path) / "new").touch()
        assert inside(seen, top / "src/sub/below").read_bytes() == b"content"
        assert "nosuid" in options(seen, top / "src/sub")
        with pytest.raises(OSError, match="Read-only"):
            inside(seen, top / "src/file").write_bytes(b"x")
        (inside(seen, top) / "elsewhere").touch()


def test_read_only_path_of_proc_keeps_what_proc_had(gate: Gate, top: Path) -> None:
    tree = NewMount("proc", "p", (), ("nosuid", "nodev", "noexec"))
    plan = (*start(top), tree, Attach("p", "proc", at="root", create=True), ReadonlyPath("/proc/sys", at="root"))
    with gate(*plan, namespaces=("mount", "pid")) as seen:
        assert {"ro", "nosuid", "nodev", "noexec"} <= options(seen, top / "proc/sys")
        assert "rw" in options(seen, top / "proc")


# ---- the new root ------------------------------------------------------------------------------------------------------------


def test_pivot_root_leaves_nothing_of_the_old_root(gate: Gate, top: Path) -> None:
    tree = NewMount("proc", "p")
    plan = (
        *start(top),
        tree,
        Attach("p", "proc", at="root", create=True),
        MakeDirectory("home", "root"),
        PivotRoot("root"),
    )
    with gate(*plan, namespaces=("mount", "pid")) as seen:
        assert {mount["target"] for mount in seen.mounts()} == {"/", "/proc"}
        assert sorted(os.listdir(seen.root)) == ["home", "proc"]
        assert os.readlink(seen.proc / "cwd") == "/"
        assert os.readlink(seen.proc / "root") == "/"


def test_program_cannot_get_out_of_its_root(top: Path) -> None:
    """The classic way out of a chroot, tried by root with all capabilities."""
    plan = (
        SetPropagation("/", "private"),
        OpenTree("/", "t", recursive=False),
        Attach("t", str(top)),
        OpenDirectory(str(top), "root"),
        NewMount("tmpfs", "mark"),
        Attach("mark", "/mnt", at="root"),
        WriteFile("/mnt/inside", b"", at="root", create_mode=0o600),
        PivotRoot("root"),
    )
    escape = """if True:
        import os
        os.mkdir("/mnt/sub")
        fd = os.open("/", os.O_RDONLY)
        os.chroot("/mnt/sub")
        os.fchdir(fd)
        for _ in range(100):
            os.chdir("..")
        os.chroot(".")
        print(os.path.exists("/mnt/inside"))
    """
    python = Exec(("python3", "-I", "-S", "-c", escape), program=os.path.realpath(sys.executable))
    status, output = run(*plan, python, namespaces=("mount",))
    assert (status.code, output) == (0, "True\n")


def test_pivot_needs_a_mount(top: Path) -> None:
    plan = (*start(top), MakeDirectory("plain", "root"), OpenDirectory("plain", "new", at="root"), PivotRoot("new"))
    assert failure(*plan).errno == errno.EINVAL


@pytest.mark.parametrize("mode", ["private", "slave", "shared", "unbindable"])
def test_propagation_is_set(top: Path, mode: str) -> None:
    with at_gate(*start(top), SetPropagation(str(top), mode, recursive=False), namespaces=("mount",)) as seen:
        found = seen.mount(top)["propagation"]
        assert found.split(":")[0] == {"shared": "shared", "unbindable": "unbindable"}.get(mode, "")


def test_the_host_hears_nothing(tmp_path: Path) -> None:
    """Even when its mounts are shared: a namespace is made whose mounts are, and one from it."""
    from pyrun.kernel.step import JoinNamespaces, Unshare

    with at_gate(SetPropagation("/", "shared"), namespaces=("mount",)) as host:
        before = host.mounts()
        assert all(["shared:" in mount["propagation"] for mount in before])
        plan = (
            JoinNamespaces("host", ("mount",)),
            Unshare(("mount",)),
            SetPropagation("/", "slave"),
            NewMount("tmpfs", "t"),
            Attach("t", str(tmp_path)),
        )
        with at_gate(*plan, fds={"host": host.created.process}) as seen:
            assert seen.mount(tmp_path)["type"] == "tmpfs"
            assert seen.namespace("mnt") != host.namespace("mnt")
            assert host.mounts() == before


# ---- an image that wants out -----------------------------------------------------------------------------------------------


@contextmanager
def hostile(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """(root of the image, a directory of the host that its links point to)."""
    image, outside = tmp_path / "image", tmp_path / "outside"
    for path in (image / "dir", outside / "dir"):
        path.mkdir(parents=True)
    (outside / "file").write_text("host")
    up = "../" * 30
    for name, target in {
        "absolute": str(outside),
        "up": f"{up}{outside}",
        "chain": "dir/../absolute",
        "file-absolute": str(outside / "file"),
        "file-up": f"{up}{outside}/file",
    }.items():
        (image / name).symlink_to(target)
    yield image, outside


LINKS = ["absolute/x", "up/x", "chain/x", "../../../../../../../outside/x", "dir/../../../outside/x"]


@pytest.mark.parametrize("path", LINKS)
def test_nothing_is_attached_outside_the_root(gate: Gate, tmp_path: Path, path: str) -> None:
    with hostile(tmp_path) as (image, outside):
        plan = (
            SetPropagation("/", "private"),
            OpenDirectory(str(image), "root"),
            NewMount("tmpfs", "t"),
            Attach("t", path, at="root", create=True),
        )
        with gate(*plan) as seen:
            target = [mount["target"] for mount in seen.mounts()][-1]
            assert target.startswith(f"{image}/"), target
        assert sorted(os.listdir(outside)) == ["dir", "file"]


@pytest.mark.parametrize("step", [MaskPath, ReadonlyPath])
@pytest.mark.parametrize("path", ["absolute", "up", "chain", "file-absolute", "file-up", "../outside", "absolute/dir"])
def test_nothing_outside_the_root_is_masked(gate: Gate, tmp_path: Path, step: type[MaskPath], path: str) -> None:
    with hostile(tmp_path) as (image, outside):
        plan = (SetPropagation("/", "private"), OpenDirectory(str(image), "root"))
        with gate(*plan, step(path, at="root")) as seen:
            assert not [m for m in seen.mounts() if m["target"].startswith(str(outside))]


@pytest.mark.parametrize("path", ["absolute", "up", "chain", "../outside", "absolute/dir"])
def test_no_tree_is_taken_from_outside_the_root(tmp_path: Path, path: str) -> None:
    with hostile(tmp_path) as (image, _):
        plan = (SetPropagation("/", "private"), OpenDirectory(str(image), "root"), OpenTree(path, "t", at="root"))
        assert failure(*plan).errno == errno.ENOENT


@pytest.mark.parametrize("link", ["/proc/self/root/etc", "/proc/1/root/etc", "/proc/self/fd/0", "/proc/self/cwd"])
def test_magic_links_lead_nowhere(top: Path, link: str) -> None:
    tree = NewMount("proc", "p")
    plan = (*start(top), tree, Attach("p", "proc", at="root", create=True), MakeSymlink("evil", link, at="root"))
    for step in (
        MaskPath("evil", at="root", root="root"),
        OpenDirectory("evil", "d", at="root"),
        MakeDirectory("evil/x", at="root"),
    ):
        error = failure(*plan, step, namespaces=("mount", "pid"))
        assert error.errno in (errno.EXDEV, errno.ELOOP), error


SWAPPER = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
directory = os.open(sys.argv[1], os.O_RDONLY)
print("ready", flush=True)
while os.getppid() != 1:
    if libc.renameat2(directory, b"target", directory, b"link", 2) or libc.renameat2(directory, b"link", directory, b"target", 2):
        sys.exit(ctypes.get_errno())
"""


def test_a_target_that_becomes_a_symlink_meanwhile(gate: Gate, tmp_path: Path) -> None:
    """CVE-2021-30465: a container that shares the volume swaps the mount point for a symlink between check and use."""
    with hostile(tmp_path) as (image, outside):
        (image / "target").mkdir()
        (image / "link").symlink_to(f"{'../' * 30}{outside}")
        plan = (
            SetPropagation("/", "private"),
            OpenDirectory(str(image), "root"),
            NewMount("tmpfs", "t"),
            Attach("t", "target/dir", at="root", create=True),
            OpenTree("dir", "u", at="root", attributes=("ro",)),
            Attach("u", "target", at="root", create=True),
            ReadonlyPath("target", at="root"),
        )

        def attempt() -> int:
            try:
                with gate(*plan) as seen:
                    # The swapper may rename what carries a mount; where it was put is below the image all the same.
                    assert not [m for m in seen.mounts() if m["target"].startswith(str(outside))]
                    return 0
            except StepError as error:
                return error.errno or 0

        with subprocess.Popen([sys.executable, "-c", SWAPPER, image], stdout=subprocess.PIPE) as swapper:
            try:
                assert swapper.stdout
                assert swapper.stdout.readline()
                outcomes = {attempt() for _ in range(60)}
                assert swapper.poll() is None
            finally:
                swapper.kill()
        assert 0 in outcomes
        refusals = {errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.EAGAIN, errno.EBUSY, errno.ENODEV}
        assert outcomes - {0} <= refusals
        assert sorted(os.listdir(outside)) == ["dir", "file"]
        assert os.listdir(outside / "dir") == []


def test_warnings_and_failures_name_the_mount_step(top: Path) -> None:
    with (
        create(
            (*start(top), MaskPath("x", at="root", root="root"), Exec(("x",), program="/nonexistent")),
            namespaces=("mount",),
        ) as child,
        pytest.raises(Exception, match="command not found"),
    ):
        child.start()
