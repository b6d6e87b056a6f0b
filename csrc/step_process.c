/* Steps that set what a process is and may: ids, capabilities, limits, session, filter.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "child.h"

#include <linux/errno.h>
#include <linux/filter.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>

struct limit64 {
    __u64 soft;
    __u64 hard;
};

#define NO_ID 0xffffffffu                         /* to setresuid(2) it means "leave it", which for us would be root */
#define REQUEST_SET_CONTROLLING_TERMINAL 0x540eul /* TIOCSCTTY, ioctl_tty(2) */

long step_rlimit(struct child *child, const struct plan_step *step)
{
    (void)child;
    struct limit64 limit = {step->arg[1], step->arg[2]};
    return sys_prlimit64(0, (int)step->arg[0], &limit, 0);
}

long step_oom_score_adj(struct child *child, const struct plan_step *step)
{
    (void)child;
    __s64 value = (__s64)step->arg[0];
    char text[8];
    int at = 0;
    __u64 rest = value < 0 ? -(__u64)value : (__u64)value;
    if (value < 0)
        text[at++] = '-';
    if (rest > 1000)
        return -EINVAL;
    for (__u64 unit = rest >= 1000 ? 1000 : rest >= 100 ? 100 : rest >= 10 ? 10 : 1; unit; unit /= 10)
        text[at++] = (char)('0' + rest / unit % 10);
    long fd = sys_openat(AT_FDCWD, "/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    long ret = sys_write((int)fd, text, (sys_size)at);
    (void)sys_close((int)fd);
    return ret < 0 ? ret : 0;
}

/* The kernel knows as many capabilities as it knows: it says EINVAL to the first that it does not. */
long step_bounding_set(struct child *child, const struct plan_step *step)
{
    (void)child;
    for (unsigned long number = 0; number < 64; number++) {
        if (step->arg[0] >> number & 1)
            continue;
        long ret = sys_prctl(PR_CAPBSET_DROP, number, 0, 0, 0);
        long present =
            ret == -EPERM ? sys_prctl(PR_CAPBSET_READ, number, 0, 0, 0) : 1; /* what is not in it may stay out */
        if (ret == -EINVAL || present == -EINVAL)
            return 0;
        if (ret < 0 && present != 0)
            return ret;
    }
    return 0;
}

/* Groups first, while we still may; permitted capabilities outlive the change of uid so that CAPABILITIES can choose from them. */
long step_user(struct child *child, const struct plan_step *step)
{
    if (step->arg[0] >= NO_ID || step->arg[1] >= NO_ID)
        return -EINVAL;
    __u32 uid = (__u32)step->arg[0];
    __u32 gid = (__u32)step->arg[1];
    long ret = sys_prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
    if (ret < 0)
        return ret;
    if (step->arg[2] || !child->groups_denied)
        ret = sys_setgroups((sys_size)step->arg[2], (const __u32 *)(const void *)step_string(child, step, 0));
    if (ret < 0)
        return ret;
    ret = sys_setresgid(gid, gid, gid);
    if (ret < 0)
        return ret;
    return sys_setresuid(uid, uid, uid);
}

#define TERMINAL_MAJOR_FIRST 136 /* Unix98 terminals, Documentation/admin-guide/devices.txt */
#define TERMINAL_MAJOR_LAST 143

/* A device that others use, too, stays theirs: /dev/null must not become the program's. */
static int is_shared_device(const struct statx *status)
{
    unsigned int type = status->stx_mode & S_IFMT;
    return type == S_IFBLK || (type == S_IFCHR && (status->stx_rdev_major < TERMINAL_MAJOR_FIRST ||
                                                   status->stx_rdev_major > TERMINAL_MAJOR_LAST));
}

/* So that the program can open /dev/stdout anew, or its terminal. What cannot have another owner is left as it is: it is not mapped in
 * our user namespace, or on a read-only file system. */
static long own(int fd, __u32 uid, int only_pipes)
{
    struct statx status;
    long ret = sys_statx(fd, "", AT_EMPTY_PATH, STATX_TYPE | STATX_UID, &status);
    if (ret < 0 || status.stx_uid == uid || is_shared_device(&status))
        return ret;
    if (only_pipes && (status.stx_mode & S_IFMT) != S_IFIFO)
        return 0;
    ret = SYS3(__NR_fchown, fd, uid, -1);
    return ret == -EPERM || ret == -EINVAL || ret == -EROFS ? 0 : ret;
}

long step_stdio_owner(struct child *child, const struct plan_step *step)
{
    long ret = 0;
    for (int i = 0; i < 3 && ret >= 0; i++)
        ret = own(step_fd(child, step, i), (__u32)step->arg[0], step->arg[1] != 0);
    return ret;
}

static long set_ambient(__u64 mask)
{
    long ret = sys_prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    for (unsigned long number = 0; number < 64 && ret >= 0; number++)
        if (mask >> number & 1)
            ret = sys_prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0);
    return ret < 0 ? ret : 0;
}

static long set_three(const struct plan_step *step)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    for (int i = 0; i < 2; i++) {
        data[i].effective = (__u32)(step->arg[0] >> (32 * i));
        data[i].permitted = (__u32)(step->arg[1] >> (32 * i));
        data[i].inheritable = (__u32)(step->arg[2] >> (32 * i));
    }
    return sys_capset(&header, data);
}

long step_capabilities(struct child *child, const struct plan_step *step)
{
    (void)child;
    long ret = set_three(step);
    return ret < 0 ? ret : set_ambient(step->arg[3]);
}

long step_capability_sets(struct child *child, const struct plan_step *step)
{
    (void)child;
    return set_three(step);
}

/* Of what is permitted. */
long step_raise_capabilities(struct child *child, const struct plan_step *step)
{
    (void)child;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    long ret = sys_capget(&header, data);
    if (ret < 0)
        return ret;
    for (int i = 0; i < 2; i++)
        data[i].effective |= (__u32)(step->arg[0] >> (32 * i));
    return sys_capset(&header, data);
}

long step_no_new_privileges(struct child *child, const struct plan_step *step)
{
    (void)child;
    (void)step;
    return sys_prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

long step_umask(struct child *child, const struct plan_step *step)
{
    (void)sys_umask((unsigned int)step->arg[0]);
    child->umask = UMASK_IS_SET;
    return 0;
}

long step_new_session(struct child *child, const struct plan_step *step)
{
    (void)child;
    (void)step;
    long ret = sys_setsid();
    return ret < 0 ? ret : 0;
}

long step_controlling_terminal(struct child *child, const struct plan_step *step)
{
    return sys_ioctl(step_fd(child, step, 0), REQUEST_SET_CONTROLLING_TERMINAL, 0);
}

long step_keyring(struct child *child, const struct plan_step *step)
{
    long ret = sys_keyctl_join_session(step_string(child, step, 0));
    return ret < 0 ? ret : 0;
}

/* The signal is the kernel's answer to the death of our parent; if the parent was quicker, nobody reads the report pipe, unless
 * another child of its, on the way to its own stage, has a copy of that end for a moment: its pidfd knows for sure. */
long step_parent_death_signal(struct child *child, const struct plan_step *step)
{
    long ret = sys_prctl(PR_SET_PDEATHSIG, step->arg[0], 0, 0, 0);
    if (ret < 0)
        return ret;
    int parent = step->fd[0] == PLAN_NO_SLOT ? -1 : step_fd(child, step, 0);
    struct poll_fd signs[] = {{.fd = child->header->report_fd}, {.fd = parent, .events = POLL_READABLE}};
    const struct __kernel_timespec no_time = {0};
    ret = sys_ppoll(signs, 2, &no_time);
    return ret > 0 ? -ESRCH : ret;
}

/* A length that does not fit into the kernel's 16 bits would load the filter's first instructions only. */
long step_seccomp(struct child *child, const struct plan_step *step)
{
    if (step->arg[0] % sizeof(struct sock_filter) || step->arg[0] > BPF_MAXINSNS * sizeof(struct sock_filter))
        return -EINVAL;
    struct sock_fprog program = {
        .len = (unsigned short)(step->arg[0] / sizeof(struct sock_filter)),
        .filter = (struct sock_filter *)(unsigned long)step_string(child, step, 0),
    };
    long ret = sys_seccomp(SECCOMP_SET_MODE_FILTER, (unsigned int)step->arg[1], &program);
    if (ret < 0)
        return ret;
    child->filtered = 1;
    if (step->fd[0] != PLAN_NO_SLOT) /* the launcher takes it from there; after the filter no call is made for it */
        child->slots[step->fd[0]].fd = (int)ret;
    return 0;
}
