/* The limit: a pod made with nothing but the system calls it takes.
 *
 *     limit OPTION... pod COUNT [-- PROGRAM ARGUMENT...]      one pod, from nothing to removed; the whole process is what is measured
 *     limit OPTION... serve [-- PROGRAM ARGUMENT...]          commands on standard input, one answer a line
 *     limit true | stamp | processes COUNT                    what runs in the containers of the benchmarks
 *
 * It does what `pyrun plan` prints for a pod of the benchmark, step by step, and it knows all of it beforehand: no manifest, no
 * plan, no check of what cannot be otherwise. So it says what the kernel takes, and a figure of pyrun divided by its figure says what
 * pyrun adds. tests/bench/test_limit.py holds what it makes against what pyrun makes, so that it cannot do less.
 *
 * Every process is cloned into its cgroup, in our memory (CLONE_VM), with a stack of its own, and makes raw system calls only. pause
 * and the containers are on their way at the same time; who has to wait for another waits for a word in the shared memory. The kernel
 * clears the last of these words when the program is executed (CLONE_CHILD_CLEARTID). A time namespace cannot be entered by who shares
 * memory: it is made by the parent for its children, who are in it once they execute (Linux 6.1).
 *
 * Commands of `serve`, and the moments that are answered, after that of the beginning:
 *     pod COUNT        created running exited removed
 *     spawn            running exited removed: one container in namespaces of its own, with everything but pause
 *     up COUNT         created running, then the pids of pause and of the containers: they stay
 *     exec             running exited: /bin/true in the first container that is up
 *     down             removed: everything that is up is killed
 *     clone FLAGS      running exited: a program in new namespaces
 *     join FLAGS PID   running exited: a program in those of process PID
 *     hold FLAGS       running destroyed: a program that stays in new namespaces, and is killed as soon as it runs
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "clone.h"
#include "start.h"
#include "text.h"

#include <linux/close_range.h>
#include <linux/errno.h>
#include <linux/futex.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>

#define MOST_CONTAINERS 64
#define STACK_BYTES 16384
#define TEXT_BYTES 256
#define CHILD_FLAGS (CLONE_VM | CLONE_PIDFD | CLONE_CLEAR_SIGHAND | CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID)
#define SANDBOX_NAMESPACES (CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET)
#define ALL_NAMESPACES \
    (SANDBOX_NAMESPACES | CLONE_NEWPID | CLONE_NEWCGROUP | CLONE_NEWTIME | CLONE_NEWUSER) /* not with clone's signal */

#define CONTAINER_CAPABILITIES 0xa00425fbull
#define HIGHEST_CAPABILITY 63
#define PAUSE_ID 65535
#define UMOUNT_DETACH 2 /* MNT_DETACH; <sys/mount.h> clashes */
#define WAIT_PIDFD 3
#define WAIT_EXITED 0x00000004
#define WAIT_ALL_KINDS 0x40000000
#define SIGNAL_CHILD 17
#define SIGNAL_KILL 9
#define CLOCK_MONOTONIC_ID 1
#define ACCESS_EXECUTE 1
#define REMOVE_DIRECTORY 0x200 /* AT_REMOVEDIR */
#define REQUEST_SET_FLAGS 0x8914ul
#define SAFE (MS_NOSUID | MS_NODEV | MS_NOEXEC)

enum role { PAUSE, MEMBER, ALONE, VISITOR, PLAIN };

/* One process, and what it shares with us while it runs in our memory. */
struct task {
    enum role role;
    __u32 alive;   /* futex: the kernel clears it at exec or exit */
    __u32 created; /* futex: what comes before the gate is done, or has failed */
    __u32 mapped;  /* futex: its user namespace has its maps */
    int flags;     /* PLAIN: its namespaces */
    int stays;     /* PLAIN: it does not end by itself */
    int joined;    /* pidfd of whose namespaces are joined */
    int pid, pidfd, cgroup;
    char **program;
    long error;
    const char *call;
    char stack[STACK_BYTES] __attribute__((aligned(16)));
};

struct pod {
    char name[TEXT_BYTES]; /* of its cgroup, below the root */
    int count;
    __u32 ready; /* futex: pause has made its namespaces */
    __u32 gate;  /* futex: all may start */
    struct task pause;
    struct task containers[MOST_CONTAINERS];
};

/* ---- what is known beforehand ---- */

static struct {
    const char *rootfs, *cgroup, *pause, *filter, *self, *pause_oom_score_adj;
    long filter_flags, out;
    char **program;
    const char *controllers;            /* "+cpu +memory": what the children of our groups get, or none */
    const char *cpu_weight, *oom_group; /* of groups, or none: there is no such controller */
    int cgroup_fd, null_fd, pause_fd, own_pid_namespace;
    struct sock_fprog filter_program;
    __u64 serial;
} setting = {.cgroup = "/sys/fs/cgroup", .out = -1, .pause_oom_score_adj = "0"};

static char resolv_conf[4096];
static sys_size resolv_conf_size;
static struct sock_filter instructions[BPF_MAXINSNS];
static struct pod pod;
static struct task single;

static char *program_true[] = {"/bin/true", 0};
static const char hostname[] = "bench";
static const char hosts[] = "# Made by pyrun for this pod.\n127.0.0.1\tlocalhost\n"
                            "::1\tlocalhost ip6-localhost ip6-loopback\n127.0.0.1\tbench\n";
static char *const environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                    "HOSTNAME=bench", "HOME=/root", 0};

static const struct {
    const char *path;
    int major, minor;
} nodes[] = {{"dev/null", 1, 3},   {"dev/zero", 1, 5},    {"dev/full", 1, 7},
             {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0}};

static const char *const links[][2] = {{"pts/ptmx", "dev/ptmx"},          {"/proc/self/fd", "dev/fd"},
                                       {"/proc/self/fd/0", "dev/stdin"},  {"/proc/self/fd/1", "dev/stdout"},
                                       {"/proc/self/fd/2", "dev/stderr"}, {"/proc/kcore", "dev/core"}};

static const char *const readonly[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};
static const char *const hidden_files[] = {"proc/interrupts",    "proc/kcore",       "proc/keys",
                                           "proc/latency_stats", "proc/sched_debug", "proc/timer_list",
                                           "proc/timer_stats"};
static const char *const hidden_directories[] = {"proc/acpi", "proc/asound", "proc/scsi",
                                                 "sys/devices/virtual/powercap", "sys/firmware"};

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

/* ---- text, time, waiting ---- */

static sys_size length_of(const char *text)
{
    sys_size length = 0;
    while (text[length])
        length++;
    return length;
}

static int is_same(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

static __u64 parse(const char *text)
{
    __u64 value = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        value = value * 10 + (__u64)(*text - '0');
    return value;
}

static void say(int fd, const char *text)
{
    (void)sys_write(fd, text, length_of(text));
}

static __u64 now_ns(void)
{
    struct __kernel_timespec now;
    (void)sys_clock_gettime(CLOCK_MONOTONIC_ID, &now);
    return (__u64)now.tv_sec * 1000000000u + (__u64)now.tv_nsec;
}

static void wake_all(__u32 *word)
{
    __atomic_store_n(word, 1, __ATOMIC_RELEASE);
    (void)SYS3(__NR_futex, word, FUTEX_WAKE, 0x7fffffff);
}

static void wait_while(__u32 *word, __u32 value)
{
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == value)
        (void)sys_futex_wait(word, value);
}

static void wait_gone(__u32 *word)
{
    __u32 value;
    while ((value = __atomic_load_n(word, __ATOMIC_ACQUIRE)) != 0)
        (void)sys_futex_wait(word, value);
}

/* Who runs is killed; the empty groups stay, and the benchmark takes them away. */
static void kill_group(void)
{
    char path[TEXT_BYTES];
    append_text(append_text(path, pod.name), "/cgroup.kill");
    long fd = sys_openat(setting.cgroup_fd, path, O_WRONLY | O_CLOEXEC, 0);
    if (fd >= 0)
        (void)sys_write((int)fd, "1", 1);
    (void)sys_close((int)fd);
}

static void give_up(const char *call, long error) __attribute__((noreturn));
static void give_up(const char *call, long error)
{
    char text[TEXT_BYTES];
    if (pod.name[0])
        kill_group();
    append_text(append_number(append_text(append_text(append_text(text, "limit: "), call), ": errno "), -error), "\n");
    say(2, text);
    sys_exit_group(1);
}

static long must(const char *call, long ret)
{
    if (ret < 0)
        give_up(call, ret);
    return ret;
}

/* ---- in the children: raw calls, nothing shared but the task ---- */

static void end(struct task *task, const char *call, long error) __attribute__((noreturn));
static void end(struct task *task, const char *call, long error)
{
    task->call = call;
    task->error = error;
    wake_all(&task->created);
    if (task->role == PAUSE)
        wake_all(&pod.ready);
    sys_exit_group(127);
}

/* `what` has to succeed, or the task has failed with that name. */
#define DO(what)                      \
    do {                              \
        long result = (what);         \
        if (result < 0)               \
            end(task, #what, result); \
    } while (0)

static void write_file(struct task *task, int at, const char *path, const char *data, sys_size size)
{
    long fd = sys_openat(at, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    DO(fd);
    DO(sys_write((int)fd, data, size));
    (void)sys_close((int)fd);
}

static void bring_lo_up(struct task *task)
{
    struct {
        char name[16];
        short flags;
        char unused[22];
    } request = {.name = "lo", .flags = 1 | 0x40 /* IFF_UP | IFF_RUNNING */};
    long fd = sys_socket(1 /* AF_UNIX */, 2 | O_CLOEXEC, 0);
    DO(fd);
    DO(sys_ioctl((int)fd, REQUEST_SET_FLAGS, &request));
    (void)sys_close((int)fd);
}

static void pivot_here(struct task *task)
{
    DO(sys_pivot_root(".", "."));
    DO(sys_umount2(".", UMOUNT_DETACH));
}

static void limit_privileges(struct task *task, __u64 capabilities, unsigned int id)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};
    for (unsigned long number = 0; number < HIGHEST_CAPABILITY; number++)
        if (!(capabilities >> number & 1) && sys_prctl(PR_CAPBSET_DROP, number, 0, 0, 0) == -EINVAL)
            break;
    data[0].effective = data[0].permitted = (__u32)capabilities;
    data[1].effective = data[1].permitted = (__u32)(capabilities >> 32);
    DO(sys_setgroups(id == 0, &id)); /* as containerd: the primary group is among the others; pause has none */
    DO(sys_setresgid(id, id, id));
    DO(sys_setresuid(id, id, id));
    DO(sys_capset(&header, data));
    DO(sys_prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    DO(sys_prctl(PR_SET_PDEATHSIG, SIGNAL_KILL, 0, 0, 0));
}

static void set_stdio(struct task *task, int out)
{
    DO(sys_dup3(setting.null_fd, 0, 0));
    DO(sys_dup3(out, 1, 0));
    DO(sys_dup3(out, 2, 0));
}

static int container_out(void)
{
    return setting.out < 0 ? setting.null_fd : (int)setting.out;
}

static void make_sandbox(struct task *task)
{
    long fs = sys_fsopen("tmpfs", FSOPEN_CLOEXEC);
    DO(fs);
    DO(sys_fsconfig((int)fs, FSCONFIG_SET_STRING, "source", "pyrun-sandbox", 0));
    DO(sys_fsconfig((int)fs, FSCONFIG_SET_STRING, "mode", "0755", 0));
    DO(sys_fsconfig((int)fs, FSCONFIG_CMD_CREATE, 0, 0, 0));
    long root = sys_fsmount((int)fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    DO(root);
    DO(sys_move_mount((int)root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH));
    DO(sys_fchdir((int)root));
    DO(sys_mkdirat(AT_FDCWD, "tmp", 0755));
    DO(sys_mkdirat(AT_FDCWD, "etc", 0755));
    write_file(task, AT_FDCWD, "etc/hosts", hosts, sizeof hosts - 1);
    write_file(task, AT_FDCWD, "etc/hostname", "bench\n", sizeof hostname);
    write_file(task, AT_FDCWD, "etc/resolv.conf", resolv_conf, resolv_conf_size);
    DO(sys_mkdirat(AT_FDCWD, "shm", 0755));
    DO(sys_mount("tmpfs", "shm", "tmpfs", SAFE, "mode=1777,size=67108864"));
}

static void run_pause(struct task *task) __attribute__((noreturn));
static void run_pause(struct task *task)
{
    static char *const argv[] = {"pause", "3", 0};
    static char *const none[] = {0};
    const struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
    DO(sys_setsid());
    DO(sys_unshare(SANDBOX_NAMESPACES));
    bring_lo_up(task);
    DO(sys_sethostname(hostname, sizeof hostname - 1));
    DO(sys_mount(0, "/", 0, MS_REC | MS_PRIVATE, 0));
    make_sandbox(task);
    pivot_here(task);
    DO(sys_mount_setattr(AT_FDCWD, "/", 0, &read_only, sizeof read_only));
    DO(sys_chdir("/"));
    wake_all(&pod.ready);
    limit_privileges(task, 0, PAUSE_ID);
    set_stdio(task, setting.null_fd);
    DO(sys_execveat(setting.pause_fd, "", argv, none, AT_EMPTY_PATH));
    sys_exit_group(127);
}

static int clone_tree(struct task *task, const char *path, unsigned int flags, __u64 set, __u64 clear)
{
    const struct mount_attr attributes = {.attr_set = set, .attr_clr = clear, .propagation = MS_PRIVATE};
    long tree = sys_open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags);
    DO(tree);
    DO(sys_mount_setattr((int)tree, "", AT_EMPTY_PATH | flags, &attributes, sizeof attributes));
    return (int)tree;
}

static void attach(struct task *task, int tree, const char *target)
{
    DO(sys_move_mount(tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH));
}

static void make_root(struct task *task, int image)
{
    DO(sys_mount("pyrun-layers", "/tmp", "tmpfs", 0, "mode=0755"));
    DO(sys_chdir("/tmp"));
    DO(sys_mkdirat(AT_FDCWD, "lower", 0755));
    DO(sys_mkdirat(AT_FDCWD, "upper", 0755));
    DO(sys_mkdirat(AT_FDCWD, "work", 0755));
    DO(sys_mkdirat(AT_FDCWD, "root", 0755));
    attach(task, image, "lower");
    DO(sys_mount("overlay", "root", "overlay", MS_NODEV, "lowerdir=lower,upperdir=upper,workdir=work"));
    DO(sys_chdir("root"));
}

/* Below the root, which is the working directory. */
static void fill_dev(struct task *task)
{
    for (unsigned int i = 0; i < COUNT_OF(nodes); i++)
        DO(sys_mknodat(AT_FDCWD, nodes[i].path, S_IFCHR | 0666, (unsigned long)(nodes[i].major << 8 | nodes[i].minor)));
    for (unsigned int i = 0; i < COUNT_OF(links); i++)
        DO(sys_symlinkat(links[i][0], AT_FDCWD, links[i][1]));
    DO(sys_mknodat(AT_FDCWD, "dev/termination-log", S_IFREG | 0666, 0));
}

static void hide_paths(struct task *task)
{
    for (unsigned int i = 0; i < COUNT_OF(readonly); i++) {
        long ret = sys_mount(readonly[i], readonly[i], 0, MS_BIND | MS_REC, 0);
        if (ret == -ENOENT)
            continue;
        DO(ret);
        DO(sys_mount(0, readonly[i], 0, MS_REMOUNT | MS_BIND | MS_RDONLY | SAFE, 0));
    }
    for (unsigned int i = 0; i < COUNT_OF(hidden_files); i++) {
        /* The machine's null device where it is in sight, as a plan has it. */
        long ret = sys_mount(task->role == ALONE ? "/dev/null" : "dev/null", hidden_files[i], 0, MS_BIND, 0);
        DO(ret == -ENOENT ? 0 : ret);
    }
    for (unsigned int i = 0; i < COUNT_OF(hidden_directories); i++) {
        long ret = sys_mount("none", hidden_directories[i], "tmpfs", MS_RDONLY | SAFE, 0);
        DO(ret == -ENOENT ? 0 : ret);
    }
}

struct trees {
    int image, shm, hosts, hostname, resolv_conf;
};

static void fill_root(struct task *task, const struct trees *trees)
{
    DO(sys_mount("proc", "proc", "proc", SAFE, 0));
    DO(sys_mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"));
    DO(sys_mount("sysfs", "sys", "sysfs", SAFE | MS_RDONLY, 0));
    DO(sys_mkdirat(AT_FDCWD, "dev/pts", 0755));
    DO(sys_mkdirat(AT_FDCWD, "dev/shm", 0755));
    DO(sys_mkdirat(AT_FDCWD, "dev/mqueue", 0755));
    DO(sys_mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"));
    if (trees->shm >= 0)
        attach(task, trees->shm, "dev/shm");
    else
        DO(sys_mount("shm", "dev/shm", "tmpfs", SAFE, "mode=1777,size=67108864"));
    DO(sys_mount("mqueue", "dev/mqueue", "mqueue", SAFE, 0));
    attach(task, trees->hosts, "etc/hosts");
    attach(task, trees->hostname, "etc/hostname");
    attach(task, trees->resolv_conf, "etc/resolv.conf");
    DO(sys_mount("cgroup", "sys/fs/cgroup", "cgroup2", SAFE | MS_RDONLY, 0));
    fill_dev(task);
    hide_paths(task);
}

static void clone_etc(struct task *task, struct trees *trees, __u64 set, __u64 clear)
{
    trees->hosts = clone_tree(task, "/etc/hosts", 0, set, clear);
    trees->hostname = clone_tree(task, "/etc/hostname", 0, set, clear);
    trees->resolv_conf = clone_tree(task, "/etc/resolv.conf", 0, set, clear);
}

static void start_program(struct task *task) __attribute__((noreturn));
static void start_program(struct task *task)
{
    (void)sys_umask(0022);
    DO(sys_seccomp(SECCOMP_SET_MODE_FILTER, (unsigned int)setting.filter_flags, &setting.filter_program));
    DO(sys_execve(task->program[0], task->program, environment));
    sys_exit_group(127);
}

static void become_program(struct task *task) __attribute__((noreturn));
static void become_program(struct task *task)
{
    limit_privileges(task, CONTAINER_CAPABILITIES, 0);
    set_stdio(task, container_out());
    DO(sys_faccessat2(AT_FDCWD, task->program[0], ACCESS_EXECUTE, AT_EACCESS));
    wake_all(&task->created);
    if (task->role == MEMBER)
        wait_while(&pod.gate, 0);
    start_program(task);
}

static void begin_container(struct task *task)
{
    DO(sys_setsid());
    DO(sys_keyctl_join_session(0));
    (void)sys_umask(0);
}

static void run_member(struct task *task) __attribute__((noreturn));
static void run_member(struct task *task)
{
    struct trees trees;
    begin_container(task);
    trees.image = (int)sys_open_tree(AT_FDCWD, setting.rootfs, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    DO(trees.image);
    wait_while(&pod.ready, 0);
    DO(sys_setns(task->joined, SANDBOX_NAMESPACES));
    DO(sys_unshare(CLONE_NEWNS | CLONE_NEWCGROUP));
    DO(sys_mount(0, "/", 0, MS_REC | MS_PRIVATE, 0));
    trees.shm = clone_tree(task, "/shm", AT_RECURSIVE, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, 0);
    clone_etc(task, &trees, 0, MOUNT_ATTR_RDONLY);
    make_root(task, trees.image);
    fill_root(task, &trees);
    pivot_here(task);
    DO(sys_chdir("/"));
    become_program(task);
}

static void run_alone(struct task *task) __attribute__((noreturn));
static void run_alone(struct task *task)
{
    const struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
    struct trees trees = {.shm = -1};
    begin_container(task);
    clone_etc(task, &trees, MOUNT_ATTR_RDONLY, 0);
    trees.image = (int)sys_open_tree(AT_FDCWD, setting.rootfs, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    DO(trees.image);
    DO(sys_unshare(SANDBOX_NAMESPACES | CLONE_NEWCGROUP));
    DO(sys_mount(0, "/", 0, MS_REC | MS_PRIVATE, 0));
    bring_lo_up(task);
    DO(sys_sethostname(hostname, sizeof hostname - 1));
    make_root(task, trees.image);
    fill_root(task, &trees);
    DO(sys_mount_setattr(AT_FDCWD, ".", 0, &read_only, sizeof read_only));
    pivot_here(task);
    DO(sys_chdir("/"));
    become_program(task);
}

/* Into a running container. Its PID namespace is where it was born, its time namespace where it executes. */
static void run_visitor(struct task *task) __attribute__((noreturn));
static void run_visitor(struct task *task)
{
    DO(sys_setsid());
    DO(sys_setns(task->joined, SANDBOX_NAMESPACES | CLONE_NEWCGROUP));
    DO(sys_chdir("/"));
    become_program(task);
}

static void run_plain(struct task *task) __attribute__((noreturn));
static void run_plain(struct task *task)
{
    static char *const ending[] = {"limit", "true", 0};
    static char *const staying[] = {"limit", "processes", "0", 0};
    if (task->flags & CLONE_NEWUSER && task->joined < 0)
        wait_while(&task->mapped, 0);
    if (task->joined >= 0 && task->flags & ~CLONE_NEWPID)
        DO(sys_setns(task->joined, task->flags & ~CLONE_NEWPID));
    DO(sys_execve(setting.self, task->stays ? staying : ending, environment));
    sys_exit_group(127);
}

__attribute__((used, noreturn)) static void child_start(struct task *task)
{
    switch (task->role) {
    case PAUSE:
        run_pause(task);
    case MEMBER:
        run_member(task);
    case ALONE:
        run_alone(task);
    case VISITOR:
        run_visitor(task);
    case PLAIN:
        run_plain(task);
    }
    sys_exit_group(127);
}

/* ---- in the parent ---- */

static void start_task(struct task *task, enum role role, __u64 namespaces, int cgroup, int joined)
{
    task->role = role;
    task->program = role == VISITOR ? program_true : setting.program;
    task->created = task->mapped = 0;
    task->error = 0;
    task->joined = joined;
    task->cgroup = cgroup;
    struct clone_args args = {
        .flags = CHILD_FLAGS | namespaces | (cgroup >= 0 ? CLONE_INTO_CGROUP : 0),
        .pidfd = (__u64)(unsigned long)&task->pidfd,
        .child_tid = (__u64)(unsigned long)&task->alive,
        .parent_tid = (__u64)(unsigned long)&task->alive,
        .exit_signal = SIGNAL_CHILD,
        .stack = (__u64)(unsigned long)task->stack,
        .stack_size = sizeof task->stack,
        .cgroup = cgroup >= 0 ? (__u64)cgroup : 0,
    };
    task->pid = (int)must("clone3(2)", clone_on_stack(&args, task));
}

static void check(const struct task *task)
{
    if (task->error < 0)
        give_up(task->call, task->error);
}

static void wait_running(struct task *task)
{
    wait_gone(&task->alive);
    check(task);
}

static void reap(struct task *task)
{
    char siginfo[128];
    long ret;
    do
        ret = sys_waitid(WAIT_PIDFD, task->pidfd, siginfo, WAIT_EXITED | WAIT_ALL_KINDS, 0);
    while (ret == -EINTR);
    must("waitid(2)", ret);
    (void)sys_close(task->pidfd);
}

/* ---- cgroups ---- */

static const char group_top[] = "pyrun-limit";

static void write_group(const char *group, const char *file, const char *value)
{
    char path[TEXT_BYTES];
    if (!value)
        return;
    append_text(append_text(append_text(path, group), "/"), file);
    int fd = (int)must("open(2) of a cgroup's file", sys_openat(setting.cgroup_fd, path, O_WRONLY | O_CLOEXEC, 0));
    must("write(2) to a cgroup's file", sys_write(fd, value, length_of(value)));
    (void)sys_close(fd);
}

static void give_controllers(const char *group)
{
    write_group(group, "cgroup.subtree_control", setting.controllers);
}

static int open_group(const char *path)
{
    return (int)must("open(2) of a cgroup", sys_openat(setting.cgroup_fd, path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0));
}

static void make_group(const char *path)
{
    must("mkdir(2) of a cgroup", sys_mkdirat(setting.cgroup_fd, path, 0755));
}

static void remove_group(const char *path)
{
    must("rmdir(2) of a cgroup", SYS3(__NR_unlinkat, setting.cgroup_fd, path, REMOVE_DIRECTORY));
}

/* pyrun-limit is the parent of all our groups, as pyrun's is of its own. */
static void make_pod_group(void)
{
    long ret = sys_mkdirat(setting.cgroup_fd, group_top, 0755);
    if (ret != -EEXIST)
        must("mkdir(2) of a cgroup", ret);
    give_controllers(group_top);
    char *end_of_name = append_number(append_text(append_text(pod.name, group_top), "/pod"), sys_getpid());
    append_number(append_text(end_of_name, "-"), setting.serial++);
    make_group(pod.name);
    write_group(pod.name, "cpu.weight", setting.cpu_weight);
}

static void leaf_name(char *ret, int number)
{
    char *at = append_text(append_text(ret, pod.name), number < 0 ? "/_pause" : "/c");
    if (number >= 0)
        append_number(at, number);
}

static int make_leaf(int number)
{
    char path[TEXT_BYTES];
    leaf_name(path, number);
    make_group(path);
    write_group(path, "cpu.weight", setting.cpu_weight);
    if (number >= 0)
        write_group(path, "memory.oom.group", setting.oom_group);
    return open_group(path);
}

static void remove_leaf(int number, int fd)
{
    char path[TEXT_BYTES];
    (void)sys_close(fd);
    leaf_name(path, number);
    remove_group(path);
}

static void remove_pod_group(void)
{
    remove_group(pod.name);
    (void)SYS3(__NR_unlinkat, setting.cgroup_fd, group_top, REMOVE_DIRECTORY); /* others may have pods there */
}

/* ---- pods ---- */

/* The kernel sets it for all that share memory, so it is not for a child to write. Ours is what containers have, who are born with it;
 * pause gets its own once it is alone. */
static void set_oom_score_adj(int pid, const char *value)
{
    char path[TEXT_BYTES];
    append_text(append_number(append_text(path, "/proc/"), pid), "/oom_score_adj");
    int fd = (int)must("open(2) of oom_score_adj", sys_openat(AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0));
    must("write(2) to oom_score_adj", sys_write(fd, value, length_of(value)));
    (void)sys_close(fd);
}

static void create_pod(int count)
{
    pod.count = count;
    pod.ready = pod.gate = 0;
    make_pod_group();
    give_controllers(pod.name);
    must("unshare(2) of the time namespace", sys_unshare(CLONE_NEWTIME));
    start_task(&pod.pause, PAUSE, 0, make_leaf(-1), -1);
    for (int i = 0; i < count; i++)
        start_task(&pod.containers[i], MEMBER, CLONE_NEWPID, make_leaf(i), pod.pause.pidfd);
    wait_while(&pod.ready, 0);
    check(&pod.pause);
    for (int i = 0; i < count; i++) {
        wait_while(&pod.containers[i].created, 0);
        check(&pod.containers[i]);
    }
    wait_running(&pod.pause);
    set_oom_score_adj(pod.pause.pid, setting.pause_oom_score_adj);
}

static void start_pod(void)
{
    wake_all(&pod.gate);
    for (int i = 0; i < pod.count; i++)
        wait_running(&pod.containers[i]);
}

static void reap_containers(void)
{
    for (int i = 0; i < pod.count; i++)
        reap(&pod.containers[i]);
}

static void remove_groups(void)
{
    for (int i = 0; i < pod.count; i++)
        remove_leaf(i, pod.containers[i].cgroup);
    remove_leaf(-1, pod.pause.cgroup);
    remove_pod_group();
    pod.count = 0;
}

static void remove_pod(void)
{
    must("pidfd_send_signal(2)", sys_pidfd_send_signal(pod.pause.pidfd, SIGNAL_KILL, 0));
    reap(&pod.pause);
    remove_groups();
}

static void kill_pod(void)
{
    kill_group();
    reap_containers();
    reap(&pod.pause);
    remove_groups();
}

/* ---- commands ---- */

/* One line: the moment of the beginning and those that follow, by the monotonic clock, then numbers. */
static void answer(__u64 begin, const __u64 *moments, int count, const int *numbers, int number_count)
{
    char text[20 * (MOST_CONTAINERS + 8)];
    char *at = append_text(append_number(text, begin), " ");
    for (int i = 0; i < count; i++)
        at = append_text(append_number(at, moments[i]), " ");
    for (int i = 0; i < number_count; i++)
        at = append_text(append_number(at, numbers[i]), " ");
    at[-1] = '\n';
    (void)sys_write(1, text, (sys_size)(at - text));
}

static void do_pod(int count)
{
    __u64 begin = now_ns(), moments[4];
    create_pod(count);
    moments[0] = now_ns();
    start_pod();
    moments[1] = now_ns();
    reap_containers();
    moments[2] = now_ns();
    remove_pod();
    moments[3] = now_ns();
    answer(begin, moments, 4, 0, 0);
}

static void do_up(int count)
{
    int pids[MOST_CONTAINERS + 1];
    __u64 begin = now_ns(), moments[2];
    create_pod(count);
    moments[0] = now_ns();
    start_pod();
    moments[1] = now_ns();
    pids[0] = pod.pause.pid;
    for (int i = 0; i < count; i++)
        pids[i + 1] = pod.containers[i].pid;
    answer(begin, moments, 2, pids, count + 1);
}

static void do_down(void)
{
    __u64 begin = now_ns(), moment;
    kill_pod();
    moment = now_ns();
    answer(begin, &moment, 1, 0, 0);
}

static void do_spawn(void)
{
    __u64 begin = now_ns(), moments[3];
    make_pod_group();
    start_task(&single, ALONE, CLONE_NEWPID, open_group(pod.name), -1);
    wait_running(&single);
    moments[0] = now_ns();
    reap(&single);
    moments[1] = now_ns();
    (void)sys_close(single.cgroup);
    remove_pod_group();
    moments[2] = now_ns();
    answer(begin, moments, 3, 0, 0);
}

/* setns(CLONE_NEWPID) says where our children are born; then back. */
static void start_in_pid_namespace(enum role role, int cgroup, int pidfd)
{
    must("setns(2)", sys_setns(pidfd, CLONE_NEWPID));
    start_task(&single, role, 0, cgroup, pidfd);
    must("setns(2) back", sys_setns(setting.own_pid_namespace, CLONE_NEWPID));
}

static void finish_single(__u64 begin)
{
    __u64 moments[2];
    wait_running(&single);
    moments[0] = now_ns();
    if (single.role == PLAIN && single.stays)
        must("pidfd_send_signal(2)", sys_pidfd_send_signal(single.pidfd, SIGNAL_KILL, 0));
    reap(&single);
    moments[1] = now_ns();
    answer(begin, moments, 2, 0, 0);
}

static void do_exec(void)
{
    __u64 begin = now_ns();
    start_in_pid_namespace(VISITOR, pod.containers[0].cgroup, pod.containers[0].pidfd);
    finish_single(begin);
}

static void write_map(const char *name)
{
    char path[TEXT_BYTES];
    append_text(append_text(append_number(append_text(path, "/proc/"), single.pid), "/"), name);
    int fd = (int)must("open(2) of an id map", sys_openat(AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0));
    must("write(2) of an id map", sys_write(fd, "0 0 1\n", 6));
    (void)sys_close(fd);
}

static void do_clone(int flags, int stays)
{
    __u64 begin = now_ns();
    single.flags = flags;
    single.stays = stays;
    start_task(&single, PLAIN, (__u64)flags & ALL_NAMESPACES, -1, -1);
    if (flags & CLONE_NEWUSER) {
        write_map("uid_map");
        write_map("gid_map");
        wake_all(&single.mapped);
    }
    finish_single(begin);
}

static void do_join(int flags, int pid)
{
    int pidfd = (int)must("pidfd_open(2)", sys_pidfd_open(pid, 0));
    __u64 begin = now_ns();
    single.flags = flags;
    single.stays = 0;
    if (flags & CLONE_NEWPID)
        start_in_pid_namespace(PLAIN, -1, pidfd);
    else
        start_task(&single, PLAIN, 0, -1, pidfd);
    finish_single(begin);
    (void)sys_close(pidfd);
}

/* Cuts a line into words; at most `most`. */
static int cut(char *line, char **words, int most)
{
    int count = 0;
    while (*line && count < most) {
        while (*line == ' ')
            *line++ = 0;
        if (*line)
            words[count++] = line;
        while (*line && *line != ' ')
            line++;
    }
    return count;
}

static void obey(char *line)
{
    char *words[3] = {0};
    int count = cut(line, words, 3);
    int number = count > 1 ? (int)parse(words[1]) : 0;
    if (count == 0)
        return;
    if (number > MOST_CONTAINERS && (is_same(words[0], "pod") || is_same(words[0], "up")))
        give_up("too many containers", -E2BIG);
    if (is_same(words[0], "pod"))
        do_pod(number);
    else if (is_same(words[0], "spawn"))
        do_spawn();
    else if (is_same(words[0], "up"))
        do_up(number);
    else if (is_same(words[0], "down"))
        do_down();
    else if (is_same(words[0], "exec"))
        do_exec();
    else if (is_same(words[0], "clone"))
        do_clone(number, 0);
    else if (is_same(words[0], "hold"))
        do_clone(number, 1);
    else if (is_same(words[0], "join") && count == 3)
        do_join(number, (int)parse(words[2]));
    else
        give_up("no such command", -EINVAL);
}

/* One command is sent at a time, and its line comes whole. */
static int serve(void)
{
    char line[TEXT_BYTES];
    long size;
    while ((size = sys_read(0, line, sizeof line - 1)) > 0) {
        line[size] = 0;
        if (line[size - 1] == '\n')
            line[size - 1] = 0;
        obey(line);
    }
    return 0;
}

/* ---- what runs in the containers ---- */

/* When the first instruction of the program ran, as eight bytes on standard output. */
static int stamp(void)
{
    __u64 now = now_ns();
    return sys_write(1, &now, sizeof now) == sizeof now ? 0 : 1;
}

/* This process and count - 1 more, which stay; a byte on standard output when all are there. */
static int stay(int count)
{
    const __u64 none = 0;
    for (int i = 1; i < count; i++) {
        long pid = SYS5(__NR_clone, SIGNAL_CHILD, 0, 0, 0, 0);
        if (pid < 0)
            return 1;
        if (pid == 0)
            break;
        if (i == count - 1)
            (void)sys_write(1, "1", 1);
    }
    if (count == 1)
        (void)sys_write(1, "1", 1);
    for (;;)
        (void)SYS2(__NR_rt_sigsuspend, &none, sizeof none);
}

/* ---- start ---- */

static void read_settings(void)
{
    set_oom_score_adj((int)sys_getpid(), "1000");
    int fd = (int)sys_openat(AT_FDCWD, "/etc/resolv.conf", O_RDONLY | O_CLOEXEC, 0);
    if (fd >= 0)
        resolv_conf_size = (sys_size)must("read(2)", sys_read(fd, resolv_conf, sizeof resolv_conf));
    (void)sys_close(fd);
    fd = (int)must("open(2) of the filter", sys_openat(AT_FDCWD, setting.filter, O_RDONLY | O_CLOEXEC, 0));
    long size = must("read(2) of the filter", sys_read(fd, instructions, sizeof instructions));
    (void)sys_close(fd);
    setting.filter_program.len = (unsigned short)((unsigned long)size / sizeof(struct sock_filter));
    setting.filter_program.filter = instructions;
    setting.pause_fd = (int)must("open(2) of pause", sys_openat(AT_FDCWD, setting.pause, O_PATH | O_CLOEXEC, 0));
    setting.null_fd = (int)must("open(2) of /dev/null", sys_openat(AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC, 0));
    setting.own_pid_namespace =
        (int)must("open(2) of the PID namespace", sys_openat(AT_FDCWD, "/proc/self/ns/pid", O_RDONLY | O_CLOEXEC, 0));
    setting.cgroup_fd =
        (int)must("open(2) of cgroup v2", sys_openat(AT_FDCWD, setting.cgroup, O_PATH | O_DIRECTORY | O_CLOEXEC, 0));
    give_controllers(".");
}

static int usage(void)
{
    say(2, "usage: limit --rootfs DIR --pause FILE --filter FILE [--flags N] [--pause-oom N] [--cgroup DIR] "
           "[--controllers WORDS] [--cpu-weight N] [--oom-group N] "
           "[--out FD]\n"
           "             (pod COUNT | serve) [-- PROGRAM ARGUMENT...]\n"
           "       limit true | stamp | processes COUNT\n");
    return 2;
}

static int take_option(const char *name, char *value)
{
    if (is_same(name, "--rootfs"))
        setting.rootfs = value;
    else if (is_same(name, "--pause"))
        setting.pause = value;
    else if (is_same(name, "--filter"))
        setting.filter = value;
    else if (is_same(name, "--cgroup"))
        setting.cgroup = value;
    else if (is_same(name, "--controllers"))
        setting.controllers = value;
    else if (is_same(name, "--cpu-weight"))
        setting.cpu_weight = value;
    else if (is_same(name, "--oom-group"))
        setting.oom_group = value;
    else if (is_same(name, "--pause-oom"))
        setting.pause_oom_score_adj = value;
    else if (is_same(name, "--flags"))
        setting.filter_flags = (long)parse(value);
    else if (is_same(name, "--out"))
        setting.out = parse_descriptor(value);
    else
        return 0;
    return 1;
}

static int program_main(int argc, char **argv)
{
    int at = 1;
    if (argc > 1 && is_same(argv[1], "true"))
        return 0;
    if (argc > 1 && is_same(argv[1], "stamp"))
        return stamp();
    if (argc > 2 && is_same(argv[1], "processes"))
        return stay((int)parse(argv[2]));
    setting.self = argv[0];
    setting.program = program_true;
    while (at + 1 < argc && take_option(argv[at], argv[at + 1]))
        at += 2;
    for (int i = at; i + 1 < argc; i++)
        if (is_same(argv[i], "--"))
            setting.program = argv + i + 1;
    if (at >= argc || !setting.rootfs || !setting.pause || !setting.filter)
        return usage();
    (void)sys_close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
    read_settings();
    if (is_same(argv[at], "serve"))
        return serve();
    if (!is_same(argv[at], "pod") || at + 1 >= argc || parse(argv[at + 1]) > MOST_CONTAINERS)
        return usage();
    do_pod((int)parse(argv[at + 1]));
    return 0;
}
