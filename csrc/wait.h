/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PYRUN_WAIT_H
#define PYRUN_WAIT_H

struct pyrun_wait {
    int pid, code, status; /* code: CLD_EXITED, CLD_KILLED or CLD_DUMPED; status: exit code or signal */
    long long user_us, system_us;
    long max_rss_kib;
};

long pyrun_wait_pidfd(int pidfd, int options, struct pyrun_wait *ret);

#endif
