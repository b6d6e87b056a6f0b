/* Messages with descriptors, as unix(7) and sendmsg(2) have them: <sys/socket.h> clashes with the kernel's headers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PYRUN_SOCKET_H
#define PYRUN_SOCKET_H

#include "syscalls.h"

#define LEVEL_SOCKET 1
#define RIGHTS 1                 /* SCM_RIGHTS */
#define PEER_CREDENTIALS 17      /* SO_PEERCRED */
#define MESSAGE_NO_SIGNAL 0x4000 /* MSG_NOSIGNAL: one who is gone is an error, not our death */
#define MESSAGE_NO_WAIT 0x40     /* MSG_DONTWAIT */
#define MESSAGE_CLOEXEC 0x40000000
#define MESSAGE_TRUNCATED 0x20         /* MSG_TRUNC */
#define MESSAGE_CONTROL_TRUNCATED 0x08 /* MSG_CTRUNC */

struct data_part {
    const void *start;
    sys_size size;
};

struct message {
    void *name;
    int name_size;
    struct data_part *parts;
    sys_size part_count;
    void *control;
    sys_size control_size;
    unsigned int flags;
};

struct control_head {
    sys_size size; /* with this head */
    int level;
    int type;
};

struct descriptor_message {
    struct control_head head;
    int fd;
};

static inline struct descriptor_message descriptor_message(int fd)
{
    struct descriptor_message ret = {
        .head = {.size = sizeof(struct control_head) + sizeof fd, .level = LEVEL_SOCKET, .type = RIGHTS},
        .fd = fd,
    };
    return ret;
}

static inline long sys_recvmsg(int fd, struct message *message, int flags)
{
    return SYS3(__NR_recvmsg, fd, message, flags);
}

static inline long sys_accept4(int fd, int flags)
{
    return SYS4(__NR_accept4, fd, 0, 0, flags);
}

#endif
