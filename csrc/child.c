/* The child between clone and exec: a loop over the steps of a plan.
 *
 * Theory of operation
 * -------------------
 * Python makes a plan (plan.h), writes it into a memfd, and calls pyrun_spawn(), which clones a child into its cgroup and its PID
 * namespace. The clone shares the caller's memory, so it costs the same from a caller of any size, but for that reason it may do
 * next to nothing there: it sorts its descriptors and executes the *stage*, a static program of a few kilobytes from a sealed
 * memfd. The caller goes on meanwhile.
 *
 * The stage is this file. It maps the plan, looks at every offset in it, and runs the steps in their order:
 *
 *     launcher                             stage, born in the container's cgroup
 *     --------                             -----------------------------------
 *     pyrun_spawn() ───── clone3 ────────▶ runs steps; stamps each one's begin and end into the plan
 *     read(report)  ◀──── FAILED ───────── a step failed: {step, errno}; the stage exits
 *                   ◀──── WARNING ──────── an optional step failed; goes on
 *                   ◀──── GATE ─────────── everything is set up; blocks on the gate
 *     write(gate)   ────── 1 byte ───────▶ filter, exec
 *     read(report)  ◀──── end of file ──── the exec closed the pipe: the program runs
 *
 * Why a program of its own, when a thread of instructions in the clone could run the steps too:
 *   - A process that shares memory cannot join a time namespace (setns(2): EUSERS).
 *   - A container that is created but not started waits at its gate for as long as its pod's other containers need, next to
 *     containers that may share its PID namespace. What they can reach through /proc/<pid>/exe is a sealed memfd, and through
 *     /proc/<pid>/mem a few kilobytes, not the launcher's memory and not the host's interpreter (CVE-2019-5736). It is not
 *     dumpable either, so they cannot even look.
 *   - The launcher prepares the next container while the kernel works for this one.
 * It costs one exec of a small static program, 0.1 ms.
 *
 * Nothing here allocates, locks, formats or uses a C library; a test looks at the object files' symbols.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "child.h"

#include <linux/errno.h>

#define CLOCK_MONOTONIC_ID 1
#define MAP_READ_WRITE (1 | 2)         /* PROT_READ | PROT_WRITE */
#define MAP_PRIVATE_ANONYMOUS (2 | 32) /* MAP_PRIVATE | MAP_ANONYMOUS */
#define EXIT_FAILED_PLAN 127

static step_function *const step_functions[] = {
    [PLAN_SETNS] = step_setns,
    [PLAN_UNSHARE] = step_unshare,
    [PLAN_TIME_NAMESPACE] = step_time_namespace,
    [PLAN_PROPAGATION] = step_propagation,
    [PLAN_OPEN_TREE] = step_open_tree,
    [PLAN_NEW_MOUNT] = step_new_mount,
    [PLAN_ATTACH] = step_attach,
    [PLAN_SET_ATTRIBUTES] = step_set_attributes,
    [PLAN_MASK] = step_mask,
    [PLAN_READONLY] = step_readonly,
    [PLAN_OPEN_DIRECTORY] = step_open_directory,
    [PLAN_MKDIR] = step_mkdir,
    [PLAN_MKNOD] = step_mknod,
    [PLAN_SYMLINK] = step_symlink,
    [PLAN_WRITE_FILE] = step_write_file,
    [PLAN_CHANGE_DIRECTORY] = step_change_directory,
    [PLAN_PIVOT_ROOT] = step_pivot_root,
    [PLAN_HOSTNAME] = step_hostname,
    [PLAN_DOMAINNAME] = step_domainname,
    [PLAN_LOOPBACK_UP] = step_loopback_up,
    [PLAN_RLIMIT] = step_rlimit,
    [PLAN_OOM_SCORE_ADJ] = step_oom_score_adj,
    [PLAN_BOUNDING_SET] = step_bounding_set,
    [PLAN_USER] = step_user,
    [PLAN_CAPABILITIES] = step_capabilities,
    [PLAN_NO_NEW_PRIVILEGES] = step_no_new_privileges,
    [PLAN_UMASK] = step_umask,
    [PLAN_DUPLICATE] = step_duplicate,
    [PLAN_CLOSE_RANGE] = step_close_range,
    [PLAN_NEW_SESSION] = step_new_session,
    [PLAN_CONTROLLING_TERMINAL] = step_controlling_terminal,
    [PLAN_KEYRING] = step_keyring,
    [PLAN_PARENT_DEATH_SIGNAL] = step_parent_death_signal,
    [PLAN_FIND_PROGRAM] = step_find_program,
    [PLAN_GATE] = step_gate,
    [PLAN_SECCOMP] = step_seccomp,
    [PLAN_EXEC] = step_exec,
    [PLAN_CLOSE] = step_close,
    [PLAN_AWAIT] = step_await,
    [PLAN_RECONFIGURE] = step_reconfigure,
    [PLAN_COPY_UP] = step_copy_up,
    [PLAN_CHROOT] = step_chroot,
    [PLAN_TERMINAL] = step_terminal,
    [PLAN_NAMESPACE_ROOT] = step_namespace_root,
    [PLAN_NEW_PID_NAMESPACE] = step_new_pid_namespace,
    [PLAN_SCHEDULER] = step_scheduler,
    [PLAN_IO_PRIORITY] = step_io_priority,
    [PLAN_AFFINITY] = step_affinity,
    [PLAN_PERSONALITY] = step_personality,
    [PLAN_MEMORY_POLICY] = step_memory_policy,
    [PLAN_STDIO_OWNER] = step_stdio_owner,
    [PLAN_RAISE_CAPABILITIES] = step_raise_capabilities,
    [PLAN_CAPABILITY_SETS] = step_capability_sets,
};

/* What the fields of a kind must hold, for plan_check(): slots that the step reads or fills, strings that it needs, and which
 * argument, if any, counts a list of strings or the bytes behind one. */
struct shape {
    __u8 kind;
    __u8 slots;      /* bit i: fd[i] must name a slot */
    __u8 maybe;      /* bit i: fd[i] may name a slot */
    __u8 strings;    /* bit i: str[i] must be there */
    __u8 list[3];    /* str[i] is a list of arg[list[i] - 1] strings */
    __u8 bytes[3];   /* str[i] is a run of arg[bytes[i] - 1] units */
    __u8 unit_bytes; /* of the run */
};

static const struct shape shapes[] = {
    {.kind = PLAN_SETNS, .slots = 1},
    {.kind = PLAN_UNSHARE},
    {.kind = PLAN_TIME_NAMESPACE},
    {.kind = PLAN_PROPAGATION, .strings = 1},
    {.kind = PLAN_OPEN_TREE, .maybe = 5, .slots = 2, .strings = 1},
    {.kind = PLAN_NEW_MOUNT, .slots = 2, .strings = 1, .list = {0, 1, 0}},
    {.kind = PLAN_ATTACH, .slots = 1, .maybe = 2, .strings = 1},
    {.kind = PLAN_SET_ATTRIBUTES, .maybe = 1, .strings = 1},
    {.kind = PLAN_MASK, .maybe = 3, .strings = 1},
    {.kind = PLAN_READONLY, .maybe = 1, .strings = 1},
    {.kind = PLAN_OPEN_DIRECTORY, .maybe = 1, .slots = 2, .strings = 1},
    {.kind = PLAN_MKDIR, .maybe = 1, .strings = 1},
    {.kind = PLAN_MKNOD, .maybe = 1, .strings = 1},
    {.kind = PLAN_SYMLINK, .maybe = 1, .strings = 3},
    {.kind = PLAN_WRITE_FILE, .maybe = 1, .strings = 3, .bytes = {0, 1, 0}, .unit_bytes = 1},
    {.kind = PLAN_CHANGE_DIRECTORY, .maybe = 1, .strings = 1},
    {.kind = PLAN_PIVOT_ROOT, .slots = 1},
    {.kind = PLAN_HOSTNAME, .strings = 1},
    {.kind = PLAN_DOMAINNAME, .strings = 1},
    {.kind = PLAN_LOOPBACK_UP},
    {.kind = PLAN_RLIMIT},
    {.kind = PLAN_OOM_SCORE_ADJ},
    {.kind = PLAN_BOUNDING_SET},
    {.kind = PLAN_USER, .bytes = {3, 0, 0}, .unit_bytes = sizeof(__u32)},
    {.kind = PLAN_CAPABILITIES},
    {.kind = PLAN_NO_NEW_PRIVILEGES},
    {.kind = PLAN_UMASK},
    {.kind = PLAN_DUPLICATE, .slots = 1},
    {.kind = PLAN_CLOSE_RANGE},
    {.kind = PLAN_NEW_SESSION},
    {.kind = PLAN_CONTROLLING_TERMINAL, .slots = 1},
    {.kind = PLAN_KEYRING},
    {.kind = PLAN_PARENT_DEATH_SIGNAL, .maybe = 1},
    {.kind = PLAN_FIND_PROGRAM, .strings = 3},
    {.kind = PLAN_GATE, .maybe = 1},
    {.kind = PLAN_SECCOMP, .maybe = 1, .strings = 1, .bytes = {1, 0, 0}, .unit_bytes = 1},
    {.kind = PLAN_EXEC, .maybe = 1, .list = {0, 1, 2}},
    {.kind = PLAN_CLOSE, .slots = 1},
    {.kind = PLAN_AWAIT, .slots = 1},
    {.kind = PLAN_RECONFIGURE, .maybe = 1, .strings = 1, .list = {0, 1, 0}},
    {.kind = PLAN_COPY_UP, .slots = 3},
    {.kind = PLAN_CHROOT, .slots = 1},
    {.kind = PLAN_TERMINAL, .maybe = 1, .slots = 6, .strings = 1},
    {.kind = PLAN_NAMESPACE_ROOT},
    {.kind = PLAN_NEW_PID_NAMESPACE},
    {.kind = PLAN_SCHEDULER, .strings = 1, .bytes = {1, 0, 0}, .unit_bytes = 1},
    {.kind = PLAN_IO_PRIORITY},
    {.kind = PLAN_AFFINITY, .strings = 1, .bytes = {1, 0, 0}, .unit_bytes = 1},
    {.kind = PLAN_PERSONALITY},
    {.kind = PLAN_MEMORY_POLICY, .bytes = {2, 0, 0}, .unit_bytes = 1},
    {.kind = PLAN_STDIO_OWNER, .slots = 7},
    {.kind = PLAN_RAISE_CAPABILITIES},
    {.kind = PLAN_CAPABILITY_SETS},
};

/* ---- is the block what it says it is ---- */

/* The end of the string that begins at `at`, or 0 if the data end first. */
static __u64 string_end(const struct child *child, __u64 at)
{
    for (; at < child->header->data_size; at++)
        if (!child->data[at])
            return at + 1;
    return 0;
}

static int data_is_good(const struct child *child, const struct plan_step *step, const struct shape *shape, int i)
{
    if (!step->str[i])
        return !(shape->strings >> i & 1) && !(shape->list[i] && step->arg[shape->list[i] - 1]) &&
               !(shape->bytes[i] && step->arg[shape->bytes[i] - 1]);
    __u64 at = step->str[i] - 1;
    if (at >= child->header->data_size)
        return 0;
    if (shape->bytes[i] && shape->unit_bytes)
        return step->arg[shape->bytes[i] - 1] <= (child->header->data_size - at) / shape->unit_bytes;
    __u64 count = shape->list[i] ? step->arg[shape->list[i] - 1] : 1;
    if (count > child->header->data_size)
        return 0;
    for (; count > 0; count--)
        if (!(at = string_end(child, at)))
            return 0;
    return 1;
}

/* NULL for a kind that is none: their numbers have gaps. */
static const struct shape *find_shape(__u32 kind)
{
    for (unsigned int i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        if (shapes[i].kind == kind)
            return &shapes[i];
    return 0;
}

static int step_is_good(const struct child *child, const struct plan_step *step)
{
    const struct shape *shape = find_shape(step->kind);
    if (!shape)
        return 0;
    for (int i = 0; i < 3; i++) {
        int needed = shape->slots >> i & 1;
        if (step->fd[i] == PLAN_NO_SLOT ? needed : !needed && !(shape->maybe >> i & 1))
            return 0;
        if (step->fd[i] != PLAN_NO_SLOT && (__u32)step->fd[i] >= child->header->slot_count)
            return 0;
        if (!data_is_good(child, step, shape, i))
            return 0;
    }
    return 1;
}

/* A slot comes with a descriptor or with nothing; AT_FDCWD in it would take the step out of its root. */
static int slots_are_good(const struct child *child)
{
    for (__u32 i = 0; i < child->header->slot_count; i++)
        if (child->slots[i].fd < -1 || child->slots[i].pending)
            return 0;
    return 1;
}

static long plan_check(struct child *child, void *block, __u64 size)
{
    struct plan_header *header = block;
    if (size < sizeof *header || header->magic != PLAN_MAGIC || header->size > size)
        return -EINVAL;
    if (header->step_count > PLAN_MAX_STEPS || header->slot_count > PLAN_MAX_SLOTS)
        return -E2BIG;
    __u64 fixed = sizeof *header + header->step_count * (sizeof(struct plan_step) + sizeof(struct plan_stamp)) +
                  header->slot_count * sizeof(struct plan_slot);
    if (fixed + header->data_size != header->size)
        return -EINVAL;
    child->header = header;
    child->steps = (const void *)(header + 1);
    child->stamps = (void *)(unsigned long)(child->steps + header->step_count);
    child->slots = (void *)(child->stamps + header->step_count);
    child->data = (const void *)(child->slots + header->slot_count);
    for (__u32 i = 0; i < header->step_count; i++)
        if (!step_is_good(child, &child->steps[i]))
            return -EINVAL;
    return slots_are_good(child) ? 0 : -EINVAL;
}

/* ---- running it ---- */

void child_report(const struct child *child, __u32 kind, long error)
{
    struct plan_report report = {.kind = kind, .step = child->current, .error = (__s32)-error};
    long ret;
    do
        ret = sys_write(child->header->report_fd, &report, sizeof report);
    while (ret == -EINTR);
}

/* Once the filter is on, the stage makes no call of its own but the exec; a 1 then only says that the step was reached. */
static __u64 now_ns(const struct child *child)
{
    struct __kernel_timespec now;
    if (child->filtered || sys_clock_gettime(CLOCK_MONOTONIC_ID, &now) < 0)
        return 1;
    return (__u64)now.tv_sec * 1000000000u + (__u64)now.tv_nsec;
}

static long run_step(struct child *child, const struct plan_step *step)
{
    if (child->current == child->header->fail_step)
        return -child->header->fail_errno;
    if ((step->kind == PLAN_SECCOMP || step->kind == PLAN_EXEC) && child->umask != UMASK_IS_SET) {
        (void)sys_umask((unsigned int)child->umask);
        child->umask = UMASK_IS_SET;
    }
    return step_functions[step->kind](child, step);
}

static long run(struct child *child)
{
    __u64 now = now_ns(child);
    for (child->current = 0; child->current < child->header->step_count; child->current++) {
        const struct plan_step *step = &child->steps[child->current];
        struct plan_stamp *stamp = &child->stamps[child->current];
        stamp->begin_ns = now;
        long ret = run_step(child, step);
        stamp->end_ns = now = now_ns(child);
        if (ret == -ENOENT && (step->flags & PLAN_IF_EXISTS))
            continue;
        if (ret < 0 && !(step->flags & PLAN_OPTIONAL))
            return ret;
        if (ret < 0)
            child_report(child, PLAN_REPORT_WARNING, ret);
    }
    return 0;
}

static __u64 larger(__u64 a, __u64 b)
{
    return a > b ? a : b;
}

/* Room for the pointers of argv and environment, got before a filter could refuse it. */
static long reserve_lists(struct child *child)
{
    __u64 pointers = 0;
    for (__u32 i = 0; i < child->header->step_count; i++)
        if (child->steps[i].kind == PLAN_EXEC)
            pointers = larger(pointers, child->steps[i].arg[0] + child->steps[i].arg[1] + 2);
    if (!pointers)
        return 0;
    void *room = sys_mmap(0, pointers * sizeof(char *), MAP_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
    if ((unsigned long)room > -4096ul)
        return (long)room;
    child->lists = room;
    return 0;
}

/* Runs the plan in this process; returns the status to exit with if no step became another program. */
int child_main(void *block, __u64 size)
{
    static struct child child; /* zero, and not on the stack: it holds a path */
    long ret = plan_check(&child, block, size);
    if (ret < 0)
        return EXIT_FAILED_PLAN;
    child.current = PLAN_NO_STEP;
    child.umask = sys_umask(0);
    ret = reserve_lists(&child);
    if (ret >= 0)
        ret = run(&child);
    if (ret >= 0)
        return 0;
    child_report(&child, PLAN_REPORT_FAILED, ret);
    return EXIT_FAILED_PLAN;
}
