/* pyrun-oci: the plain cases of start, kill and delete, and for everything else the door to Python.
 *
 *     pyrun-oci [GLOBAL OPTION]... start ID | kill ID [SIGNAL] | delete [--force] ID
 *
 * An interpreter takes longer to start than these three take to be done. So they are done here where nothing but the record is
 * needed, a file that `create` leaves in the container's directory (runtime/pyrun_runtime/oci/record.py):
 *
 *     1 VERBS PID TICKS     which verbs are plain for this container: letters of "skd"; its first process and when that was started
 *     CGROUP ROOT           the part of its cgroup's path that was there before
 *     CGROUP                the rest, which goes with it; both are empty for none
 *
 * Whatever is not plain is handed over, with the same arguments, to the program pyrun-oci-python beside this one: other verbs and
 * options, hooks, a state that the verb is an error in, a system call that fails. So every message, log and exit status is Python's.
 * It happens before anything was changed, or where Python begins anew: `delete` does not mind what is gone already, and state.json
 * goes last. The one thing that cannot be found out again is why a program did not start: that is handed over as a number.
 *
 * Locks, order and checks are those of store.py, start.py, kill.py and delete.py, where the reasons are.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "plan.h"
#include "start.h"
#include "text.h"

#include <linux/errno.h>

#define DONE 0
#define HAND_OVER (-1) /* a positive result is the errno that a program could not be executed with */
#define EXIT_FAILED 1
#define ARGUMENTS_MAX 64
#define NAME_MAX_BYTES 255
#define PATH_MAX_BYTES 4096
#define RECORD_MAX_BYTES 8192
#define LOCK_ALONE 2               /* LOCK_EX; <sys/file.h> is the C library's */
#define SIGNAL_PIPE 13             /* SIGPIPE */
#define SIGNAL_KILL 9              /* SIGKILL */
#define IGNORED ((void (*)(int))1) /* SIG_IGN */
#define KILL_TIMEOUT_S 10
#define REMOVE_TRIES 200 /* with PAUSE_NS between */
#define PAUSE_NS 1000000

enum verb { NO_VERB = 0, START = 's', KILL = 'k', DELETE = 'd' };

struct request {
    enum verb verb;
    int verb_at; /* its index in argv */
    int force;
    const char *root, *id, *signal;
};

struct container {
    int root_fd, fd;
    int pid;
    __u64 start_ticks;
    const char *verbs, *group_root, *group;
    char record[RECORD_MAX_BYTES];
};

struct kernel_sigaction {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)(void);
    __u64 mask;
};

/* ---- text ---- */

static sys_size length_of(const char *text)
{
    sys_size length = 0;
    while (text[length])
        length++;
    return length;
}

/* What follows `prefix` in `text`; 0 if it does not begin so. */
static const char *after(const char *text, const char *prefix)
{
    while (*prefix)
        if (*text++ != *prefix++)
            return 0;
    return text;
}

static int is_equal(const char *one, const char *other)
{
    const char *rest = after(one, other);
    return rest && !*rest;
}

static int has_letter(const char *text, char letter)
{
    for (; *text; text++)
        if (*text == letter)
            return 1;
    return 0;
}

/* A decimal number up to the character `end`, after which `*at` then stands; 0 if there is none, so nothing here may be 0. */
static __u64 take_number(const char **at, char end)
{
    __u64 value = 0;
    const char *c = *at;
    for (; *c >= '0' && *c <= '9'; c++) {
        if (value > (~0ull - 9) / 10)
            return 0;
        value = value * 10 + (__u64)(*c - '0');
    }
    if (*c != end)
        return 0;
    *at = c + 1;
    return value;
}

/* Ends the line at `*at` with a zero and goes behind it; 0 if the text ends before the line does. */
static char *take_line(char **at)
{
    char *line = *at;
    char *c = line;
    while (*c && *c != '\n')
        c++;
    if (!*c)
        return 0;
    *c = 0;
    *at = c + 1;
    return line;
}

/* ---- the command line ---- */

static const char *const formats[] = {"text", "json", 0};
static const char *const managers[] = {"cgroupfs", "systemd", "disabled", 0};

/* Global options: those with a value, and the values that there are if not all. */
static const struct {
    const char *name;
    int takes_value;
    const char *const *values;
} options[] = {
    {"root", 1, 0},
    {"log", 1, 0},
    {"log-format", 1, formats},
    {"log-level", 1, 0},
    {"cgroup-manager", 1, managers},
    {"rootless", 1, 0},
    {"systemd-cgroup", 0, 0},
    {"debug", 0, 0},
};

static int is_among(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (is_equal(text, *words))
            return 1;
    return 0;
}

/* How many arguments the option `argv[0]` is, the values after it counted; 0 for one that is not for us. */
static int take_option(char **argv, struct request *ret)
{
    const char *word = after(argv[0], "--");
    for (unsigned int i = 0; word && i < sizeof options / sizeof options[0]; i++) {
        const char *rest = after(word, options[i].name);
        if (!rest || (*rest && (*rest != '=' || !options[i].takes_value)))
            continue;
        if (!options[i].takes_value)
            return 1;
        const char *value = *rest ? rest + 1 : argv[1];
        if (!value || (options[i].values && !is_among(value, options[i].values)))
            return 0;
        if (i == 0)
            ret->root = value;
        return *rest ? 1 : 2;
    }
    return 0;
}

static int take_argument(const char *word, int at, struct request *ret)
{
    if (ret->verb == NO_VERB) {
        ret->verb_at = at;
        ret->verb = is_equal(word, "start")    ? START
                    : is_equal(word, "kill")   ? KILL
                    : is_equal(word, "delete") ? DELETE
                                               : NO_VERB;
        return ret->verb != NO_VERB;
    }
    if (!ret->id) {
        ret->id = word;
        return 1;
    }
    if (ret->verb != KILL || ret->signal)
        return 0;
    ret->signal = word;
    return 1;
}

/* As store.check_id() has it. What is none becomes no file's name here. */
static int is_id(const char *id)
{
    if (length_of(id) > NAME_MAX_BYTES || is_equal(id, "") || is_equal(id, ".") || is_equal(id, "..") ||
        is_equal(id, "pods"))
        return 0;
    for (; *id; id++)
        if (!(*id >= 'a' && *id <= 'z') && !(*id >= 'A' && *id <= 'Z') && !(*id >= '0' && *id <= '9') &&
            !has_letter("_+-.", *id))
            return 0;
    return 1;
}

/* Python takes ".." out of the text, the kernel follows links before it. */
static int is_plain_path(const char *path)
{
    for (const char *c = path; *c; c++)
        if (c[0] == '.' && c[1] == '.')
            return 0;
    return *path != 0;
}

/* Whether the command is one of ours, with nothing in it that is not. */
static int parse(int argc, char **argv, struct request *ret)
{
    int at = 1;
    if (argc > ARGUMENTS_MAX)
        return 0;
    while (at < argc) {
        int taken;
        if (argv[at][0] != '-')
            taken = take_argument(argv[at], at, ret);
        else if (ret->verb == DELETE && (is_equal(argv[at], "--force") || is_equal(argv[at], "-f")))
            taken = ret->force = 1;
        else
            taken = take_option(argv + at, ret);
        if (!taken)
            return 0;
        at += taken;
    }
    if (!ret->root && SYS0(__NR_geteuid) == 0)
        ret->root = "/run/pyrun";
    return ret->root && is_plain_path(ret->root) && ret->id && is_id(ret->id);
}

static int has_variable(char *const *environment, const char *name)
{
    for (; *environment; environment++) {
        const char *rest = after(*environment, name);
        if (rest && *rest == '=')
            return 1;
    }
    return 0;
}

/* ---- the container ---- */

/* The whole of a file with a zero behind it: its size, or -errno. */
static long read_file(int at, const char *name, char *ret, sys_size size)
{
    long fd = sys_openat(at, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0);
    sys_size have = 0;
    long got;
    if (fd < 0)
        return fd;
    do {
        got = sys_read((int)fd, ret + have, size - 1 - have);
        if (got > 0)
            have += (sys_size)got;
    } while (got > 0 && have < size - 1);
    (void)sys_close((int)fd);
    ret[have] = 0;
    if (got < 0)
        return got;
    return have < size - 1 ? (long)have : -EFBIG;
}

static int parse_record(struct container *it)
{
    char *at = it->record;
    char *line = take_line(&at);
    const char *rest = line ? after(line, "1 ") : 0;
    if (!rest)
        return 0;
    it->verbs = rest;
    for (char *c = line + (rest - line); *c; c++) {
        if (*c != ' ')
            continue;
        *c = 0;
        rest = c + 1;
        break;
    }
    __u64 pid = take_number(&rest, ' ');
    it->start_ticks = take_number(&rest, 0);
    it->group_root = take_line(&at);
    it->group = it->group_root ? take_line(&at) : 0;
    if (pid == 0 || pid > 0x7fffffff || it->start_ticks == 0 || !it->group || *at)
        return 0;
    it->pid = (int)pid;
    return !it->group[0] == !it->group_root[0] && is_plain_path(it->group[0] ? it->group : "x");
}

/* Whether the name still leads to the directory that is locked. */
static int is_in_place(const struct container *it, const char *id)
{
    struct statx ours, there;
    return sys_statx(it->fd, "", AT_EMPTY_PATH, STATX_INO, &ours) >= 0 &&
           sys_statx(it->root_fd, id, AT_SYMLINK_NOFOLLOW, STATX_INO, &there) >= 0 && ours.stx_ino == there.stx_ino &&
           ours.stx_dev_major == there.stx_dev_major && ours.stx_dev_minor == there.stx_dev_minor;
}

/* The directory of the container, locked if we change something, and what its record says. Whoever is not plain is not opened. */
static int open_container(const struct request *request, struct container *ret)
{
    long fd = sys_openat(AT_FDCWD, request->root, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    ret->root_fd = (int)fd;
    if (fd < 0)
        return 0;
    fd = sys_openat(ret->root_fd, request->id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    ret->fd = (int)fd;
    if (fd < 0)
        return 0;
    if (request->verb != KILL && (SYS2(__NR_flock, fd, LOCK_ALONE) < 0 || !is_in_place(ret, request->id)))
        return 0;
    return read_file(ret->fd, "front", ret->record, sizeof ret->record) > 0 && parse_record(ret) &&
           has_letter(ret->verbs, (char)request->verb);
}

/* When the process was started, in clock ticks: field 22 of proc_pid_stat(5). -ESRCH if it has ended, zombies included. The name
 * before the last bracket is the process's own choice. */
static long read_start_ticks(int pid, __u64 *ret)
{
    char path[64], stat[2048];
    append_text(append_number(append_text(path, "/proc/"), pid), "/stat");
    long size = read_file(AT_FDCWD, path, stat, sizeof stat);
    if (size < 0)
        return size == -ENOENT ? -ESRCH : size;
    while (size > 0 && stat[size - 1] != ')')
        size--;
    if (size == 0 || stat[size] != ' ')
        return -EINVAL;
    const char *at = stat + size + 1;
    if (*at == 'Z' || *at == 'X')
        return -ESRCH;
    for (int field = 3; field < 22; at++) {
        if (!*at)
            return -EINVAL;
        if (*at == ' ')
            field++;
    }
    *ret = take_number(&at, ' ');
    return 0;
}

/* A pidfd of the first process; -ESRCH if it has ended. Looked at after the open: whoever has the pid now is who it means. */
static long find_process(const struct container *it)
{
    __u64 ticks = 0;
    long pidfd = sys_pidfd_open(it->pid, 0);
    if (pidfd < 0)
        return pidfd == -EINVAL ? -ESRCH : pidfd; /* EINVAL: by now it is a thread */
    long error = read_start_ticks(it->pid, &ticks);
    if (error >= 0 && ticks == it->start_ticks)
        return pidfd;
    (void)sys_close((int)pidfd);
    return error < 0 ? error : -ESRCH;
}

/* The path of a file of the container's group, or of the group itself; 0 if it is too long or there is no group. */
static char *group_path(const struct container *it, const char *file, char ret[PATH_MAX_BYTES])
{
    if (!it->group[0] || length_of(it->group_root) + length_of(it->group) + length_of(file) + 3 > PATH_MAX_BYTES)
        return 0;
    char *end = append_text(append_text(append_text(ret, it->group_root), "/"), it->group);
    return *file ? append_text(append_text(end, "/"), file) : end;
}

/* ---- kill ---- */

static const char *const signals[] = {
    0,      "HUP",  "INT",  "QUIT", "ILL",    "TRAP",   "ABRT",  "BUS",  "FPE",  "KILL", "USR1",
    "SEGV", "USR2", "PIPE", "ALRM", "TERM",   "STKFLT", "CHLD",  "CONT", "STOP", "TSTP", "TTIN",
    "TTOU", "URG",  "XCPU", "XFSZ", "VTALRM", "PROF",   "WINCH", "IO",   "PWR",  "SYS",
};

/* The number of a signal that is written "15", "TERM" or "SIGTERM"; 0 for what Python shall look at. */
static int parse_signal(const char *text)
{
    const char *at = text;
    __u64 number = take_number(&at, 0);
    if (number)
        return number <= 64 && length_of(text) < 4 ? (int)number : 0;
    const char *name = after(text, "SIG");
    for (int i = 1; i < (int)(sizeof signals / sizeof signals[0]); i++)
        if (is_equal(name ? name : text, signals[i]))
            return i;
    return 0;
}

static int kill_container(const struct container *it, const struct request *request)
{
    int number = parse_signal(request->signal ? request->signal : "TERM");
    long pidfd = number ? find_process(it) : -EINVAL;
    return pidfd >= 0 && sys_pidfd_send_signal((int)pidfd, number, 0) >= 0 ? DONE : HAND_OVER;
}

/* ---- start ---- */

static int is_frozen(const struct container *it)
{
    char path[PATH_MAX_BYTES], text[16];
    return group_path(it, "cgroup.freeze", path) && read_file(AT_FDCWD, path, text, sizeof text) > 0 && text[0] == '1';
}

/* One byte to the gate. A process that has died since must not end us by SIGPIPE, nor is anybody after us to ignore it. */
static long open_gate(int gate)
{
    const struct kernel_sigaction ignore = {.handler = IGNORED};
    struct kernel_sigaction before;
    long ret = sys_rt_sigaction(SIGNAL_PIPE, &ignore, &before);
    if (ret < 0)
        return ret;
    ret = sys_write(gate, "1", 1);
    (void)sys_rt_sigaction(SIGNAL_PIPE, &before, 0);
    return ret;
}

/* The errno of a failure; 0 when the report ends, as it does with the exec. */
static int read_failure(int report_fd)
{
    struct plan_report report;
    long got;
    while ((got = sys_read(report_fd, &report, sizeof report)) == (long)sizeof report || got == -EINTR)
        if (got > 0 && report.kind == PLAN_REPORT_FAILED)
            return report.error > 0 ? report.error : EIO;
    return 0;
}

static int start_container(const struct container *it)
{
    if (find_process(it) < 0 || is_frozen(it))
        return HAND_OVER;
    /* Both with O_NONBLOCK: without, an open waits for the other end. */
    long gate = sys_openat(it->fd, "gate", O_WRONLY | O_NONBLOCK | O_CLOEXEC, 0);
    long report = gate < 0 ? gate : sys_openat(it->fd, "report", O_RDONLY | O_NONBLOCK | O_CLOEXEC, 0);
    if (report < 0 || sys_fcntl((int)report, F_SETFL, 0) < 0 || open_gate((int)gate) != 1)
        return HAND_OVER;
    int failure = read_failure((int)report);
    /* Until the gate has no reader: whoever looks at it after us is not to find it half open. */
    struct poll_fd closed = {.fd = (int)gate};
    while (sys_ppoll(&closed, 1, 0) == -EINTR)
        ;
    return failure;
}

/* ---- delete ---- */

/* What there is in a plain container's directory, in the order in which it goes. */
static const char *const files[] = {"front", "gate", "report", "config.json", "state.json", 0};

static int has_only_files(int fd)
{
    char entries[2048] __attribute__((aligned(8)));
    long size;
    while ((size = sys_getdents64(fd, entries, sizeof entries)) > 0) {
        for (long at = 0; at < size;) {
            const struct linux_dirent64 *entry = (const void *)(entries + at);
            at += entry->length;
            if (!is_equal(entry->name, ".") && !is_equal(entry->name, "..") && !is_among(entry->name, files))
                return 0;
        }
    }
    return size == 0;
}

/* Kill everybody in the group, or the first process where there is none, and wait for its end. */
static int end_processes(const struct container *it, int pidfd)
{
    const struct __kernel_timespec timeout = {.tv_sec = KILL_TIMEOUT_S};
    char path[PATH_MAX_BYTES];
    if (group_path(it, "cgroup.kill", path)) {
        long fd = sys_openat(AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
        if (fd < 0 || sys_write((int)fd, "1", 1) != 1)
            return 0;
        (void)sys_close((int)fd);
    }
    /* Also who is in the group: somebody may have moved it out. */
    long sent = sys_pidfd_send_signal(pidfd, SIGNAL_KILL, 0);
    if (sent < 0 && sent != -ESRCH)
        return 0;
    struct poll_fd end = {.fd = pidfd, .events = POLL_READABLE};
    return sys_ppoll(&end, 1, &timeout) == 1;
}

/* The group, and as many of those above it that were made for it as are empty. */
static int remove_group(const struct container *it, int tries)
{
    const struct __kernel_timespec pause = {.tv_nsec = PAUSE_NS};
    char path[PATH_MAX_BYTES];
    char *end = group_path(it, "", path);
    long ret;
    if (!end)
        return !it->group[0];
    while ((ret = sys_unlinkat(AT_FDCWD, path, AT_REMOVEDIR)) == -EBUSY && --tries > 0)
        (void)sys_nanosleep(&pause);
    if (ret < 0 && ret != -ENOENT)
        return 0;
    for (const char *top = path + length_of(it->group_root); --end > top;) {
        if (*end != '/')
            continue;
        *end = 0;
        ret = sys_unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
        if (ret < 0 && ret != -ENOENT)
            break;
    }
    return 1;
}

static int remove_directory(const struct container *it, const char *id)
{
    for (const char *const *file = files; *file; file++) {
        long ret = sys_unlinkat(it->fd, *file, 0);
        if (ret < 0 && ret != -ENOENT)
            return 0;
    }
    return sys_unlinkat(it->root_fd, id, AT_REMOVEDIR) >= 0;
}

static int delete_container(const struct container *it, const struct request *request)
{
    if (!has_only_files(it->fd))
        return HAND_OVER;
    long pidfd = find_process(it);
    if (pidfd >= 0) {
        if (!request->force || !end_processes(it, (int)pidfd))
            return HAND_OVER;
    } else if (pidfd != -ESRCH) {
        return HAND_OVER;
    }
    if (!remove_group(it, pidfd >= 0 ? REMOVE_TRIES : 1) || !remove_directory(it, request->id))
        return HAND_OVER;
    return DONE;
}

/* ---- all of it ---- */

static int run(const struct request *request, char *const *environment)
{
    static struct container container;
    if (request->verb == START && has_variable(environment, "NOTIFY_SOCKET"))
        return HAND_OVER;
    if (!open_container(request, &container))
        return HAND_OVER;
    if (request->verb == START)
        return start_container(&container);
    return request->verb == KILL ? kill_container(&container, request) : delete_container(&container, request);
}

/* Go on as pyrun-oci-python, where this program is; locks and descriptors go with the exec. */
static int hand_over(char **argv, char *const *environment)
{
    static const char name[] = "pyrun-oci-python";
    static const char failed[] = "pyrun-oci: pyrun-oci-python, which belongs beside it, cannot be executed\n";
    char path[PATH_MAX_BYTES + sizeof name];
    long size = sys_readlinkat(AT_FDCWD, "/proc/self/exe", path, PATH_MAX_BYTES);
    while (size > 0 && path[size - 1] != '/')
        size--;
    if (size > 0) {
        append_text(path + size, name);
        (void)sys_execve(path, argv, environment);
    }
    (void)sys_write(2, failed, sizeof failed - 1);
    return EXIT_FAILED;
}

/* The same command with the option that says why the program did not start. */
static int hand_failure_over(int argc, char **argv, int verb_at, int error, char *const *environment)
{
    static char *words[ARGUMENTS_MAX + 2];
    char option[40];
    append_number(append_text(option, "--exec-error="), error);
    for (int i = 0; i < argc; i++)
        words[i <= verb_at ? i : i + 1] = argv[i];
    words[verb_at + 1] = option;
    words[argc + 1] = 0;
    return hand_over(words, environment);
}

static int program_main(int argc, char **argv)
{
    struct request request = {0};
    char *const *environment = argv + argc + 1;
    int ret = parse(argc, argv, &request) ? run(&request, environment) : HAND_OVER;
    if (ret == DONE)
        return 0;
    return ret < 0 ? hand_over(argv, environment) : hand_failure_over(argc, argv, request.verb_at, ret, environment);
}
