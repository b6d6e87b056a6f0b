/* The plan as it crosses from Python into the child: one relocatable block of memory.
 *
 *     struct plan_header
 *     struct plan_step[step_count]
 *     struct plan_stamp[step_count]     written by the child: when each step began and ended
 *     struct plan_slot[slot_count]      descriptors by number; the first ones are given by the caller
 *     data[data_size]                   strings (NUL at the end), string lists, bytes; named by offset from data
 *
 * The block lives in a memfd that parent and stage both map. The child trusts nothing in it: plan_check() looks at every offset
 * before the first step runs, since the monitor will take plans from a socket.
 *
 * kernel/step.py is the other side of this file; tests/kernel/test_step.py compares the two.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PYRUN_PLAN_H
#define PYRUN_PLAN_H

#include <linux/types.h>

#define PLAN_MAGIC 0x31525950u /* "PYR1" */
#define PLAN_NO_SLOT (-1)
#define PLAN_NO_STEP 0xffffffffu
#define PLAN_MAX_STEPS 4096u
#define PLAN_MAX_SLOTS 4096u

/* kind, the number that the wire carries, and what the fields of the step mean to it:
 *   fd[0..2] slots, str[0..2] data, arg[0..3] numbers. "at" is a directory slot; with none the path is the caller's own.
 * A target below a directory slot is resolved with RESOLVE_IN_ROOT: no symlink and no ".." leads out of it. */
#define PLAN_KINDS(X)                                                                                                 \
    X(SETNS, 1)           /* fd0 namespace or pidfd, arg0 CLONE_NEW* */                                               \
    X(UNSHARE, 2)         /* arg0 CLONE_NEW* */                                                                       \
    X(TIME_NAMESPACE, 3)  /* arg0,1 monotonic s, ns; arg2,3 boottime s, ns: new namespace, offsets, enter it */       \
    X(PROPAGATION, 4)     /* str0 path, arg0 MS_PRIVATE|MS_SLAVE|MS_SHARED|MS_UNBINDABLE, maybe MS_REC */             \
    X(OPEN_TREE, 5)       /* fd0 at, str0 path, fd1 -> tree, fd2 id map, arg0 how, arg1 set, arg2 clear, arg3 MS_* */ \
    X(NEW_MOUNT, 6)       /* str0 type, str1 key=value list (arg0), str2 source, fd1 -> tree, arg1 MOUNT_ATTR_* */    \
    X(ATTACH, 7)          /* fd0 tree, fd1 at, str0 target, arg0 PLAN_CREATE, PLAN_NO_LINKS */                        \
    X(SET_ATTRIBUTES, 8)  /* fd0 at, str0 path, arg0 recursive, arg1 set, arg2 clear, arg3 MS_* */                    \
    X(MASK, 9)            /* fd0 at, str0 path, fd1 the root below which /dev/null is */                              \
    X(READONLY, 10)       /* fd0 at, str0 path */                                                                     \
    X(OPEN_DIRECTORY, 11) /* fd0 at, str0 path, fd1 -> directory, arg0 mode to create it with, 0: do not */           \
    X(MKDIR, 12)          /* fd0 at, str0 path, arg0 mode: with its parents */                                        \
    X(MKNOD, 13)          /* fd0 at, str0 path, arg0 mode with type, arg1 device, arg2 uid, arg3 gid */               \
    X(SYMLINK, 14)        /* fd0 at, str0 path, str1 what it points to, arg0 leave what is there */                   \
    X(WRITE_FILE, 15)     /* fd0 at, str0 path, str1 bytes (arg0), arg1 mode of a new file, 0: must exist */          \
    X(CHANGE_DIRECTORY, 16)     /* fd0 at, str0 path, arg0 mode to create it with, 0: do not */                       \
    X(PIVOT_ROOT, 17)           /* fd0 the new root */                                                                \
    X(HOSTNAME, 18)             /* str0 */                                                                            \
    X(DOMAINNAME, 19)           /* str0 */                                                                            \
    X(LOOPBACK_UP, 20)          /* */                                                                                 \
    X(RLIMIT, 21)               /* arg0 resource, arg1 soft, arg2 hard */                                             \
    X(OOM_SCORE_ADJ, 22)        /* arg0 */                                                                            \
    X(BOUNDING_SET, 23)         /* arg0 mask of what stays */                                                         \
    X(USER, 24)                 /* arg0 uid, arg1 gid, str0 __u32 groups (arg2 of them) */                            \
    X(CAPABILITIES, 25)         /* arg0 effective, arg1 permitted, arg2 inheritable, arg3 ambient */                  \
    X(NO_NEW_PRIVILEGES, 26)    /* */                                                                                 \
    X(UMASK, 27)                /* arg0 */                                                                            \
    X(DUPLICATE, 28)            /* fd0, arg0 number */                                                                \
    X(CLOSE_RANGE, 29)          /* arg0 first, arg1 last, arg2 CLOSE_RANGE_* */                                       \
    X(NEW_SESSION, 30)          /* */                                                                                 \
    X(CONTROLLING_TERMINAL, 31) /* fd0 */                                                                             \
    X(KEYRING, 32)              /* str0 name or none */                                                               \
    X(PARENT_DEATH_SIGNAL, 33)  /* arg0 signal, fd0 a pidfd of the parent or none */                                  \
    X(FIND_PROGRAM, 34)         /* str0 program, str1 PATH: fails as the exec would, but earlier */                   \
    X(GATE, 35)                 /* tell the parent, then wait for a byte: from fd0, or else from the parent */        \
    X(SECCOMP, 36) /* str0 struct sock_filter (arg0 bytes), arg1 SECCOMP_FILTER_FLAG_*, fd0 -> listener */            \
    X(EXEC, 37)  /* str0 program (none: the found one), str1 argv (arg0), str2 env (arg1), fd0 file to run instead */ \
    X(CLOSE, 38) /* fd0 */                                                                                            \
    X(AWAIT, 39) /* fd0: until it can be read or its other end is closed */                                           \
    X(RECONFIGURE, 40) /* fd0 at, str0 path, str1 key=value list (arg0) for the file system there */                  \
    X(COPY_UP, 41)     /* fd0 directory or nothing, fd1 tree, arg0 PLAN_COPY_* */                                     \
    X(CHROOT, 42)      /* fd0 the new root, which lies over the old one */                                            \
    X(TERMINAL, 50) /* fd0 at, str0 its ptmx, fd1 socket for the other end, fd2 -> terminal, arg0,1 rows, columns */  \
    X(NAMESPACE_ROOT, 51)     /* arg0 uid, arg1 gid: whose a user namespace's set-up is */                            \
    X(NEW_PID_NAMESPACE, 52)  /* arg0 CLONE_NEWPID, or 0 for the one joined: the plan goes on in a child there */     \
    X(SCHEDULER, 53)          /* str0 struct sched_attr (arg0 bytes) */                                               \
    X(IO_PRIORITY, 54)        /* arg0 class and priority, as ioprio_set(2) has them */                                \
    X(AFFINITY, 55)           /* str0 mask of processors (arg0 bytes) */                                              \
    X(PERSONALITY, 56)        /* arg0 */                                                                              \
    X(MEMORY_POLICY, 57)      /* arg0 MPOL_*, str0 mask of nodes (arg1 bytes) */                                      \
    X(STDIO_OWNER, 58)        /* fd0, fd1, fd2 descriptors, arg0 uid, arg1 pipes only */                              \
    X(RAISE_CAPABILITIES, 59) /* arg0 mask: into the effective set */                                                 \
    X(CAPABILITY_SETS, 60)    /* arg0 effective, arg1 permitted, arg2 inheritable; the ambient set is left alone */

enum plan_kind {
#define X(name, number) PLAN_##name = number,
    PLAN_KINDS(X)
#undef X
};

/* plan_step.flags */
#define PLAN_OPTIONAL 1u  /* a failure is told as a warning, and the next step runs */
#define PLAN_IF_EXISTS 2u /* a missing path is no failure and no warning */

/* arg0 of ATTACH */
#define PLAN_CREATE 1u   /* make a missing target */
#define PLAN_NO_LINKS 2u /* the target is a directory, and no component of its path is a symlink */

/* arg0 of OPEN_TREE. What arg1 to arg3 have in their lower half holds for the whole tree, the upper half for its top, afterwards. */
#define PLAN_TREE_RECURSIVE 1u
#define PLAN_TREE_MAP_ALL 2u    /* the ids of every mount of the tree are mapped as fd2 has it, not of its top alone */
#define PLAN_TREE_MODE_SHIFT 16 /* to make a missing source with */
#define PLAN_TREE_TOP_SHIFT 32

/* arg0 of COPY_UP */
#define PLAN_COPY_MODE 1u    /* of the directory itself */
#define PLAN_COPY_CONTENT 2u /* everything in it */

struct plan_step {
    __u32 kind;
    __u32 flags;
    __s32 fd[3];
    __u32 str[3]; /* offset into data plus 1; 0: absent */
    __u64 arg[4];
};

struct plan_stamp {
    __u64 begin_ns;
    __u64 end_ns;
};

struct plan_slot {
    __s32 fd;      /* -1: nothing yet */
    __u32 pending; /* index plus 1 of the step whose mount waits for ATTACH: the kernel has no detached mounts */
};

struct plan_header {
    __u32 magic;
    __u32 size; /* of the whole block */
    __u32 step_count;
    __u32 slot_count;
    __u32 data_size;
    __s32 report_fd; /* numbers in the child */
    __s32 gate_fd;
    __u32 fail_step; /* the test hook: this step fails with fail_errno instead of running; PLAN_NO_STEP: none */
    __s32 fail_errno;
    __s32 born_pid; /* who runs the plan since NEW_PID_NAMESPACE, as the launcher sees it; 0: nobody */
};

/* What the child writes to its report pipe. End of file means that the program runs (or that the child was killed). */
enum plan_report_kind {
    PLAN_REPORT_FAILED = 1,  /* step, error: the child has given up */
    PLAN_REPORT_WARNING = 2, /* step, error: an optional step failed */
    PLAN_REPORT_GATE = 3,    /* step: waits at its gate */
};

/* With what a child ends whose gate is closed for good. */
#define PLAN_STATUS_CLOSED 125

struct plan_report {
    __u32 kind;
    __u32 step;
    __s32 error; /* a positive errno */
};

#endif
