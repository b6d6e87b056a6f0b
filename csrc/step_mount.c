/* Steps that build and arrange mount trees.
 *
 * A tree is made detached, held by a descriptor in a slot, and attached to a target that was resolved once, by descriptor.
 * Where the kernel (or a filter around us) lacks the calls for detached trees, the making is put off: the slot remembers the step as
 * pending, and ATTACH does it the old way (step_mount_old.c).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "child.h"

#include <linux/errno.h>

/* <sys/mount.h> clashes with <linux/mount.h> on the oldest C library that we build with. */
#define UMOUNT_DETACH 2      /* MNT_DETACH */
#define OPTION_VALUE_MAX 255 /* fsconfig(2) */

long mount_set_attributes(int fd, unsigned int flags, __u64 set, __u64 clear, __u64 propagation)
{
    struct mount_attr attr = {.attr_set = set, .attr_clr = clear, .propagation = propagation};
    if (!set && !clear && !propagation)
        return 0;
    return sys_mount_setattr(fd, "", AT_EMPTY_PATH | flags, &attr, sizeof attr);
}

static void set_pending(struct child *child, const struct plan_step *step, int which, int fd)
{
    step_set_fd(child, step, which, fd);
    child->slots[step->fd[which]].pending = (__u32)(step - child->steps) + 1;
}

long step_propagation(struct child *child, const struct plan_step *step)
{
    return sys_mount(0, step_string(child, step, 0), 0, (unsigned long)step->arg[0], 0);
}

/* ---- making trees ---- */

/* Ids can be mapped only while nobody sees the mount, and only by who rules over its file system. */
static long map_ids(int tree, unsigned int flags, int user_namespace)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (__u64)user_namespace};
    return sys_mount_setattr(tree, "", AT_EMPTY_PATH | flags, &attr, sizeof attr);
}

static long set_propagation(int mount, __u64 propagation)
{
    return mount_set_attributes(mount, propagation & MS_REC ? AT_RECURSIVE : 0, 0, 0, propagation & ~(__u64)MS_REC);
}

/* First what holds for the whole tree, then what holds for its top alone. */
static long change_tree(int tree, const struct plan_step *step)
{
    unsigned int all = step->arg[0] & PLAN_TREE_RECURSIVE ? AT_RECURSIVE : 0;
    long ret = mount_set_attributes(tree, all, (__u32)step->arg[1], (__u32)step->arg[2], (__u32)step->arg[3]);
    if (ret >= 0)
        ret =
            mount_set_attributes(tree, 0, step->arg[1] >> PLAN_TREE_TOP_SHIFT, step->arg[2] >> PLAN_TREE_TOP_SHIFT, 0);
    return ret < 0 ? ret : set_propagation(tree, step->arg[3] >> PLAN_TREE_TOP_SHIFT);
}

static long tree_of(const struct child *child, int source, const struct plan_step *step)
{
    unsigned int recursive = step->arg[0] & PLAN_TREE_RECURSIVE ? AT_RECURSIVE : 0;
    long tree = sys_open_tree(source, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | recursive);
    if (tree < 0)
        return tree;
    long ret = change_tree((int)tree, step);
    if (ret >= 0 && step->fd[2] != PLAN_NO_SLOT)
        ret = map_ids((int)tree, step->arg[0] & PLAN_TREE_MAP_ALL ? AT_RECURSIVE : 0, step_fd(child, step, 2));
    if (ret >= 0)
        return tree;
    (void)sys_close((int)tree);
    return ret;
}

/* The source: below a directory slot, by the child's own path, or (an empty path) what the slot itself holds. */
static long open_source(struct child *child, const struct plan_step *step)
{
    int at = step_fd(child, step, 0);
    const char *path = step_string(child, step, 0);
    unsigned int create_mode = (unsigned int)(step->arg[0] >> PLAN_TREE_MODE_SHIFT);
    if (!*path)
        return sys_fcntl(at, F_DUPFD_CLOEXEC, 3);
    long source = path_open(at, path, O_PATH);
    return source == -ENOENT && create_mode ? path_make_directory(at, path, create_mode) : source;
}

long step_open_tree(struct child *child, const struct plan_step *step)
{
    long source = open_source(child, step);
    if (source < 0)
        return source;
    long tree = tree_of(child, (int)source, step);
    if (tree == -ENOSYS && step->fd[2] == PLAN_NO_SLOT) { /* mount(2) maps no ids */
        set_pending(child, step, 1, (int)source);
        return 0;
    }
    (void)sys_close((int)source);
    if (tree < 0)
        return tree;
    step_set_fd(child, step, 1, (int)tree);
    return 0;
}

/* One "key=value" or "flag" of the list; key is cut out of it into a buffer. -ENOSYS for a value, such as the layers of an overlay,
 * that is longer than fsconfig(2) takes it: mount(2) does. */
static long configure(int fs, const char *option)
{
    char key[64];
    sys_size length = 0;
    while (option[length] && option[length] != '=') {
        if (length + 1 >= sizeof key)
            return -ENAMETOOLONG;
        key[length] = option[length];
        length++;
    }
    key[length] = 0;
    if (!option[length])
        return sys_fsconfig(fs, FSCONFIG_SET_FLAG, key, 0, 0);
    if (text_length(option + length + 1) > OPTION_VALUE_MAX)
        return -ENOSYS;
    return sys_fsconfig(fs, FSCONFIG_SET_STRING, key, option + length + 1, 0);
}

static long configure_all(int fs, const char *option, __u64 count)
{
    long ret = 0;
    for (__u64 i = 0; i < count && ret >= 0; i++) {
        ret = configure(fs, option);
        option += text_length(option) + 1;
    }
    return ret;
}

static long new_mount(const struct child *child, const struct plan_step *step, int fs)
{
    const char *source = step_string(child, step, 2);
    long ret = source ? sys_fsconfig(fs, FSCONFIG_SET_STRING, "source", source, 0) : 0;
    if (ret >= 0)
        ret = configure_all(fs, step_string(child, step, 1), step->arg[0]);
    if (ret >= 0)
        ret = sys_fsconfig(fs, FSCONFIG_CMD_CREATE, 0, 0, 0);
    return ret < 0 ? ret : sys_fsmount(fs, FSMOUNT_CLOEXEC, (unsigned int)step->arg[1]);
}

long step_new_mount(struct child *child, const struct plan_step *step)
{
    long fs = sys_fsopen(step_string(child, step, 0), FSOPEN_CLOEXEC);
    if (fs == -ENOSYS) {
        set_pending(child, step, 1, -1);
        return 0;
    }
    if (fs < 0)
        return fs;
    long tree = new_mount(child, step, (int)fs);
    (void)sys_close((int)fs);
    if (tree == -ENOSYS) {
        set_pending(child, step, 1, -1);
        return 0;
    }
    if (tree < 0)
        return tree;
    step_set_fd(child, step, 1, (int)tree);
    return 0;
}

/* Of the file system, wherever else it may be mounted. */
long step_reconfigure(struct child *child, const struct plan_step *step)
{
    long mount = path_open(step_fd(child, step, 0), step_string(child, step, 0), O_PATH);
    if (mount < 0)
        return mount;
    long fs = sys_fspick((int)mount, "", FSPICK_EMPTY_PATH | FSPICK_CLOEXEC);
    long ret = fs < 0 ? fs : configure_all((int)fs, step_string(child, step, 1), step->arg[0]);
    if (ret >= 0)
        ret = sys_fsconfig((int)fs, FSCONFIG_CMD_RECONFIGURE, 0, 0, 0);
    if (ret == -ENOSYS)
        ret = old_reconfigure(child, step, (int)mount);
    if (fs >= 0)
        (void)sys_close((int)fs);
    (void)sys_close((int)mount);
    return ret;
}

/* ---- attaching them ---- */

long mount_attach(int tree, int target)
{
    return sys_move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

/* A directory is mounted on a directory, anything else on a file; a file system that is yet to be made has a directory at its top. */
static long target_mode(const struct child *child, const struct plan_step *step)
{
    struct statx status;
    int tree = step_fd(child, step, 0);
    if (tree < 0)
        return S_IFDIR | 0755;
    long ret = sys_statx(tree, "", AT_EMPTY_PATH, STATX_TYPE, &status);
    if (ret < 0)
        return ret;
    return (status.stx_mode & S_IFMT) == S_IFDIR ? S_IFDIR | 0755 : S_IFREG | 0644;
}

/* A link in the way of /proc would put it where another mount may hide it from those who look for /proc/sys to protect it. What is
 * missing is made and then looked at again. */
static long open_target(const struct child *child, const struct plan_step *step)
{
    int at = step_fd(child, step, 1);
    const char *path = step_string(child, step, 0);
    int no_links = (step->arg[0] & PLAN_NO_LINKS) != 0;
    long target = no_links ? path_open_plain(at, path) : path_open(at, path, O_PATH);
    if (target != -ENOENT || !(step->arg[0] & PLAN_CREATE))
        return target;
    long mode = target_mode(child, step);
    if (mode < 0)
        return mode;
    target = path_make_target(at, path, (unsigned int)mode);
    if (target < 0 || !no_links)
        return target;
    (void)sys_close((int)target);
    return path_open_plain(at, path);
}

long step_attach(struct child *child, const struct plan_step *step)
{
    long target = open_target(child, step);
    if (target < 0)
        return target;
    long ret = child->slots[step->fd[0]].pending ? old_attach(child, step, (int)target)
                                                 : mount_attach(step_fd(child, step, 0), (int)target);
    (void)sys_close((int)target);
    return ret;
}

long step_set_attributes(struct child *child, const struct plan_step *step)
{
    long mount = path_open(step_fd(child, step, 0), step_string(child, step, 0), O_PATH);
    if (mount < 0)
        return mount;
    int recursive = step->arg[0] != 0;
    long ret = mount_set_attributes((int)mount, recursive ? AT_RECURSIVE : 0, step->arg[1], step->arg[2], 0);
    if (ret == -ENOSYS)
        ret = old_set_attributes((int)mount, recursive, step->arg[1], step->arg[2]);
    if (ret >= 0)
        ret = set_propagation((int)mount, step->arg[3]);
    if (ret == -ENOSYS)
        ret = old_set_propagation((int)mount, (unsigned long)step->arg[3]);
    (void)sys_close((int)mount);
    return ret;
}

/* ---- the new root ---- */

/* pivot_root(".", ".") stacks the old root over the new one, where a lazy unmount takes it away (pivot_root(2), NOTES). The old
 * root must not be shared, or the unmount would reach the host: PROPAGATION has seen to that. */
long step_pivot_root(struct child *child, const struct plan_step *step)
{
    long ret = sys_fchdir(step_fd(child, step, 0));
    if (ret >= 0)
        ret = sys_pivot_root(".", ".");
    if (ret >= 0)
        ret = sys_umount2(".", UMOUNT_DETACH);
    return ret < 0 ? ret : sys_chdir("/");
}

/* A mount of /proc or /sys that stayed below the new root would let a user namespace, made inside later, mount a whole one: the
 * kernel allows that where one is mounted already, covered or not. One that is locked cannot go; covered, it is not whole any more. */
static long hide_old(const char *path)
{
    long ret = sys_umount2(path, UMOUNT_DETACH | UMOUNT_NOFOLLOW);
    if (ret == -EINVAL || ret == -EPERM)
        ret =
            sys_mount("tmpfs", path, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "nr_blocks=1,nr_inodes=1");
    return ret == -ENOENT ? 0 : ret;
}

/* Where pivot_root(2) cannot be used, since the old root is the initial ramfs. The new root lies over the old one already, so that
 * no ".." leads below it. */
long step_chroot(struct child *child, const struct plan_step *step)
{
    long ret = hide_old("/proc");
    if (ret >= 0)
        ret = hide_old("/sys");
    if (ret >= 0)
        ret = sys_fchdir(step_fd(child, step, 0));
    if (ret >= 0)
        ret = sys_chroot(".");
    return ret < 0 ? ret : sys_chdir("/");
}
