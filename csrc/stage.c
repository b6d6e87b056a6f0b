/* The stage: the program that every process of pyrun is before it becomes what it was started for.
 *
 *     pyrun-stage PLAN_FD
 *
 * It comes from a sealed memfd, with just the descriptors that the plan names. See child.c for how it works.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "child.h"
#include "start.h"

#include <linux/close_range.h>
#include <linux/errno.h>
#include <linux/prctl.h>

#define EXIT_USAGE 126
#define SIGNAL_COUNT 64

/* What an exec does not reset: ignored signals stay ignored (Python ignores SIGPIPE), the mask stays. */
static void reset_signals(void)
{
    struct {
        void *handler;
        unsigned long flags;
        void *restorer;
        __u64 mask;
    } by_default = {0};
    const __u64 none = 0;
    for (int sig = 1; sig <= SIGNAL_COUNT; sig++)
        (void)sys_rt_sigaction(sig, &by_default, 0);
    (void)sys_rt_sigprocmask(2 /* SIG_SETMASK */, &none, 0);
}

/* A launcher without standard descriptors must not make us open a mount tree as descriptor 1. */
static void fill_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (sys_fcntl(fd, F_GETFD, 0) < 0)
            (void)sys_openat(AT_FDCWD, "/dev/null", O_RDWR, 0); /* the lowest number that is free: this one */
}

static int program_main(int argc, char **argv)
{
    struct statx status;
    long plan_fd = argc == 2 ? parse_descriptor(argv[1]) : -1;
    if (plan_fd < 0)
        return EXIT_USAGE;
    reset_signals();
    fill_standard_descriptors();
    (void)sys_prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void)sys_close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
    if (sys_statx((int)plan_fd, "", AT_EMPTY_PATH, STATX_SIZE, &status) < 0)
        return EXIT_USAGE;
    void *block = sys_mmap(0, status.stx_size, 1 | 2 /* PROT_READ | PROT_WRITE */, 1 /* MAP_SHARED */, (int)plan_fd, 0);
    if ((unsigned long)block > -4096ul)
        return EXIT_USAGE;
    (void)sys_close((int)plan_fd);
    return child_main(block, status.stx_size);
}
