"""The C core as Python sees it: csrc/core.cdef.h in Python's words. tests/kernel/test_linux_core.py holds it against the module.

Functions return -errno on failure; :func:`pyrun.linux.call.check` makes an exception of that. cffi releases the GIL around
each. Text that a ``Pointer`` leads to ends at its first NUL.
"""

from typing import Any, TypeAlias

class CData:
    """A C object: a pointer made by ``ffi``, or what such a pointer leads to."""

    def __getattr__(self, name: str) -> Any: ...
    def __setattr__(self, name: str, value: Any) -> None: ...
    def __getitem__(self, index: int) -> Any: ...
    def __len__(self) -> int: ...

Pointer: TypeAlias = bytes | CData

class FFI:
    """The few of cffi's functions that are used here."""

    NULL: CData
    def new(self, cdecl: str, init: Any = None) -> CData: ...
    def cast(self, cdecl: str, source: object) -> Any: ...
    def from_buffer(self, cdecl: str, python_buffer: bytes | bytearray | memoryview) -> CData: ...
    def string(self, cdata: CData, maxlen: int = -1) -> bytes: ...
    def sizeof(self, cdecl: str | CData) -> int: ...

class Lib:
    """Functions and constants."""

    # csrc/version.h
    pyrun_version: CData

    # csrc/spawn.h
    def pyrun_spawn(self, spawn: CData, ret_flight: CData, ret_pidfd: CData, ret_call: CData, /) -> int: ...
    def pyrun_land(self, flight: CData, ret_call: CData, /) -> int: ...

    # csrc/syscalls.h
    def sys_unshare(self, flags: int, /) -> int: ...
    def sys_setns(self, fd: int, flags: int, /) -> int: ...
    def sys_setfsuid(self, uid: int, /) -> int: ...
    def sys_setfsgid(self, gid: int, /) -> int: ...
    def sys_pidfd_open(self, pid: int, flags: int, /) -> int: ...
    def sys_pidfd_send_signal(self, pidfd: int, sig: int, flags: int, /) -> int: ...
    def sys_pidfd_getfd(self, pidfd: int, target_fd: int, flags: int, /) -> int: ...
    def sys_inotify_init1(self, flags: int, /) -> int: ...
    def sys_inotify_add_watch(self, fd: int, path: Pointer, mask: int, /) -> int: ...
    def sys_inotify_rm_watch(self, fd: int, watch: int, /) -> int: ...
    def sys_waitid(self, type: int, id: int, siginfo: Pointer, options: int, rusage: Pointer, /) -> int: ...
    def sys_close_range(self, first: int, last: int, flags: int, /) -> int: ...
    def sys_ioctl(self, fd: int, request: int, argument: Pointer, /) -> int: ...
    def sys_openat2(self, dirfd: int, path: Pointer, how: CData, size: int, /) -> int: ...
    def sys_mount(self, source: Pointer, target: Pointer, type: Pointer, flags: int, data: Pointer, /) -> int: ...
    def sys_umount2(self, target: Pointer, flags: int, /) -> int: ...
    def sys_pivot_root(self, new_root: Pointer, put_old: Pointer, /) -> int: ...
    def sys_open_tree(self, dirfd: int, path: Pointer, flags: int, /) -> int: ...
    def sys_move_mount(self, from_fd: int, from_path: Pointer, to_fd: int, to_path: Pointer, flags: int, /) -> int: ...
    def sys_fsopen(self, type: Pointer, flags: int, /) -> int: ...
    def sys_fsconfig(self, fd: int, command: int, key: Pointer, value: Pointer, aux: int, /) -> int: ...
    def sys_fsmount(self, fd: int, flags: int, attributes: int, /) -> int: ...
    def sys_mount_setattr(self, dirfd: int, path: Pointer, flags: int, attr: CData, size: int, /) -> int: ...
    def sys_sethostname(self, name: Pointer, length: int, /) -> int: ...
    def sys_setdomainname(self, name: Pointer, length: int, /) -> int: ...
    def sys_prctl(self, option: int, a: int, b: int, c: int, d: int, /) -> int: ...
    def sys_keyctl_join_session(self, name: Pointer, /) -> int: ...
    def sys_seccomp(self, operation: int, flags: int, args: Pointer, /) -> int: ...
    def sys_prlimit64(self, pid: int, resource: int, new_limit: Pointer, old_limit: Pointer, /) -> int: ...

    # csrc/bpf.h
    def sys_bpf(self, command: int, attributes: Pointer, size: int, /) -> int: ...

    # csrc/wait.h
    def pyrun_wait_pidfd(self, pidfd: int, options: int, ret: CData, /) -> int: ...

    # csrc/plan.h
    PLAN_MAGIC: int
    PLAN_NO_SLOT: int
    PLAN_NO_STEP: int
    PLAN_MAX_STEPS: int
    PLAN_MAX_SLOTS: int
    PLAN_OPTIONAL: int
    PLAN_IF_EXISTS: int
    PLAN_CREATE: int
    PLAN_NO_LINKS: int
    PLAN_TREE_RECURSIVE: int
    PLAN_TREE_MAP_ALL: int
    PLAN_TREE_MODE_SHIFT: int
    PLAN_TREE_TOP_SHIFT: int
    PLAN_COPY_MODE: int
    PLAN_COPY_CONTENT: int
    PLAN_REPORT_FAILED: int
    PLAN_REPORT_WARNING: int
    PLAN_REPORT_GATE: int
    PLAN_STATUS_CLOSED: int
    PLAN_SETNS: int
    PLAN_UNSHARE: int
    PLAN_TIME_NAMESPACE: int
    PLAN_PROPAGATION: int
    PLAN_OPEN_TREE: int
    PLAN_NEW_MOUNT: int
    PLAN_ATTACH: int
    PLAN_SET_ATTRIBUTES: int
    PLAN_MASK: int
    PLAN_READONLY: int
    PLAN_OPEN_DIRECTORY: int
    PLAN_MKDIR: int
    PLAN_MKNOD: int
    PLAN_SYMLINK: int
    PLAN_WRITE_FILE: int
    PLAN_CHANGE_DIRECTORY: int
    PLAN_PIVOT_ROOT: int
    PLAN_HOSTNAME: int
    PLAN_DOMAINNAME: int
    PLAN_LOOPBACK_UP: int
    PLAN_RLIMIT: int
    PLAN_OOM_SCORE_ADJ: int
    PLAN_BOUNDING_SET: int
    PLAN_USER: int
    PLAN_CAPABILITIES: int
    PLAN_NO_NEW_PRIVILEGES: int
    PLAN_UMASK: int
    PLAN_DUPLICATE: int
    PLAN_CLOSE_RANGE: int
    PLAN_NEW_SESSION: int
    PLAN_CONTROLLING_TERMINAL: int
    PLAN_KEYRING: int
    PLAN_PARENT_DEATH_SIGNAL: int
    PLAN_FIND_PROGRAM: int
    PLAN_GATE: int
    PLAN_SECCOMP: int
    PLAN_EXEC: int
    PLAN_CLOSE: int
    PLAN_AWAIT: int
    PLAN_RECONFIGURE: int
    PLAN_COPY_UP: int
    PLAN_CHROOT: int
    PLAN_TERMINAL: int
    PLAN_NAMESPACE_ROOT: int
    PLAN_NEW_PID_NAMESPACE: int
    PLAN_SCHEDULER: int
    PLAN_IO_PRIORITY: int
    PLAN_AFFINITY: int
    PLAN_PERSONALITY: int
    PLAN_MEMORY_POLICY: int
    PLAN_STDIO_OWNER: int
    PLAN_CAPABILITY_SETS: int
    PLAN_RAISE_CAPABILITIES: int

    # of the kernel
    CLONE_NEWNS: int
    CLONE_NEWUTS: int
    CLONE_NEWIPC: int
    CLONE_NEWNET: int
    CLONE_NEWPID: int
    CLONE_NEWUSER: int
    CLONE_NEWCGROUP: int
    CLONE_NEWTIME: int
    AT_FDCWD: int
    AT_EMPTY_PATH: int
    AT_RECURSIVE: int
    AT_SYMLINK_NOFOLLOW: int
    AT_NO_AUTOMOUNT: int
    OPEN_TREE_CLONE: int
    OPEN_TREE_CLOEXEC: int
    MOVE_MOUNT_F_EMPTY_PATH: int
    MOVE_MOUNT_T_EMPTY_PATH: int
    FSOPEN_CLOEXEC: int
    FSMOUNT_CLOEXEC: int
    FSCONFIG_SET_FLAG: int
    FSCONFIG_SET_STRING: int
    FSCONFIG_SET_FD: int
    FSCONFIG_CMD_CREATE: int
    FSCONFIG_CMD_RECONFIGURE: int
    MOUNT_ATTR_RDONLY: int
    MOUNT_ATTR_NOSUID: int
    MOUNT_ATTR_NODEV: int
    MOUNT_ATTR_NOEXEC: int
    MOUNT_ATTR__ATIME: int
    MOUNT_ATTR_RELATIME: int
    MOUNT_ATTR_NOATIME: int
    MOUNT_ATTR_STRICTATIME: int
    MOUNT_ATTR_NODIRATIME: int
    MOUNT_ATTR_NOSYMFOLLOW: int
    MOUNT_ATTR_IDMAP: int
    MS_RDONLY: int
    MS_NOSUID: int
    MS_NODEV: int
    MS_NOEXEC: int
    MS_REMOUNT: int
    MS_BIND: int
    MS_REC: int
    MS_MOVE: int
    MS_NOATIME: int
    MS_PRIVATE: int
    MS_SLAVE: int
    MS_SHARED: int
    MS_UNBINDABLE: int
    MNT_DETACH: int
    MNT_FORCE: int
    MNT_EXPIRE: int
    UMOUNT_NOFOLLOW: int
    RESOLVE_NO_XDEV: int
    RESOLVE_NO_MAGICLINKS: int
    RESOLVE_NO_SYMLINKS: int
    RESOLVE_BENEATH: int
    RESOLVE_IN_ROOT: int
    RESOLVE_CACHED: int
    CLOSE_RANGE_CLOEXEC: int
    CLOSE_RANGE_UNSHARE: int
    MFD_EXEC: int
    P_PIDFD: int
    WEXITED: int
    WNOHANG: int
    WNOWAIT: int
    CLD_EXITED: int
    CLD_KILLED: int
    CLD_DUMPED: int
    SECCOMP_SET_MODE_FILTER: int
    SECCOMP_GET_ACTION_AVAIL: int
    SECCOMP_FILTER_FLAG_TSYNC: int
    SECCOMP_FILTER_FLAG_LOG: int
    SECCOMP_FILTER_FLAG_SPEC_ALLOW: int
    SECCOMP_FILTER_FLAG_NEW_LISTENER: int
    SECCOMP_RET_KILL_PROCESS: int
    SECCOMP_RET_KILL_THREAD: int
    SECCOMP_RET_TRAP: int
    SECCOMP_RET_ERRNO: int
    SECCOMP_RET_USER_NOTIF: int
    SECCOMP_RET_TRACE: int
    SECCOMP_RET_LOG: int
    SECCOMP_RET_ALLOW: int
    BPF_PROG_LOAD: int
    BPF_PROG_ATTACH: int
    BPF_PROG_DETACH: int
    BPF_PROG_QUERY: int
    BPF_PROG_GET_FD_BY_ID: int
    BPF_PROG_TYPE_CGROUP_DEVICE: int
    BPF_CGROUP_DEVICE: int
    BPF_F_ALLOW_MULTI: int
    BPF_F_REPLACE: int
    BPF_DEVCG_ACC_MKNOD: int
    BPF_DEVCG_ACC_READ: int
    BPF_DEVCG_ACC_WRITE: int
    BPF_DEVCG_DEV_BLOCK: int
    BPF_DEVCG_DEV_CHAR: int

ffi: FFI
lib: Lib
