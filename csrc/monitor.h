/* The monitor's protocol: what goes over its sockets, and what it keeps on disk. See monitor.c for how it works.
 *
 * A socket is a SOCK_SEQPACKET one of unix(7), so a message is never split or joined. Each begins with struct monitor_head, and what
 * follows is of just the size that its kind has, or with text after it. Descriptors come along (SCM_RIGHTS) and are spoken of by
 * their index among those of the same request.
 *
 * kernel/monitor_protocol.py is the other side of this file; tests/kernel/test_monitor_protocol.py compares the two.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PYRUN_MONITOR_H
#define PYRUN_MONITOR_H

#include <linux/types.h>

#define MONITOR_VERSION 1u
#define MONITOR_NAME_BYTES 64u /* of a container, with its NUL; Kubernetes allows 63 */
#define MONITOR_OUTPUT_BYTES 16384u
#define MONITOR_MESSAGE_BYTES (MONITOR_OUTPUT_BYTES + 1024u)
#define MONITOR_FDS_MOST 250u   /* of one message (SCM_MAX_FD is 253) */
#define MONITOR_PROCESSES 128u  /* alive at a time */
#define MONITOR_CONTAINERS 128u /* whose output is written */
#define MONITOR_CLIENTS 16u
#define MONITOR_NO_FD (-1)
#define MONITOR_UNKNOWN (~0ull) /* a number that the kernel did not tell */

/* Request, number, what follows the head, what it is answered with: once, or as it says; with ERROR if it cannot be done. */
#define MONITOR_REQUESTS(X)                                                                                    \
    X(HELLO, 1, struct monitor_hello)      /* WELCOME; ERROR of another version */                             \
    X(DESCRIPTORS, 2, struct monitor_none) /* nothing: they are kept for the next request, before its own */   \
    X(SPAWN, 3, struct monitor_spawn)      /* PROCESS, with the pidfd; then the lines of the id maps follow */ \
    X(FIND, 4, struct monitor_none)        /* PROCESS with its pidfd, or EXITED: of the head's id */           \
    X(LIST, 5, struct monitor_none)        /* PROCESS of each that lives, with its pidfd, then OK */           \
    X(EXITS, 6, struct monitor_none)       /* EXITED of all whose number is above the head's id, then OK */    \
    X(STREAMS, 7, struct monitor_streams)  /* OK: a container's output is written from now on */               \
    X(REOPEN, 8, struct monitor_none)      /* OK: all log files are opened anew */                             \
    X(ATTACH, 9, struct monitor_attach)    /* OK, then OUTPUT, LOST, and at the end ENDED */                   \
    X(INPUT, 10, struct monitor_none)      /* nothing; bytes for the standard input of what is attached to */  \
    X(INPUT_END, 11, struct monitor_none)  /* nothing: that was all */                                         \
    X(WINDOW, 12, struct monitor_window)   /* nothing; of the terminal of what is attached to */               \
    X(STATUS, 13, struct monitor_none)     /* STATUS */                                                        \
    X(QUIT, 14, struct monitor_none)       /* OK, and then the monitor ends; ERROR while a process lives */

#define MONITOR_ANSWERS(X)                                      \
    X(WELCOME, 64, struct monitor_welcome)                      \
    X(OK, 65, struct monitor_none)                              \
    X(ERROR, 66, struct monitor_error)                          \
    X(PROCESS, 67, struct monitor_process)                      \
    X(EXITED, 68, struct monitor_exit)                          \
    X(OUTPUT, 69, struct monitor_output) /* the bytes follow */ \
    X(LOST, 70, struct monitor_lost)                            \
    X(ENDED, 71, struct monitor_none)                           \
    X(STATUS_IS, 72, struct monitor_status)

enum monitor_kind {
#define X(name, number, body) MONITOR_##name = number,
    MONITOR_REQUESTS(X) MONITOR_ANSWERS(X)
#undef X
};

struct monitor_head {
    __u32 kind;
    __u32 size; /* of all of the message */
    __u64 id;   /* of a process: the client's choice, never 0, never twice; else 0, but for EXITS */
};

struct monitor_none {
    char nothing[0];
};

struct monitor_hello {
    __u32 version;
    __u32 unused;
};

struct monitor_welcome {
    __u32 version;
    __s32 pid;
    __u64 exits; /* the number of the newest exit record */
};

struct monitor_error {
    __s32 error; /* a positive errno */
    char call[60];
};

/* The descriptors in the plan's slots, its report_fd and its gate_fd are indices: the monitor puts the numbers in their place. */
struct monitor_spawn {
    __u64 clone_flags;
    __s32 plan, stage, cgroup, pid_namespace; /* the last two may be MONITOR_NO_FD */
    __u32 uid_map_bytes, gid_map_bytes;       /* of the text that follows; with CLONE_NEWUSER */
    char name[MONITOR_NAME_BYTES];            /* for whoever asks what lives; several may have one */
};

struct monitor_process {
    __s32 pid;
    __u32 unused;
    __u64 started_ns; /* CLOCK_MONOTONIC */
    char name[MONITOR_NAME_BYTES];
};

/* A process that has ended, as it is on disk: one after the other, from number 1 on. */
struct monitor_exit {
    __u64 number;
    __u64 id;
    __s32 pid;
    __s32 code; /* CLD_EXITED, CLD_KILLED or CLD_DUMPED */
    __s32 status;
    __u32 unused;
    __u64 started_ns, finished_ns; /* CLOCK_MONOTONIC */
    __u64 finished_real_ns;        /* CLOCK_REALTIME */
    __u64 user_us, system_us, max_rss_kib;
    __u64 oom_kill, oom, memory_max, memory_peak; /* of its cgroup; MONITOR_UNKNOWN without the controller */
    char name[MONITOR_NAME_BYTES];
};

/* monitor_streams.has: which descriptors follow that of the log directory, in this order. */
#define MONITOR_STDIN 1u       /* the end that is written to */
#define MONITOR_STDOUT 2u      /* the ends that are read from */
#define MONITOR_STDERR 4u      /* */
#define MONITOR_CONSOLE 8u     /* a socket that a terminal will come from; all three streams are that */
#define MONITOR_STDIN_ONCE 16u /* no descriptor: standard input ends when the first who wrote to it goes */

/* The log is <number>.log in the directory, older parts <number>.log.1 and so on; no more than max_files of max_bytes each. */
struct monitor_streams {
    __u32 has;
    __u32 number;
    __u32 max_files;
    __u32 unused;
    __u64 max_bytes;
    char name[MONITOR_NAME_BYTES];
};

/* monitor_attach.has: MONITOR_STDIN to write (one may), MONITOR_STDOUT and MONITOR_STDERR to read */
struct monitor_attach {
    __u32 has;
    __u32 unused;
    char name[MONITOR_NAME_BYTES];
};

struct monitor_window {
    unsigned short rows, columns, unused[2];
};

struct monitor_output {
    __u32 stream; /* MONITOR_STDOUT or MONITOR_STDERR */
    __u32 unused;
};

struct monitor_lost {
    __u64 bytes; /* that this client was too slow for: the log has them */
};

struct monitor_status {
    __u32 processes, containers, clients;
    __u32 stalled;    /* containers whose log cannot be written: they are not read from until it can */
    __s32 last_error; /* of writing a log: a positive errno */
    __u32 stalls;     /* how often that began */
    __u64 read_bytes, written_bytes;
    __u64 lost_bytes; /* read and never written, because a container's log was taken away while it could not be */
    __u64 orphans;    /* processes that were reparented to the monitor, and reaped */
};

#endif
