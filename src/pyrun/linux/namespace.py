"""Namespaces: namespaces(7), setns(2), unshare(2)."""

from __future__ import annotations

import os

from pyrun._core import ffi, lib
from pyrun.linux.call import check, convert
from pyrun.linux.procfs import below
from pyrun.value import Value

# linux/nsfs.h
NS_GET_USERNS = 0xB701
NS_GET_NSTYPE = 0xB703


class NamespaceType(Value):
    """One kind of namespace.

    ``flag`` is its ``CLONE_NEW*``; ``link`` its name below ``/proc/PID/ns``; ``children_link`` that of the namespace in which
    children are born, which differs from the process's own for the kinds that a process cannot change for itself.
    """

    name: str
    flag: int
    link: str
    children_link: str


def _table() -> dict[str, NamespaceType]:
    rows = (
        NamespaceType("mount", lib.CLONE_NEWNS, "mnt", "mnt"),
        NamespaceType("uts", lib.CLONE_NEWUTS, "uts", "uts"),
        NamespaceType("ipc", lib.CLONE_NEWIPC, "ipc", "ipc"),
        NamespaceType("network", lib.CLONE_NEWNET, "net", "net"),
        NamespaceType("pid", lib.CLONE_NEWPID, "pid", "pid_for_children"),
        NamespaceType("user", lib.CLONE_NEWUSER, "user", "user"),
        NamespaceType("cgroup", lib.CLONE_NEWCGROUP, "cgroup", "cgroup"),
        NamespaceType("time", lib.CLONE_NEWTIME, "time", "time_for_children"),
    )
    return {row.name: row for row in rows}


NAMESPACE_TYPES = _table()
"""By the names that the OCI runtime specification gives them."""


def unshare(flags: int) -> None:
    """Leave namespaces for new ones.

    Kernel: unshare(2); CLONE_NEWTIME since Linux 5.6.
    Affects: the calling thread; with CLONE_NEWPID and CLONE_NEWTIME only the children that it will have.
    Raises: EPERM without CAP_SYS_ADMIN; EINVAL for CLONE_NEWUSER in a process with threads, and for an unknown flag;
    ENOSPC when a limit of /proc/sys/user is reached.
    Order: time offsets are written between unshare(CLONE_NEWTIME) and the first child.
    """
    check(lib.sys_unshare(flags), "unshare(2)")


def setns(fd: int, flags: int = 0) -> None:
    """Join the namespace behind *fd*, or those of a process: a pidfd with several ``CLONE_NEW*`` or-ed.

    Kernel: setns(2); a pidfd since Linux 5.8.
    Affects: the calling thread; for PID namespaces only the children that it will have.
    Raises: EINVAL if *fd* is of another kind than *flags* says, and for a mount, user or time namespace from a process with
    threads; EPERM without CAP_SYS_ADMIN in the namespace to be joined; ESRCH if the process of a pidfd has ended.
    Owns: *fd* stays the caller's and may be closed at once.
    Order: the user namespace first where the others belong to it; the mount namespace last, because it changes what paths mean.
    """
    check(lib.sys_setns(fd, flags), "setns(2)")


def open_namespace(where: int | str, kind: str, *, for_children: bool = False) -> int:
    """A descriptor that holds a namespace of the process at *where*, for :func:`setns`.

    *where* is the path of a /proc/PID directory or a descriptor of one; *kind* is a key of :data:`NAMESPACE_TYPES`.

    Kernel: open(2) of /proc/PID/ns/*.
    Affects: nothing; the namespace lives at least as long as the descriptor.
    Raises: ENOENT if the process has ended, if this kernel has no such kind, and *for_children* for a PID namespace without its
    first process; EACCES or EPERM without PTRACE_MODE_READ.
    Owns: the caller closes the descriptor, which is close-on-exec.
    """
    path, dir_fd = below(where, _link(kind, for_children))
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=dir_fd)
    except OSError as error:
        raise convert(error, "open(2)") from None


def read_namespace_id(where: int | str, kind: str, *, for_children: bool = False) -> int:
    """The inode number that identifies a namespace of the process at *where*: two processes share it if the numbers are equal.

    A number is used again once nothing holds its namespace, so compare with one that is being held. Arguments as for
    :func:`open_namespace`.

    Kernel: stat(2) of /proc/PID/ns/*, namespaces(7).
    Affects: nothing.
    Raises: ENOENT if the process has ended, if this kernel has no such kind, and *for_children* for a PID namespace without its
    first process; EACCES or EPERM without PTRACE_MODE_READ.
    """
    path, dir_fd = below(where, _link(kind, for_children))
    try:
        return os.stat(path, dir_fd=dir_fd).st_ino
    except OSError as error:
        raise convert(error, "stat(2)") from None


def open_owner(fd: int) -> int:
    """A descriptor of the user namespace that the namespace behind *fd* belongs to.

    Kernel: ioctl_ns(2) NS_GET_USERNS, Linux 4.9.
    Affects: nothing.
    Raises: EPERM if the owner is none of the caller's user namespace and those below it; ENOTTY if *fd* is no namespace.
    Owns: the caller closes the descriptor, which is close-on-exec.
    """
    return check(lib.sys_ioctl(fd, NS_GET_USERNS, ffi.NULL), "ioctl_ns(2)")


def read_type(fd: int) -> str:
    """The kind of the namespace behind *fd*, a key of :data:`NAMESPACE_TYPES`.

    Kernel: ioctl_ns(2) NS_GET_NSTYPE, Linux 4.11.
    Affects: nothing.
    Raises: ENOTTY if *fd* is no namespace; KeyError for a kind that did not exist when this was written.
    """
    flag = check(lib.sys_ioctl(fd, NS_GET_NSTYPE, ffi.NULL), "ioctl_ns(2)")
    return {kind.flag: name for name, kind in NAMESPACE_TYPES.items()}[flag]


def _link(kind: str, for_children: bool) -> str:
    row = NAMESPACE_TYPES[kind]
    return f"ns/{row.children_link if for_children else row.link}"
