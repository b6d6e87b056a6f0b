/* init: the first process of a container whose image wants one (annotation pyrun.dev/init). It starts the program, hands every
 * signal on to it, reaps what is reparented, and ends as the program does.
 *
 *     pyrun-init PROGRAM [ARGUMENT]...     PROGRAM without a slash is looked up in PATH
 *
 * Exit status: the program's; 128+N if signal N ended it; 127 if it is not found, 126 if it cannot be executed.
 *
 * As in pause, signals are blocked and waited for: no handler, no window. The program gets the mask that init was started with, a
 * process group of its own, and the terminal if there is one, as a shell would give it (catatonit and tini do the same).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "start.h"

#include <linux/errno.h>
#include <linux/prctl.h>

#define SIGNAL_CHILD 17
#define SIGNAL_SET_MASK 2         /* SIG_SETMASK */
#define WAIT_NOT 0x00000001       /* WNOHANG */
#define WAIT_ALL_KINDS 0x40000000 /* __WALL */
#define TERMINAL_SET_GROUP 0x5410 /* TIOCSPGRP */
#define PATH_BYTES 4096
#define EXIT_USAGE 2
#define EXIT_NOT_EXECUTABLE 126
#define EXIT_NOT_FOUND 127
#define EXIT_SIGNALLED 128

static const char usage_line[] = "usage: pyrun-init PROGRAM [ARGUMENT]...\n";
static const char clone_line[] = "pyrun-init: no process for the program\n";

static int has_slash(const char *text)
{
    for (; *text; text++)
        if (*text == '/')
            return 1;
    return 0;
}

/* The value of PATH, or where programs are by custom. */
static const char *search_path(char *const *env)
{
    for (; *env; env++) {
        const char *entry = *env;
        if (entry[0] == 'P' && entry[1] == 'A' && entry[2] == 'T' && entry[3] == 'H' && entry[4] == '=')
            return entry + 5;
    }
    return "/bin:/usr/bin";
}

/* `length` bytes of an element of PATH, a slash and the name into ret; 0 if that is too long. An empty element is the current
 * directory. */
static int join(char ret[PATH_BYTES], const char *element, sys_size length, const char *name)
{
    sys_size at = 0;
    if (length + 2 >= PATH_BYTES)
        return 0;
    for (; at < length; at++)
        ret[at] = element[at];
    if (at)
        ret[at++] = '/';
    do {
        if (at == PATH_BYTES)
            return 0;
        ret[at++] = *name;
    } while (*name++);
    return 1;
}

/* As execvp(3). Returns an error: it is the most telling one of those met. */
static long execute(char *const *argv, char *const *env)
{
    if (has_slash(argv[0]))
        return sys_execve(argv[0], argv, env);
    long error = -ENOENT;
    for (const char *path = search_path(env);;) {
        char candidate[PATH_BYTES];
        sys_size length = 0;
        while (path[length] && path[length] != ':')
            length++;
        if (join(candidate, path, length, argv[0])) {
            long ret = sys_execve(candidate, argv, env);
            if (ret != -ENOENT && ret != -ENOTDIR)
                error = ret;
        }
        if (!path[length])
            return error;
        path += length + 1;
    }
}

static int become_program(char *const *argv, char *const *env, const __u64 *mask)
{
    int own = (int)sys_getpid();
    (void)SYS2(__NR_setpgid, 0, 0);
    /* SIGTTOU is blocked still. Without a terminal it fails, and nothing is lost. */
    (void)sys_ioctl(0, TERMINAL_SET_GROUP, &own);
    (void)sys_rt_sigprocmask(SIGNAL_SET_MASK, mask, 0);
    long ret = execute(argv, env);
    return ret == -ENOENT || ret == -ENOTDIR ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
}

/* Reaps all that have ended; one SIGCHLD may stand for many. Whether `program` was among them, and then its exit status. */
static int reap_all(long program, int *ret_status)
{
    int over = 0;
    for (;;) {
        int status = 0;
        long pid = SYS4(__NR_wait4, -1, &status, WAIT_NOT | WAIT_ALL_KINDS, 0);
        if (pid == -EINTR)
            continue;
        if (pid <= 0)
            return over;
        if (pid == program) {
            over = 1;
            *ret_status = status & 0x7f ? EXIT_SIGNALLED + (status & 0x7f) : (status >> 8) & 0xff;
        }
    }
}

static int look_after(long program, __u64 set)
{
    int status = 0;
    for (;;) {
        long sig = sys_rt_sigtimedwait(&set, 0, 0);
        if (sig == SIGNAL_CHILD && reap_all(program, &status))
            return status;
        if (sig > 0 && sig != SIGNAL_CHILD)
            (void)SYS2(__NR_kill, program, sig);
    }
}

static int program_main(int argc, char **argv)
{
    const __u64 all = ~0ull;
    __u64 mask = 0;
    if (argc < 2) {
        (void)sys_write(2, usage_line, sizeof usage_line - 1);
        return EXIT_USAGE;
    }
    (void)sys_rt_sigprocmask(SIGNAL_SET_MASK, &all, &mask);
    /* Where it is not the first of a PID namespace, what the program leaves behind comes here all the same. */
    if (sys_getpid() != 1)
        (void)sys_prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    /* clone(2) and not clone3(2), which the default filter answers with ENOSYS. */
    long program = SYS5(__NR_clone, SIGNAL_CHILD, 0, 0, 0, 0);
    if (program == 0)
        return become_program(argv + 1, argv + argc + 1, &mask);
    if (program < 0) {
        (void)sys_write(2, clone_line, sizeof clone_line - 1);
        return EXIT_NOT_EXECUTABLE;
    }
    return look_after(program, all);
}
