/* Steps that say how the kernel shares out processors, disks and memory, and which Linux the program sees.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "child.h"

#define WHO_PROCESS 1 /* IOPRIO_WHO_PROCESS, linux/ioprio.h: the id 0 is the caller */

/* The data are a struct sched_attr, which says its own size (sched_setattr(2)). */
long step_scheduler(struct child *child, const struct plan_step *step)
{
    return SYS3(__NR_sched_setattr, 0, step_string(child, step, 0), 0);
}

long step_io_priority(struct child *child, const struct plan_step *step)
{
    (void)child;
    return SYS3(__NR_ioprio_set, WHO_PROCESS, 0, step->arg[0]);
}

long step_affinity(struct child *child, const struct plan_step *step)
{
    return SYS3(__NR_sched_setaffinity, 0, step->arg[0], step_string(child, step, 0));
}

long step_personality(struct child *child, const struct plan_step *step)
{
    (void)child;
    long ret = SYS1(__NR_personality, step->arg[0]);
    return ret < 0 ? ret : 0;
}

/* The kernel takes one from the count of bits before it looks (mm/mempolicy.c, get_nodes()). */
long step_memory_policy(struct child *child, const struct plan_step *step)
{
    return SYS3(__NR_set_mempolicy, step->arg[0], step_string(child, step, 0), step->arg[1] ? step->arg[1] * 8 + 1 : 0);
}
