/* Steps that enter, make and furnish namespaces.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "child.h"
#include "text.h"

#include <linux/errno.h>

/* <net/if.h> and <linux/if.h> bring half of the C library along; this is struct ifreq as SIOCSIFFLAGS reads it. */
struct interface_flags {
    char name[16];
    short flags;
    char unused[22];
};
#define INTERFACE_UP_RUNNING (1 | 0x40) /* IFF_UP | IFF_RUNNING, netdevice(7) */
#define REQUEST_SET_FLAGS 0x8914ul      /* SIOCSIFFLAGS */
#define FAMILY_UNIX 1 /* the cheapest socket that takes the request: 0.07 ms against 0.11 for AF_INET */
#define SOCKET_DATAGRAM_CLOEXEC (2 | O_CLOEXEC)

/* pause writes to a pipe when its namespaces are made. Nobody reads it here: it stays readable for all that wait. If pause died,
 * the pipe has ended, and the step that joins it says so. */
long step_await(struct child *child, const struct plan_step *step)
{
    struct poll_fd poll = {.fd = step_fd(child, step, 0), .events = POLL_READABLE};
    long ret = -EBADF;
    if (poll.fd < 0) /* which poll would wait for without end */
        return ret;
    do
        ret = sys_ppoll(&poll, 1, 0);
    while (ret == -EINTR);
    return ret < 0 ? ret : 0;
}

/* proc: /proc/self, opened while /proc was the host's; the mount namespace may have changed since. */
static int are_groups_denied(int proc)
{
    char text[4] = {0};
    long fd = sys_openat(proc, "setgroups", O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    long ret = sys_read((int)fd, text, sizeof text);
    (void)sys_close((int)fd);
    return ret == sizeof text && text[0] == 'd' && text[1] == 'e' && text[2] == 'n' && text[3] == 'y';
}

/* One call with several flags joins them all or none (pidfds: Linux 5.8). */
long step_setns(struct child *child, const struct plan_step *step)
{
    int fd = step_fd(child, step, 0), kinds = (int)step->arg[0];
    if (!(kinds & CLONE_NEWUSER))
        return sys_setns(fd, kinds);
    long proc = sys_openat(AT_FDCWD, "/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    long ret = sys_setns(fd, kinds);
    if (proc >= 0) {
        child->groups_denied = are_groups_denied((int)proc);
        (void)sys_close((int)proc);
    }
    return ret;
}

long step_unshare(struct child *child, const struct plan_step *step)
{
    (void)child;
    return sys_unshare((int)step->arg[0]);
}

static char *append_offset(char *out, char clock, __u64 seconds, __u64 nanoseconds)
{
    *out++ = clock;
    *out++ = ' ';
    out = append_number(out, (__s64)seconds);
    *out++ = ' ';
    out = append_number(out, (__s64)nanoseconds);
    *out++ = '\n';
    return out;
}

static long write_offsets(const struct plan_step *step)
{
    char text[128];
    char *end = append_offset(text, '1' /* CLOCK_MONOTONIC */, step->arg[0], step->arg[1]);
    end = append_offset(end, '7' /* CLOCK_BOOTTIME */, step->arg[2], step->arg[3]);
    long fd = sys_openat(AT_FDCWD, "/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    long ret = sys_write((int)fd, text, (sys_size)(end - text));
    (void)sys_close((int)fd);
    return ret < 0 ? ret : 0;
}

/* unshare(CLONE_NEWTIME) makes a namespace for the children only, and its offsets can be written until somebody is in it. The
 * program is to be in it and is no child but ourselves after exec: kernels from 6.1 on switch at exec, older ones do not, so
 * enter it here. setns(2) allows that to a process with one thread whose memory nobody shares, which the stage is. */
long step_time_namespace(struct child *child, const struct plan_step *step)
{
    (void)child;
    long ret = sys_unshare(CLONE_NEWTIME);
    if (ret < 0)
        return ret;
    if (step->arg[0] || step->arg[1] || step->arg[2] || step->arg[3])
        ret = write_offsets(step);
    if (ret < 0)
        return ret;
    long fd = sys_openat(AT_FDCWD, "/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    ret = sys_setns((int)fd, CLONE_NEWTIME);
    (void)sys_close((int)fd);
    return ret;
}

long step_hostname(struct child *child, const struct plan_step *step)
{
    const char *name = step_string(child, step, 0);
    return sys_sethostname(name, text_length(name));
}

long step_domainname(struct child *child, const struct plan_step *step)
{
    const char *name = step_string(child, step, 0);
    return sys_setdomainname(name, text_length(name));
}

long step_loopback_up(struct child *child, const struct plan_step *step)
{
    (void)child;
    (void)step;
    struct interface_flags request = {.name = "lo", .flags = INTERFACE_UP_RUNNING};
    long fd = sys_socket(FAMILY_UNIX, SOCKET_DATAGRAM_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    long ret = sys_ioctl((int)fd, REQUEST_SET_FLAGS, &request);
    (void)sys_close((int)fd);
    return ret;
}

/* In a user namespace that we have joined we hold every capability and are nobody: our ids are the host's. What is made from here on
 * is to belong to its root. */
long step_namespace_root(struct child *child, const struct plan_step *step)
{
    (void)child;
    __u32 uid = (__u32)step->arg[0], gid = (__u32)step->arg[1];
    long ret = sys_setresgid(gid, gid, gid);
    return ret < 0 ? ret : sys_setresuid(uid, uid, uid);
}

/* A PID namespace is for children only, so we go on in a child. The clone that made us could not do it: a new one is to belong to
 * the user namespace that we have joined since, or /proc could not be mounted; and in one where others live, /proc/<pid>/exe of a
 * clone that has not executed the stage yet would lead them to the launcher's interpreter (CVE-2019-5736). The child is our launcher's child (CLONE_PARENT), has our
 * descriptors and, with the block of the plan, the same slots. The kernel writes its pid there before it runs, so that the launcher
 * finds it whatever becomes of us. */
long step_new_pid_namespace(struct child *child, const struct plan_step *step)
{
    struct clone_args args = {
        .flags = step->arg[0] | CLONE_PARENT | CLONE_PARENT_SETTID,
        .parent_tid = (unsigned long)&child->header->born_pid,
    };
    long pid = sys_clone3(&args, sizeof args);
    if (pid > 0)
        sys_exit_group(0);
    return pid;
}
