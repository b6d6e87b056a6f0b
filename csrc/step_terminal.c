/* The terminal of a container: a new pair in its own devpts, of which the program gets one end and the launcher's socket the other.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "child.h"
#include "socket.h"

#include <linux/errno.h>

/* <asm/termbits.h> clashes with what is here already; these are ioctl_tty(2). */
#define REQUEST_UNLOCK 0x40045431ul /* TIOCSPTLCK */
#define REQUEST_OPEN_PEER 0x5441ul  /* TIOCGPTPEER, Linux 4.13 */
#define REQUEST_SET_WINDOW 0x5414ul /* TIOCSWINSZ */
#define MULTIPLEXER_MAJOR 5
#define MULTIPLEXER_MINOR 2

struct window_size {
    unsigned short rows, columns, unused[2];
};

/* The container may have put anything in the place of its ptmx: a FIFO must not make us wait, and what is opened must be what makes
 * terminals. */
static long open_multiplexer(int at, const char *path)
{
    struct statx status;
    long fd = path_open(at, path, O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return fd;
    long ret = sys_statx((int)fd, "", AT_EMPTY_PATH, STATX_TYPE, &status);
    if (ret >= 0 && ((status.stx_mode & S_IFMT) != S_IFCHR || status.stx_rdev_major != MULTIPLEXER_MAJOR ||
                     status.stx_rdev_minor != MULTIPLEXER_MINOR))
        ret = -ENOTTY;
    if (ret >= 0)
        ret = sys_fcntl((int)fd, F_SETFL, O_RDWR);
    if (ret >= 0)
        return fd;
    (void)sys_close((int)fd);
    return ret;
}

/* By descriptor, not by name: /dev/pts/N may be another thing by now (CVE-2025-52565). */
static long open_terminal(int multiplexer, const struct plan_step *step)
{
    int unlocked = 0;
    long ret = sys_ioctl(multiplexer, REQUEST_UNLOCK, &unlocked);
    if (ret < 0)
        return ret;
    long terminal = sys_ioctl(multiplexer, REQUEST_OPEN_PEER, (void *)(unsigned long)(O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (terminal < 0 || !(step->arg[0] || step->arg[1]))
        return terminal;
    struct window_size size = {.rows = (unsigned short)step->arg[0], .columns = (unsigned short)step->arg[1]};
    ret = sys_ioctl((int)terminal, REQUEST_SET_WINDOW, &size);
    if (ret >= 0)
        return terminal;
    (void)sys_close((int)terminal);
    return ret;
}

/* The bytes that go with it are what runc sends; receivers take them for the terminal's name. */
static long send_descriptor(int socket, int fd)
{
    static const char text[] = "/dev/ptmx";
    struct data_part part = {text, sizeof text - 1};
    struct descriptor_message control = descriptor_message(fd);
    struct message message = {.parts = &part, .part_count = 1, .control = &control, .control_size = sizeof control};
    long ret;
    do
        ret = sys_sendmsg(socket, &message, MESSAGE_NO_SIGNAL);
    while (ret == -EINTR);
    return ret < 0 ? ret : 0;
}

long step_terminal(struct child *child, const struct plan_step *step)
{
    long multiplexer = open_multiplexer(step_fd(child, step, 0), step_string(child, step, 0));
    if (multiplexer < 0)
        return multiplexer;
    long terminal = open_terminal((int)multiplexer, step);
    long ret = terminal < 0 ? terminal : send_descriptor(step_fd(child, step, 1), (int)multiplexer);
    (void)sys_close((int)multiplexer);
    if (ret >= 0)
        step_set_fd(child, step, 2, (int)terminal);
    else if (terminal >= 0)
        (void)sys_close((int)terminal);
    return ret;
}
