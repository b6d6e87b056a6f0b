/* pyrun-sweep: takes away a cgroup and all that lives in it when its owner is gone, however that ended.
 *
 *     pyrun-sweep OWNER_FD PARENT_FD NAME
 *
 * The owner holds the other end of the pipe OWNER_FD, and nobody else: the pipe ends when he closes it or dies. Then the group NAME
 * below the directory PARENT_FD is killed, waited for until nobody is in it, and removed with all groups below it. An owner who has
 * removed it himself closes the pipe, and there is nothing left to do.
 *
 * Signals do not end it: whoever sends Ctrl-C to the owner's terminal means the owner.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "start.h"
#include "text.h"

#include <linux/errno.h>
#include <linux/prctl.h>

#define EXIT_USAGE 2
#define EXIT_LEFT 1 /* something of the group is still there */
#define DEPTH_MAX 16
#define ENTRIES_BYTES 4096
#define DIRECTORY_TYPE 4 /* DT_DIR */
#define LOOK_AGAIN_NS 10000000
#define LOOKS_MAX 1000 /* ten seconds: what lives on in a killed group sleeps where no signal reaches it */

static void wait_for_end(int owner_fd)
{
    char byte;
    long ret;
    do
        ret = sys_read(owner_fd, &byte, 1);
    while (ret > 0 || ret == -EINTR);
}

static void kill_all(int group_fd)
{
    long fd = sys_openat(group_fd, "cgroup.kill", O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return;
    (void)sys_write((int)fd, "1", 1);
    (void)sys_close((int)fd);
}

static long open_directory(int at, const char *name)
{
    return sys_openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
}

/* The name of a group below, into `ret`; 0 when there is none. One is enough: it is removed before the next is asked for. */
static long next_below(int group_fd, char ret[256])
{
    char entries[ENTRIES_BYTES] __attribute__((aligned(8)));
    long size;
    (void)sys_lseek(group_fd, 0, 0 /* SEEK_SET */);
    while ((size = sys_getdents64(group_fd, entries, sizeof entries)) > 0) {
        for (long at = 0; at < size;) {
            const struct linux_dirent64 *entry = (const void *)(entries + at);
            at += entry->length;
            if (entry->type != DIRECTORY_TYPE || entry->name[0] == '.')
                continue;
            append_text(ret, entry->name);
            return 1;
        }
    }
    return size;
}

/* From the leaves up, going down again after each: no more state than where we are. 0: gone; -EBUSY: somebody lives there. */
static long remove_group(int parent_fd, const char *name)
{
    char names[DEPTH_MAX][256];
    int fds[DEPTH_MAX + 1] = {parent_fd};
    int depth = 0;
    long ret;
    for (long i = 0; name[i] && i < 255; i++) {
        names[0][i] = name[i];
        names[0][i + 1] = 0;
    }
    for (;;) {
        ret = sys_unlinkat(fds[depth], names[depth], AT_REMOVEDIR);
        if (ret >= 0 || ret == -ENOENT) {
            if (depth == 0)
                return 0;
            (void)sys_close(fds[depth--]);
            continue;
        }
        if (depth + 1 == DEPTH_MAX)
            break;
        long fd = open_directory(fds[depth], names[depth]);
        if (fd < 0)
            break;
        fds[++depth] = (int)fd;
        if (next_below((int)fd, names[depth]) <= 0)
            break; /* no group below, and yet it cannot be removed */
    }
    while (depth > 0)
        (void)sys_close(fds[depth--]);
    return -EBUSY;
}

static int sweep(int parent_fd, const char *name)
{
    const struct __kernel_timespec pause = {.tv_nsec = LOOK_AGAIN_NS};
    for (int looks = 0; looks < LOOKS_MAX; looks++) {
        long group = open_directory(parent_fd, name);
        if (group < 0)
            return group == -ENOENT ? 0 : EXIT_LEFT;
        kill_all((int)group); /* again each time: what was just being born is killed, too */
        (void)sys_close((int)group);
        if (remove_group(parent_fd, name) >= 0)
            return 0;
        (void)sys_nanosleep(&pause);
    }
    return EXIT_LEFT;
}

static int program_main(int argc, char **argv)
{
    const __u64 all = ~0ull;
    long owner_fd = argc == 4 ? parse_descriptor(argv[1]) : -1;
    long parent_fd = argc == 4 ? parse_descriptor(argv[2]) : -1;
    if (owner_fd < 0 || parent_fd < 0)
        return EXIT_USAGE;
    (void)sys_rt_sigprocmask(0 /* SIG_BLOCK */, &all, 0);
    (void)sys_prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    wait_for_end((int)owner_fd);
    return sweep((int)parent_fd, argv[3]);
}
