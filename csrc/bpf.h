/* bpf(2), as far as a filter of devices on a cgroup needs it.
 *
 * The kernel's union bpf_attr grows from version to version and has members without names, which cffi cannot write down. Each
 * command here has the part of it that the command reads, held against the kernel's by assertions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PYRUN_BPF_H
#define PYRUN_BPF_H

#include "syscalls.h"

#include <linux/bpf.h>
#include <stddef.h>

struct bpf_load {
    unsigned int type, instruction_count;
    unsigned long long instructions, license;
    unsigned int log_level, log_size;
    unsigned long long log;
};
_Static_assert(offsetof(struct bpf_load, license) == offsetof(union bpf_attr, license), "as the kernel has it");
_Static_assert(offsetof(struct bpf_load, log) == offsetof(union bpf_attr, log_buf), "as the kernel has it");

struct bpf_attach {
    unsigned int target_fd, program_fd, type, flags, replaced_fd;
};
_Static_assert(offsetof(struct bpf_attach, flags) == offsetof(union bpf_attr, attach_flags), "as the kernel has it");
_Static_assert(offsetof(struct bpf_attach, replaced_fd) == offsetof(union bpf_attr, replace_bpf_fd),
               "as the kernel has it");

struct bpf_query {
    unsigned int target_fd, type, query_flags, attach_flags;
    unsigned long long program_ids;
    unsigned int program_count, unused;
};
_Static_assert(offsetof(struct bpf_query, program_ids) == offsetof(union bpf_attr, query.prog_ids),
               "as the kernel has it");
_Static_assert(offsetof(struct bpf_query, program_count) == offsetof(union bpf_attr, query.prog_cnt),
               "as the kernel has it");

struct bpf_get {
    unsigned int id;
};

static inline long sys_bpf(int command, void *attributes, unsigned int size)
{
    return SYS3(__NR_bpf, command, attributes, size);
}

#endif
