/* Mounts with mount(2), for where the kernel, or a filter around us, lacks the calls for detached trees.
 *
 * OPEN_TREE and NEW_MOUNT then only note that they are pending in their slot, and ATTACH does the work at the target. mount(2) takes
 * names, so a descriptor is named as /proc/self/fd/N: the fallback needs a /proc where the step runs.
 *
 * A bind takes no attributes: they come with a second call on the mount that the first one made. There is no descriptor of
 * that one, so the target is looked up again, and what is found is used only if it is what was just mounted: a container that
 * shares the directory could have put a symlink there in between (CVE-2021-30465).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "child.h"

#include <linux/errno.h>

#define OPTIONS_MAX 4096
#define MOUNTS_MAX 256          /* below one target */
#define MOUNTINFO_LINE_MAX 8192 /* two paths, each up to four times longer by escapes of rare characters, and options */
#define FLAG_RELATIME 0x1000ul  /* ST_RELATIME and ST_NOSYMFOLLOW of statfs(2); the other flags are those of mount(2) */
#define FLAG_NOSYMFOLLOW 0x2000ul
#define MOUNT_NOSYMFOLLOW 256ul /* MS_NOSYMFOLLOW, Linux 5.10 */
#define FLAGS_OF_A_MOUNT (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME)

/* MOUNT_ATTR_* as the flags of mount(2). */
static unsigned long old_flags(__u64 attributes)
{
    unsigned long flags = attributes & (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    if (attributes & MOUNT_ATTR_NODIRATIME)
        flags |= MS_NODIRATIME;
    if (attributes & MOUNT_ATTR_NOSYMFOLLOW)
        flags |= MOUNT_NOSYMFOLLOW;
    switch (attributes & MOUNT_ATTR__ATIME) {
    case MOUNT_ATTR_NOATIME:
        return flags | MS_NOATIME;
    case MOUNT_ATTR_STRICTATIME:
        return flags | MS_STRICTATIME;
    default:
        return flags | MS_RELATIME;
    }
}

/* The flags that a mount has, as MOUNT_ATTR_*: a remount sets them all anew, and those that nobody asked to change must stay. */
static long current_attributes(int mount, __u64 *ret)
{
    struct statfs status;
    long error = sys_fstatfs(mount, &status);
    if (error < 0)
        return error;
    unsigned long flags = (unsigned long)status.f_flags;
    *ret = flags & (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC); /* the same numbers */
    if (flags & MS_NODIRATIME)
        *ret |= MOUNT_ATTR_NODIRATIME;
    if (flags & FLAG_NOSYMFOLLOW)
        *ret |= MOUNT_ATTR_NOSYMFOLLOW;
    if (flags & MS_NOATIME)
        *ret |= MOUNT_ATTR_NOATIME;
    else if (!(flags & FLAG_RELATIME))
        *ret |= MOUNT_ATTR_STRICTATIME;
    return 0;
}

static long change_one(int mount, __u64 set, __u64 clear)
{
    char path[32];
    __u64 attributes;
    long ret = current_attributes(mount, &attributes);
    if (ret < 0)
        return ret;
    text_proc_fd(path, mount);
    return sys_mount(0, path, 0, MS_REMOUNT | MS_BIND | old_flags((attributes & ~clear) | set), 0);
}

/* ---- the mounts below a mount ---- */

struct mountinfo {
    int fd;
    long have, at;
    char buffer[4096];
};

static int next_char(struct mountinfo *file)
{
    if (file->at == file->have) {
        file->have = sys_read(file->fd, file->buffer, sizeof file->buffer);
        file->at = 0;
    }
    return file->have > 0 ? (unsigned char)file->buffer[file->at++] : -1;
}

struct mount_line {
    __u64 id, parent;
    const char *point;
    char text[MOUNTINFO_LINE_MAX];
};

static const char *parse_id(const char *text, __u64 *ret)
{
    *ret = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        *ret = *ret * 10 + (__u64)(*text - '0');
    return *text ? text + 1 : text;
}

static const char *skip_field(const char *text)
{
    while (*text && *text != ' ')
        text++;
    return *text ? text + 1 : text;
}

/* Blanks and the like are written \040 (proc_pid_mountinfo(5)); undone in place. */
static void unescape(char *text)
{
    char *out = text;
    for (; *text && *text != ' '; text++) {
        if (text[0] == '\\' && text[1] && text[2] && text[3]) {
            *out++ = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
            text += 3;
        } else {
            *out++ = *text;
        }
    }
    *out = 0;
}

/* 1: a line; 0: the end; or an error. */
static long next_line(struct mountinfo *file, struct mount_line *line)
{
    sys_size length = 0;
    int c;
    while ((c = next_char(file)) >= 0 && c != '\n') {
        if (length + 1 >= sizeof line->text)
            return -ENAMETOOLONG;
        line->text[length++] = (char)c;
    }
    line->text[length] = 0;
    if (c < 0)
        return file->have < 0 ? file->have : 0;
    const char *rest = parse_id(parse_id(line->text, &line->id), &line->parent);
    line->point = skip_field(skip_field(rest)); /* past the device and the root within it */
    unescape(line->text + (line->point - line->text));
    return 1;
}

static long mount_id(int mount, __u64 *ret)
{
    struct statx status;
    long error = sys_statx(mount, "", AT_EMPTY_PATH, STATX_MNT_ID, &status);
    *ret = status.stx_mnt_id;
    return error;
}

/* The mount of a line, below `top`, by descriptor: no name on the way leads elsewhere, and the mount is the one that was listed. */
static long change_listed(int top, const char *path, __u64 id, __u64 set, __u64 clear)
{
    __u64 found;
    while (*path == '/')
        path++;
    long mount = path_open(top, path, O_PATH | O_NOFOLLOW);
    if (mount < 0)
        return mount;
    long ret = mount_id((int)mount, &found);
    if (ret >= 0)
        ret = found == id ? change_one((int)mount, set, clear) : -ESTALE;
    (void)sys_close((int)mount);
    return ret;
}

/* Parents are listed before what is mounted on them. */
static long change_below(struct mountinfo *file, int top, __u64 set, __u64 clear)
{
    __u64 ids[MOUNTS_MAX];
    struct mount_line line;
    sys_size count = 1, prefix = 0;
    long ret = mount_id(top, &ids[0]);
    while (ret >= 0 && (ret = next_line(file, &line)) > 0) {
        if (line.id == ids[0])
            prefix = text_length(line.point);
        sys_size i = 0;
        while (i < count && ids[i] != line.parent)
            i++;
        if (i == count || line.id == ids[0])
            continue;
        if (count == MOUNTS_MAX)
            return -E2BIG;
        ids[count++] = line.id;
        ret = change_listed(top, line.point + prefix, line.id, set, clear);
    }
    return ret;
}

long old_set_attributes(int mount, int recursive, __u64 set, __u64 clear)
{
    struct mountinfo file = {0};
    if (!set && !clear)
        return 0;
    long ret = change_one(mount, set, clear);
    if (ret < 0 || !recursive)
        return ret;
    long fd = sys_openat(AT_FDCWD, "/proc/self/mountinfo", O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    file.fd = (int)fd;
    ret = change_below(&file, mount, set, clear);
    (void)sys_close((int)fd);
    return ret;
}

long old_set_propagation(int mount, unsigned long flags)
{
    char path[32];
    text_proc_fd(path, mount);
    return flags ? sys_mount(0, path, 0, flags, 0) : 0;
}

/* ---- attaching ---- */

/* The mount that a call a moment ago put on `target`, which `path` names: looked up again, and compared. With a source (a bind)
 * it shows the same file, too. */
long old_look_again(int at, const char *path, int target, int source)
{
    struct statx was, is, from;
    long mount = path_open(at, path, O_PATH);
    if (mount < 0)
        return mount;
    unsigned int mask = STATX_INO | STATX_MNT_ID;
    long ret = sys_statx(target, "", AT_EMPTY_PATH, mask, &was);
    if (ret >= 0)
        ret = sys_statx((int)mount, "", AT_EMPTY_PATH, mask, &is);
    if (ret >= 0 && source >= 0)
        ret = sys_statx(source, "", AT_EMPTY_PATH, mask, &from);
    if (ret >= 0 && (!(is.stx_attributes & STATX_ATTR_MOUNT_ROOT) || is.stx_mnt_id == was.stx_mnt_id))
        ret = -ESTALE;
    if (ret >= 0 && source >= 0 &&
        (is.stx_ino != from.stx_ino || is.stx_dev_major != from.stx_dev_major ||
         is.stx_dev_minor != from.stx_dev_minor))
        ret = -ESTALE;
    if (ret >= 0)
        return mount;
    (void)sys_close((int)mount);
    return ret;
}

long old_bind(int source, int target, int recursive)
{
    char from[32], to[32];
    text_proc_fd(from, source);
    text_proc_fd(to, target);
    return sys_mount(from, to, 0, MS_BIND | (recursive ? MS_REC : 0ul), 0);
}

static long join_options(const struct child *child, const struct plan_step *step, char ret[OPTIONS_MAX])
{
    const char *option = step_string(child, step, 1);
    sys_size at = 0;
    for (__u64 i = 0; i < step->arg[0]; i++, option++) {
        if (i)
            ret[at++] = ',';
        for (; *option; option++) {
            if (at + 2 >= OPTIONS_MAX)
                return -E2BIG;
            ret[at++] = *option;
        }
    }
    ret[at] = 0;
    return 0;
}

/* A remount sets the flags of the mount anew, too: to what they are. */
long old_reconfigure(const struct child *child, const struct plan_step *step, int mount)
{
    char options[OPTIONS_MAX], path[32];
    __u64 attributes;
    long ret = current_attributes(mount, &attributes);
    if (ret >= 0)
        ret = join_options(child, step, options);
    if (ret < 0)
        return ret;
    text_proc_fd(path, mount);
    return sys_mount(0, path, 0, MS_REMOUNT | old_flags(attributes), options);
}

static long make_pending(const struct child *child, const struct plan_step *maker, int target)
{
    char options[OPTIONS_MAX], path[32];
    text_proc_fd(path, target);
    long ret = join_options(child, maker, options);
    if (ret < 0)
        return ret;
    const char *type = step_string(child, maker, 0);
    const char *source = step_string(child, maker, 2);
    return sys_mount(source ? source : type, path, type, old_flags(maker->arg[1]), options);
}

static long finish_bind(const struct plan_step *maker, int mount)
{
    int recursive = maker->arg[0] & PLAN_TREE_RECURSIVE;
    unsigned long propagation = (__u32)maker->arg[3];
    long ret = old_set_attributes(mount, recursive, (__u32)maker->arg[1], (__u32)maker->arg[2]);
    if (ret >= 0)
        ret = old_set_attributes(mount, 0, maker->arg[1] >> PLAN_TREE_TOP_SHIFT, maker->arg[2] >> PLAN_TREE_TOP_SHIFT);
    if (ret >= 0 && propagation)
        ret = old_set_propagation(mount, propagation | (recursive ? MS_REC : 0ul));
    return ret < 0 ? ret : old_set_propagation(mount, maker->arg[3] >> PLAN_TREE_TOP_SHIFT);
}

/* ATTACH of a slot that is pending; afterwards the slot holds the mount, as it would have. */
long old_attach(struct child *child, const struct plan_step *step, int target)
{
    const struct plan_slot *slot = &child->slots[step->fd[0]];
    const struct plan_step *maker = &child->steps[slot->pending - 1];
    int is_bind = maker->kind == PLAN_OPEN_TREE;
    long ret =
        is_bind ? old_bind(slot->fd, target, maker->arg[0] & PLAN_TREE_RECURSIVE) : make_pending(child, maker, target);
    if (ret < 0)
        return ret;
    long mount = old_look_again(step_fd(child, step, 1), step_string(child, step, 0), target, is_bind ? slot->fd : -1);
    if (mount < 0)
        return mount;
    step_set_fd(child, step, 0, (int)mount);
    return is_bind ? finish_bind(maker, (int)mount) : 0;
}
