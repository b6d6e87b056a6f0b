/* pause: the first process of a pod. It holds the pod's namespaces, reaps what is reparented to it, and does nothing else.
 *
 *     pyrun-pause            wait for SIGTERM or SIGINT, exit 0
 *     pyrun-pause -v         print the version, exit 0
 *     pyrun-pause READY_FD   also write one byte to the descriptor when ready, and close it
 *
 * Signals are blocked first and then waited for: there is no handler, so there is no window between looking and sleeping, and
 * nothing that runs at a bad moment. As PID 1 of a PID namespace it gets from inside only signals that it waits for; blocking them
 * is what makes the kernel keep them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "start.h"

#include <linux/errno.h>
#include <linux/prctl.h>

#ifndef PYRUN_VERSION
#error "setup.py defines the version"
#endif

#define SIGNAL_INTERRUPT 2
#define SIGNAL_TERMINATE 15
#define SIGNAL_CHILD 17
#define SIGNAL_BIT(number) (1ull << ((number) - 1))
#define WAIT_NOT 0x00000001       /* WNOHANG */
#define WAIT_ALL_KINDS 0x40000000 /* __WALL */
#define EXIT_USAGE 2

static const char version_line[] = "pyrun-pause " PYRUN_VERSION "\n";
static const char usage_line[] = "usage: pyrun-pause [-v | READY_FD]\n";
static const char not_first_line[] =
    "pyrun-pause: warning: not the first process of a PID namespace; orphans will not come here\n";

/* One SIGCHLD may stand for many children. */
static void reap_all(void)
{
    long ret;
    do
        ret = SYS4(__NR_wait4, -1, 0, WAIT_NOT | WAIT_ALL_KINDS, 0);
    while (ret > 0 || ret == -EINTR);
}

static int wait_for_signals(__u64 set)
{
    for (;;) {
        long sig = sys_rt_sigtimedwait(&set, 0, 0);
        if (sig == SIGNAL_TERMINATE || sig == SIGNAL_INTERRUPT)
            return 0;
        if (sig == SIGNAL_CHILD)
            reap_all();
    }
}

static int say(int fd, const char *text, sys_size size, int status)
{
    (void)sys_write(fd, text, size);
    return status;
}

static int program_main(int argc, char **argv)
{
    const __u64 set = SIGNAL_BIT(SIGNAL_CHILD) | SIGNAL_BIT(SIGNAL_TERMINATE) | SIGNAL_BIT(SIGNAL_INTERRUPT);
    if (argc > 1 && argv[1][0] == '-' && argv[1][1] == 'v' && !argv[1][2])
        return say(1, version_line, sizeof version_line - 1, 0);
    long ready_fd = argc > 1 ? parse_descriptor(argv[1]) : -1;
    if (argc > 2 || (argc > 1 && ready_fd < 0))
        return say(2, usage_line, sizeof usage_line - 1, EXIT_USAGE);

    /* Blocked before anybody is told that we are here. */
    (void)sys_rt_sigprocmask(0 /* SIG_BLOCK */, &set, 0);
    /* The containers of a shared PID namespace see us; they have no business with our memory, root or descriptors. */
    (void)sys_prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (ready_fd >= 0) {
        (void)sys_write((int)ready_fd, "1", 1);
        (void)sys_close((int)ready_fd);
    } else if (sys_getpid() != 1) {
        (void)sys_write(2, not_first_line, sizeof not_first_line - 1);
    }
    return wait_for_signals(set);
}
