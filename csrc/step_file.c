/* Steps that work on files, directories and descriptors.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "child.h"

#include <linux/close_range.h>
#include <linux/errno.h>

#define INT_LARGEST 0x7fffffff

long step_open_directory(struct child *child, const struct plan_step *step)
{
    int at = step_fd(child, step, 0);
    const char *path = step_string(child, step, 0);
    long fd = step->arg[0] ? path_make_directory(at, path, (unsigned int)step->arg[0])
                           : path_open(at, path, O_PATH | O_DIRECTORY);
    if (fd < 0)
        return fd;
    step_set_fd(child, step, 1, (int)fd);
    return 0;
}

long step_mkdir(struct child *child, const struct plan_step *step)
{
    long fd = path_make_directory(step_fd(child, step, 0), step_string(child, step, 0), (unsigned int)step->arg[0]);
    return fd < 0 ? fd : sys_close((int)fd);
}

/* What is there already is good if it is the same device, and not a link to one. */
static int is_node(int parent, const char *name, const struct plan_step *step)
{
    struct statx status;
    if (sys_statx(parent, name, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &status) < 0)
        return 0;
    __u64 major = status.stx_rdev_major, minor = status.stx_rdev_minor;
    return (status.stx_mode & S_IFMT) == (step->arg[0] & S_IFMT) &&
           ((minor & 0xffu) | major << 8 | (minor & ~0xffull) << 12) == step->arg[1];
}

long step_mknod(struct child *child, const struct plan_step *step)
{
    const char *name;
    int at = step_fd(child, step, 0);
    long parent = path_open_parent(at, step_string(child, step, 0), &name);
    if (parent < 0)
        return parent;
    long ret = sys_mknodat((int)parent, name, (unsigned int)step->arg[0], step->arg[1]);
    if (ret >= 0 && (step->arg[2] || step->arg[3]))
        ret = sys_fchownat((int)parent, name, (__u32)step->arg[2], (__u32)step->arg[3], AT_SYMLINK_NOFOLLOW);
    if (ret == -EEXIST && is_node((int)parent, name, step))
        ret = 0;
    path_close_parent(at, parent);
    return ret;
}

static int is_link(int parent, const char *name, const char *target)
{
    char found[CHILD_PATH_MAX];
    long length = sys_readlinkat(parent, name, found, sizeof found);
    if (length < 0 || (sys_size)length != text_length(target))
        return 0;
    for (long i = 0; i < length; i++)
        if (found[i] != target[i])
            return 0;
    return 1;
}

long step_symlink(struct child *child, const struct plan_step *step)
{
    const char *name;
    int at = step_fd(child, step, 0);
    long parent = path_open_parent(at, step_string(child, step, 0), &name);
    if (parent < 0)
        return parent;
    const char *target = step_string(child, step, 1);
    long ret = sys_symlinkat(target, (int)parent, name);
    if (ret == -EEXIST && (step->arg[0] || is_link((int)parent, name, target)))
        ret = 0;
    path_close_parent(at, parent);
    return ret;
}

static long write_all(int fd, const char *bytes, __u64 size)
{
    while (size > 0) {
        long written = sys_write(fd, bytes, size);
        if (written == -EINTR)
            continue;
        if (written <= 0)
            return written < 0 ? written : -EIO;
        bytes += written;
        size -= (__u64)written;
    }
    return 0;
}

/* A file that must exist is opened through the kernel's own resolution, and a pipe or terminal that lies there does not hold us up;
 * one to be created must be new, so that no link that lies there already can direct the write. */
static long open_to_write(int at, const char *path, unsigned int mode)
{
    if (mode == 0)
        return path_open(at, path, O_WRONLY | O_TRUNC | O_NONBLOCK | O_NOCTTY);
    const char *name;
    long parent = path_open_parent(at, path, &name);
    if (parent < 0)
        return parent;
    long fd = sys_openat((int)parent, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, mode);
    path_close_parent(at, parent);
    return fd;
}

long step_write_file(struct child *child, const struct plan_step *step)
{
    long fd = open_to_write(step_fd(child, step, 0), step_string(child, step, 0), (unsigned int)step->arg[1]);
    if (fd < 0)
        return fd;
    long ret = write_all((int)fd, step_string(child, step, 1), step->arg[0]);
    (void)sys_close((int)fd);
    return ret;
}

long step_change_directory(struct child *child, const struct plan_step *step)
{
    int at = step_fd(child, step, 0);
    const char *path = step_string(child, step, 0);
    long fd = step->arg[0] ? path_make_directory(at, path, (unsigned int)step->arg[0])
                           : path_open(at, path, O_PATH | O_DIRECTORY);
    if (fd < 0)
        return fd;
    long ret = sys_fchdir((int)fd);
    (void)sys_close((int)fd);
    return ret;
}

static long move_away(__s32 *fd, int number)
{
    if (*fd != number)
        return 0;
    long moved = sys_fcntl(number, F_DUPFD_CLOEXEC, 3);
    if (moved >= 0)
        *fd = (__s32)moved;
    return moved;
}

/* A number that the program is to have may be in use: by the pipes to the launcher, whose numbers are what was free there, or by
 * what a later step needs. */
static long make_room(struct child *child, int number)
{
    long ret = move_away(&child->header->report_fd, number);
    if (ret >= 0)
        ret = move_away(&child->header->gate_fd, number);
    for (__u32 i = 0; i < child->header->slot_count && ret >= 0; i++)
        ret = move_away(&child->slots[i].fd, number);
    return ret;
}

long step_duplicate(struct child *child, const struct plan_step *step)
{
    int from = step_fd(child, step, 0);
    if (from < 0 || step->arg[0] > INT_LARGEST)
        return -EBADF;
    int to = (int)step->arg[0];
    if (from == to) /* dup3 refuses this; what is wanted is the descriptor without close-on-exec */
        return sys_fcntl(from, F_SETFD, 0);
    long ret = make_room(child, to);
    if (ret >= 0)
        ret = sys_dup3(from, to, 0);
    return ret < 0 ? ret : 0;
}

static long close_some(__s64 first, __s64 last, unsigned int flags)
{
    return first <= last ? sys_close_range((unsigned int)first, (unsigned int)last, flags) : 0;
}

/* The pipes to the launcher stay until the exec closes them, or it would take their end for the program's start. */
static long close_around_pipes(const struct child *child, __s64 first, __s64 last, unsigned int flags)
{
    __s64 low = child->header->report_fd, high = child->header->gate_fd;
    if (low > high) {
        low = child->header->gate_fd;
        high = child->header->report_fd;
    }
    __s64 from = first;
    long ret = 0;
    if (low >= from && low <= last) {
        ret = close_some(from, low - 1, flags);
        from = low + 1;
    }
    if (ret >= 0 && high >= from && high <= last) {
        ret = close_some(from, high - 1, flags);
        from = high + 1;
    }
    return ret < 0 ? ret : close_some(from, last, flags);
}

long step_close_range(struct child *child, const struct plan_step *step)
{
    unsigned int flags = (unsigned int)step->arg[2];
    if (step->arg[0] > step->arg[1] || step->arg[1] > ~0u)
        return -EINVAL;
    if (flags & CLOSE_RANGE_CLOEXEC)
        return sys_close_range((unsigned int)step->arg[0], (unsigned int)step->arg[1], flags);
    for (__u32 i = 0; i < child->header->slot_count; i++) {
        __s64 fd = child->slots[i].fd;
        if (fd >= (__s64)step->arg[0] && fd <= (__s64)step->arg[1])
            child->slots[i].fd = -1;
    }
    return close_around_pipes(child, (__s64)step->arg[0], (__s64)step->arg[1], flags);
}

long step_close(struct child *child, const struct plan_step *step)
{
    step_set_fd(child, step, 0, -1);
    return 0;
}
