/* Names inside a container's root. The root's content is not ours: any component may be a symlink, and may become one while we
 * look. So a name is resolved once, by the kernel, with RESOLVE_IN_ROOT, and what follows works on the descriptor.
 * (CVE-2021-30465 was a path that was resolved twice.)
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "child.h"

#include <linux/errno.h>

/* RESOLVE_IN_ROOT answers EAGAIN when a rename happened somewhere while ".." was resolved; an image can cause that at will. */
#define PATH_RETRIES 64
#define PATH_LINKS_MAX 40 /* as the kernel's own limit, path_resolution(7) */
#define MODE_BITS 07777u
#define PARENT_MODE 0755u

sys_size text_length(const char *text)
{
    sys_size length = 0;
    while (text[length])
        length++;
    return length;
}

/* "/proc/self/fd/N": how mount(2) is given a descriptor. */
void text_proc_fd(char ret[32], int fd)
{
    static const char prefix[] = "/proc/self/fd/";
    char digits[12];
    unsigned int value = (unsigned int)fd;
    int count = 0;
    sys_size at = 0;
    for (; prefix[at]; at++)
        ret[at] = prefix[at];
    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    while (count)
        ret[at++] = digits[--count];
    ret[at] = 0;
}

static long open_resolved(int at, const char *path, __u64 flags, __u64 resolve)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = resolve};
    if (at != AT_FDCWD)
        how.resolve |= RESOLVE_IN_ROOT;
    long fd = -EAGAIN;
    for (int i = 0; i < PATH_RETRIES && fd == -EAGAIN; i++)
        fd = sys_openat2(at, path, &how, sizeof how);
    return fd;
}

long path_open(int at, const char *path, __u64 flags)
{
    return open_resolved(at, *path ? path : ".", flags, 0);
}

/* A directory that is what its name says: -ELOOP where any component is a symlink. */
long path_open_plain(int at, const char *path)
{
    return open_resolved(at, path, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
}

/* Copies path without slashes at its end; ret has room for CHILD_PATH_MAX. Returns the length. */
static long copy_path(char *ret, const char *path)
{
    sys_size length = text_length(path);
    if (length >= CHILD_PATH_MAX)
        return -ENAMETOOLONG;
    for (sys_size i = 0; i < length; i++)
        ret[i] = path[i];
    while (length > 0 && ret[length - 1] == '/')
        length--;
    ret[length] = 0;
    return (long)length;
}

static int is_plain_name(const char *path)
{
    if (!*path || (path[0] == '.' && (!path[1] || (path[1] == '.' && !path[2]))))
        return 0;
    while (*path && *path != '/')
        path++;
    return !*path;
}

/* Opens the directory that holds path's last component, and points ret_name at that component inside path. That directory may be
 * `at` itself: it is closed with path_close_parent(). */
long path_open_parent(int at, const char *path, const char **ret_name)
{
    char parent[CHILD_PATH_MAX];
    if (at >= 0 && is_plain_name(path)) {
        *ret_name = path;
        return at;
    }
    long length = copy_path(parent, path);
    if (length < 0)
        return length;
    if (length == 0)
        return *path ? -EEXIST : -ENOENT; /* "/" is there, and is no name that a call below a descriptor may get */
    while (length > 0 && parent[length - 1] != '/')
        length--;
    *ret_name = path + length;
    if (length == 0)
        parent[length++] = '.';
    parent[length] = 0;
    return path_open(at, parent, O_PATH | O_DIRECTORY);
}

void path_close_parent(int at, long parent)
{
    if (parent >= 0 && parent != at)
        (void)sys_close((int)parent);
}

/* ---- making what is missing ---- */

static long make_one(int parent, const char *name, unsigned int mode)
{
    return (mode & S_IFMT) == S_IFDIR ? sys_mkdirat(parent, name, mode & MODE_BITS)
                                      : sys_mknodat(parent, name, S_IFREG | (mode & MODE_BITS), 0);
}

static __u64 open_flags(unsigned int mode)
{
    return O_PATH | ((mode & S_IFMT) == S_IFDIR ? O_DIRECTORY : 0);
}

/* Where only the last component is missing. -EEXIST: something is in the way, or more is missing. */
static long make_last(int at, const char *path, unsigned int mode)
{
    const char *name;
    long parent = path_open_parent(at, path, &name);
    if (parent == -ENOENT)
        return -EEXIST;
    if (parent < 0)
        return parent;
    long made = make_one((int)parent, name, mode);
    path_close_parent(at, parent);
    return made < 0 ? made : path_open(at, path, open_flags(mode));
}

/* One level of path, which ends here: opened, or made below `parent` as `name` and opened then. -EEXIST: the name is taken, and yet
 * there is nothing: a symlink that leads nowhere. */
static long open_or_make(int at, const char *path, int parent, const char *name, unsigned int mode)
{
    long fd = path_open(at, path, open_flags(mode));
    if (fd != -ENOENT)
        return fd;
    long made = make_one(parent, name, mode);
    if (made < 0 && made != -EEXIST)
        return made;
    fd = path_open(at, path, open_flags(mode));
    return fd == -ENOENT && made == -EEXIST ? -EEXIST : fd;
}

static long append(char *to, sys_size *at, const char *text, sys_size length)
{
    if (*at + length >= CHILD_PATH_MAX)
        return -ENAMETOOLONG;
    for (sys_size i = 0; i < length; i++)
        to[(*at)++] = text[i];
    to[*at] = 0;
    return 0;
}

/* path[begin..end) is a symlink that leads nowhere: puts what it says in its place, so that this is what is made. An image's
 * /etc/resolv.conf is often such a link, to a file of a service that runs on the host. */
static long go_around(char *path, sys_size begin, sys_size end, int parent)
{
    char link[CHILD_PATH_MAX], result[CHILD_PATH_MAX];
    sys_size at = 0;
    char next = path[end];
    path[end] = 0;
    long length = sys_readlinkat(parent, path + begin, link, sizeof link);
    path[end] = next;
    if (length < 0)
        return length == -EINVAL ? -EEXIST : length; /* no link any more: somebody was quicker */
    long ret = link[0] == '/' ? 0 : append(result, &at, path, begin);
    if (ret >= 0)
        ret = append(result, &at, link, (sys_size)length);
    if (ret >= 0)
        ret = append(result, &at, path + end, text_length(path + end));
    if (ret < 0)
        return ret;
    (void)copy_path(path, result);
    return -EEXIST;
}

/* Each level is resolved from `at` anew, since only so do absolute symlinks in the middle mean what they mean to the container.
 * -EEXIST: path has changed, begin again. */
static long make_levels(int at, char *path, unsigned int mode)
{
    long parent = path_open(at, path[0] == '/' ? "/" : ".", O_PATH | O_DIRECTORY);
    sys_size end = 0;
    while (parent >= 0 && path[end]) {
        while (path[end] == '/')
            end++;
        sys_size begin = end;
        while (path[end] && path[end] != '/')
            end++;
        char next = path[end];
        path[end] = 0;
        long fd = open_or_make(at, path, (int)parent, path + begin, next ? S_IFDIR | PARENT_MODE : mode);
        path[end] = next;
        if (fd == -EEXIST)
            fd = go_around(path, begin, end, (int)parent);
        (void)sys_close((int)parent);
        parent = fd;
    }
    return parent;
}

/* Opens path below at; what is missing of it is made, the last component as mode has it, a directory or an empty file. */
static long path_make(int at, const char *path, unsigned int mode)
{
    char todo[CHILD_PATH_MAX];
    long ret = copy_path(todo, path);
    if (ret < 0)
        return ret;
    long fd = path_open(at, path, open_flags(mode));
    if (fd != -ENOENT)
        return fd;
    fd = make_last(at, path, mode);
    for (int i = 0; i < PATH_LINKS_MAX && fd == -EEXIST; i++)
        fd = make_levels(at, todo, mode);
    return fd == -EEXIST ? -ELOOP : fd;
}

long path_make_directory(int at, const char *path, unsigned int mode)
{
    return path_make(at, path, S_IFDIR | (mode & MODE_BITS));
}

/* The place where something is to be mounted, open: as it is, or (mode has a type) made as a directory or an empty file. */
long path_make_target(int at, const char *path, unsigned int mode)
{
    return mode ? path_make(at, path, mode) : path_open(at, path, O_PATH);
}
