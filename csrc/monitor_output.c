/* What containers write, into logs as the CRI has them (k8s.io/cri-api, "Container runtime log format"), and to who is attached:
 *
 *     2016-10-06T00:17:09.669794202Z stdout F a whole line
 *     2016-10-06T00:17:10.113242941Z stdout P the first part of one
 *
 * A part is what one read(2) gave: a line that is longer, or written in pieces, has several, of which the last is F. A log that
 * cannot be written (a full disk) is tried again until it can; meanwhile its container is not read from, so the pipe fills, and the
 * container waits. Nothing is dropped.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "monitor_state.h"
#include "text.h"

#include <linux/errno.h>

#define REALTIME 0
#define DATE_BYTES 32
#define NAME_BYTES 40  /* of a log's file: two numbers of 32 bits and what stands between */
#define END_OF_INPUT 4 /* ^D, to a terminal */

/* ---- the text of a line ---- */

static char *append_padded(char *out, __u64 value, int digits)
{
    for (int i = digits; i-- > 0; value /= 10)
        out[i] = (char)('0' + value % 10);
    return out + digits;
}

/* RFC 3339, in UTC. The year begins in March here, so that a leap day is the last of its year, and every 400 years are alike. */
static char *append_date(char *out, __u64 ns)
{
    __u64 seconds = ns / SECOND_NS;
    __u64 days = seconds / 86400 + 719468; /* since 0000-03-01 */
    __u64 era = days / 146097, day_of_era = days % 146097;
    __u64 year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    __u64 day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    __u64 month_from_march = (5 * day_of_year + 2) / 153;
    __u64 month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    out = append_padded(out, era * 400 + year_of_era + (month <= 2), 4);
    *out++ = '-';
    out = append_padded(out, month, 2);
    *out++ = '-';
    out = append_padded(out, day_of_year - (153 * month_from_march + 2) / 5 + 1, 2);
    *out++ = 'T';
    out = append_padded(out, seconds / 3600 % 24, 2);
    *out++ = ':';
    out = append_padded(out, seconds / 60 % 60, 2);
    *out++ = ':';
    out = append_padded(out, seconds % 60, 2);
    *out++ = '.';
    out = append_padded(out, ns % SECOND_NS, 9);
    return append_text(out, "Z ");
}

/* Formats one piece of what was read, if there is room for it. */
static int format_piece(struct container *container, struct source *source)
{
    char head[DATE_BYTES + 16];
    unsigned int size = 0, left = source->end - source->at;
    const char *text = source->bytes + source->at;
    while (size < left && text[size] != '\n')
        size++;
    int whole = size < left;
    char *end = append_date(head, source->read_ns);
    end = append_text(end, source->output.stream == MONITOR_STDERR ? "stderr " : "stdout ");
    end = append_text(end, whole ? "F " : "P ");
    unsigned int head_size = (unsigned int)(end - head);
    if (container->log_end + head_size + size + 1 > LOG_BYTES)
        return 0;
    char *out = container->log + container->log_end;
    copy_bytes(out, head, head_size);
    copy_bytes(out + head_size, text, size);
    out[head_size + size] = '\n';
    container->log_end += head_size + size + 1;
    source->at += size + (unsigned int)whole;
    return 1;
}

/* ---- the files ---- */

/* <number>.log, <number>.log.1 … */
static void log_name(char ret[NAME_BYTES], const struct container *container, __u32 part)
{
    char *end = append_text(append_number(ret, container->asked.number), ".log");
    if (part)
        append_number(append_text(end, "."), part);
}

static long open_log(struct container *container)
{
    char name[NAME_BYTES];
    struct statx status;
    log_name(name, container, 0);
    long fd;
    MAY_INTERRUPT(
        fd, sys_openat(container->directory_fd, name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640));
    if (fd < 0)
        return fd;
    long ret = sys_statx((int)fd, "", AT_EMPTY_PATH, STATX_SIZE, &status);
    if (ret < 0) {
        (void)sys_close((int)fd);
        return ret;
    }
    container->log_fd = (int)fd;
    container->log_size = status.stx_size;
    return 0;
}

/* The oldest part goes, every other gets the next number. A part that cannot be renamed stays what it is, and grows. */
static void rotate(struct container *container)
{
    char from[NAME_BYTES], to[NAME_BYTES];
    __u32 files = container->asked.max_files;
    close_fd(&container->log_fd);
    if (files <= 1) {
        log_name(from, container, 0);
        (void)sys_unlinkat(container->directory_fd, from, 0);
        return;
    }
    for (__u32 part = files - 1; part > 0; part--) {
        log_name(from, container, part - 1);
        log_name(to, container, part);
        (void)SYS5(__NR_renameat2, container->directory_fd, from, container->directory_fd, to, 0);
    }
}

static long write_log(struct monitor *monitor, struct container *container)
{
    unsigned int size = container->log_end - container->log_at;
    /* Between lines only: what is written in part is finished in the file that it began in. */
    if (!container->log_at && container->log_size && container->log_size + size > container->asked.max_bytes)
        rotate(container);
    long ret = container->log_fd < 0 ? open_log(container) : 0;
    if (ret < 0)
        return ret;
    MAY_INTERRUPT(ret, sys_write(container->log_fd, container->log + container->log_at, size));
    if (ret < 0)
        return ret;
    container->log_at += (unsigned int)ret;
    container->log_size += (__u64)ret;
    monitor->status.written_bytes += (__u64)ret;
    if (container->log_at == container->log_end)
        container->log_at = container->log_end = 0;
    return 0;
}

static int has_output(const struct container *container)
{
    return container->log_end || container->sources[0].at < container->sources[0].end ||
           container->sources[1].at < container->sources[1].end;
}

void container_write(struct monitor *monitor, struct container *container)
{
    while (has_output(container)) {
        for (int i = 0; i < 2 && !container->log_at; i++)
            while (container->sources[i].at < container->sources[i].end &&
                   format_piece(container, &container->sources[i]))
                ;
        long ret = write_log(monitor, container);
        if (ret < 0) {
            monitor->status.stalls += !container->stalled;
            monitor->status.last_error = (__s32)-ret;
            container->stalled = 1;
            return;
        }
    }
    container->stalled = 0;
}

void container_reopen(struct container *container)
{
    close_fd(&container->log_fd); /* opened when there is something to write */
}

/* ---- reading ---- */

int container_talks(const struct container *container)
{
    return container->sources[0].fd >= 0 || container->sources[1].fd >= 0 || container->console_fd >= 0 ||
           has_output(container);
}

/* What a client could not be told when its socket was full. */
void client_tell_rest(struct client *client)
{
    const struct monitor_lost lost = {.bytes = client->lost};
    if (client->lost && client_send(client, MONITOR_LOST, 0, &lost, sizeof lost, -1) >= 0)
        client->lost = 0;
    if (client->ending && !client->lost && client_send(client, MONITOR_ENDED, 0, 0, 0, -1) >= 0)
        client->ending = 0;
}

static void tell_attached(struct monitor *monitor, const struct container *container, const struct source *source)
{
    const sys_size size = sizeof source->output + source->end;
    for (struct client *client = monitor->clients; client < monitor->clients + MONITOR_CLIENTS; client++) {
        if (client->fd < 0 || client->container != container || !(client->attached & source->output.stream))
            continue;
        client_tell_rest(client);
        if (client->lost || client_send(client, MONITOR_OUTPUT, 0, &source->output, size, -1) < 0)
            client->lost += source->end;
    }
}

static void tell_ended(struct monitor *monitor, const struct container *container)
{
    for (struct client *client = monitor->clients; client < monitor->clients + MONITOR_CLIENTS; client++)
        if (client->fd >= 0 && client->container == container) {
            client->ending = client->attached != 0;
            client->container = 0;
            client_tell_rest(client);
        }
}

void container_read(struct monitor *monitor, struct container *container, struct source *source)
{
    long size;
    MAY_INTERRUPT(size, sys_read(source->fd, source->bytes, sizeof source->bytes));
    if (size == -EAGAIN || size == -ENOMEM)
        return;      /* it is still there */
    if (size <= 0) { /* of a terminal: EIO when its other side is closed */
        if (source->fd == container->input_fd)
            container->input_fd = -1;
        close_fd(&source->fd);
        if (container->sources[0].fd < 0 && container->sources[1].fd < 0)
            tell_ended(monitor, container);
        return;
    }
    source->at = 0;
    source->end = (unsigned int)size;
    source->read_ns = read_clock_ns(REALTIME);
    monitor->status.read_bytes += (__u64)size;
    tell_attached(monitor, container, source);
    container_write(monitor, container);
}

/* ---- standard input ---- */

void container_end_input(struct container *container)
{
    if (container->input_fd < 0)
        return;
    if (container->input_is_terminal) { /* a terminal is not closed on one side: it is told, as by a key */
        const char end = END_OF_INPUT;
        (void)sys_write(container->input_fd, &end, 1);
        return;
    }
    close_fd(&container->input_fd);
    container->input_at = container->input_end = 0;
}

void container_write_input(struct container *container)
{
    while (container->input_at < container->input_end && container->input_fd >= 0) {
        long ret;
        MAY_INTERRUPT(ret, sys_write(container->input_fd, container->input + container->input_at,
                                     container->input_end - container->input_at));
        if (ret == -EAGAIN)
            return;
        if (ret < 0) { /* nobody reads it any more */
            if (!container->input_is_terminal)
                close_fd(&container->input_fd);
            break;
        }
        container->input_at += (unsigned int)ret;
    }
    container->input_at = container->input_end = 0;
}

/* The other side of the container's terminal comes as runc sends it: one descriptor, and some bytes that do not matter. */
void container_take_terminal(struct container *container)
{
    char text[64];
    struct descriptor_message control = {0};
    struct data_part part = {text, sizeof text};
    struct message message = {.parts = &part, .part_count = 1, .control = &control, .control_size = sizeof control};
    long ret;
    MAY_INTERRUPT(ret, sys_recvmsg(container->console_fd, &message, MESSAGE_CLOEXEC | MESSAGE_NO_WAIT));
    if (ret == -EAGAIN)
        return;
    close_fd(&container->console_fd);
    if (ret <= 0 || message.control_size < sizeof control.head + sizeof(int) || control.head.type != RIGHTS)
        return;
    (void)sys_fcntl(control.fd, F_SETFL, O_RDWR | O_NONBLOCK);
    container->sources[0].fd = control.fd;
    container->sources[0].output.stream = MONITOR_STDOUT;
    container->input_fd = control.fd;
    container->input_is_terminal = 1;
}

/* ---- beginning ---- */

struct container *container_find(struct monitor *monitor, const char *name)
{
    for (struct container *each = monitor->containers; each < monitor->containers + MONITOR_CONTAINERS; each++)
        if (each->used && same_text(each->asked.name, name))
            return each;
    return 0;
}

/* What is left of the run before: its output is read to the end, for what wrote it is gone. */
static void container_end(struct monitor *monitor, struct container *container)
{
    for (int i = 0; i < 2; i++) {
        struct source *source = &container->sources[i];
        if (source->fd >= 0)
            (void)sys_fcntl(source->fd, F_SETFL, O_NONBLOCK);
        container_write(monitor, container);
        for (unsigned int before = ~0u; source->fd >= 0 && !container->stalled && before; before = source->end) {
            source->at = source->end = 0;
            container_read(monitor, container, source);
        }
        if (container->input_fd == source->fd)
            container->input_fd = -1;
        close_fd(&source->fd);
        monitor->status.lost_bytes += source->end - source->at;
        source->at = source->end = 0;
    }
    tell_ended(monitor, container);
    monitor->status.lost_bytes += container->log_end - container->log_at;
    close_fd(&container->input_fd);
    close_fd(&container->console_fd);
    close_fd(&container->log_fd);
    close_fd(&container->directory_fd);
    container->used = container->stalled = container->input_is_terminal = 0;
    container->log_at = container->log_end = container->input_at = container->input_end = 0;
}

static struct container *find_place(struct monitor *monitor)
{
    for (struct container *each = monitor->containers; each < monitor->containers + MONITOR_CONTAINERS; each++)
        if (!each->used)
            return each;
    return 0;
}

static unsigned int count_given(__u32 has)
{
    return 1 + !!(has & MONITOR_STDIN) + !!(has & MONITOR_STDOUT) + !!(has & MONITOR_STDERR) +
           !!(has & MONITOR_CONSOLE);
}

long container_begin(struct monitor *monitor, struct client *client, const struct monitor_streams *asked,
                     const char **ret_call)
{
    int *fd = client->fds;
    *ret_call = "monitor: STREAMS";
    if (!asked->name[0] || asked->has >= 2 * MONITOR_STDIN_ONCE || !asked->max_files || !asked->max_bytes)
        return -EINVAL;
    if (client->fd_count != count_given(asked->has))
        return -EBADF;
    struct container *container = container_find(monitor, asked->name);
    if (container)
        container_end(monitor, container);
    else
        container = find_place(monitor);
    if (!container)
        return -EAGAIN;
    container->asked = *asked;
    container->directory_fd = *fd++;
    container->log_fd = -1;
    container->input_fd = asked->has & MONITOR_STDIN ? *fd++ : -1;
    container->sources[0].fd = asked->has & MONITOR_STDOUT ? *fd++ : -1;
    container->sources[1].fd = asked->has & MONITOR_STDERR ? *fd++ : -1;
    container->console_fd = asked->has & MONITOR_CONSOLE ? *fd : -1;
    container->sources[0].output.stream = MONITOR_STDOUT;
    container->sources[1].output.stream = MONITOR_STDERR;
    if (container->input_fd >= 0)
        (void)sys_fcntl(container->input_fd, F_SETFL, O_WRONLY | O_NONBLOCK);
    client->fd_count = 0; /* they are the container's now */
    container->used = 1;
    *ret_call = "open(2) of a log";
    long ret = open_log(container);
    if (ret < 0)
        container_end(monitor, container);
    return ret;
}
