/* Raw system calls, each returning -errno on failure, with no C library in between.
 *
 * The child between clone and exec shares no state with a C library that it could trust: errno lives in thread-local storage that
 * may belong to another process's thread, and wrappers may lock, cancel or allocate. So everything here is one instruction and
 * a return value. The same functions serve the stage and pause, which have no C library at all, and `pyrun._core`, where cffi
 * gives them to Python.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PYRUN_SYSCALLS_H
#define PYRUN_SYSCALLS_H

/* Headers are for types and constants only; the C library's <sys/mount.h> and <sys/stat.h> clash with the kernel's. */
#include <asm/statfs.h>
#include <asm/unistd.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <linux/stat.h>
#include <linux/time_types.h>
#include <linux/types.h>

/* Calls and flags newer than the headers of the oldest distribution that builds this. Numbers above 423 are the same on all
 * architectures (include/uapi/asm-generic/unistd.h). */
#ifndef __NR_open_tree_attr
#define __NR_open_tree_attr 467
#endif
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif
#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x00001000U
#endif
#ifndef AT_FDCWD
#define AT_FDCWD (-100)
#endif
/* Flags of umount2(2) are in <sys/mount.h> only, which clashes. */
#ifndef MNT_FORCE
#define MNT_FORCE 1
#define MNT_EXPIRE 4
#define UMOUNT_NOFOLLOW 8
#endif

typedef __kernel_size_t sys_size;

static inline long sys_call6(long nr, long a, long b, long c, long d, long e, long f)
{
#if defined(__x86_64__)
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long ret;
    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = nr;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
#else
#error "pyrun knows the system call convention of x86_64 and aarch64"
#endif
}

#define SYS0(nr) sys_call6(nr, 0, 0, 0, 0, 0, 0)
#define SYS1(nr, a) sys_call6(nr, (long)(a), 0, 0, 0, 0, 0)
#define SYS2(nr, a, b) sys_call6(nr, (long)(a), (long)(b), 0, 0, 0, 0)
#define SYS3(nr, a, b, c) sys_call6(nr, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define SYS4(nr, a, b, c, d) sys_call6(nr, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define SYS5(nr, a, b, c, d, e) sys_call6(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define SYS6(nr, a, b, c, d, e, f) sys_call6(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

/* ---- processes ---- */

static inline long sys_clone3(struct clone_args *args, sys_size size)
{
    return SYS2(__NR_clone3, args, size);
}

static inline long sys_unshare(int flags)
{
    return SYS1(__NR_unshare, flags);
}

/* Of the calling thread alone; both return the id from before, whether it was changed or not. */
static inline long sys_setfsuid(unsigned int uid)
{
    return SYS1(__NR_setfsuid, uid);
}

static inline long sys_setfsgid(unsigned int gid)
{
    return SYS1(__NR_setfsgid, gid);
}

static inline long sys_setns(int fd, int flags)
{
    return SYS2(__NR_setns, fd, flags);
}

static inline long sys_pidfd_open(int pid, unsigned int flags)
{
    return SYS2(__NR_pidfd_open, pid, flags);
}

static inline long sys_pidfd_send_signal(int pidfd, int sig, unsigned int flags)
{
    return SYS4(__NR_pidfd_send_signal, pidfd, sig, 0, flags);
}

static inline long sys_pidfd_getfd(int pidfd, int target_fd, unsigned int flags)
{
    return SYS3(__NR_pidfd_getfd, pidfd, target_fd, flags);
}

static inline long sys_inotify_init1(int flags)
{
    return SYS1(__NR_inotify_init1, flags);
}

static inline long sys_inotify_add_watch(int fd, const char *path, unsigned int mask)
{
    return SYS3(__NR_inotify_add_watch, fd, path, mask);
}

static inline long sys_inotify_rm_watch(int fd, int watch)
{
    return SYS2(__NR_inotify_rm_watch, fd, watch);
}

static inline long sys_waitid(int type, int id, void *siginfo, int options, void *rusage)
{
    return SYS5(__NR_waitid, type, id, siginfo, options, rusage);
}

static inline long sys_execve(const char *path, char *const *argv, char *const *envp)
{
    return SYS3(__NR_execve, path, argv, envp);
}

static inline long sys_execveat(int dirfd, const char *path, char *const *argv, char *const *envp, int flags)
{
    return SYS5(__NR_execveat, dirfd, path, argv, envp, flags);
}

static inline void sys_exit_group(int status) __attribute__((noreturn));
static inline void sys_exit_group(int status)
{
    for (;;)
        (void)SYS1(__NR_exit_group, status);
}

static inline long sys_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)
{
    return SYS5(__NR_prctl, option, a, b, c, d);
}

static inline long sys_setsid(void)
{
    return SYS0(__NR_setsid);
}

static inline long sys_getpid(void)
{
    return SYS0(__NR_getpid);
}

static inline long sys_prlimit64(int pid, int resource, const void *new_limit, void *old_limit)
{
    return SYS4(__NR_prlimit64, pid, resource, new_limit, old_limit);
}

static inline long sys_setgroups(sys_size count, const __u32 *groups)
{
    return SYS2(__NR_setgroups, count, groups);
}

static inline long sys_setresgid(__u32 real, __u32 effective, __u32 saved)
{
    return SYS3(__NR_setresgid, real, effective, saved);
}

static inline long sys_setresuid(__u32 real, __u32 effective, __u32 saved)
{
    return SYS3(__NR_setresuid, real, effective, saved);
}

static inline long sys_capset(struct __user_cap_header_struct *header, const struct __user_cap_data_struct *data)
{
    return SYS2(__NR_capset, header, data);
}

static inline long sys_capget(struct __user_cap_header_struct *header, struct __user_cap_data_struct *data)
{
    return SYS2(__NR_capget, header, data);
}

static inline long sys_seccomp(unsigned int operation, unsigned int flags, void *args)
{
    return SYS3(__NR_seccomp, operation, flags, args);
}

static inline long sys_keyctl_join_session(const char *name)
{
    return SYS2(__NR_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, name);
}

static inline long sys_umask(unsigned int mask)
{
    return SYS1(__NR_umask, mask);
}

static inline long sys_sethostname(const char *name, sys_size length)
{
    return SYS2(__NR_sethostname, name, length);
}

static inline long sys_setdomainname(const char *name, sys_size length)
{
    return SYS2(__NR_setdomainname, name, length);
}

static inline long sys_clock_gettime(int clock, struct __kernel_timespec *ret)
{
    return SYS2(__NR_clock_gettime, clock, ret);
}

/* ---- signals: masks are the kernel's 64 bits ---- */

static inline long sys_rt_sigprocmask(int how, const __u64 *set, __u64 *old)
{
    return SYS4(__NR_rt_sigprocmask, how, set, old, sizeof(__u64));
}

static inline long sys_rt_sigaction(int sig, const void *action, void *old)
{
    return SYS4(__NR_rt_sigaction, sig, action, old, sizeof(__u64));
}

static inline long sys_rt_sigtimedwait(const __u64 *set, void *info, const struct __kernel_timespec *timeout)
{
    return SYS4(__NR_rt_sigtimedwait, set, info, timeout, sizeof(__u64));
}

struct poll_fd {
    int fd;
    short events, revents;
};
#define POLL_READABLE 1 /* POLLIN; <poll.h> is the C library's */

static inline long sys_ppoll(struct poll_fd *fds, unsigned int count, const struct __kernel_timespec *timeout)
{
    return SYS5(__NR_ppoll, fds, count, timeout, 0, sizeof(__u64));
}

static inline long sys_nanosleep(const struct __kernel_timespec *time)
{
    return SYS2(__NR_nanosleep, time, 0);
}

static inline long sys_futex_wait(__u32 *address, __u32 expected)
{
    return SYS4(__NR_futex, address, 0 /* FUTEX_WAIT, not private: the kernel's wake at mm release is not */, expected,
                0);
}

/* ---- descriptors and files ---- */

static inline long sys_pread64(int fd, void *buffer, sys_size size, __u64 offset)
{
    return SYS4(__NR_pread64, fd, buffer, size, offset);
}

static inline long sys_read(int fd, void *buffer, sys_size size)
{
    return SYS3(__NR_read, fd, buffer, size);
}

static inline long sys_write(int fd, const void *buffer, sys_size size)
{
    return SYS3(__NR_write, fd, buffer, size);
}

static inline long sys_close(int fd)
{
    return SYS1(__NR_close, fd);
}

static inline long sys_close_range(unsigned int first, unsigned int last, unsigned int flags)
{
    return SYS3(__NR_close_range, first, last, flags);
}

static inline long sys_dup3(int from, int to, int flags)
{
    return SYS3(__NR_dup3, from, to, flags);
}

static inline long sys_fcntl(int fd, int command, long argument)
{
    return SYS3(__NR_fcntl, fd, command, argument);
}

static inline long sys_ioctl(int fd, unsigned long request, void *argument)
{
    return SYS3(__NR_ioctl, fd, request, argument);
}

static inline long sys_socket(int family, int type, int protocol)
{
    return SYS3(__NR_socket, family, type, protocol);
}

static inline long sys_sendmsg(int fd, const void *message, int flags)
{
    return SYS3(__NR_sendmsg, fd, message, flags);
}

static inline long sys_memfd_create(const char *name, unsigned int flags)
{
    return SYS2(__NR_memfd_create, name, flags);
}

static inline void *sys_mmap(void *at, sys_size size, int protection, int flags, int fd, long offset)
{
    return (void *)SYS6(__NR_mmap, at, size, protection, flags, fd, offset);
}

static inline long sys_munmap(void *at, sys_size size)
{
    return SYS2(__NR_munmap, at, size);
}

static inline long sys_openat(int dirfd, const char *path, int flags, unsigned int mode)
{
    return SYS4(__NR_openat, dirfd, path, flags, mode);
}

static inline long sys_openat2(int dirfd, const char *path, const struct open_how *how, sys_size size)
{
    return SYS4(__NR_openat2, dirfd, path, how, size);
}

static inline long sys_statx(int dirfd, const char *path, int flags, unsigned int mask, struct statx *ret)
{
    return SYS5(__NR_statx, dirfd, path, flags, mask, ret);
}

static inline long sys_faccessat2(int dirfd, const char *path, int mode, int flags)
{
    return SYS4(__NR_faccessat2, dirfd, path, mode, flags);
}

static inline long sys_mkdirat(int dirfd, const char *path, unsigned int mode)
{
    return SYS3(__NR_mkdirat, dirfd, path, mode);
}

static inline long sys_mknodat(int dirfd, const char *path, unsigned int mode, unsigned long device)
{
    return SYS4(__NR_mknodat, dirfd, path, mode, device);
}

static inline long sys_unlinkat(int dirfd, const char *path, int flags)
{
    return SYS3(__NR_unlinkat, dirfd, path, flags);
}

/* What getdents64(2) fills in. */
struct linux_dirent64 {
    __u64 inode;
    __s64 offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

static inline long sys_getdents64(int fd, void *entries, sys_size size)
{
    return SYS3(__NR_getdents64, fd, entries, size);
}

static inline long sys_lseek(int fd, long offset, int from)
{
    return SYS3(__NR_lseek, fd, offset, from);
}

static inline long sys_symlinkat(const char *target, int dirfd, const char *path)
{
    return SYS3(__NR_symlinkat, target, dirfd, path);
}

static inline long sys_readlinkat(int dirfd, const char *path, char *ret, sys_size size)
{
    return SYS4(__NR_readlinkat, dirfd, path, ret, size);
}

static inline long sys_fstatfs(int fd, struct statfs *ret)
{
    return SYS2(__NR_fstatfs, fd, ret);
}

static inline long sys_fchmod(int fd, unsigned int mode)
{
    return SYS2(__NR_fchmod, fd, mode);
}

static inline long sys_fchownat(int dirfd, const char *path, __u32 uid, __u32 gid, int flags)
{
    return SYS5(__NR_fchownat, dirfd, path, uid, gid, flags);
}

static inline long sys_utimensat(int dirfd, const char *path, const struct __kernel_timespec times[2], int flags)
{
    return SYS4(__NR_utimensat, dirfd, path, times, flags);
}

static inline long sys_sendfile(int to, int from, long *offset, sys_size size)
{
    return SYS4(__NR_sendfile, to, from, offset, size);
}

static inline long sys_flistxattr(int fd, char *ret, sys_size size)
{
    return SYS3(__NR_flistxattr, fd, ret, size);
}

static inline long sys_fgetxattr(int fd, const char *name, void *ret, sys_size size)
{
    return SYS4(__NR_fgetxattr, fd, name, ret, size);
}

static inline long sys_fsetxattr(int fd, const char *name, const void *value, sys_size size, int flags)
{
    return SYS5(__NR_fsetxattr, fd, name, value, size, flags);
}

static inline long sys_chroot(const char *path)
{
    return SYS1(__NR_chroot, path);
}

static inline long sys_chdir(const char *path)
{
    return SYS1(__NR_chdir, path);
}

static inline long sys_fchdir(int fd)
{
    return SYS1(__NR_fchdir, fd);
}

/* ---- mounts ---- */

static inline long sys_mount(const char *source, const char *target, const char *type, unsigned long flags,
                             const void *data)
{
    return SYS5(__NR_mount, source, target, type, flags, data);
}

static inline long sys_umount2(const char *target, int flags)
{
    return SYS2(__NR_umount2, target, flags);
}

static inline long sys_pivot_root(const char *new_root, const char *put_old)
{
    return SYS2(__NR_pivot_root, new_root, put_old);
}

static inline long sys_open_tree(int dirfd, const char *path, unsigned int flags)
{
    return SYS3(__NR_open_tree, dirfd, path, flags);
}

static inline long sys_move_mount(int from_fd, const char *from, int to_fd, const char *to, unsigned int flags)
{
    return SYS5(__NR_move_mount, from_fd, from, to_fd, to, flags);
}

static inline long sys_fsopen(const char *type, unsigned int flags)
{
    return SYS2(__NR_fsopen, type, flags);
}

static inline long sys_fspick(int dirfd, const char *path, unsigned int flags)
{
    return SYS3(__NR_fspick, dirfd, path, flags);
}

static inline long sys_fsconfig(int fd, unsigned int command, const char *key, const void *value, int aux)
{
    return SYS5(__NR_fsconfig, fd, command, key, value, aux);
}

static inline long sys_fsmount(int fd, unsigned int flags, unsigned int attributes)
{
    return SYS3(__NR_fsmount, fd, flags, attributes);
}

static inline long sys_mount_setattr(int dirfd, const char *path, unsigned int flags, const struct mount_attr *attr,
                                     sys_size size)
{
    return SYS5(__NR_mount_setattr, dirfd, path, flags, attr, size);
}

#endif
