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

/* A child on its way to the stage, in memory that it shares with us. */
struct pyrun_flight;

/* Returns the child's pid as the caller sees it, its pidfd (close-on-exec) and its flight, or -errno and no child. ret_call is set to
 * the name of the call that failed. What spawn points to may go when this returns. The caller keeps no lock while this runs: cffi
 * releases the GIL around it. */
long pyrun_spawn(const struct pyrun_spawn *spawn, struct pyrun_flight **ret_flight, int *ret_pidfd,
                 const char **ret_call);

/* Waits until the child shares our memory no more, and gives its stack back: once for each flight. 0 if it executed the stage, or
 * -errno of ret_call, and then it has exited. */
long pyrun_land(struct pyrun_flight *flight, const char **ret_call);

#endif
