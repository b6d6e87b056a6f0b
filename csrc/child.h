/* What the step functions share: the child that runs a plan. See child.c for how it works.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PYRUN_CHILD_H
#define PYRUN_CHILD_H

#include "plan.h"
#include "syscalls.h"

#define CHILD_PATH_MAX 4096
#define UMASK_IS_SET (-1l)

struct child {
    struct plan_header *header;
    const struct plan_step *steps;
    struct plan_stamp *stamps;
    struct plan_slot *slots;
    const char *data;
    __u32 current;          /* index of the step that runs */
    long umask;             /* for the program, if no step sets another; ours is 0, so that modes mean what they say */
    char **lists;           /* room for the pointers of argv and environment of an EXEC, one after the other */
    int groups_denied;      /* our user namespace allows no setgroups(2) (user_namespaces(7)) */
    int filtered;           /* a seccomp filter is on: make no call that the program itself would not make */
    int null_root, null_fd; /* what mask_file() found below which root; 0: nothing yet */
    char found[CHILD_PATH_MAX]; /* what FIND_PROGRAM found, for EXEC */
};

/* Every step function returns 0 or a negative errno. */
typedef long step_function(struct child *child, const struct plan_step *step);

void child_report(const struct child *child, __u32 kind, long error);
int child_main(void *block, __u64 size);

/* The step's data; an absent string is NULL. plan_check() has seen that they end inside the block. */
static inline const char *step_string(const struct child *child, const struct plan_step *step, int which)
{
    return step->str[which] ? child->data + step->str[which] - 1 : 0;
}

/* The descriptor in one of the step's slots; AT_FDCWD for no slot, which openat and its family take as "the path says it all". */
static inline int step_fd(const struct child *child, const struct plan_step *step, int which)
{
    return step->fd[which] == PLAN_NO_SLOT ? AT_FDCWD : child->slots[step->fd[which]].fd;
}

static inline void step_set_fd(struct child *child, const struct plan_step *step, int which, int fd)
{
    struct plan_slot *slot = &child->slots[step->fd[which]];
    if (slot->fd >= 0)
        (void)sys_close(slot->fd);
    slot->fd = fd;
    slot->pending = 0;
}

/* path.c: names below a directory that somebody hostile may have filled */
long path_open(int at, const char *path, __u64 flags);
long path_open_plain(int at, const char *path);
long path_open_parent(int at, const char *path, const char **ret_name);
void path_close_parent(int at, long parent);
long path_make_directory(int at, const char *path, unsigned int mode);
long path_make_target(int at, const char *path, unsigned int mode);
sys_size text_length(const char *text);
void text_proc_fd(char ret[32], int fd);

/* executable.c: would an exec fail, and why? */
long executable_by_permission(const char *path);
long executable_by_format(const char *path);
long executable_by_size(const struct child *child, const struct plan_step *exec, const char *program);

/* step_namespace.c */
step_function step_await, step_setns, step_unshare, step_time_namespace, step_hostname, step_domainname,
    step_loopback_up, step_namespace_root, step_new_pid_namespace;
/* step_terminal.c */
step_function step_terminal;
/* step_mount.c */
step_function step_propagation, step_open_tree, step_new_mount, step_reconfigure, step_attach, step_set_attributes,
    step_pivot_root, step_chroot;
long mount_set_attributes(int fd, unsigned int flags, __u64 set, __u64 clear, __u64 propagation);
long mount_attach(int tree, int target);
/* step_hide.c */
step_function step_mask, step_readonly;
/* step_copy.c */
step_function step_copy_up;
/* step_mount_old.c */
long old_bind(int source, int target, int recursive);
long old_attach(struct child *child, const struct plan_step *step, int target);
long old_look_again(int at, const char *path, int target, int source);
long old_set_attributes(int mount, int recursive, __u64 set, __u64 clear);
long old_set_propagation(int mount, unsigned long flags);
long old_reconfigure(const struct child *child, const struct plan_step *step, int mount);
/* step_file.c */
step_function step_open_directory, step_mkdir, step_mknod, step_symlink, step_write_file, step_change_directory,
    step_duplicate, step_close_range, step_close;
/* step_process.c */
step_function step_rlimit, step_oom_score_adj, step_bounding_set, step_user, step_capabilities, step_no_new_privileges,
    step_umask, step_new_session, step_controlling_terminal, step_keyring, step_parent_death_signal, step_seccomp,
    step_stdio_owner, step_raise_capabilities, step_capability_sets;
/* step_scheduling.c */
step_function step_scheduler, step_io_priority, step_affinity, step_personality, step_memory_policy;
/* step_exec.c */
step_function step_find_program, step_gate, step_exec;

#endif
