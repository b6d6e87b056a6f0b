"""Which devices the processes of a cgroup may use: one BPF program, put in place of what is there.

The program goes with the group. (cgroup v2 has no files for that, as the devices controller of v1 has.)
"""

from __future__ import annotations

from pyrun.kernel.fd import Fd
from pyrun.linux import bpf_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.kernel.cgroup import Cgroup


def set_device_filter(group: Cgroup, program: bytes) -> None:
    """Let *program* decide, instead of whatever programs the group has. Raises :class:`KernelError`.

    At no moment is there none: a single old one is replaced in one go, of several the last goes after the new one has come.
    """
    with Fd.adopt(bpf_program.load_device_program(program)) as new:
        old = _open_programs(group)
        try:
            if len(old) == 1:
                bpf_program.attach_device_program(group.fileno(), new.fileno(), old[0].fileno())
                return
            bpf_program.attach_device_program(group.fileno(), new.fileno())
            for fd in old:
                bpf_program.detach_device_program(group.fileno(), fd.fileno())
        finally:
            for fd in old:
                fd.close()


def clear_device_filter(group: Cgroup) -> None:
    """Take all programs away. Idempotent. Raises :class:`KernelError`."""
    for fd in _open_programs(group):
        with fd:
            bpf_program.detach_device_program(group.fileno(), fd.fileno())


def count_device_filters(group: Cgroup) -> int:
    """How many programs the group itself has. Raises :class:`KernelError`."""
    return len(bpf_program.query_device_programs(group.fileno()))


def _open_programs(group: Cgroup) -> list[Fd]:
    found: list[Fd] = []
    try:
        for program_id in bpf_program.query_device_programs(group.fileno()):
            found.append(Fd.adopt(bpf_program.open_program(program_id)))
    except BaseException:
        for fd in found:
            fd.close()
        raise
    return found
