"""Steps that say how the kernel shares out processors, disks and memory, and which Linux the program sees."""

from __future__ import annotations

import errno
from struct import Struct

from pyrun._core import lib
from pyrun.kernel.step_base import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.kernel.encode import Encoder
    from pyrun.kernel.step_base import Fields

# struct sched_attr of linux/sched/types.h as Linux 3.14 had it: all but the two limits of utilization.
ATTRIBUTES = Struct("=IIQiIQQQ")


class SetScheduler(Step):
    """sched_setattr(2). Times are in nanoseconds."""

    policy: int
    scheduler_flags: int = 0
    nice: int = 0
    priority: int = 0
    runtime_ns: int = 0
    deadline_ns: int = 0
    period_ns: int = 0
    kind = "SCHEDULER"
    reason = "when the program runs and others wait"

    def describe(self) -> str:
        return f"scheduler policy {self.policy}, nice {self.nice}, priority {self.priority}"

    def hint(self, error: int) -> str:
        return "a real-time policy needs CAP_SYS_NICE in the machine's user namespace" if error == errno.EPERM else ""

    def fields(self, encoder: Encoder) -> Fields:
        times = (self.runtime_ns, self.deadline_ns, self.period_ns)
        data = ATTRIBUTES.pack(ATTRIBUTES.size, self.policy, self.scheduler_flags, self.nice, self.priority, *times)
        return (), (encoder.data(data),), (len(data),)


class SetIoPriority(Step):
    """ioprio_set(2) with a class (1 real-time, 2 best effort, 3 idle) and a priority in it, 0 the highest."""

    io_class: int
    priority: int
    kind = "IO_PRIORITY"
    reason = "whose requests the disks serve first"

    def describe(self) -> str:
        return f"I/O priority class {self.io_class}, {self.priority}"

    def fields(self, encoder: Encoder) -> Fields:
        return (), (), (self.io_class << 13 | self.priority,)  # IOPRIO_PRIO_VALUE of linux/ioprio.h


class SetAffinity(Step):
    """sched_setaffinity(2): the processors in ``mask``."""

    mask: int
    kind = "AFFINITY"
    reason = "the processors that the program may use"

    def describe(self) -> str:
        return f"processors {self.mask:#x}"

    def hint(self, error: int) -> str:
        return "none of them is there, or the cgroup has none of them" if error == errno.EINVAL else ""

    def fields(self, encoder: Encoder) -> Fields:
        data = mask_bytes(self.mask)
        return (), (encoder.data(data),), (len(data),)


class SetInitialAffinity(SetAffinity):
    """A wish: the process is in its cgroup from its birth on, and the cgroup may have none of them."""

    flags = lib.PLAN_OPTIONAL


class SetPersonality(Step):
    """personality(2)."""

    persona: int
    kind = "PERSONALITY"
    reason = "the Linux that uname(2) tells of"

    def describe(self) -> str:
        return f"personality {self.persona:#x}"

    def fields(self, encoder: Encoder) -> Fields:
        return (), (), (self.persona,)


class SetMemoryPolicy(Step):
    """set_mempolicy(2): ``mode`` with its flags, and the nodes in ``mask``."""

    mode: int
    mask: int = 0
    kind = "MEMORY_POLICY"
    reason = "the nodes that memory is taken from"

    def describe(self) -> str:
        return f"memory policy {self.mode:#x} nodes {self.mask:#x}"

    def hint(self, error: int) -> str:
        return "this kernel has no NUMA (CONFIG_NUMA)" if error == errno.ENOSYS else ""

    def fields(self, encoder: Encoder) -> Fields:
        data = mask_bytes(self.mask) if self.mask else b""
        return (), (encoder.data(data) if data else 0,), (self.mode, len(data))


def mask_bytes(mask: int) -> bytes:
    """As an array of unsigned long."""
    return mask.to_bytes((mask.bit_length() + 63) // 64 * 8, "little")
