/* waitid(2) with the rusage that the C library's wrapper leaves out.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "wait.h"

#include "syscalls.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* 1: ret is filled; 0: WNOHANG and still running. The rusage is that of the process and of the children it waited for. */
long pyrun_wait_pidfd(int pidfd, int options, struct pyrun_wait *ret)
{
    siginfo_t info = {0};
    struct rusage usage = {0};
    long error = sys_waitid(P_PIDFD, pidfd, &info, options | __WALL, &usage);
    if (error < 0)
        return error;
    if (info.si_pid == 0)
        return 0;
    ret->pid = info.si_pid;
    ret->code = info.si_code;
    ret->status = info.si_status;
    ret->user_us = usage.ru_utime.tv_sec * 1000000ll + usage.ru_utime.tv_usec;
    ret->system_us = usage.ru_stime.tv_sec * 1000000ll + usage.ru_stime.tv_usec;
    ret->max_rss_kib = usage.ru_maxrss;
    return 1;
}
