/* waitid(2) with the rusage that the C library's wrapper leaves out.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "wait.h"

#include "syscalls.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* A child that has made us its tracer (PTRACE_TRACEME) is told of here when it stops, whether one asks for stops or not (ptrace(2)). */
static int is_end(int code)
{
    return code == CLD_EXITED || code == CLD_KILLED || code == CLD_DUMPED;
}

/* 1: ret is filled; 0: still running, with WNOHANG, or stopped, with WNOWAIT. The rusage is that of the process and of the children
 * it waited for. */
long pyrun_wait_pidfd(int pidfd, int options, struct pyrun_wait *ret)
{
    siginfo_t info = {0};
    struct rusage usage = {0};
    do {
        info.si_pid = 0;
        long error = sys_waitid(P_PIDFD, pidfd, &info, options | __WALL, &usage);
        if (error < 0)
            return error;
        if (info.si_pid == 0 || (!is_end(info.si_code) && options & WNOWAIT))
            return 0;
    } while (!is_end(info.si_code));
    ret->pid = info.si_pid;
    ret->code = info.si_code;
    ret->status = info.si_status;
    ret->user_us = usage.ru_utime.tv_sec * 1000000ll + usage.ru_utime.tv_usec;
    ret->system_us = usage.ru_stime.tv_sec * 1000000ll + usage.ru_stime.tv_usec;
    ret->max_rss_kib = usage.ru_maxrss;
    return 1;
}
