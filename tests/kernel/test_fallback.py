"""Where the kernel, or a filter around us, lacks the new mount calls: mount(2) does the same, or says that it cannot.

That the results are the same is tested in test_mount_steps.py, whose tests run both ways. Here: that it really is the other way,
some of the calls missing alone, and what is peculiar to it.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from fixtures.child import MOUNT_CALLS, Seen, at_gate, in_thread_without
from pyrun._core import ffi, lib
from pyrun.errors import StepError
from pyrun.kernel.step import (
    Attach,
    MakeDirectory,
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

ALL = tuple(MOUNT_CALLS)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    path = tmp_path / "top"
    path.mkdir()
    return path


def start(top: Path) -> tuple[Step, ...]:
    return (
        SetPropagation("/", "private"),
        NewMount("tmpfs", "top", ("mode=0755",)),
        Attach("top", str(top)),
        OpenDirectory(str(top), "root"),
    )


def container(top: Path) -> tuple[Step, ...]:
    """A root with everything: proc, a read-only volume with a mount below it, an overlay, masks, and the pivot into it."""
    return (
        *start(top),
        NewMount("tmpfs", "volume", ("size=1m",), ("nosuid", "nodev")),
        Attach("volume", "volume", at="root", create=True),
        NewMount("tmpfs", "inner"),
        Attach("inner", "volume/inner", at="root", create=True),
        OpenTree("volume", "data", at="root", attributes=("ro",), propagation="private"),
        Attach("data", "data", at="root", create=True),
        MakeDirectory("lower", "root"),
        WriteFile("lower/file", b"x", at="root", create_mode=0o644),
        NewMount("tmpfs", "scratch"),
        Attach("scratch", "scratch", at="root", create=True),
        MakeDirectory("scratch/upper", "root"),
        MakeDirectory("scratch/work", "root"),
        NewMount("overlay", "o", tuple([f"{k}={top}/{v}" for k, v in OVERLAY.items()]), ("nodev",)),
        Attach("o", "merged", at="root", create=True),
        NewMount("proc", "p", (), ("nosuid", "nodev", "noexec")),
        Attach("p", "proc", at="root", create=True),
        OpenTree("/dev/null", "null"),
        Attach("null", "dev/null", at="root", create=True),
        ReadonlyPath("proc/sys", at="root"),
        MaskPath("proc/version", at="root", root="root"),
        MaskPath("proc/fs", at="root", root="root"),
        SetMountAttributes("merged", at="root", attributes=("nosuid",)),
        PivotRoot("root"),
    )


OVERLAY = {"lowerdir": "lower", "upperdir": "scratch/upper", "workdir": "scratch/work"}


def shape(seen: Seen) -> list[tuple[str, ...]]:
    """The mount table without what differs from run to run."""
    keys = ("target", "root", "options", "propagation", "type")
    return sorted([tuple([mount[key] for key in keys]) for mount in seen.mounts()])


def observe(top: Path, without: tuple[str, ...]) -> list[tuple[str, ...]]:
    with at_gate(*container(top), namespaces=("mount", "pid"), without=without) as seen:
        assert (seen.root / "merged/file").read_bytes() == b"x"
        assert (seen.root / "proc/version").read_bytes() == b""
        return shape(seen)


def test_the_filter_takes_the_calls_away() -> None:
    def call() -> list[int]:
        null = ffi.NULL
        return [
            lib.sys_open_tree(-100, b"/", 0),
            lib.sys_fsopen(b"tmpfs", 0),
            lib.sys_move_mount(-1, b"", -1, b"", 0),
            lib.sys_fsconfig(-1, 0, null, null, 0),
            lib.sys_fsmount(-1, 0, 0),
            lib.sys_mount_setattr(-1, b"", 0, null, 0),
        ]

    assert in_thread_without(ALL, call) == [-errno.ENOSYS] * 6
    here = call()
    for fd in here[:2]:
        os.close(fd)
    assert -errno.ENOSYS not in here


def test_a_whole_container_looks_the_same(top: Path) -> None:
    new, old = observe(top, ()), observe(top, ALL)
    assert new == old
    assert len(new) > 10


# A profile that is older than a call refuses that one alone. Detached trees need four of them together.
@pytest.mark.parametrize(
    "without",
    [("mount_setattr",), ("open_tree",), ("open_tree", "mount_setattr"), ("fsopen", "fsconfig", "fsmount")],
    ids=",".join,
)
def test_some_calls_are_missing(top: Path, without: tuple[str, ...]) -> None:
    assert observe(top, without) == observe(top, ())


def test_options_longer_than_a_page_are_told(top: Path) -> None:
    options = tuple([f"lowerdir={'x' * 100}"] * 50)
    with (
        pytest.raises(StepError) as caught,
        at_gate(
            *start(top),
            NewMount("overlay", "o", options),
            Attach("o", "x", at="root", create=True),
            namespaces=("mount",),
            without=ALL,
        ),
    ):
        pass
    assert caught.value.errno == errno.E2BIG


@pytest.mark.parametrize("step", [ReadonlyPath("/", at="root"), MaskPath("/dir", at="root", root="root")])
def test_without_proc_nothing_passes_as_done(top: Path, step: Step) -> None:
    """The fallback names descriptors through /proc/self/fd. Without it, nothing that should be hidden may stay open."""
    plan = (
        *start(top),
        MakeDirectory("dir", "root"),
        PivotRoot("root"),
        OpenDirectory("/", "root"),
    )
    with pytest.raises(StepError) as caught, at_gate(*plan, step, namespaces=("mount",), without=ALL):
        pass
    assert isinstance(caught.value.step, type(step))


def test_many_mounts_below_a_read_only_one(top: Path) -> None:
    """All of them, or an error."""
    names = [f"src/{i}" for i in range(100)]
    mounts = [step for name in names for step in (NewMount("tmpfs", name), Attach(name, name, at="root", create=True))]
    bind = (OpenTree("src", "t", at="root", attributes=("ro",)), Attach("t", "dst", at="root", create=True))
    with at_gate(*start(top), *mounts, *bind, namespaces=("mount",), without=ALL) as seen:
        below = [mount for mount in seen.mounts() if mount["target"].startswith(f"{top}/dst/")]
        assert len(below) == 100
        assert all(["ro" in mount["options"].split(",") for mount in below])
    more = [
        step
        for i in range(300)
        for step in (NewMount("tmpfs", f"m{i}"), Attach(f"m{i}", f"src/m{i}", at="root", create=True))
    ]
    with pytest.raises(StepError) as caught, at_gate(*start(top), *more, *bind, namespaces=("mount",), without=ALL):
        pass
    assert caught.value.errno == errno.E2BIG


def test_stacked_mounts_below_a_read_only_one(top: Path) -> None:
    """A mount that lies under another at the same place cannot be reached by name: an error rather than a hole."""
    mounts = [
        step
        for i in range(2)
        for step in (NewMount("tmpfs", f"m{i}"), Attach(f"m{i}", "src/m", at="root", create=True))
    ]
    bind = (OpenTree("src", "t", at="root", attributes=("ro",)), Attach("t", "dst", at="root", create=True))
    with at_gate(*start(top), *mounts, *bind, namespaces=("mount",)) as seen:
        assert [m["options"] for m in seen.mounts() if m["target"] == f"{top}/dst/m"] == ["ro,relatime"] * 2
    with pytest.raises(StepError) as caught, at_gate(*start(top), *mounts, *bind, namespaces=("mount",), without=ALL):
        pass
    assert caught.value.errno == errno.ESTALE


def test_the_mount_found_again_must_be_the_one_made(top: Path) -> None:
    """Attached at the directory of the slot itself, no name leads to the new mount: told, not taken for the one below."""
    plan = (*start(top), MakeDirectory("d", "root"), OpenDirectory("d", "dir", at="root"), NewMount("tmpfs", "t"))
    with (
        pytest.raises(StepError) as caught,
        at_gate(*plan, Attach("t", "/", at="dir"), namespaces=("mount",), without=ALL),
    ):
        pass
    assert caught.value.errno == errno.ESTALE
    assert not os.listdir(top)
