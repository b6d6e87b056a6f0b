/* clone3 for a caller of any size. See spawn.c.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PYRUN_SPAWN_H
#define PYRUN_SPAWN_H

struct pyrun_spawn {
    unsigned long long clone_flags; /* CLONE_NEW* only */
    int cgroup_fd;                  /* the child is born in this cgroup v2 directory; -1: in the caller's */
    int pid_namespace_fd; /* the child is born in this PID namespace (a namespace or pidfd); -1: in the caller's */
    int stage_fd;         /* the program, a memfd */
    int plan_fd;
    const int *keep_fds; /* ascending; what the child keeps besides 0, 1 and 2; stage_fd and plan_fd are among them */
    unsigned int keep_count;
    const char *uid_map; /* with CLONE_NEWUSER: lines for /proc/PID/uid_map and gid_map (user_namespaces(7)) */
    const char *gid_map;
};

/* Returns the child's pid as the caller sees it and its pidfd (close-on-exec), or -errno and no child. ret_call is set to the name
 * of the call that failed. The caller keeps no lock while this runs: cffi releases the GIL around it. */
long pyrun_spawn(const struct pyrun_spawn *spawn, int *ret_pidfd, const char **ret_call);

#endif
