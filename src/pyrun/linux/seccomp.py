"""Filters on system calls: seccomp(2). Filters are made in :mod:`pyrun.container.seccomp`; a plan's step loads them."""

from __future__ import annotations

import errno

from pyrun._core import ffi, lib
from pyrun.linux.call import check

SECCOMP_FILTER_FLAG_TSYNC: int = lib.SECCOMP_FILTER_FLAG_TSYNC
SECCOMP_FILTER_FLAG_LOG: int = lib.SECCOMP_FILTER_FLAG_LOG
SECCOMP_FILTER_FLAG_SPEC_ALLOW: int = lib.SECCOMP_FILTER_FLAG_SPEC_ALLOW
SECCOMP_FILTER_FLAG_NEW_LISTENER: int = lib.SECCOMP_FILTER_FLAG_NEW_LISTENER
SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = (
    1 << 5
)  # Linux 5.19, which the headers of Debian 12 know, and older ones do not
SECCOMP_RET_KILL_PROCESS: int = lib.SECCOMP_RET_KILL_PROCESS
SECCOMP_RET_KILL_THREAD: int = lib.SECCOMP_RET_KILL_THREAD
SECCOMP_RET_TRAP: int = lib.SECCOMP_RET_TRAP
SECCOMP_RET_ERRNO: int = lib.SECCOMP_RET_ERRNO
SECCOMP_RET_USER_NOTIF: int = lib.SECCOMP_RET_USER_NOTIF
SECCOMP_RET_TRACE: int = lib.SECCOMP_RET_TRACE
SECCOMP_RET_LOG: int = lib.SECCOMP_RET_LOG
SECCOMP_RET_ALLOW: int = lib.SECCOMP_RET_ALLOW


def set_mode_filter(program: bytes, flags: int = 0) -> int:
    """Add a filter: *program* is an array of struct sock_filter. There is no way back.

    Returns 0, or with ``SECCOMP_FILTER_FLAG_NEW_LISTENER`` a descriptor for notifications.

    Kernel: seccomp(2) SECCOMP_SET_MODE_FILTER, Linux 3.17.
    Affects: the calling thread and its children; with SECCOMP_FILTER_FLAG_TSYNC all threads of the process.
    Raises: EACCES without CAP_SYS_ADMIN and without no_new_privs; EINVAL for a program that the kernel's checker refuses;
    ENOMEM if all filters together are too long; ESRCH if TSYNC met a thread with another filter.
    Owns: the caller closes a listener, which is close-on-exec.
    Order: no_new_privs (:func:`pyrun.linux.process.set_no_new_privileges`) first; what the filter forbids, before it.
    """
    instructions = ffi.from_buffer("struct sock_filter[]", program)
    fprog = ffi.new("struct sock_fprog *")
    fprog.len, fprog.filter = len(instructions), instructions
    ret = lib.sys_seccomp(lib.SECCOMP_SET_MODE_FILTER, flags, fprog)
    if ret > 0 and not flags & SECCOMP_FILTER_FLAG_NEW_LISTENER:
        ret = -errno.ESRCH  # the thread id that TSYNC returns is of no use to a caller
    return check(ret, "seccomp(2)")


def has_action(action: int) -> bool:
    """Whether this kernel knows a ``SECCOMP_RET_*``.

    Kernel: seccomp(2) SECCOMP_GET_ACTION_AVAIL, Linux 4.14.
    Affects: nothing.
    Raises: ENOSYS without CONFIG_SECCOMP; EINVAL before 4.14.
    """
    ret = lib.sys_seccomp(lib.SECCOMP_GET_ACTION_AVAIL, 0, ffi.new("unsigned int *", action))
    return False if ret == -errno.EOPNOTSUPP else check(ret, "seccomp(2)") == 0


def has_flag(flag: int) -> bool:
    """Whether this kernel knows a ``SECCOMP_FILTER_FLAG_*``.

    Kernel: seccomp(2) SECCOMP_SET_MODE_FILTER with a filter that cannot be read: a flag that is known gets as far as that.
    Affects: nothing.
    Raises: ENOSYS without CONFIG_SECCOMP.
    """
    # How a tracer waits means something only with a listener for it; alone it is refused.
    flags = flag | SECCOMP_FILTER_FLAG_NEW_LISTENER if flag == SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV else flag
    ret = lib.sys_seccomp(lib.SECCOMP_SET_MODE_FILTER, flags, ffi.NULL)
    return ret == -errno.EFAULT or (ret != -errno.EINVAL and check(ret, "seccomp(2)") == 0)
