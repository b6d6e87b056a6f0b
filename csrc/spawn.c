/* pyrun_spawn(): from a Python process of any size to the stage, without copying a page table.
 *
 * The clone shares memory (CLONE_VM) until the child has executed the stage or died; the caller goes on meanwhile, prepares the next
 * child, and comes back with pyrun_land(), which the kernel wakes by clearing a word (CLONE_CHILD_CLEARTID) when the sharing ends.
 * Until then stack and arguments of the child, its *flight*, stay where they are. Every signal is blocked around the clone, in the
 * parent and so in the child: a handler of the caller's must not run in the child, in memory that both share. The child makes raw
 * system calls only, touches no thread-local storage and takes no lock, so the caller and its other threads may run, hold locks and
 * allocate.
 *
 * Rejected: CLONE_VFORK, which needs no second call and holds the launcher up for 0.15 to 0.3 ms a process: an exec.
 *
 * With a new user namespace the parent has something to do while the child waits: it alone may write the id maps.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "spawn.h"
#include "clone.h"
#include "syscalls.h"
#include "text.h"

#include <linux/errno.h>
#include <linux/futex.h>

#define STACK_BYTES 32768ul
#define GUARD_BYTES 4096
#define PROTECT_NONE 0
#define PROTECT_READ_WRITE (1 | 2)
#define MAP_STACK_PRIVATE (2 | 32 | 0x20000) /* MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK */
#define SIG_SETMASK_HOW 2
#define SIGNAL_CHILD 17
#define WAIT_PIDFD 3              /* P_PIDFD */
#define WAIT_EXITED 0x00000004    /* WEXITED */
#define WAIT_ALL_KINDS 0x40000000 /* __WALL */
#define CLOSE_ALL_ABOVE (~0u)

/* What parent and child share while the child runs in the parent's memory; above the child's stack, in one mapping with it. */
struct pyrun_flight {
    sys_size size;            /* of the mapping, which begins with the guard page */
    struct pyrun_spawn spawn; /* keep_fds is kept below */
    char plan_number[12];     /* argv[1] of the stage */
    char *argv[3];
    char *envp[1];
    __u32 maps_written; /* futex: 0 wait, 1 go, 2 give up */
    __u32 child_alive;  /* futex: the kernel clears it */
    long error;         /* of the child, before it could exec */
    const char *call;
    int keep_fds[];
};

/* ---- in the child ---- */

/* The child has copies of all the caller's descriptors, among them those that other threads opened a moment ago for children of
 * their own. What is not ours goes at once: a pipe end held here could keep another spawn waiting for its end of file. */
static long sort_descriptors(struct pyrun_flight *flight)
{
    const struct pyrun_spawn *spawn = &flight->spawn;
    unsigned int next = 3;
    for (unsigned int i = 0; i < spawn->keep_count; i++) {
        unsigned int fd = (unsigned int)spawn->keep_fds[i];
        long ret = fd > next ? sys_close_range(next, fd - 1, 0) : 0;
        flight->call = "close_range(2)";
        if (ret >= 0) {
            ret = sys_fcntl((int)fd, F_SETFD, 0);
            flight->call = "fcntl(2) of a descriptor for the plan";
        }
        if (ret < 0)
            return ret;
        if (fd >= next)
            next = fd + 1;
    }
    flight->call = "close_range(2)";
    return sys_close_range(next, CLOSE_ALL_ABOVE, 0);
}

/* The program of the stage belongs to the host's root; executed by an unmapped user it would lose the namespace's capabilities. */
static long become_namespace_root(struct pyrun_flight *flight)
{
    while (__atomic_load_n(&flight->maps_written, __ATOMIC_ACQUIRE) == 0)
        (void)sys_futex_wait(&flight->maps_written, 0);
    if (flight->maps_written != 1)
        sys_exit_group(0);
    long ret = sys_setresgid(0, 0, 0);
    return ret < 0 ? ret : sys_setresuid(0, 0, 0);
}

static void child_fail(struct pyrun_flight *flight, const char *call, long error) __attribute__((noreturn));
static void child_fail(struct pyrun_flight *flight, const char *call, long error)
{
    flight->call = call;
    flight->error = error;
    sys_exit_group(127);
}

__attribute__((used, noreturn)) static void child_start(struct pyrun_flight *flight)
{
    const struct pyrun_spawn *spawn = &flight->spawn;
    if (spawn->clone_flags & CLONE_NEWUSER) {
        long ret = become_namespace_root(flight);
        if (ret < 0)
            child_fail(flight, "setresuid(2) to root of the new user namespace", ret);
    }
    long ret = sort_descriptors(flight);
    if (ret < 0)
        child_fail(flight, flight->call, ret);
    ret = sys_execveat(spawn->stage_fd, "", flight->argv, flight->envp, AT_EMPTY_PATH);
    child_fail(flight, "execveat(2)", ret);
}

/* ---- in the parent ---- */

static long write_proc_file(long pid, const char *name, const char *text)
{
    char path[64];
    sys_size size = 0;
    while (text[size])
        size++;
    append_text(append_number(append_text(path, "/proc/"), pid), name);
    long fd = sys_openat(AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    long ret = sys_write((int)fd, text, size);
    (void)sys_close((int)fd);
    return ret < 0 ? ret : 0;
}

/* Writes the maps while the child waits, and lets it go on or give up. */
static void serve_user_namespace(struct pyrun_flight *flight, long pid)
{
    long ret = flight->spawn.uid_map ? write_proc_file(pid, "/uid_map", flight->spawn.uid_map) : 0;
    if (ret >= 0 && flight->spawn.gid_map)
        ret = write_proc_file(pid, "/gid_map", flight->spawn.gid_map);
    if (ret < 0) { /* the child gives up, and writes no error of its own */
        flight->error = ret;
        flight->call = "write(2) of an id map";
    }
    __atomic_store_n(&flight->maps_written, ret < 0 ? 2u : 1u, __ATOMIC_RELEASE);
    (void)SYS3(__NR_futex, &flight->maps_written, FUTEX_WAKE, 1);
}

static void prepare(struct pyrun_flight *flight, const struct pyrun_spawn *spawn)
{
    flight->spawn = *spawn;
    flight->spawn.keep_fds = flight->keep_fds;
    for (unsigned int i = 0; i < spawn->keep_count; i++)
        flight->keep_fds[i] = spawn->keep_fds[i];
    append_number(flight->plan_number, spawn->plan_fd);
    static char name[] = "pyrun-stage";
    flight->argv[0] = name;
    flight->argv[1] = flight->plan_number;
    flight->child_alive = 1;
}

static long clone_child(struct pyrun_flight *flight, char *stack, int *ret_pidfd)
{
    const struct pyrun_spawn *spawn = &flight->spawn;
    struct clone_args args = {
        .flags = spawn->clone_flags | CLONE_VM | CLONE_PIDFD | CLONE_CLEAR_SIGHAND | CLONE_CHILD_CLEARTID |
                 (spawn->cgroup_fd >= 0 ? CLONE_INTO_CGROUP : 0),
        .pidfd = (unsigned long)ret_pidfd,
        .child_tid = (unsigned long)&flight->child_alive,
        .exit_signal = SIGNAL_CHILD,
        .stack = (unsigned long)stack,
        .stack_size = STACK_BYTES,
        .cgroup = spawn->cgroup_fd >= 0 ? (__u64)spawn->cgroup_fd : 0,
    };
    const __u64 all = ~0ull;
    __u64 old;
    (void)sys_rt_sigprocmask(SIG_SETMASK_HOW, &all, &old);
    long pid = clone_on_stack(&args, flight);
    if (pid > 0 && spawn->clone_flags & CLONE_NEWUSER)
        serve_user_namespace(flight, pid);
    (void)sys_rt_sigprocmask(SIG_SETMASK_HOW, &old, 0);
    return pid;
}

/* setns(CLONE_NEWPID) changes where the children of this thread are born, and nothing else. */
static long clone_in_pid_namespace(struct pyrun_flight *flight, char *stack, int *ret_pidfd, const char **ret_call)
{
    int there = flight->spawn.pid_namespace_fd;
    *ret_call = "clone3(2)";
    if (there < 0)
        return clone_child(flight, stack, ret_pidfd);
    long here = sys_openat(AT_FDCWD, "/proc/thread-self/ns/pid_for_children", O_RDONLY | O_CLOEXEC, 0);
    if (here < 0) {
        *ret_call = "open(2) of pid_for_children";
        return here;
    }
    long pid = sys_setns(there, CLONE_NEWPID);
    if (pid >= 0) {
        pid = clone_child(flight, stack, ret_pidfd);
        (void)sys_setns((int)here, CLONE_NEWPID); /* back to a namespace that we have a descriptor of: cannot fail */
    } else {
        *ret_call = "setns(2)";
    }
    (void)sys_close((int)here);
    return pid;
}

static void reap(int pidfd)
{
    char siginfo[128];
    while (sys_waitid(WAIT_PIDFD, pidfd, siginfo, WAIT_EXITED | WAIT_ALL_KINDS, 0) == -EINTR)
        ;
    (void)sys_close(pidfd);
}

static void unmap(struct pyrun_flight *flight)
{
    (void)sys_munmap((char *)flight - STACK_BYTES - GUARD_BYTES, flight->size);
}

long pyrun_spawn(const struct pyrun_spawn *spawn, struct pyrun_flight **ret_flight, int *ret_pidfd,
                 const char **ret_call)
{
    sys_size size = GUARD_BYTES + STACK_BYTES + sizeof(struct pyrun_flight) + spawn->keep_count * sizeof(int);
    char *guard = sys_mmap(0, size, PROTECT_READ_WRITE, MAP_STACK_PRIVATE, -1, 0);
    *ret_call = "mmap(2)";
    if ((unsigned long)guard > -4096ul)
        return (long)guard;
    (void)SYS3(__NR_mprotect, guard, GUARD_BYTES, PROTECT_NONE);
    struct pyrun_flight *flight = (void *)(guard + GUARD_BYTES + STACK_BYTES);
    flight->size = size;
    prepare(flight, spawn);
    int pidfd = -1;
    long pid = clone_in_pid_namespace(flight, guard + GUARD_BYTES, &pidfd, ret_call);
    if (pid < 0) {
        unmap(flight);
        return pid;
    }
    if (spawn->clone_flags & CLONE_NEWUSER && flight->maps_written != 1) { /* the child gives up */
        long error = pyrun_land(flight, ret_call);
        reap(pidfd);
        return error;
    }
    *ret_flight = flight;
    *ret_pidfd = pidfd;
    return pid;
}

long pyrun_land(struct pyrun_flight *flight, const char **ret_call)
{
    __u32 alive;
    while ((alive = __atomic_load_n(&flight->child_alive, __ATOMIC_ACQUIRE)) != 0)
        (void)sys_futex_wait(&flight->child_alive, alive);
    long error = flight->error;
    *ret_call = flight->call;
    unmap(flight);
    return error;
}
