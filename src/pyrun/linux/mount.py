"""Mounts, by path (mount(2)) and by descriptor (the mount API of Linux 5.2 and later).

A detached tree (of open_tree or fsmount) is a descriptor: it lives until that is closed, or for good once move_mount has attached
it. Paths that begin at a descriptor take ``AT_FDCWD`` for the caller's working directory, and an empty path with
``AT_EMPTY_PATH`` (or move_mount's ``*_EMPTY_PATH``) for the descriptor itself.
"""

from __future__ import annotations

import errno
import os

from pyrun._core import ffi, lib
from pyrun.linux.call import check, convert, encode_path, encode_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.linux.call import Path

AT_FDCWD: int = lib.AT_FDCWD
AT_EMPTY_PATH: int = lib.AT_EMPTY_PATH
AT_RECURSIVE: int = lib.AT_RECURSIVE
AT_SYMLINK_NOFOLLOW: int = lib.AT_SYMLINK_NOFOLLOW
AT_NO_AUTOMOUNT: int = lib.AT_NO_AUTOMOUNT
OPEN_TREE_CLONE: int = lib.OPEN_TREE_CLONE
MOVE_MOUNT_F_EMPTY_PATH: int = lib.MOVE_MOUNT_F_EMPTY_PATH
MOVE_MOUNT_T_EMPTY_PATH: int = lib.MOVE_MOUNT_T_EMPTY_PATH
MOUNT_ATTR_RDONLY: int = lib.MOUNT_ATTR_RDONLY
MOUNT_ATTR_NOSUID: int = lib.MOUNT_ATTR_NOSUID
MOUNT_ATTR_NODEV: int = lib.MOUNT_ATTR_NODEV
MOUNT_ATTR_NOEXEC: int = lib.MOUNT_ATTR_NOEXEC
MOUNT_ATTR__ATIME: int = lib.MOUNT_ATTR__ATIME
MOUNT_ATTR_RELATIME: int = lib.MOUNT_ATTR_RELATIME
MOUNT_ATTR_NOATIME: int = lib.MOUNT_ATTR_NOATIME
MOUNT_ATTR_STRICTATIME: int = lib.MOUNT_ATTR_STRICTATIME
MOUNT_ATTR_NODIRATIME: int = lib.MOUNT_ATTR_NODIRATIME
MOUNT_ATTR_NOSYMFOLLOW: int = lib.MOUNT_ATTR_NOSYMFOLLOW
MOUNT_ATTR_IDMAP: int = lib.MOUNT_ATTR_IDMAP
MS_RDONLY: int = lib.MS_RDONLY
MS_NOSUID: int = lib.MS_NOSUID
MS_NODEV: int = lib.MS_NODEV
MS_NOEXEC: int = lib.MS_NOEXEC
MS_NOATIME: int = lib.MS_NOATIME
MS_REMOUNT: int = lib.MS_REMOUNT
MS_BIND: int = lib.MS_BIND
MS_MOVE: int = lib.MS_MOVE
MS_REC: int = lib.MS_REC
MS_PRIVATE: int = lib.MS_PRIVATE
MS_SLAVE: int = lib.MS_SLAVE
MS_SHARED: int = lib.MS_SHARED
MS_UNBINDABLE: int = lib.MS_UNBINDABLE
MNT_FORCE: int = lib.MNT_FORCE
MNT_DETACH: int = lib.MNT_DETACH
MNT_EXPIRE: int = lib.MNT_EXPIRE
UMOUNT_NOFOLLOW: int = lib.UMOUNT_NOFOLLOW

MESSAGE_BYTES = 4096  # of one message of a file system context; the kernel's longest is shorter


# ---- by path ---------------------------------------------------------------------------------------------------------


def mount(source: Path, target: Path, fs_type: str = "", flags: int = 0, data: str | None = None) -> None:
    """Mount, bind, move, remount, or change propagation, as *flags* say.

    Kernel: mount(2).
    Affects: the mount namespace of the calling thread, and its peers where propagation is shared.
    Units: *data* is at most a page.
    Raises: EPERM without CAP_SYS_ADMIN, or for a flag that is locked here; ENODEV for an unknown type; EINVAL for a bad
    option, and for MS_MOVE below a shared mount; EBUSY for a remount read-only with files open for writing; ValueError for
    a NUL in an argument.
    Order: MS_BIND takes no other flags than MS_REC: make it read-only with a second call (MS_REMOUNT and MS_BIND).
    """
    options = ffi.NULL if data is None else encode_text(data)
    ret = lib.sys_mount(encode_path(source), encode_path(target), encode_text(fs_type), flags, options)
    check(ret, "mount(2)", target)


def umount2(target: Path, flags: int = 0) -> None:
    """Unmount the topmost mount at *target*; with ``MNT_DETACH`` now from the tree and later, once unused, for good.

    Kernel: umount2(2).
    Affects: the mount namespace of the calling thread, and its peers where propagation is shared.
    Raises: EBUSY if it is in use; EINVAL if *target* is no mount point or locked; EPERM without CAP_SYS_ADMIN.
    """
    check(lib.sys_umount2(encode_path(target), flags), "umount2(2)", target)


def pivot_root(new_root: Path, put_old: Path) -> None:
    """Make *new_root* the root and attach the old one at *put_old*; both may be "." with *new_root* as working directory.

    Kernel: pivot_root(2).
    Affects: all processes of the mount namespace that have the old root as root or working directory.
    Raises: EINVAL if *new_root* is no mount point, *put_old* is not below it, or one of the mounts concerned is shared;
    EBUSY if *new_root* is on the current root's mount; EPERM without CAP_SYS_ADMIN.
    Order: after unshare(CLONE_NEWNS) and after propagation is private; then chdir("/"), and umount2(put_old, MNT_DETACH).
    """
    check(lib.sys_pivot_root(encode_path(new_root), encode_path(put_old)), "pivot_root(2)", new_root)


# ---- by descriptor ---------------------------------------------------------------------------------------------------


def open_tree(dir_fd: int, path: Path, flags: int = 0) -> int:
    """A descriptor of the mount at *path*; with ``OPEN_TREE_CLONE`` of a detached copy, ``AT_RECURSIVE`` with all below it.

    Kernel: open_tree(2), Linux 5.2.
    Affects: nothing that is attached.
    Raises: EPERM without CAP_SYS_ADMIN (only for a clone); EINVAL if a mount is unbindable, or in another mount namespace.
    Owns: the caller closes the descriptor, which is close-on-exec; an unattached copy goes with it.
    """
    ret = lib.sys_open_tree(dir_fd, encode_path(path), flags | lib.OPEN_TREE_CLOEXEC)
    return check(ret, "open_tree(2)", path)


def move_mount(from_fd: int, from_path: Path, to_fd: int, to_path: Path, flags: int = 0) -> None:
    """Attach a detached tree, or move an attached mount.

    Kernel: move_mount(2), Linux 5.2.
    Affects: the mount namespace of the calling thread, and its peers where the target's propagation is shared.
    Raises: EINVAL if the target is in another mount namespace, or a mount to be moved has a shared parent; ENOTDIR if one is
    a directory and the other is not; ELOOP if the target is below what is to be moved; EPERM without CAP_SYS_ADMIN.
    Owns: a descriptor of the tree stays the caller's; the mount no longer depends on it.
    """
    ret = lib.sys_move_mount(from_fd, encode_path(from_path), to_fd, encode_path(to_path), flags)
    check(ret, "move_mount(2)", to_path)


def fsopen(fs_type: str) -> int:
    """A context in which a new file system is configured.

    Kernel: fsopen(2), Linux 5.2.
    Affects: nothing.
    Raises: ENODEV for a type that the kernel does not have; EPERM without CAP_SYS_ADMIN.
    Owns: the caller closes the descriptor, which is close-on-exec.
    Order: fsconfig_set_*, fsconfig_create, fsmount, move_mount.
    """
    return check(lib.sys_fsopen(encode_text(fs_type), lib.FSOPEN_CLOEXEC), "fsopen(2)", fs_type)


def fsconfig_set_flag(fs_fd: int, key: str) -> None:
    """Set an option without a value, such as ``ro``.

    Kernel: fsconfig(2) FSCONFIG_SET_FLAG, Linux 5.2.
    Affects: the context.
    Raises: EINVAL for an option that the file system does not know; :func:`read_messages` may say more.
    """
    ret = lib.sys_fsconfig(fs_fd, lib.FSCONFIG_SET_FLAG, encode_text(key), ffi.NULL, 0)
    check(ret, "fsconfig(2)", key)


def fsconfig_set_string(fs_fd: int, key: str, value: Path) -> None:
    """Set an option to a text; ``source`` is an option like any other.

    Kernel: fsconfig(2) FSCONFIG_SET_STRING, Linux 5.2.
    Affects: the context.
    Units: *value* is at most 255 bytes.
    Raises: EINVAL for an option or a value that the file system does not take; :func:`read_messages` may say more.
    """
    ret = lib.sys_fsconfig(fs_fd, lib.FSCONFIG_SET_STRING, encode_text(key), encode_path(value), 0)
    check(ret, "fsconfig(2)", key)


def fsconfig_set_fd(fs_fd: int, key: str, value_fd: int) -> None:
    """Set an option to a descriptor.

    Kernel: fsconfig(2) FSCONFIG_SET_FD, Linux 5.2; overlay's layers take one since 6.13.
    Affects: the context.
    Raises: EINVAL for an option that the file system does not take this way; EBADF for a descriptor that is not open.
    Owns: *value_fd* stays the caller's.
    """
    check(lib.sys_fsconfig(fs_fd, lib.FSCONFIG_SET_FD, encode_text(key), ffi.NULL, value_fd), "fsconfig(2)", key)


def fsconfig_create(fs_fd: int) -> None:
    """Make the file system of the options so far.

    Kernel: fsconfig(2) FSCONFIG_CMD_CREATE, Linux 5.2.
    Affects: the context; for some types an existing file system of the same source and options is taken.
    Raises: what mount(2) would for these options; :func:`read_messages` may say more.
    Order: after all options, before fsmount; once.
    """
    check(lib.sys_fsconfig(fs_fd, lib.FSCONFIG_CMD_CREATE, ffi.NULL, ffi.NULL, 0), "fsconfig(2)", "create")


def fsconfig_reconfigure(fs_fd: int) -> None:
    """Change the file system to the options set since it was mounted.

    Kernel: fsconfig(2) FSCONFIG_CMD_RECONFIGURE, Linux 5.2.
    Affects: the file system wherever it is mounted.
    Raises: EBUSY for read-only with files open for writing; EINVAL for an option that cannot be changed.
    Order: after fsmount with the same context.
    """
    check(lib.sys_fsconfig(fs_fd, lib.FSCONFIG_CMD_RECONFIGURE, ffi.NULL, ffi.NULL, 0), "fsconfig(2)", "reconfigure")


def fsmount(fs_fd: int, attributes: int = 0) -> int:
    """A detached mount of a created file system, with ``MOUNT_ATTR_*`` of its own.

    Kernel: fsmount(2), Linux 5.2.
    Affects: nothing that is attached.
    Raises: EINVAL before fsconfig_create, and for unknown attributes; EPERM without CAP_SYS_ADMIN, or where this user
    namespace may not see a full proc or sysfs; EBUSY if the context has given a mount already.
    Owns: the caller closes the descriptor, which is close-on-exec; an unattached mount goes with it.
    """
    return check(lib.sys_fsmount(fs_fd, lib.FSMOUNT_CLOEXEC, attributes), "fsmount(2)")


def mount_setattr(
    dir_fd: int,
    path: Path,
    flags: int = 0,
    *,
    attr_set: int = 0,
    attr_clr: int = 0,
    propagation: int = 0,
    userns_fd: int = 0,
) -> None:
    """Change attributes and propagation of a mount, with ``AT_RECURSIVE`` of all below it: of all or of none.

    Kernel: mount_setattr(2), Linux 5.12; MOUNT_ATTR_NOSYMFOLLOW since 5.14.
    Affects: the mounts, in this mount namespace only.
    Raises: EINVAL for unknown attributes, and for an atime to be set whose MOUNT_ATTR__ATIME is not cleared; EPERM for one
    that is locked, and for MOUNT_ATTR_IDMAP on an attached mount; EBUSY for read-only with files open for writing.
    Owns: *userns_fd* stays the caller's.
    """
    attr = ffi.new("struct mount_attr *")
    attr.attr_set, attr.attr_clr, attr.propagation, attr.userns_fd = attr_set, attr_clr, propagation, userns_fd
    ret = lib.sys_mount_setattr(dir_fd, encode_path(path), flags, attr, ffi.sizeof("struct mount_attr"))
    check(ret, "mount_setattr(2)", path)


def read_messages(fs_fd: int) -> tuple[str, ...]:
    """What a file system has said about its configuration: ``e`` error, ``w`` warning, ``i`` information, then the text.

    Kernel: read(2) of a descriptor of fsopen(2), Linux 5.2.
    Affects: the context: messages are taken from it.
    Raises: EBADF if *fs_fd* is not open.
    Order: after a failed fsconfig(2) or fsmount(2), before the context is closed.
    """
    messages = []
    while True:
        try:
            messages.append(os.read(fs_fd, MESSAGE_BYTES).decode(errors="replace").rstrip("\n"))
        except OSError as error:
            if error.errno == errno.ENODATA:
                return tuple(messages)
            raise convert(error, "read(2)") from None
