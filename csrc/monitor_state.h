/* What the files of the monitor share. Everything has its place from the start: nothing is allocated while it runs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PYRUN_MONITOR_STATE_H
#define PYRUN_MONITOR_STATE_H

#include "monitor.h"
#include "socket.h"
#include "syscalls.h"

#define LOG_BYTES (MONITOR_OUTPUT_BYTES + 512u) /* one piece of output with what the log has before it, and more */

/* A child of ours, or one that a child's plan went on in (NEW_PID_NAMESPACE) and that is ours as well. */
struct process {
    __u64 id; /* 0: this place is free */
    long pid;
    int plan_fd; /* who the plan went on in is told there; -1: it has ended */
    int cgroup_fd;
    __u64 started_ns;
    char name[MONITOR_NAME_BYTES];
};

/* One end that output comes from. */
struct source {
    int fd;                       /* -1: none */
    unsigned int at, end;         /* of what was read, and is not in the log yet */
    __u64 read_ns;                /* CLOCK_REALTIME */
    struct monitor_output output; /* and with it, for who is attached, what was read */
    char bytes[MONITOR_OUTPUT_BYTES];
};

struct container {
    int used;
    struct monitor_streams asked;
    int directory_fd, log_fd, console_fd;
    int input_fd; /* -1: none */
    int input_is_terminal;
    int stalled;
    __u64 log_size;
    struct source sources[2];
    unsigned int log_at, log_end; /* of what is formatted, and not written yet */
    unsigned int input_at, input_end;
    char log[LOG_BYTES];
    char input[MONITOR_OUTPUT_BYTES];
};

struct client {
    int fd;                      /* -1: this place is free */
    struct container *container; /* that it is attached to, or none */
    __u32 attached;              /* to which streams */
    __u64 lost;                  /* bytes of output that it is still to be told about */
    int ending;                  /* likewise, that there is no more */
    unsigned int fd_count;
    int fds[2 * MONITOR_FDS_MOST]; /* of this request, and of DESCRIPTORS before it */
};

struct monitor {
    int listen_fd, signal_fd, exits_fd;
    int quitting;
    __u64 exits;
    struct monitor_status status;
    struct process processes[MONITOR_PROCESSES];
    struct container containers[MONITOR_CONTAINERS];
    struct client clients[MONITOR_CLIENTS];
};

#define MAY_INTERRUPT(ret, call) \
    do                           \
        (ret) = (call);          \
    while ((ret) == -EINTR)

#define SECOND_NS 1000000000ull

static inline __u64 read_clock_ns(int clock)
{
    struct __kernel_timespec now = {0};
    (void)sys_clock_gettime(clock, &now);
    return (__u64)now.tv_sec * SECOND_NS + (__u64)now.tv_nsec;
}

static inline void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)sys_close(*fd);
    *fd = -1;
}

static inline void copy_bytes(void *to, const void *from, sys_size size)
{
    char *out = to;
    const char *in = from;
    while (size-- > 0)
        *out++ = *in++;
}

static inline int same_text(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

/* monitor.c */
long client_send(struct client *client, __u32 kind, __u64 id, const void *body, sys_size size, int fd);

/* monitor_process.c */
long process_spawn(struct monitor *monitor, struct client *client, const struct monitor_spawn *asked, __u64 id,
                   const char *maps, const char **ret_call);
void process_reap_all(struct monitor *monitor);
struct process *process_find(struct monitor *monitor, __u64 id);
long process_pid(const struct process *process);
void process_describe(const struct process *process, struct monitor_process *ret);
long exit_read(struct monitor *monitor, __u64 number, struct monitor_exit *ret);

/* monitor_output.c */
long container_begin(struct monitor *monitor, struct client *client, const struct monitor_streams *asked,
                     const char **ret_call);
struct container *container_find(struct monitor *monitor, const char *name);
int container_talks(const struct container *container);
void container_read(struct monitor *monitor, struct container *container, struct source *source);
void container_write(struct monitor *monitor, struct container *container);
void container_take_terminal(struct container *container);
void container_write_input(struct container *container);
void container_end_input(struct container *container);
void client_tell_rest(struct client *client);
void container_reopen(struct container *container);

#endif
