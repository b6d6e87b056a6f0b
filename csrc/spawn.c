/* pyrun_spawn(): from a Python process of any size to the stage, without copying a page table.
 *
 * The clone shares memory (CLONE_VM) and suspends the caller (CLONE_VFORK) until the child has executed the stage or died. The
 * child runs on a stack of its own; two return addresses on one stack have cost many programs a day. Every signal is blocked
 * around the clone, in the parent and so in the child: a handler of the caller's must not run in the child, in memory that both
 * share. The child makes raw system calls only, touches no thread-local storage and takes no lock, so other threads of the caller
 * may run, hold locks and allocate meanwhile.
 *
 * With a new user namespace the parent has something to do while the child waits: it alone may write the id maps. Then
 * CLONE_VFORK is left out, the child waits for a word in the shared memory, and the kernel tells the end of the sharing by
 * clearing another one (CLONE_CHILD_CLEARTID).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "spawn.h"
#include "syscalls.h"

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

/* What parent and child share while the child runs in the parent's memory. */
struct launch {
    const struct pyrun_spawn *spawn;
    char plan_number[12]; /* argv[1] of the stage */
    char *argv[3];
    char *envp[1];
    __u32 maps_written; /* futex: 0 wait, 1 go, 2 give up */
    __u32 child_alive;  /* futex: the kernel clears it */
    long error;         /* of the child, before it could exec */
    const char *call;
};

/* ---- in the child ---- */

/* The child has copies of all the caller's descriptors, among them those that other threads opened a moment ago for children of
 * their own. What is not ours goes at once: a pipe end held here could keep another spawn waiting for its end of file. */
static long sort_descriptors(struct launch *launch)
{
    const struct pyrun_spawn *spawn = launch->spawn;
    unsigned int next = 3;
    for (unsigned int i = 0; i < spawn->keep_count; i++) {
        unsigned int fd = (unsigned int)spawn->keep_fds[i];
        long ret = fd > next ? sys_close_range(next, fd - 1, 0) : 0;
        launch->call = "close_range(2)";
        if (ret >= 0) {
            ret = sys_fcntl((int)fd, F_SETFD, 0);
            launch->call = "fcntl(2) of a descriptor for the plan";
        }
        if (ret < 0)
            return ret;
        if (fd >= next)
            next = fd + 1;
    }
    launch->call = "close_range(2)";
    return sys_close_range(next, CLOSE_ALL_ABOVE, 0);
}

/* The program of the stage belongs to the host's root; executed by an unmapped user it would lose the namespace's capabilities. */
static long become_namespace_root(struct launch *launch)
{
    while (__atomic_load_n(&launch->maps_written, __ATOMIC_ACQUIRE) == 0)
        (void)sys_futex_wait(&launch->maps_written, 0);
    if (launch->maps_written != 1)
        sys_exit_group(0);
    long ret = sys_setresgid(0, 0, 0);
    return ret < 0 ? ret : sys_setresuid(0, 0, 0);
}

static void child_fail(struct launch *launch, const char *call, long error) __attribute__((noreturn));
static void child_fail(struct launch *launch, const char *call, long error)
{
    launch->call = call;
    launch->error = error;
    sys_exit_group(127);
}

__attribute__((used, noreturn)) static void child_start(struct launch *launch)
{
    const struct pyrun_spawn *spawn = launch->spawn;
    if (spawn->clone_flags & CLONE_NEWUSER) {
        long ret = become_namespace_root(launch);
        if (ret < 0)
            child_fail(launch, "setresuid(2) to root of the new user namespace", ret);
    }
    long ret = sort_descriptors(launch);
    if (ret < 0)
        child_fail(launch, launch->call, ret);
    ret = sys_execveat(spawn->stage_fd, "", launch->argv, launch->envp, AT_EMPTY_PATH);
    child_fail(launch, "execveat(2)", ret);
}

/* clone3 whose child goes to child_start(launch) on the new stack and never returns here. */
static long clone_on_stack(struct clone_args *args, struct launch *launch)
{
#if defined(__x86_64__)
    long ret;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "mov %[launch], %%rdi\n\t"
                     "call child_start\n\t"
                     "hlt\n"
                     "1:"
                     : "=a"(ret)
                     : "a"((long)__NR_clone3), "D"(args), "S"(sizeof *args), [launch] "r"(launch)
                     : "rcx", "r11", "memory");
    return ret;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = __NR_clone3;
    register long x0 __asm__("x0") = (long)args;
    register long x1 __asm__("x1") = sizeof *args;
    register struct launch *x19 __asm__("x19") = launch;
    __asm__ volatile("svc 0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov x29, #0\n\t"
                     "mov x0, x19\n\t"
                     "bl child_start\n\t"
                     "brk #0\n"
                     "1:"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x19)
                     : "memory");
    return x0;
#endif
}

/* ---- in the parent ---- */

static char *append_text(char *out, const char *text)
{
    while (*text)
        *out++ = *text++;
    *out = 0;
    return out;
}

static char *append_number(char *out, unsigned int value)
{
    char digits[12];
    int count = 0;
    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    while (count)
        *out++ = digits[--count];
    *out = 0;
    return out;
}

static long write_proc_file(long pid, const char *name, const char *text)
{
    char path[64];
    sys_size size = 0;
    while (text[size])
        size++;
    append_text(append_number(append_text(path, "/proc/"), (unsigned int)pid), name);
    long fd = sys_openat(AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    long ret = sys_write((int)fd, text, size);
    (void)sys_close((int)fd);
    return ret < 0 ? ret : 0;
}

/* Writes the maps while the child waits, lets it go on or give up, and waits until it no longer shares our memory. */
static long serve_user_namespace(struct launch *launch, long pid)
{
    long ret = launch->spawn->uid_map ? write_proc_file(pid, "/uid_map", launch->spawn->uid_map) : 0;
    if (ret >= 0 && launch->spawn->gid_map)
        ret = write_proc_file(pid, "/gid_map", launch->spawn->gid_map);
    __atomic_store_n(&launch->maps_written, ret < 0 ? 2u : 1u, __ATOMIC_RELEASE);
    (void)SYS3(__NR_futex, &launch->maps_written, FUTEX_WAKE, 1);
    __u32 alive;
    while ((alive = __atomic_load_n(&launch->child_alive, __ATOMIC_ACQUIRE)) != 0)
        (void)sys_futex_wait(&launch->child_alive, alive);
    return ret;
}

static void prepare(struct launch *launch, const struct pyrun_spawn *spawn)
{
    launch->spawn = spawn;
    append_number(launch->plan_number, (unsigned int)spawn->plan_fd);
    static char name[] = "pyrun-stage";
    launch->argv[0] = name;
    launch->argv[1] = launch->plan_number;
    launch->argv[2] = 0;
    launch->envp[0] = 0;
    launch->child_alive = 1;
}

static long clone_child(struct launch *launch, char *stack, int *ret_pidfd)
{
    const struct pyrun_spawn *spawn = launch->spawn;
    int user = (spawn->clone_flags & CLONE_NEWUSER) != 0;
    struct clone_args args = {
        .flags = spawn->clone_flags | CLONE_VM | CLONE_PIDFD | CLONE_CLEAR_SIGHAND |
                 (user ? CLONE_CHILD_CLEARTID : CLONE_VFORK) | (spawn->cgroup_fd >= 0 ? CLONE_INTO_CGROUP : 0),
        .pidfd = (unsigned long)ret_pidfd,
        .child_tid = (unsigned long)&launch->child_alive,
        .exit_signal = SIGNAL_CHILD,
        .stack = (unsigned long)stack,
        .stack_size = STACK_BYTES,
        .cgroup = spawn->cgroup_fd >= 0 ? (__u64)spawn->cgroup_fd : 0,
    };
    const __u64 all = ~0ull;
    __u64 old;
    (void)sys_rt_sigprocmask(SIG_SETMASK_HOW, &all, &old);
    long pid = clone_on_stack(&args, launch);
    long ret = pid > 0 && user ? serve_user_namespace(launch, pid) : 0;
    (void)sys_rt_sigprocmask(SIG_SETMASK_HOW, &old, 0);
    if (pid < 0)
        launch->call = "clone3(2)";
    else if (ret < 0)
        launch->call = "write(2) of an id map";
    if (ret < 0 && launch->error == 0)
        launch->error = ret;
    return pid;
}

/* setns(CLONE_NEWPID) changes where the children of this thread are born, and nothing else. */
static long clone_in_pid_namespace(struct launch *launch, char *stack, int *ret_pidfd)
{
    int there = launch->spawn->pid_namespace_fd;
    if (there < 0)
        return clone_child(launch, stack, ret_pidfd);
    long here = sys_openat(AT_FDCWD, "/proc/thread-self/ns/pid_for_children", O_RDONLY | O_CLOEXEC, 0);
    launch->call = "open(2) of pid_for_children";
    if (here < 0)
        return here;
    long pid = sys_setns(there, CLONE_NEWPID);
    launch->call = "setns(2)";
    if (pid >= 0) {
        pid = clone_child(launch, stack, ret_pidfd);
        (void)sys_setns((int)here, CLONE_NEWPID); /* back to a namespace that we have a descriptor of: cannot fail */
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

long pyrun_spawn(const struct pyrun_spawn *spawn, int *ret_pidfd, const char **ret_call)
{
    struct launch launch = {0};
    int pidfd = -1;
    prepare(&launch, spawn);
    char *stack = sys_mmap(0, GUARD_BYTES + STACK_BYTES, PROTECT_READ_WRITE, MAP_STACK_PRIVATE, -1, 0);
    *ret_call = "mmap(2)";
    if ((unsigned long)stack > -4096ul)
        return (long)stack;
    (void)SYS3(__NR_mprotect, stack, GUARD_BYTES, PROTECT_NONE);
    long pid = clone_in_pid_namespace(&launch, stack + GUARD_BYTES, &pidfd);
    (void)sys_munmap(stack, GUARD_BYTES + STACK_BYTES);
    *ret_call = launch.call;
    if (pid < 0)
        return pid;
    if (launch.error < 0) {
        reap(pidfd);
        return launch.error;
    }
    *ret_pidfd = pidfd;
    return pid;
}
