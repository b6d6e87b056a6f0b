"""Programs of bpf(2) that stand before the devices of a cgroup; :mod:`pyrun.container.device_filter` writes them."""

from __future__ import annotations

import errno

from pyrun._core import ffi, lib
from pyrun.errors import KernelError
from pyrun.linux.call import check

ACCESS_MKNOD: int = lib.BPF_DEVCG_ACC_MKNOD
ACCESS_READ: int = lib.BPF_DEVCG_ACC_READ
ACCESS_WRITE: int = lib.BPF_DEVCG_ACC_WRITE
DEVICE_BLOCK: int = lib.BPF_DEVCG_DEV_BLOCK
DEVICE_CHARACTER: int = lib.BPF_DEVCG_DEV_CHAR

INSTRUCTION_BYTES = 8  # sizeof(struct bpf_insn)
LOG_BYTES = 64 * 1024
# cgroup-bpf takes at most so many of one kind (BPF_CGROUP_MAX_PROGS).
MAX_PROGRAMS = 64


def load_device_program(program: bytes) -> int:
    """A descriptor of *program*, which is an array of struct bpf_insn.

    Kernel: bpf(2) BPF_PROG_LOAD, BPF_PROG_TYPE_CGROUP_DEVICE, Linux 4.15.
    Affects: nothing until it is attached.
    Raises: EPERM without CAP_BPF and CAP_NET_ADMIN (CAP_SYS_ADMIN before Linux 5.8), and in a user namespace; EACCES or EINVAL,
    with the last line of the checker's log as a note, for a program that the kernel refuses; EINVAL also without
    CONFIG_CGROUP_BPF.
    Owns: the caller closes the descriptor, which is close-on-exec; an attached program stays.
    """
    instructions = ffi.from_buffer("char[]", program)
    license_text = ffi.new("char[]", b"Apache-2.0")
    load = ffi.new("struct bpf_load *")
    load.type, load.instruction_count = lib.BPF_PROG_TYPE_CGROUP_DEVICE, len(program) // INSTRUCTION_BYTES
    load.instructions, load.license = _address(instructions), _address(license_text)
    ret = lib.sys_bpf(lib.BPF_PROG_LOAD, load, ffi.sizeof(load[0]))
    if ret not in (-errno.EACCES, -errno.EINVAL):
        return check(ret, "bpf(2)")
    # Only now, with the checker's words: it works the longer the more it has to say.
    log = ffi.new("char[]", LOG_BYTES)
    load.log_level, load.log_size, load.log = 1, LOG_BYTES, _address(log)
    try:
        return check(lib.sys_bpf(lib.BPF_PROG_LOAD, load, ffi.sizeof(load[0])), "bpf(2)")
    except KernelError as error:
        words = ffi.string(log).decode(errors="replace").strip().splitlines()
        error.add_note(words[0] if words else "the kernel gives no reason")
        raise


def attach_device_program(cgroup_fd: int, program_fd: int, replaced_fd: int | None = None) -> None:
    """Ask a program for every use of a device in the group and below, beside those that are there, or instead of one.

    With several, each must allow it.

    Kernel: bpf(2) BPF_PROG_ATTACH, BPF_CGROUP_DEVICE; BPF_F_REPLACE is Linux 5.6.
    Affects: the processes of the group and of those below.
    Raises: EPERM without CAP_BPF and CAP_NET_ADMIN; ENOENT if *replaced_fd* is not attached here; E2BIG for too many programs.
    """
    attach = ffi.new("struct bpf_attach *")
    attach.target_fd, attach.program_fd, attach.type = cgroup_fd, program_fd, lib.BPF_CGROUP_DEVICE
    attach.flags = lib.BPF_F_ALLOW_MULTI
    if replaced_fd is not None:
        attach.flags |= lib.BPF_F_REPLACE
        attach.replaced_fd = replaced_fd
    check(lib.sys_bpf(lib.BPF_PROG_ATTACH, attach, ffi.sizeof(attach[0])), "bpf(2)")


def detach_device_program(cgroup_fd: int, program_fd: int) -> None:
    """Do not ask a program any longer.

    Kernel: bpf(2) BPF_PROG_DETACH, BPF_CGROUP_DEVICE.
    Affects: the processes of the group and of those below.
    Raises: ENOENT if it is not attached here; EPERM as for attaching.
    """
    detach = ffi.new("struct bpf_attach *")
    detach.target_fd, detach.program_fd, detach.type = cgroup_fd, program_fd, lib.BPF_CGROUP_DEVICE
    check(lib.sys_bpf(lib.BPF_PROG_DETACH, detach, ffi.sizeof(detach[0])), "bpf(2)")


def query_device_programs(cgroup_fd: int) -> tuple[int, ...]:
    """The ids of the programs that are attached to the group itself.

    Kernel: bpf(2) BPF_PROG_QUERY, BPF_CGROUP_DEVICE, Linux 4.15.
    Affects: nothing.
    Raises: EPERM without CAP_NET_ADMIN (CAP_SYS_ADMIN before Linux 5.8).
    """
    ids = ffi.new("unsigned int[]", MAX_PROGRAMS)
    query = ffi.new("struct bpf_query *")
    query.target_fd, query.type = cgroup_fd, lib.BPF_CGROUP_DEVICE
    query.program_ids, query.program_count = _address(ids), MAX_PROGRAMS
    check(lib.sys_bpf(lib.BPF_PROG_QUERY, query, ffi.sizeof(query[0])), "bpf(2)")
    return tuple([ids[i] for i in range(query.program_count)])


def open_program(program_id: int) -> int:
    """A descriptor of the program that has this id now.

    Kernel: bpf(2) BPF_PROG_GET_FD_BY_ID, Linux 4.13.
    Affects: nothing.
    Raises: ENOENT if there is none; EPERM without CAP_SYS_ADMIN.
    Owns: the caller closes the descriptor, which is close-on-exec.
    """
    get = ffi.new("struct bpf_get *")
    get.id = program_id
    return check(lib.sys_bpf(lib.BPF_PROG_GET_FD_BY_ID, get, ffi.sizeof(get[0])), "bpf(2)")


def _address(buffer: object) -> int:
    return int(ffi.cast("uintptr_t", buffer))
