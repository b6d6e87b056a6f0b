"""Making processes, and what a process may set for itself: clone3(2), prctl(2).

The one file that imports python-prctl, inside functions, for what Python itself does; a child's plan uses the C core.
"""

from __future__ import annotations

import os

from pyrun._core import ffi, lib
from pyrun.linux.call import check, convert, encode_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NewType

    from pyrun._core import CData

    Flight = NewType("Flight", CData)


def clone3(
    flags: int,
    *,
    stage_fd: int,
    plan_fd: int,
    keep_fds: Iterable[int] = (),
    cgroup_fd: int = -1,
    pid_namespace_fd: int = -1,
    uid_map: str | None = None,
    gid_map: str | None = None,
) -> tuple[int, int, Flight]:
    """Clone a child that executes the program in *stage_fd* with the plan in *plan_fd*; returns pid, pidfd and flight.

    *flags* are the ``CLONE_NEW*`` of the namespaces to make for it. It is born in *cgroup_fd* (a cgroup v2 directory) and in
    *pid_namespace_fd* (a namespace or a pidfd); -1 means the caller's. Of the caller's descriptors it keeps 0, 1, 2, *stage_fd*,
    *plan_fd* and *keep_fds*, under the same numbers. *uid_map* and *gid_map* are written for it if it gets a user namespace.

    Kernel: clone3(2) with CLONE_VM, CLONE_PIDFD and CLONE_CHILD_CLEARTID, Linux 5.5; CLONE_INTO_CGROUP since 5.7; execveat(2).
    Affects: this process, which shares its memory with the child until that has executed the stage.
    Raises: EPERM without CAP_SYS_ADMIN; ENOSPC at a limit on namespaces; EBUSY or EOPNOTSUPP if the cgroup takes no
    processes; EAGAIN at a limit on processes. Then there is no child. What fails in the child is told by :func:`land`.
    Owns: the caller closes the pidfd, which is close-on-exec, reaps the child, and calls :func:`land`, once. Descriptors given
    stay the caller's.
    Order: CLONE_NEWTIME and CLONE_NEWCGROUP are for the plan: a clone that shares memory cannot enter a time namespace, and a
    cgroup namespace made here would be rooted in the caller's cgroup.
    """
    request = ffi.new("struct pyrun_spawn *")
    kept = sorted({*keep_fds, stage_fd, plan_fd})
    references = [ffi.new("int[]", kept), _c_string(uid_map), _c_string(gid_map)]  # live until the call is over
    request.clone_flags = flags
    request.cgroup_fd, request.pid_namespace_fd = cgroup_fd, pid_namespace_fd
    request.stage_fd, request.plan_fd = stage_fd, plan_fd
    request.keep_fds, request.uid_map, request.gid_map = references
    request.keep_count = len(kept)
    pidfd, call, flight = ffi.new("int *", -1), ffi.new("const char **"), ffi.new("struct pyrun_flight **")
    try:
        pid = lib.pyrun_spawn(request, flight, pidfd, call)
    except BaseException:  # of a signal handler: signals are blocked around the clone, so Ctrl-C comes here
        if pidfd[0] >= 0:
            _undo(pidfd[0], flight[0])
        raise
    check(pid, "" if pid >= 0 else ffi.string(call[0]).decode())
    return pid, pidfd[0], flight[0]


def land(flight: Flight) -> None:
    """Wait until a child of :func:`clone3` has executed the stage.

    Kernel: futex(2).
    Affects: this process: the child shares its memory no more.
    Raises: the errno of execveat(2), close_range(2) or write(2) with that call's name, and then the child has exited.
    Order: once, before the pid is taken for a process that runs its plan.
    """
    call = ffi.new("const char **")
    ret = lib.pyrun_land(flight, call)
    check(ret, "" if ret >= 0 else ffi.string(call[0]).decode())


def _undo(pidfd: int, flight: Flight) -> None:
    lib.sys_pidfd_send_signal(pidfd, 9, 0)  # SIGKILL
    lib.pyrun_land(flight, ffi.new("const char **"))
    lib.pyrun_wait_pidfd(pidfd, lib.WEXITED, ffi.new("struct pyrun_wait *"))
    os.close(pidfd)


def _c_string(text: str | None) -> object:
    return ffi.NULL if text is None else ffi.new("char[]", encode_text(text))


def set_file_ids(uid: int, gid: int) -> None:
    """Whose new files are to be, and as whom files are opened.

    Kernel: setfsuid(2), setfsgid(2).
    Affects: the calling thread. With a uid that is not 0 it has none of the capabilities that concern files, such as
    CAP_DAC_OVERRIDE, and back at 0 it has them again.
    Raises: PermissionError without CAP_SETUID and CAP_SETGID: the calls themselves report nothing.
    """
    for change, wanted in ((lib.sys_setfsgid, gid), (lib.sys_setfsuid, uid)):
        change(wanted)
        if change(0xFFFFFFFF) != wanted:
            raise PermissionError(1, "setfsuid(2)")


def set_child_subreaper(wanted: bool) -> None:
    """Whether orphans among the descendants become children of this process instead of init's.

    Kernel: prctl(2) PR_SET_CHILD_SUBREAPER, Linux 3.4.
    Affects: the process; not inherited by children.
    Raises: nothing that is known.
    Order: before the descendants lose their parent.
    """
    import prctl

    prctl.set_child_subreaper(int(wanted))


def get_child_subreaper() -> bool:
    """Whether this process is a child subreaper.

    Kernel: prctl(2) PR_GET_CHILD_SUBREAPER, Linux 3.4.
    Affects: nothing.
    Raises: nothing that is known.
    """
    import prctl

    return bool(prctl.get_child_subreaper())


def set_process_name(name: str) -> None:
    """The name that ps(1) and /proc/PID/comm show.

    Kernel: prctl(2) PR_SET_NAME.
    Affects: the calling thread; its children inherit it until they execute a program.
    Units: the kernel keeps the first 15 bytes.
    Raises: ValueError for a NUL in *name*.
    """
    import prctl

    encode_text(name)
    prctl.set_name(name)


def get_process_name() -> str:
    """The name that ps(1) and /proc/PID/comm show.

    Kernel: prctl(2) PR_GET_NAME.
    Affects: nothing.
    Raises: nothing that is known.
    """
    import prctl

    return str(prctl.get_name())


def set_no_new_privileges() -> None:
    """Let no execve(2) give privileges any more: set-user-ID bits and file capabilities are without effect. No way back.

    Kernel: prctl(2) PR_SET_NO_NEW_PRIVS, Linux 3.5.
    Affects: the calling thread and its children.
    Raises: nothing that is known.
    Order: before :func:`pyrun.linux.seccomp.set_mode_filter` without CAP_SYS_ADMIN.
    """
    import prctl

    try:
        prctl.set_no_new_privs(1)
    except OSError as error:
        raise convert(error, "prctl(2)") from None
