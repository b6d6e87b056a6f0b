/* Steps that hide paths, or make them read-only, with mounts over them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "child.h"

#include <linux/errno.h>

#define NULL_DEVICE_MAJOR 1
#define NULL_DEVICE_MINOR 3

static long mask_directory(int target)
{
    char path[32];
    long fs = sys_fsopen("tmpfs", FSOPEN_CLOEXEC);
    if (fs == -ENOSYS) {
        text_proc_fd(path, target);
        return sys_mount("tmpfs", path, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
                         "nr_blocks=1,nr_inodes=1");
    }
    if (fs < 0)
        return fs;
    long ret = sys_fsconfig((int)fs, FSCONFIG_CMD_CREATE, 0, 0, 0);
    long tree = ret < 0 ? ret
                        : sys_fsmount((int)fs, FSMOUNT_CLOEXEC,
                                      MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    (void)sys_close((int)fs);
    if (tree < 0)
        return tree;
    ret = mount_attach((int)tree, target);
    (void)sys_close((int)tree);
    return ret;
}

/* Attaches a clone of what `source` names over `target`, with attributes. */
static long bind_over(int source, int target, unsigned int recursive, __u64 set)
{
    long tree = sys_open_tree(source, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | recursive);
    if (tree < 0)
        return tree;
    long ret = mount_set_attributes((int)tree, recursive, set, 0, 0);
    if (ret >= 0)
        ret = mount_attach((int)tree, target);
    (void)sys_close((int)tree);
    return ret;
}

/* /dev/null below the container's root is what hides a file. That it is the null device, and no symlink or file that the image
 * put there, is looked at on the descriptor that is then mounted (CVE-2025-31133). */
static long open_null(int root)
{
    struct statx status;
    long null = path_open(root, "/dev/null", O_PATH | O_NOFOLLOW);
    if (null < 0)
        return null;
    long ret = sys_statx((int)null, "", AT_EMPTY_PATH, STATX_TYPE, &status);
    if (ret >= 0 && ((status.stx_mode & S_IFMT) != S_IFCHR || status.stx_rdev_major != NULL_DEVICE_MAJOR ||
                     status.stx_rdev_minor != NULL_DEVICE_MINOR))
        ret = -ENODEV;
    if (ret >= 0)
        return null;
    (void)sys_close((int)null);
    return ret;
}

/* Opened for the first file, and kept for the next ones. */
static long mask_file(struct child *child, int root, int target)
{
    if (!child->null_fd || child->null_root != root) {
        long null = open_null(root);
        if (null < 0)
            return null;
        child->null_root = root;
        child->null_fd = (int)null;
    }
    long ret = bind_over(child->null_fd, target, 0, 0);
    return ret == -ENOSYS ? old_bind(child->null_fd, target, 0) : ret;
}

/* A path that is not there needs no mask, and PLAN_IF_EXISTS lets ENOENT pass. Once it was there, nothing that is missing afterwards
 * (the container's /dev/null, the fallback's /proc) may pass as that. */
static long not_missing(long ret)
{
    return ret == -ENOENT ? -ENODEV : ret;
}

long step_mask(struct child *child, const struct plan_step *step)
{
    struct statx status;
    int at = step_fd(child, step, 0);
    long target = path_open(at, step_string(child, step, 0), O_PATH);
    if (target < 0)
        return target;
    long ret = sys_statx((int)target, "", AT_EMPTY_PATH, STATX_TYPE, &status);
    if (ret >= 0)
        ret = (status.stx_mode & S_IFMT) == S_IFDIR ? mask_directory((int)target)
                                                    : mask_file(child, step_fd(child, step, 1), (int)target);
    (void)sys_close((int)target);
    return not_missing(ret);
}

static long old_readonly(int at, const char *path, int target)
{
    long ret = old_bind(target, target, 1);
    if (ret < 0)
        return ret;
    long mount = old_look_again(at, path, target, target);
    if (mount < 0)
        return mount;
    ret = old_set_attributes((int)mount, 1, MOUNT_ATTR_RDONLY, 0);
    (void)sys_close((int)mount);
    return ret;
}

long step_readonly(struct child *child, const struct plan_step *step)
{
    int at = step_fd(child, step, 0);
    const char *path = step_string(child, step, 0);
    long target = path_open(at, path, O_PATH);
    if (target < 0)
        return target;
    long ret = bind_over((int)target, (int)target, AT_RECURSIVE, MOUNT_ATTR_RDONLY);
    if (ret == -ENOSYS)
        ret = old_readonly(at, path, (int)target);
    (void)sys_close((int)target);
    return not_missing(ret);
}
