/* The monitor's processes: started from plans, reaped, and written down before anybody hears of it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "monitor_state.h"
#include "plan.h"
#include "spawn.h"

#include <linux/errno.h>

#define MONOTONIC 1
#define REALTIME 0
#define NAMESPACES_ALLOWED \
    (CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWUSER | CLONE_NEWCGROUP)
#define KEPT_MOST (2 * MONITOR_FDS_MOST)
#define WAIT_ALL 0                /* P_ALL */
#define WAIT_NOT 0x00000001       /* WNOHANG */
#define WAIT_EXITED 0x00000004    /* WEXITED */
#define WAIT_ALL_KINDS 0x40000000 /* __WALL */
#define STATISTICS_BYTES 512
#define WRITE_TRIES 8

/* What waitid(2) fills in: the part of siginfo_t that SIGCHLD has, and struct rusage. */
struct child_info {
    int number, error, code, padding;
    int pid, uid, status;
    char rest[100];
};

struct usage {
    long user_s, user_us, system_s, system_us, max_rss_kib, rest[13];
};

struct process *process_find(struct monitor *monitor, __u64 id)
{
    for (struct process *process = monitor->processes; process < monitor->processes + MONITOR_PROCESSES; process++)
        if (process->id == id && id)
            return process;
    return 0;
}

static struct process *find_place(struct monitor *monitor)
{
    for (struct process *process = monitor->processes; process < monitor->processes + MONITOR_PROCESSES; process++)
        if (!process->id)
            return process;
    return 0;
}

/* Whom the plan of a process went on in; 0: nobody. */
static long born_pid(const struct process *process)
{
    __s32 pid = 0;
    if (process->plan_fd >= 0)
        (void)sys_pread64(process->plan_fd, &pid, sizeof pid, __builtin_offsetof(struct plan_header, born_pid));
    return pid;
}

/* Who it is now. Its pid is nobody else's: it is our child, and we have not reaped it. */
long process_pid(const struct process *process)
{
    long born = born_pid(process);
    return born ? born : process->pid;
}

void process_describe(const struct process *process, struct monitor_process *ret)
{
    struct monitor_process found = {.pid = (__s32)process_pid(process), .started_ns = process->started_ns};
    copy_bytes(found.name, process->name, sizeof found.name);
    *ret = found;
}

/* ---- starting ---- */

/* The number that stands at an index of what came with the request; -1 is none where that is allowed. */
static int given(const struct client *client, __s32 index)
{
    return index >= 0 && (unsigned int)index < client->fd_count ? client->fds[index] : -1;
}

static long translate(const struct client *client, int plan_fd, __u64 offset, int may_be_none)
{
    __s32 index = 0;
    long ret = sys_pread64(plan_fd, &index, sizeof index, offset);
    if (ret != sizeof index)
        return ret < 0 ? ret : -EINVAL;
    if (index == -1 && may_be_none)
        return 0;
    __s32 fd = given(client, index);
    if (fd < 0)
        return -EBADF;
    ret = SYS4(__NR_pwrite64, plan_fd, &fd, sizeof fd, offset);
    return ret < 0 ? ret : 0;
}

/* Puts numbers of ours in the place of indices. All else in the plan is looked at by the stage (plan_check), before it does anything. */
static long translate_plan(const struct client *client, int plan_fd)
{
    struct plan_header header;
    long ret = sys_pread64(plan_fd, &header, sizeof header, 0);
    if (ret != sizeof header)
        return ret < 0 ? ret : -EINVAL;
    if (header.magic != PLAN_MAGIC || header.step_count > PLAN_MAX_STEPS || header.slot_count > PLAN_MAX_SLOTS)
        return -EINVAL;
    ret = translate(client, plan_fd, __builtin_offsetof(struct plan_header, report_fd), 0);
    if (ret >= 0)
        ret = translate(client, plan_fd, __builtin_offsetof(struct plan_header, gate_fd), 1);
    __u64 slots = sizeof header + header.step_count * (sizeof(struct plan_step) + sizeof(struct plan_stamp));
    for (__u32 i = 0; i < header.slot_count && ret >= 0; i++)
        ret = translate(client, plan_fd, slots + i * sizeof(struct plan_slot), 1);
    return ret;
}

/* What the child keeps, in the order of its numbers: all that came, but for where it is born. */
static unsigned int sort_kept(const struct client *client, const struct monitor_spawn *asked, int ret_fds[KEPT_MOST])
{
    unsigned int count = 0;
    for (unsigned int i = 0; i < client->fd_count; i++) {
        if ((__s32)i == asked->cgroup || (__s32)i == asked->pid_namespace)
            continue;
        unsigned int at = count++;
        for (; at && ret_fds[at - 1] > client->fds[i]; at--)
            ret_fds[at] = ret_fds[at - 1];
        ret_fds[at] = client->fds[i];
    }
    return count;
}

/* Room on the disk for the records of all that live: a full one is an error now, and not of an end that nobody can write down. */
static long reserve_record(const struct monitor *monitor)
{
    __u64 alive = 1;
    for (const struct process *each = monitor->processes; each < monitor->processes + MONITOR_PROCESSES; each++)
        alive += each->id != 0;
    long ret;
    MAY_INTERRUPT(ret, SYS4(__NR_fallocate, monitor->exits_fd, 1 /* FALLOC_FL_KEEP_SIZE */,
                            monitor->exits * sizeof(struct monitor_exit), alive * sizeof(struct monitor_exit)));
    return ret == -EOPNOTSUPP ? 0 : ret;
}

static long check_request(const struct client *client, const struct monitor_spawn *asked)
{
    if (given(client, asked->plan) < 0 || given(client, asked->stage) < 0 ||
        (asked->cgroup != MONITOR_NO_FD && given(client, asked->cgroup) < 0) ||
        (asked->pid_namespace != MONITOR_NO_FD && given(client, asked->pid_namespace) < 0))
        return -EBADF;
    return asked->clone_flags & ~(__u64)NAMESPACES_ALLOWED ? -EINVAL : 0;
}

long process_spawn(struct monitor *monitor, struct client *client, const struct monitor_spawn *asked, __u64 id,
                   const char *maps, const char **ret_call)
{
    struct process *process = find_place(monitor);
    int kept[KEPT_MOST];
    *ret_call = "monitor: SPAWN";
    if (!id || process_find(monitor, id))
        return -EEXIST;
    if (!process)
        return -EAGAIN;
    long ret = check_request(client, asked);
    if (ret < 0)
        return ret;
    *ret_call = "monitor: the plan's descriptors";
    ret = translate_plan(client, given(client, asked->plan));
    if (ret < 0)
        return ret;
    *ret_call = "fallocate(2) of the exit records";
    ret = reserve_record(monitor);
    if (ret < 0)
        return ret;
    struct pyrun_spawn spawn = {
        .clone_flags = asked->clone_flags,
        .cgroup_fd = given(client, asked->cgroup),
        .pid_namespace_fd = given(client, asked->pid_namespace),
        .stage_fd = given(client, asked->stage),
        .plan_fd = given(client, asked->plan),
        .keep_fds = kept,
        .keep_count = sort_kept(client, asked, kept),
        .uid_map = asked->uid_map_bytes ? maps : 0,
        .gid_map = asked->gid_map_bytes ? maps + asked->uid_map_bytes : 0,
    };
    struct pyrun_flight *flight = 0;
    int pidfd = -1;
    long pid = pyrun_spawn(&spawn, &flight, &pidfd, ret_call);
    if (pid < 0)
        return pid;
    ret = pyrun_land(flight, ret_call);
    if (ret < 0) { /* it has ended, and is reaped as one that nobody knows */
        (void)sys_close(pidfd);
        return ret;
    }
    process->id = id;
    process->pid = pid;
    process->started_ns = read_clock_ns(MONOTONIC);
    process->plan_fd = (int)sys_fcntl(spawn.plan_fd, F_DUPFD_CLOEXEC, 3);
    process->cgroup_fd = spawn.cgroup_fd < 0 ? -1 : (int)sys_fcntl(spawn.cgroup_fd, F_DUPFD_CLOEXEC, 3);
    copy_bytes(process->name, asked->name, sizeof process->name);
    return pidfd;
}

/* ---- ending ---- */

static __u64 read_number(const char *text)
{
    __u64 value = 0;
    if (*text < '0' || *text > '9')
        return MONITOR_UNKNOWN;
    for (; *text >= '0' && *text <= '9'; text++)
        value = value * 10 + (__u64)(*text - '0');
    return value;
}

/* Reads a file of the cgroup, with a zero at its end; empty if there is none. */
static void read_statistics(int cgroup_fd, const char *name, char ret[STATISTICS_BYTES])
{
    long size = 0;
    long fd = cgroup_fd < 0 ? -EBADF : sys_openat(cgroup_fd, name, O_RDONLY | O_CLOEXEC, 0);
    if (fd >= 0) {
        size = sys_read((int)fd, ret, STATISTICS_BYTES - 1);
        (void)sys_close((int)fd);
    }
    ret[size > 0 ? size : 0] = 0;
}

/* The number after `key` and a blank, at the beginning of a line. */
static __u64 find_number(const char *text, const char *key)
{
    while (*text) {
        const char *wanted = key;
        while (*wanted && *text == *wanted) {
            text++;
            wanted++;
        }
        if (!*wanted && *text == ' ')
            return read_number(text + 1);
        while (*text && *text != '\n')
            text++;
        text += *text == '\n';
    }
    return MONITOR_UNKNOWN;
}

static void account(int cgroup_fd, struct monitor_exit *ret)
{
    char text[STATISTICS_BYTES];
    read_statistics(cgroup_fd, "memory.events", text);
    ret->oom_kill = find_number(text, "oom_kill");
    ret->oom = find_number(text, "oom");
    ret->memory_max = find_number(text, "max");
    read_statistics(cgroup_fd, "memory.peak", text);
    ret->memory_peak = read_number(text);
}

/* Its room is reserved, so what keeps it from being written is short of memory, and passes. Where it cannot be written all the same,
 * nobody is told: who asks gets the error of reading it. */
static void write_record(struct monitor *monitor, struct monitor_exit *record)
{
    const __u64 size = sizeof *record;
    record->number = ++monitor->exits;
    long ret = -1;
    for (int i = 0; i < WRITE_TRIES && ret != (long)size; i++)
        MAY_INTERRUPT(ret, SYS4(__NR_pwrite64, monitor->exits_fd, record, size, (record->number - 1) * size));
}

long exit_read(struct monitor *monitor, __u64 number, struct monitor_exit *ret)
{
    long size;
    MAY_INTERRUPT(size, sys_pread64(monitor->exits_fd, ret, sizeof *ret, (number - 1) * sizeof *ret));
    if (size < 0)
        return size;
    return size == sizeof *ret && ret->number == number ? 0 : -EIO;
}

static struct process *find_by_pid(struct monitor *monitor, long pid)
{
    for (struct process *process = monitor->processes; process < monitor->processes + MONITOR_PROCESSES; process++)
        if (process->id && (process->pid == pid || born_pid(process) == pid))
            return process;
    return 0;
}

static void ended(struct monitor *monitor, const struct child_info *info, const struct usage *usage)
{
    struct process *process = find_by_pid(monitor, info->pid);
    if (!process) {
        monitor->status.orphans++;
        return;
    }
    long born = born_pid(process);
    if (born && born != info->pid) { /* the first of two: the program is another's */
        process->pid = born;
        return;
    }
    struct monitor_exit record = {
        .id = process->id,
        .pid = info->pid,
        .code = info->code,
        .status = info->status,
        .started_ns = process->started_ns,
        .finished_ns = read_clock_ns(MONOTONIC),
        .finished_real_ns = read_clock_ns(REALTIME),
        .user_us = (__u64)usage->user_s * 1000000u + (__u64)usage->user_us,
        .system_us = (__u64)usage->system_s * 1000000u + (__u64)usage->system_us,
        .max_rss_kib = (__u64)usage->max_rss_kib,
    };
    copy_bytes(record.name, process->name, sizeof record.name);
    account(process->cgroup_fd, &record);
    write_record(monitor, &record);
    process->id = 0;
    close_fd(&process->plan_fd);
    close_fd(&process->cgroup_fd);
}

void process_reap_all(struct monitor *monitor)
{
    for (;;) {
        struct child_info info = {0};
        struct usage usage = {0};
        long ret = sys_waitid(WAIT_ALL, 0, &info, WAIT_EXITED | WAIT_NOT | WAIT_ALL_KINDS, &usage);
        if (ret == -EINTR)
            continue;
        if (ret < 0 || !info.pid)
            return;
        ended(monitor, &info, &usage);
    }
}
