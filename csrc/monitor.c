/* The monitor: the long-lived parent of one pod's processes. It starts them, keeps how they end, and writes what they say.
 *
 *     pyrun-monitor SOCKET LISTEN EXITS      three descriptors: a client's, where others connect, the file of exit records
 *
 * Theory of operation
 * -------------------
 * Whoever runs a pod (the client: a Python program that may die and come back) decides; the monitor does. It lives in the host's
 * namespaces, in a leaf of the pod's cgroup, executed from a sealed memfd, and is parent and subreaper of pause and of every
 * container:
 *
 *     client                       monitor                        container
 *     ------                       -------                        ---------
 *     plan, descriptors ─ SPAWN ─▶ numbers for indices, clone3 ─▶ runs the plan (child.c)
 *     report, gate ◀───────────────── pipes, past the monitor ──▶
 *                  ◀──── PROCESS ─ pid, pidfd
 *     poll(pidfd)                  waitid, record to the disk ◀── ends
 *     FIND ───────────────────────▶ the record
 *                                  read, log, attached clients ◀─ writes
 *
 * The plan's reports and its gate are pipes between client and child: the monitor need not understand them. A client learns of an
 * end from a pidfd, which is as good for a process that is not its child, and asks for the record, which is on disk by then.
 * A client that goes takes nothing with it. When the monitor is killed, its children get their parent death signal.
 *
 * One thread, one poll; nothing is allocated, no policy is here. What a client sends is looked at before it is used, although
 * only root can connect: a message that makes no sense is answered with an error.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "monitor_state.h"
#include "start.h"

#include <linux/errno.h>
#include <linux/prctl.h>

#define POLL_WRITABLE 4 /* POLLOUT */
#define POLL_ANY 0x7fff /* with POLLHUP and POLLERR */
#define SIGNAL_CHILD 17
#define SIGNAL_BIT(number) (1ull << ((number) - 1))
#define STALL_RETRY_NS 200000000 /* a log that cannot be written */
#define SEND_TRIES 8
#define SHUTDOWN_BOTH 2        /* SHUT_RDWR */
#define SIGNALFD_FLAGS 0x80800 /* SFD_NONBLOCK | SFD_CLOEXEC */
#define EXIT_USAGE 2
#define REQUEST_SET_WINDOW 0x5414ul /* TIOCSWINSZ */
#define INTERESTS_MOST (2 + MONITOR_CLIENTS + 4 * MONITOR_CONTAINERS)

struct request {
    struct monitor_head head;
    char body[MONITOR_MESSAGE_BYTES];
};

static struct monitor the_monitor;
static struct request the_request;

/* ---- clients ---- */

/* Memory that is short now may be there a moment later, and somebody waits for this answer; who can be given none is let go, which he
 * hears. */
static long send_or_let_go(int fd, const struct message *message)
{
    long ret = -ENOMEM;
    for (int i = 0; i < SEND_TRIES && (ret == -ENOMEM || ret == -ENOBUFS); i++)
        MAY_INTERRUPT(ret, sys_sendmsg(fd, message, MESSAGE_NO_SIGNAL | MESSAGE_NO_WAIT));
    if (ret < 0 && ret != -EAGAIN && ret != -EPIPE)
        (void)SYS2(__NR_shutdown, fd, SHUTDOWN_BOTH);
    return ret;
}

/* Without waiting: who does not take its answers loses them. */
long client_send(struct client *client, __u32 kind, __u64 id, const void *body, sys_size size, int fd)
{
    const struct monitor_head head = {.kind = kind, .size = (__u32)(sizeof head + size), .id = id};
    struct data_part parts[] = {{&head, sizeof head}, {body, size}};
    struct descriptor_message control = descriptor_message(fd);
    struct message message = {.parts = parts, .part_count = size ? 2 : 1};
    if (fd >= 0) {
        message.control = &control;
        message.control_size = sizeof control;
    }
    return send_or_let_go(client->fd, &message);
}

static void send_error(struct client *client, __u64 id, long error, const char *call)
{
    struct monitor_error body = {.error = (__s32)-error};
    for (unsigned int i = 0; i < sizeof body.call - 1 && call[i]; i++)
        body.call[i] = call[i];
    (void)client_send(client, MONITOR_ERROR, id, &body, sizeof body, -1);
}

static void send_ok(struct client *client, __u64 id)
{
    (void)client_send(client, MONITOR_OK, id, 0, 0, -1);
}

static void close_given(struct client *client)
{
    while (client->fd_count)
        (void)sys_close(client->fds[--client->fd_count]);
}

static void detach(struct client *client)
{
    struct container *container = client->container;
    if (container && client->attached & MONITOR_STDIN && container->asked.has & MONITOR_STDIN_ONCE)
        container_end_input(container);
    client->container = 0;
    client->attached = 0;
    client->lost = 0;
    client->ending = 0;
}

static void drop(struct client *client)
{
    detach(client);
    close_given(client);
    close_fd(&client->fd);
}

static void accept_client(struct monitor *monitor)
{
    struct {
        int pid;
        __u32 uid, gid;
    } peer;
    int size = sizeof peer;
    long fd = sys_accept4(monitor->listen_fd, O_CLOEXEC);
    if (fd < 0)
        return;
    long ret = SYS5(__NR_getsockopt, fd, LEVEL_SOCKET, PEER_CREDENTIALS, &peer, &size);
    for (struct client *client = monitor->clients; ret >= 0 && !peer.uid && client < monitor->clients + MONITOR_CLIENTS;
         client++)
        if (client->fd < 0) {
            client->fd = (int)fd;
            return;
        }
    (void)sys_close((int)fd); /* not root, or one too many: it reads the end at once */
}

/* ---- requests ---- */

static void do_hello(struct monitor *monitor, struct client *client, const struct request *request)
{
    const struct monitor_hello *asked = (const void *)request->body;
    const struct monitor_welcome body = {
        .version = MONITOR_VERSION,
        .pid = (__s32)sys_getpid(),
        .exits = monitor->exits,
    };
    if (asked->version != MONITOR_VERSION)
        send_error(client, 0, -EPROTONOSUPPORT, "monitor: HELLO");
    else
        (void)client_send(client, MONITOR_WELCOME, 0, &body, sizeof body, -1);
}

static void send_process(struct client *client, const struct process *process, int pidfd)
{
    struct monitor_process body;
    process_describe(process, &body);
    (void)client_send(client, MONITOR_PROCESS, process->id, &body, sizeof body, pidfd);
    (void)sys_close(pidfd);
}

static void do_spawn(struct monitor *monitor, struct client *client, const struct request *request)
{
    const struct monitor_spawn *asked = (const void *)request->body;
    const char *call = "monitor: SPAWN", *maps = request->body + sizeof *asked;
    __u64 text = request->head.size - sizeof request->head - sizeof *asked;
    long ret = -EINVAL;
    /* Each text ends with its NUL: then reading it stays within the message. */
    if ((__u64)asked->uid_map_bytes + asked->gid_map_bytes == text && !asked->name[MONITOR_NAME_BYTES - 1] &&
        (!asked->uid_map_bytes || !maps[asked->uid_map_bytes - 1]) && (!text || !maps[text - 1]))
        ret = process_spawn(monitor, client, asked, request->head.id, maps, &call);
    if (ret < 0)
        send_error(client, request->head.id, ret, call);
    else
        send_process(client, process_find(monitor, request->head.id), (int)ret);
}

/* The newest first: who asks has just seen it end. */
static void send_record(struct monitor *monitor, struct client *client, __u64 id)
{
    struct monitor_exit record;
    for (__u64 number = monitor->exits; number > 0; number--) {
        long ret = exit_read(monitor, number, &record);
        if (ret < 0 || record.id == id) {
            if (ret < 0)
                send_error(client, id, ret, "read(2) of the exit records");
            else
                (void)client_send(client, MONITOR_EXITED, id, &record, sizeof record, -1);
            return;
        }
    }
    send_error(client, id, -ESRCH, "monitor: FIND");
}

static void do_find(struct monitor *monitor, struct client *client, const struct request *request)
{
    process_reap_all(monitor); /* its end may have been seen by its pidfd before we are told */
    const struct process *process = process_find(monitor, request->head.id);
    if (!process) {
        send_record(monitor, client, request->head.id);
        return;
    }
    long pidfd = sys_pidfd_open((int)process_pid(process), 0);
    if (pidfd < 0)
        send_error(client, request->head.id, pidfd, "pidfd_open(2)");
    else
        send_process(client, process, (int)pidfd);
}

static void do_list(struct monitor *monitor, struct client *client, const struct request *request)
{
    process_reap_all(monitor);
    for (const struct process *each = monitor->processes; each < monitor->processes + MONITOR_PROCESSES; each++) {
        long pidfd = each->id ? sys_pidfd_open((int)process_pid(each), 0) : -1;
        if (pidfd >= 0)
            send_process(client, each, (int)pidfd);
    }
    send_ok(client, request->head.id);
}

static void do_exits(struct monitor *monitor, struct client *client, const struct request *request)
{
    struct monitor_exit record;
    process_reap_all(monitor);
    for (__u64 number = request->head.id + 1; number && number <= monitor->exits; number++) {
        long ret = exit_read(monitor, number, &record);
        if (ret >= 0)
            ret = client_send(client, MONITOR_EXITED, record.id, &record, sizeof record, -1);
        if (ret < 0) { /* EAGAIN: its buffer is full; it asks again, from the last that it has */
            send_error(client, request->head.id, ret, "monitor: EXITS");
            return;
        }
    }
    send_ok(client, request->head.id);
}

static void do_streams(struct monitor *monitor, struct client *client, const struct request *request)
{
    const struct monitor_streams *asked = (const void *)request->body;
    const char *call = "monitor: STREAMS";
    long ret = -EINVAL;
    if (!asked->name[MONITOR_NAME_BYTES - 1])
        ret = container_begin(monitor, client, asked, &call);
    if (ret < 0)
        send_error(client, 0, ret, call);
    else
        send_ok(client, 0);
}

static void do_reopen(struct monitor *monitor, struct client *client, const struct request *request)
{
    for (struct container *each = monitor->containers; each < monitor->containers + MONITOR_CONTAINERS; each++)
        if (each->used)
            container_reopen(each);
    send_ok(client, request->head.id);
}

static int has_writer(const struct monitor *monitor, const struct container *container)
{
    for (const struct client *each = monitor->clients; each < monitor->clients + MONITOR_CLIENTS; each++)
        if (each->fd >= 0 && each->container == container && each->attached & MONITOR_STDIN)
            return 1;
    return 0;
}

static void do_attach(struct monitor *monitor, struct client *client, const struct request *request)
{
    const struct monitor_attach *asked = (const void *)request->body;
    struct container *container = asked->name[MONITOR_NAME_BYTES - 1] ? 0 : container_find(monitor, asked->name);
    const char *call = "monitor: ATTACH";
    if (!container)
        send_error(client, 0, -ESRCH, call);
    else if (client->container || asked->has & ~(MONITOR_STDIN | MONITOR_STDOUT | MONITOR_STDERR))
        send_error(client, 0, -EINVAL, call);
    else if (asked->has & MONITOR_STDIN && container->input_fd < 0)
        send_error(client, 0, -EBADF, call);
    else if (asked->has & MONITOR_STDIN && has_writer(monitor, container))
        send_error(client, 0, -EBUSY, call);
    else {
        client->container = container;
        client->attached = asked->has;
        send_ok(client, 0);
    }
}

static struct container *written_by(const struct client *client)
{
    return client->container && client->attached & MONITOR_STDIN ? client->container : 0;
}

/* The client was not read from while anything waited, so there is room. */
static void do_input(struct monitor *monitor, struct client *client, const struct request *request)
{
    struct container *container = written_by(client);
    sys_size size = request->head.size - sizeof request->head;
    (void)monitor;
    if (!container || size > MONITOR_OUTPUT_BYTES) {
        send_error(client, 0, container ? -EMSGSIZE : -EPERM, "monitor: INPUT");
        return;
    }
    copy_bytes(container->input, request->body, size);
    container->input_at = 0;
    container->input_end = (unsigned int)size;
    container_write_input(container);
}

static void do_input_end(struct monitor *monitor, struct client *client, const struct request *request)
{
    struct container *container = written_by(client);
    (void)monitor;
    (void)request;
    if (container)
        container_end_input(container);
    else
        send_error(client, 0, -EPERM, "monitor: INPUT_END");
}

static void do_window(struct monitor *monitor, struct client *client, const struct request *request)
{
    struct container *container = client->container;
    struct monitor_window size = *(const struct monitor_window *)(const void *)request->body;
    (void)monitor;
    if (container && container->input_is_terminal && container->input_fd >= 0)
        (void)sys_ioctl(container->input_fd, REQUEST_SET_WINDOW, &size);
    else
        send_error(client, 0, -ENOTTY, "monitor: WINDOW");
}

static void do_status(struct monitor *monitor, struct client *client, const struct request *request)
{
    struct monitor_status status = monitor->status;
    for (const struct process *each = monitor->processes; each < monitor->processes + MONITOR_PROCESSES; each++)
        status.processes += each->id != 0;
    for (const struct client *each = monitor->clients; each < monitor->clients + MONITOR_CLIENTS; each++)
        status.clients += each->fd >= 0;
    for (const struct container *each = monitor->containers; each < monitor->containers + MONITOR_CONTAINERS; each++) {
        status.containers += each->used != 0;
        status.stalled += each->used && each->stalled;
    }
    (void)client_send(client, MONITOR_STATUS_IS, request->head.id, &status, sizeof status, -1);
}

/* What was written before is in the log first. */
static void do_quit(struct monitor *monitor, struct client *client, const struct request *request)
{
    process_reap_all(monitor);
    for (const struct process *each = monitor->processes; each < monitor->processes + MONITOR_PROCESSES; each++)
        if (each->id) {
            send_error(client, request->head.id, -EBUSY, "monitor: QUIT");
            return;
        }
    monitor->quitting = 1;
    send_ok(client, request->head.id);
}

static const struct {
    void (*perform)(struct monitor *monitor, struct client *client, const struct request *request);
    unsigned int size;
    int with_text;
} requests[] = {
    [MONITOR_HELLO] = {do_hello, sizeof(struct monitor_hello), 0},
    [MONITOR_SPAWN] = {do_spawn, sizeof(struct monitor_spawn), 1},
    [MONITOR_FIND] = {do_find, 0, 0},
    [MONITOR_LIST] = {do_list, 0, 0},
    [MONITOR_EXITS] = {do_exits, 0, 0},
    [MONITOR_STREAMS] = {do_streams, sizeof(struct monitor_streams), 0},
    [MONITOR_REOPEN] = {do_reopen, 0, 0},
    [MONITOR_ATTACH] = {do_attach, sizeof(struct monitor_attach), 0},
    [MONITOR_INPUT] = {do_input, 0, 1},
    [MONITOR_INPUT_END] = {do_input_end, 0, 0},
    [MONITOR_WINDOW] = {do_window, sizeof(struct monitor_window), 0},
    [MONITOR_STATUS] = {do_status, 0, 0},
    [MONITOR_QUIT] = {do_quit, 0, 0},
};

static long check_request(const struct request *request, long received, unsigned int flags)
{
    const struct monitor_head *head = &request->head;
    if (flags & (MESSAGE_TRUNCATED | MESSAGE_CONTROL_TRUNCATED))
        return -EMSGSIZE;
    if (received < (long)sizeof *head || head->size != (__u32)received)
        return -EBADMSG;
    if (head->kind >= sizeof requests / sizeof *requests ||
        (!requests[head->kind].perform && head->kind != MONITOR_DESCRIPTORS))
        return -EOPNOTSUPP;
    sys_size body = head->size - sizeof *head, wanted = requests[head->kind].size;
    return body < wanted || (body > wanted && !requests[head->kind].with_text) ? -EBADMSG : 0;
}

static long refuse(int fd)
{
    (void)sys_close(fd);
    return -EMFILE;
}

/* Takes what came along, also with a message that makes no sense: it would stay open for ever. */
static long take_descriptors(struct client *client, const struct message *message)
{
    const char *at = message->control, *end = at + message->control_size;
    long ret = 0;
    while (end - at >= (long)sizeof(struct control_head)) {
        struct control_head head;
        copy_bytes(&head, at, sizeof head);
        if (head.size < sizeof head || head.size > (sys_size)(end - at))
            break;
        for (sys_size i = sizeof head;
             head.level == LEVEL_SOCKET && head.type == RIGHTS && i + sizeof(int) <= head.size; i += sizeof(int)) {
            int fd;
            copy_bytes(&fd, at + i, sizeof fd);
            if (client->fd_count < sizeof client->fds / sizeof *client->fds)
                client->fds[client->fd_count++] = fd;
            else
                ret = refuse(fd);
        }
        sys_size step = (head.size + sizeof(long) - 1) & ~(sizeof(long) - 1);
        if (step > (sys_size)(end - at))
            break;
        at += step;
    }
    return ret;
}

static void serve(struct monitor *monitor, struct client *client)
{
    struct {
        struct control_head head;
        int fds[MONITOR_FDS_MOST + 3];
    } control;
    struct data_part part = {&the_request, sizeof the_request};
    struct message message = {.parts = &part, .part_count = 1, .control = &control, .control_size = sizeof control};
    long ret;
    MAY_INTERRUPT(ret, sys_recvmsg(client->fd, &message, MESSAGE_CLOEXEC | MESSAGE_NO_WAIT));
    if (ret == -EAGAIN || ret == -ENOMEM || ret == -ENOBUFS)
        return; /* it is still there */
    if (ret <= 0) {
        drop(client);
        return;
    }
    long error = take_descriptors(client, &message);
    if (error >= 0)
        error = check_request(&the_request, ret, message.flags);
    if (error < 0)
        send_error(client, ret >= (long)sizeof the_request.head ? the_request.head.id : 0, error, "monitor: a message");
    else if (the_request.head.kind == MONITOR_DESCRIPTORS)
        return; /* they are for the next one */
    else
        requests[the_request.head.kind].perform(monitor, client, &the_request);
    close_given(client);
}

/* ---- the loop ---- */

struct interests {
    unsigned int count;
    struct poll_fd fds[INTERESTS_MOST];
    void *owners[INTERESTS_MOST]; /* a client, a container or a source */
};

static struct interests the_interests;

static void add_interest(struct interests *interests, int fd, short events, void *owner)
{
    interests->fds[interests->count] = (struct poll_fd){.fd = fd, .events = events};
    interests->owners[interests->count++] = owner;
}

/* Not read from while what it has given a container before is not taken yet. */
static short client_events(const struct client *client)
{
    const struct container *container = written_by(client);
    int held = container && container->input_at < container->input_end;
    return (short)((held ? 0 : POLL_READABLE) | (client->lost || client->ending ? POLL_WRITABLE : 0));
}

/* Whether a log is to be tried again. */
static int collect_interests(struct monitor *monitor, struct interests *interests)
{
    int stalled = 0;
    interests->count = 0;
    add_interest(interests, monitor->signal_fd, POLL_READABLE, 0);
    add_interest(interests, monitor->listen_fd, POLL_READABLE, 0);
    for (struct client *client = monitor->clients; client < monitor->clients + MONITOR_CLIENTS; client++)
        if (client->fd >= 0)
            add_interest(interests, client->fd, client_events(client), client);
    for (struct container *each = monitor->containers; each < monitor->containers + MONITOR_CONTAINERS; each++) {
        if (!each->used)
            continue;
        stalled |= each->stalled;
        for (int i = 0; i < 2 && !each->stalled; i++)
            if (each->sources[i].fd >= 0)
                add_interest(interests, each->sources[i].fd, POLL_READABLE, &each->sources[i]);
        if (each->console_fd >= 0)
            add_interest(interests, each->console_fd, POLL_READABLE, each);
        if (each->input_at < each->input_end && each->input_fd >= 0)
            add_interest(interests, each->input_fd, POLL_WRITABLE, each);
    }
    return stalled;
}

static void take_signals(struct monitor *monitor)
{
    char info[128]; /* struct signalfd_siginfo */
    while (sys_read(monitor->signal_fd, info, sizeof info) == sizeof info)
        ;
    process_reap_all(monitor);
}

static void serve_container(struct monitor *monitor, struct container *container, const struct interests *interests)
{
    for (unsigned int i = 2; i < interests->count; i++) {
        const struct poll_fd *found = &interests->fds[i];
        if (!(found->revents & POLL_ANY))
            continue;
        for (int k = 0; k < 2; k++)
            if (interests->owners[i] == &container->sources[k] && !container->stalled &&
                container->sources[k].fd == found->fd)
                container_read(monitor, container, &container->sources[k]);
        if (interests->owners[i] == container && found->fd == container->console_fd)
            container_take_terminal(container);
        else if (interests->owners[i] == container && found->fd == container->input_fd)
            container_write_input(container);
    }
    if (container->stalled)
        container_write(monitor, container);
}

static void serve_client(struct monitor *monitor, struct client *client, short events)
{
    if (events & POLL_WRITABLE)
        client_tell_rest(client);
    if (events & ~POLL_WRITABLE)
        serve(monitor, client);
}

static void turn(struct monitor *monitor)
{
    struct interests *interests = &the_interests;
    const struct __kernel_timespec retry = {.tv_nsec = STALL_RETRY_NS};
    int stalled = collect_interests(monitor, interests);
    if (sys_ppoll(interests->fds, interests->count, stalled ? &retry : 0) < 0)
        return;
    if (interests->fds[0].revents)
        take_signals(monitor);
    for (struct container *each = monitor->containers; each < monitor->containers + MONITOR_CONTAINERS; each++)
        if (each->used)
            serve_container(monitor, each, interests);
    /* Clients last: a request may replace what the interests speak of. */
    for (unsigned int i = 2; i < interests->count; i++)
        for (struct client *client = monitor->clients; client < monitor->clients + MONITOR_CLIENTS; client++)
            if (interests->owners[i] == client && client->fd == interests->fds[i].fd)
                serve_client(monitor, client, interests->fds[i].revents);
    if (interests->fds[1].revents)
        accept_client(monitor);
}

static long prepare(struct monitor *monitor)
{
    const __u64 all = ~0ull, child = SIGNAL_BIT(SIGNAL_CHILD);
    struct statx status;
    (void)sys_rt_sigprocmask(2 /* SIG_SETMASK */, &all, 0);
    (void)sys_prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    (void)sys_prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void)sys_prctl(PR_SET_NAME, (unsigned long)"pyrun-monitor", 0, 0, 0);
    long ret = SYS4(__NR_signalfd4, -1, &child, sizeof child, SIGNALFD_FLAGS);
    if (ret < 0)
        return ret;
    monitor->signal_fd = (int)ret;
    ret = sys_statx(monitor->exits_fd, "", AT_EMPTY_PATH, STATX_SIZE, &status);
    monitor->exits = ret < 0 ? 0 : status.stx_size / sizeof(struct monitor_exit);
    return ret;
}

static int program_main(int argc, char **argv)
{
    struct monitor *monitor = &the_monitor;
    long fds[3] = {-1, -1, -1};
    for (int i = 0; i < 3 && argc == 4; i++)
        fds[i] = parse_descriptor(argv[i + 1]);
    if (fds[0] < 0 || fds[1] < 0 || fds[2] < 0)
        return EXIT_USAGE;
    for (struct client *client = monitor->clients; client < monitor->clients + MONITOR_CLIENTS; client++)
        client->fd = -1;
    monitor->clients[0].fd = (int)fds[0];
    monitor->listen_fd = (int)fds[1];
    monitor->exits_fd = (int)fds[2];
    if (prepare(monitor) < 0)
        return 1;
    while (!monitor->quitting)
        turn(monitor);
    return 0;
}
