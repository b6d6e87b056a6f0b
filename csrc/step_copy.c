/* COPY_UP: what an image has in a directory, put into the file system that lies over it (OCI mount option tmpcopyup).
 *
 * The image is not ours and may change while it is read, so each name is taken once, below a descriptor, and no symlink is followed.
 * The other side is a file system that nobody but us has seen yet.
 *
 * A walk without recursion: a level is two directories and where to go on in the first.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "child.h"

#include <linux/errno.h>

#define DEPTH_MAX 128
#define ENTRIES_BYTES 512 /* room for the longest name; one entry is used at a time */
#define NAME_BYTES 256
#define NAMES_BYTES 4096 /* of the extended attributes of one file; what has more is no image's file */
#define VALUE_BYTES 4096
#define CHUNK_BYTES (1ul << 30)
#define MODE_BITS 07777u
#define OPEN_QUIETLY (O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)

struct directory_entry {
    __u64 inode;
    __s64 next;
    unsigned short length;
    unsigned char type;
    char name[];
};

struct level {
    int from, to;
    __s64 next;
};

static int is_dot(const char *name)
{
    return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* 1: the next name of the directory is in ret; 0: there is none. */
static long next_name(struct level *level, char ret[NAME_BYTES])
{
    char entries[ENTRIES_BYTES] __attribute__((aligned(8)));
    for (;;) {
        long size = sys_lseek(level->from, (long)level->next, 0 /* SEEK_SET */);
        if (size >= 0)
            size = sys_getdents64(level->from, entries, sizeof entries);
        if (size <= 0)
            return size;
        for (long at = 0; at < size;) {
            const struct directory_entry *entry = (const void *)(entries + at);
            at += entry->length;
            level->next = entry->next;
            if (is_dot(entry->name))
                continue;
            for (sys_size i = 0; i < NAME_BYTES; i++)
                if (!(ret[i] = entry->name[i]))
                    return 1;
            return -ENAMETOOLONG;
        }
    }
}

/* ---- what a file has besides its content ---- */

/* A file system that does not keep such an attribute (user.* in a tmpfs before Linux 6.6) goes without. */
static long copy_extended(int from, int to)
{
    char names[NAMES_BYTES], value[VALUE_BYTES];
    long size = sys_flistxattr(from, names, sizeof names);
    if (size < 0)
        return size == -EOPNOTSUPP ? 0 : size;
    for (const char *name = names; name < names + size; name += text_length(name) + 1) {
        long length = sys_fgetxattr(from, name, value, sizeof value);
        long ret = length < 0 ? length : sys_fsetxattr(to, name, value, (sys_size)length, 0);
        if (ret < 0 && ret != -EOPNOTSUPP && ret != -ENODATA)
            return ret;
    }
    return 0;
}

static void times_of(const struct statx *status, struct __kernel_timespec ret[2])
{
    ret[0] = (struct __kernel_timespec){status->stx_atime.tv_sec, status->stx_atime.tv_nsec};
    ret[1] = (struct __kernel_timespec){status->stx_mtime.tv_sec, status->stx_mtime.tv_nsec};
}

/* The owner first: a change of it takes set-user-ID bits and capabilities away. */
static long copy_attributes(int from, int to)
{
    struct statx status;
    struct __kernel_timespec times[2];
    long ret = sys_statx(from, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &status);
    if (ret >= 0)
        ret = sys_fchownat(to, "", status.stx_uid, status.stx_gid, AT_EMPTY_PATH);
    if (ret >= 0)
        ret = copy_extended(from, to);
    if (ret >= 0)
        ret = sys_fchmod(to, status.stx_mode & MODE_BITS);
    if (ret < 0)
        return ret;
    times_of(&status, times);
    return sys_utimensat(to, 0, times, 0);
}

/* ---- one of each sort ---- */

static long copy_bytes(int from, int to)
{
    long sent;
    do
        sent = sys_sendfile(to, from, 0, CHUNK_BYTES);
    while (sent > 0 || sent == -EINTR);
    return sent;
}

static long copy_file(const struct level *level, const char *name)
{
    struct statx status;
    long from = sys_openat(level->from, name, OPEN_QUIETLY, 0);
    if (from < 0)
        return from;
    long to = sys_statx((int)from, "", AT_EMPTY_PATH, STATX_TYPE, &status);
    if (to >= 0 && (status.stx_mode & S_IFMT) != S_IFREG)
        to = -ESTALE; /* it was a file a moment ago */
    if (to >= 0)
        to = sys_openat(level->to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    long ret = to < 0 ? to : copy_bytes((int)from, (int)to);
    if (ret >= 0)
        ret = copy_attributes((int)from, (int)to);
    if (to >= 0)
        (void)sys_close((int)to);
    (void)sys_close((int)from);
    return ret;
}

static long copy_link(const struct level *level, const char *name)
{
    char target[CHILD_PATH_MAX];
    long length = sys_readlinkat(level->from, name, target, sizeof target - 1);
    if (length < 0)
        return length;
    target[length] = 0;
    return sys_symlinkat(target, level->to, name);
}

/* Of what cannot be opened to copy it: a link, a pipe, a device. Sockets are left out: nobody listens at a copy. */
static long copy_named(const struct level *level, const char *name, const struct statx *status)
{
    struct __kernel_timespec times[2];
    unsigned int type = status->stx_mode & S_IFMT;
    unsigned int major = status->stx_rdev_major, minor = status->stx_rdev_minor;
    long ret;
    if (type == S_IFSOCK)
        return 0;
    if (type == S_IFLNK)
        ret = copy_link(level, name);
    else
        ret = sys_mknodat(level->to, name, status->stx_mode, (minor & 0xffu) | major << 8 | (minor & ~0xffu) << 12);
    if (ret >= 0)
        ret = sys_fchownat(level->to, name, status->stx_uid, status->stx_gid, AT_SYMLINK_NOFOLLOW);
    if (ret < 0)
        return ret;
    times_of(status, times);
    return sys_utimensat(level->to, name, times, AT_SYMLINK_NOFOLLOW);
}

static long enter(const struct level *level, const char *name, struct level *ret_below)
{
    long ret = sys_mkdirat(level->to, name, 0700);
    long from = ret < 0 ? ret : sys_openat(level->from, name, OPEN_QUIETLY | O_DIRECTORY, 0);
    if (from < 0)
        return from;
    long to = sys_openat(level->to, name, OPEN_QUIETLY | O_DIRECTORY, 0);
    if (to < 0) {
        (void)sys_close((int)from);
        return to;
    }
    *ret_below = (struct level){.from = (int)from, .to = (int)to};
    return 0;
}

/* ---- all of them ---- */

/* One name of levels[*depth], or the end of that directory. */
static long copy_next(struct level levels[DEPTH_MAX], int *depth)
{
    char name[NAME_BYTES];
    struct statx status;
    struct level *level = &levels[*depth];
    long ret = next_name(level, name);
    if (ret == 0) {
        ret = *depth > 0 ? copy_attributes(level->from, level->to) : 0;
        (void)sys_close(level->from);
        (void)sys_close(level->to);
        (*depth)--;
        return ret;
    }
    if (ret > 0)
        ret = sys_statx(level->from, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &status);
    if (ret < 0)
        return ret;
    if ((status.stx_mode & S_IFMT) == S_IFREG)
        return copy_file(level, name);
    if ((status.stx_mode & S_IFMT) != S_IFDIR)
        return copy_named(level, name, &status);
    if (*depth + 1 == DEPTH_MAX)
        return -ENAMETOOLONG;
    ret = enter(level, name, &levels[*depth + 1]);
    if (ret >= 0)
        (*depth)++;
    return ret;
}

static long copy_content(int from, int to)
{
    struct level levels[DEPTH_MAX];
    int depth = 0;
    long top_from = sys_openat(from, ".", OPEN_QUIETLY | O_DIRECTORY, 0);
    if (top_from < 0)
        return top_from;
    long top_to = sys_openat(to, ".", OPEN_QUIETLY | O_DIRECTORY, 0);
    if (top_to < 0) {
        (void)sys_close((int)top_from);
        return top_to;
    }
    levels[0] = (struct level){.from = (int)top_from, .to = (int)top_to};
    long ret = 0;
    while (depth >= 0 && ret >= 0)
        ret = copy_next(levels, &depth);
    for (; depth >= 0; depth--) {
        (void)sys_close(levels[depth].from);
        (void)sys_close(levels[depth].to);
    }
    return ret;
}

static long copy_mode(int from, int to)
{
    struct statx status;
    long ret = sys_statx(from, "", AT_EMPTY_PATH, STATX_MODE, &status);
    long top = ret < 0 ? ret : sys_openat(to, ".", OPEN_QUIETLY | O_DIRECTORY, 0);
    if (top < 0)
        return top;
    ret = sys_fchmod((int)top, status.stx_mode & MODE_BITS);
    (void)sys_close((int)top);
    return ret;
}

/* An empty slot: the image has no such directory, and there is nothing to copy. */
long step_copy_up(struct child *child, const struct plan_step *step)
{
    int from = step_fd(child, step, 0), to = step_fd(child, step, 1);
    if (from < 0)
        return 0;
    long ret = step->arg[0] & PLAN_COPY_MODE ? copy_mode(from, to) : 0;
    if (ret >= 0 && (step->arg[0] & PLAN_COPY_CONTENT))
        ret = copy_content(from, to);
    return ret;
}
