"""Each test has a mount namespace of its own, in a process of its own."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from fixtures.interpreter import run_python
from pyrun.errors import KernelError
from pyrun.linux import mount

PRELUDE = """
import errno, os, stat, sys
from pathlib import Path
from pyrun._core import lib
from pyrun.errors import KernelError
from pyrun.linux import mount, mountinfo, namespace
namespace.unshare(lib.CLONE_NEWNS)
mount.mount("none", "/", "", mount.MS_REC | mount.MS_PRIVATE)
top = Path(sys.argv[1])
def mounts_at(path):
    return [m for m in mountinfo.read_mountinfo() if m.target == str(path)]
def failure(function, *arguments, **more):
    try:
        function(*arguments, **more)
    except KernelError as error:
        return error
    raise AssertionError(function)
def directory(name):
    (top / name).mkdir()
    return top / name
def make(fs_type, *options, attributes=0):
    context = mount.fsopen(fs_type)
    for key, value in options:
        mount.fsconfig_set_string(context, key, value)
    mount.fsconfig_create(context)
    tree = mount.fsmount(context, attributes)
    os.close(context)
    assert not os.get_inheritable(tree)
    return tree
def attach(tree, target):
    mount.move_mount(tree, "", mount.AT_FDCWD, target, mount.MOVE_MOUNT_F_EMPTY_PATH)
    os.close(tree)
"""


def in_mount_namespace(code: str, top: Path) -> None:
    run_python(PRELUDE + code, top)


@pytest.mark.root
def test_mount_and_unmount_by_path(tmp_path: Path) -> None:
    in_mount_namespace(
        r"""
place = directory("a b\n#\\c")
mount.mount("some thing", place, "tmpfs", mount.MS_NOSUID | mount.MS_NODEV, "size=64k,mode=700")
found, = mounts_at(place)
assert (found.fs_type, found.source, found.shared) == ("tmpfs", "some thing", None)
assert {"rw", "nosuid", "nodev"} <= set(found.options) and "size=64k" in found.super_options
copy = directory("copy")
mount.mount(place, copy, flags=mount.MS_BIND)
mount.mount("none", copy, flags=mount.MS_REMOUNT | mount.MS_BIND | mount.MS_RDONLY)
assert "ro" in mounts_at(copy)[0].options and "rw" in mounts_at(place)[0].options
mount.mount("none", copy, flags=mount.MS_SHARED)
assert mounts_at(copy)[0].shared
mount.mount("none", copy, flags=mount.MS_SLAVE)
mount.mount("none", copy, flags=mount.MS_UNBINDABLE)
assert mounts_at(copy)[0].unbindable
held = os.open(place, os.O_RDONLY)
error = failure(mount.umount2, place)
assert (error.errno, error.call, error.filename) == (errno.EBUSY, "umount2(2)", str(place))
mount.umount2(place, mount.MNT_DETACH)
os.close(held)
mount.umount2(copy)
assert not mounts_at(place) and not mounts_at(copy)
assert failure(mount.umount2, copy).errno == errno.EINVAL
""",
        tmp_path,
    )
    assert not list((tmp_path / "copy").iterdir())


@pytest.mark.root
def test_new_file_system_by_descriptor(tmp_path: Path) -> None:
    in_mount_namespace(
        """
context = mount.fsopen("tmpfs")
assert failure(mount.fsmount, context).call == "fsmount(2)"
mount.fsconfig_set_string(context, "source", "pod")
mount.fsconfig_set_string(context, "size", "1m")
error = failure(mount.fsconfig_set_string, context, "size", "many")
assert (error.errno, error.call, error.filename) == (errno.EINVAL, "fsconfig(2)", "size")
assert any("size" in message for message in mount.read_messages(context))
assert mount.read_messages(context) == ()
assert failure(mount.fsconfig_set_fd, context, "size", 0).errno == errno.EINVAL
mount.fsconfig_create(context)
tree = mount.fsmount(context, mount.MOUNT_ATTR_NOEXEC)
assert not os.get_inheritable(tree) and not os.get_inheritable(context)
place = directory("place")
mount.move_mount(tree, "", mount.AT_FDCWD, place, mount.MOVE_MOUNT_F_EMPTY_PATH)
found, = mounts_at(place)
assert (found.fs_type, found.source) == ("tmpfs", "pod") and "noexec" in found.options
assert "size=1024k" in found.super_options
mount.fsconfig_set_flag(context, "ro")
mount.fsconfig_reconfigure(context)
assert "ro" in mounts_at(place)[0].super_options
os.close(tree)
os.close(context)
assert mounts_at(place)
""",
        tmp_path,
    )


@pytest.mark.root
def test_clone_of_a_tree(tmp_path: Path) -> None:
    in_mount_namespace(
        """
base = directory("base")
attach(make("tmpfs"), base)
(base / "inner").mkdir()
attach(make("tmpfs"), base / "inner")
copy = directory("copy")
tree = mount.open_tree(mount.AT_FDCWD, base, mount.OPEN_TREE_CLONE | mount.AT_RECURSIVE)
assert not os.get_inheritable(tree)
attributes = mount.MOUNT_ATTR_RDONLY | mount.MOUNT_ATTR_NOSUID
mount.mount_setattr(tree, "", mount.AT_EMPTY_PATH | mount.AT_RECURSIVE, attr_set=attributes)
attach(tree, copy)
for place in (copy, copy / "inner"):
    assert {"ro", "nosuid"} <= set(mounts_at(place)[0].options)
mount.mount_setattr(mount.AT_FDCWD, copy, attr_clr=mount.MOUNT_ATTR_RDONLY, propagation=mount.MS_SHARED)
found, = mounts_at(copy)
assert "rw" in found.options and found.shared
assert "rw" in mounts_at(base)[0].options
alone = mount.open_tree(mount.AT_FDCWD, base, mount.OPEN_TREE_CLONE)
other = directory("other")
attach(alone, other)
assert not mounts_at(other / "inner")
error = failure(mount.mount_setattr, mount.AT_FDCWD, other, attr_set=1 << 60)
assert (error.errno, error.call, error.filename) == (errno.EINVAL, "mount_setattr(2)", str(other))
error = failure(mount.move_mount, mount.AT_FDCWD, top / "nothing", mount.AT_FDCWD, other)
assert (error.errno, error.call) == (errno.ENOENT, "move_mount(2)")
""",
        tmp_path,
    )


@pytest.mark.root
def test_pivot_root(tmp_path: Path) -> None:
    in_mount_namespace(
        """
new = directory("new")
error = failure(mount.pivot_root, new, new)
assert error.errno in (errno.EBUSY, errno.EINVAL)  # which one depends on whether it is on the root's file system
assert (error.call, error.filename) == ("pivot_root(2)", str(new))
attach(make("tmpfs"), new)
(new / "mark").touch()
(new / "proc").mkdir()
attach(make("proc"), new / "proc")
os.chdir(new)
mount.pivot_root(".", ".")
os.chdir("/")
mount.umount2(".", mount.MNT_DETACH)
assert sorted(os.listdir("/")) == ["mark", "proc"]
assert [m.target for m in mountinfo.read_mountinfo()] == ["/", "/proc"]
""",
        tmp_path,
    )


@pytest.mark.root
def test_errors_of_what_needs_no_namespace() -> None:
    cases = (
        (lambda: mount.fsopen("nosuchfs"), errno.ENODEV, "fsopen(2)", "nosuchfs"),
        (lambda: mount.mount("none", "/no/such", "tmpfs"), errno.ENOENT, "mount(2)", "/no/such"),
        (lambda: mount.open_tree(mount.AT_FDCWD, "/no/such"), errno.ENOENT, "open_tree(2)", "/no/such"),
        (lambda: mount.fsconfig_set_flag(0, "ro"), errno.EINVAL, "fsconfig(2)", "ro"),
        (lambda: mount.fsconfig_create(-1), errno.EINVAL, "fsconfig(2)", "create"),
        (lambda: mount.fsconfig_reconfigure(0), errno.EINVAL, "fsconfig(2)", "reconfigure"),
        (lambda: mount.read_messages(-1), errno.EBADF, "read(2)", None),
    )
    for function, error, call, filename in cases:
        with pytest.raises(KernelError) as caught:
            function()
        assert (caught.value.errno, caught.value.call, caught.value.filename) == (error, call, filename)


def test_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        mount.umount2("/proc\0/x")
