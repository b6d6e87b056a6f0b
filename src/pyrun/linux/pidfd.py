"""Processes by descriptor: a pidfd never comes to mean another process, as a pid does."""

from __future__ import annotations

import errno

from pyrun._core import ffi, lib
from pyrun.linux.call import check
from pyrun.linux.procfs import read_text
from pyrun.value import Value


class WaitResult(Value):
    """How a child ended.

    ``code`` is CLD_EXITED, CLD_KILLED or CLD_DUMPED; ``status`` the exit code or the signal that goes with it. Times and
    ``max_rss_bytes`` (the largest of any one) are those of the child and of the children that it waited for.
    """

    code: int
    status: int
    user_us: int
    system_us: int
    max_rss_bytes: int


def pidfd_open(pid: int, flags: int = 0) -> int:
    """A descriptor of the process that has this *pid* now; it is readable once the process has ended.

    Kernel: pidfd_open(2), Linux 5.3.
    Affects: nothing.
    Raises: ESRCH if there is no such process; EINVAL if *pid* is a thread other than the first.
    Owns: the caller closes the descriptor, which is close-on-exec.
    Order: for a child, before it is waited for; afterwards the pid may be another process's.
    """
    return check(lib.sys_pidfd_open(pid, flags), "pidfd_open(2)")


def pidfd_send_signal(pidfd: int, signal: int, flags: int = 0) -> None:
    """Send *signal*; 0 only asks whether the process is there.

    Kernel: pidfd_send_signal(2), Linux 5.1.
    Affects: the process.
    Raises: ESRCH if it has been waited for; EPERM as kill(2); EINVAL for no signal, and for a process of a PID namespace
    that does not descend from the caller's.
    """
    check(lib.sys_pidfd_send_signal(pidfd, signal, flags), "pidfd_send_signal(2)")


def pidfd_getfd(pidfd: int, target_fd: int) -> int:
    """A copy of the process's descriptor *target_fd*.

    Kernel: pidfd_getfd(2), Linux 5.6.
    Affects: this process; both share the open file description, so offset and status flags.
    Raises: EBADF if the process has no such descriptor; EPERM without PTRACE_MODE_ATTACH; ESRCH if it has ended.
    Owns: the caller closes the descriptor, which is close-on-exec.
    """
    return check(lib.sys_pidfd_getfd(pidfd, target_fd, 0), "pidfd_getfd(2)")


def waitid(pidfd: int, options: int = 0) -> WaitResult | None:
    """Wait for the end of a child and reap it. ``WNOHANG`` returns None if it still runs; ``WNOWAIT`` leaves it a zombie.

    A signal handler of Python's runs meanwhile, and the wait goes on unless it raises (PEP 475).

    Kernel: waitid(2) with P_PIDFD, Linux 5.4, and with the rusage that the C library hides.
    Affects: the child: its pid is free afterwards.
    Units: microseconds and bytes.
    Raises: ECHILD if it is no child of this process, or has been waited for.
    """
    result = ffi.new("struct pyrun_wait *")
    ret = -errno.EINTR
    while ret == -errno.EINTR:
        ret = lib.pyrun_wait_pidfd(pidfd, options | lib.WEXITED, result)
    if check(ret, "waitid(2)") == 0:
        return None
    return WaitResult(result.code, result.status, result.user_us, result.system_us, result.max_rss_kib * 1024)


def read_pid(pidfd: int) -> int | None:
    """The process's pid as this process's PID namespace has it: None once it has been reaped, 0 if it is not visible from here.

    Kernel: the "Pid:" line of /proc/self/fdinfo/FD, pidfd_open(2); Linux 5.4.
    Affects: nothing.
    Raises: ENOENT if *pidfd* is not open; KernelError with EBADF if it is no pidfd.
    """
    name = f"/proc/thread-self/fdinfo/{pidfd}"
    for line in read_text(name).splitlines():
        key, _, value = line.partition(":")
        if key == "Pid":
            return int(value) if int(value) >= 0 else None
    check(-errno.EBADF, "pidfd_open(2)", name)
    return None
