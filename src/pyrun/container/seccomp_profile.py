"""The default seccomp profile, as data: what containerd allows under Kubernetes' ``RuntimeDefault``, brought up to Linux 6.18.

It is an allow list. A call that is not on it fails with EPERM; one that is newer than everything on it fails with ENOSYS, so
that libraries fall back. Some calls are there only for a capability: whoever has the capability is let through to the
kernel's own check of it, everyone else does not get to try the code behind it.

Two things the filter cannot see. socketcall(2), the way i386 programs open sockets, keeps its arguments in memory, so the
address families that are refused below can be had through it; refusing the call would break every i386 program that uses
the network. And clone3(2) keeps its flags in memory, so it is hidden altogether: the C library then uses clone(2).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

EPERM = 1
ENOSYS = 38

ARCHITECTURES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}

# One line of thought per group; the words of each group are the calls that everyone may make.
ALLOWED = {
    "open, close and describe files": """
        access chdir close close_range creat dup dup2 dup3 faccessat faccessat2 fchdir fcntl fcntl64 flock getcwd ioctl
        open openat openat2 pipe pipe2 readlink readlinkat umask name_to_handle_at
        fstat fstat64 fstatat64 lstat lstat64 newfstatat stat stat64 statx fstatfs fstatfs64 statfs statfs64
        file_getattr getdents getdents64 readdir statmount listmount""",
    "read and write": """
        _llseek copy_file_range fadvise64 fadvise64_64 fallocate fdatasync fsync ftruncate ftruncate64 lseek pread64
        preadv preadv2 pwrite64 pwritev pwritev2 read readahead readv sendfile sendfile64 splice sync sync_file_range
        sync_file_range2 syncfs tee truncate truncate64 vmsplice write writev cachestat
        io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit""",
    "change the tree of files": """
        chmod chown chown32 fchmod fchmodat fchmodat2 fchown fchown32 fchownat file_setattr futimesat lchown lchown32
        link linkat mkdir mkdirat mknod mknodat rename renameat renameat2 rmdir symlink symlinkat unlink unlinkat
        utime utimensat utimensat_time64 utimes""",
    "extended attributes": """
        fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat llistxattr
        lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat""",
    "wait for events": """
        _newselect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
        epoll_wait_old eventfd eventfd2 fanotify_mark inotify_add_watch inotify_init inotify_init1 inotify_rm_watch
        pause poll ppoll ppoll_time64 pselect6 pselect6_time64 select signalfd signalfd4""",
    "sockets; socket(2) itself is judged by its family": """
        accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64
        recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair""",
    "memory": """
        brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2
        mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect remap_file_pages""",
    "processes and threads; clone(2) is judged by its flags": """
        execve execveat exit exit_group fork vfork wait4 waitid waitpid pidfd_open pidfd_send_signal process_mrelease
        arch_prctl breakpoint cacheflush get_thread_area modify_ldt prctl rseq set_thread_area set_tid_address set_tls
        arm_fadvise64_64 arm_sync_file_range
        futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake get_robust_list set_robust_list getcpu
        restart_syscall uprobe uretprobe""",
    "look into processes: the kernel asks for ptrace rights, and since Linux 4.8 tracing cannot get round a filter": """
        process_vm_readv process_vm_writev ptrace""",
    "scheduling and limits": """
        getpriority getrlimit getrusage ioprio_get ioprio_set prlimit64 sched_get_priority_max sched_get_priority_min
        sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
        sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield
        setpriority setrlimit ugetrlimit""",
    "who am I, and may I be less": """
        capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid
        getppid getresgid getresgid32 getresuid getresuid32 getsid gettid getuid getuid32 setfsgid setfsgid32 setfsuid
        setfsuid32 setgid setgid32 setgroups setgroups32 setpgid setregid setregid32 setresgid setresgid32 setresuid
        setresuid32 setreuid setreuid32 setsid setuid setuid32
        landlock_add_rule landlock_create_ruleset landlock_restrict_self lsm_get_self_attr lsm_list_modules seccomp""",
    "signals": """
        kill rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
        rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaction sigaltstack signal sigpending sigprocmask sigreturn
        sigsuspend tgkill tkill""",
    "time; setting a clock is up to CAP_SYS_TIME, which the kernel asks of adjtimex for all but reading": """
        adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
        clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time timer_create
        timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create
        timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times""",
    "System V and POSIX inter-process communication": """
        ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64
        mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt
        shmget""",
    "the system": "getrandom sysinfo uname",
}

# Calls that are there only for who has the capability (in its bounding set).
BY_CAPABILITY = {
    "CAP_BPF": "bpf",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYS_ADMIN": """
        bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_set_self_attr mount
        mount_setattr move_mount open_tree open_tree_attr perf_event_open pivot_root quotactl quotactl_fd setdomainname
        sethostname setns syslog umount umount2 unshare""",
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYSLOG": "syslog",
}

# personality(2) values (sys/personality.h): Linux, 32-bit Linux, each also with the uname of Linux 2.6; and "only ask".
PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)

# CLONE_NEW* of linux/sched.h that clone(2) takes: mount, cgroup, UTS, IPC, user, PID, network.
NEW_NAMESPACES = 0x20000 | 0x2000000 | 0x4000000 | 0x8000000 | 0x10000000 | 0x20000000 | 0x40000000

# Address families (linux/socket.h). AF_ALG has been a way to root (CVE-2026-31431), and AF_VSOCK reaches past the network
# namespace to the hypervisor. The families above them are listed one by one, not as "greater than": the kernel takes the
# family as 32 bits, and a comparison of 64 would be led astray by junk in the upper half.
AF_ALG = 38
FAMILIES_ABOVE = (39, 41, 42, 43, 44, 45)  # NFC, KCM, QIPCRTR, SMC, XDP, MCTP


def default_profile_oci(capabilities: Iterable[str], machine: str) -> dict[str, object]:
    """The profile for *capabilities* as the ``linux.seccomp`` object of an OCI configuration."""
    held = set(capabilities)
    names = {name for group in ALLOWED.values() for name in group.split()}
    for capability, group in BY_CAPABILITY.items():
        if capability in held:
            names.update(group.split())
    syscalls: list[dict[str, object]] = [{"names": sorted(names), "action": "SCMP_ACT_ALLOW"}]
    syscalls += [_when("personality", "SCMP_CMP_EQ", value) for value in PERSONALITIES]
    syscalls.append(_when("socket", "SCMP_CMP_LT", AF_ALG))
    syscalls += [_when("socket", "SCMP_CMP_EQ", family) for family in FAMILIES_ABOVE]
    if "CAP_SYS_ADMIN" not in held:
        syscalls.append(_when("clone", "SCMP_CMP_MASKED_EQ", NEW_NAMESPACES))
        syscalls.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS})
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": list(ARCHITECTURES[machine]),
        "syscalls": syscalls,
    }


def _when(name: str, operator: str, value: int) -> dict[str, object]:
    """Allows *name* when its first argument compares so; for a masked comparison, when nothing of the mask is set."""
    argument = {"index": 0, "value": value, "valueTwo": 0, "op": operator}
    return {"names": [name], "action": "SCMP_ACT_ALLOW", "args": [argument]}
