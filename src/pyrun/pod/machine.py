"""What is read from the machine before a pod is planned, as a value: planning itself reads nothing."""

from __future__ import annotations

import os

from pyrun.container.security import ALL_CAPABILITIES_MASK, available_capabilities
from pyrun.linux.file import read_bytes
from pyrun.value import Value


class Machine(Value):
    """One machine, as far as a plan depends on it.

    ``memory_bytes`` is what oom_score_adj is measured against; ``capabilities`` the mask of what this process can hand
    on; ``lacking`` the namespaces that the kernel was built without and a pod can do without; ``resolv_conf`` and
    ``hosts`` are the files' contents; ``hostname`` is what a pod on its network is called. The defaults are a machine
    where nothing is missing.
    """

    memory_bytes: int = 0
    capabilities: int = ALL_CAPABILITIES_MASK
    lacking: tuple[str, ...] = ()
    resolv_conf: bytes = b""
    hosts: bytes = b""
    hostname: str = "localhost"


def read_machine() -> Machine:
    """This machine."""
    return Machine(
        memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        capabilities=available_capabilities(),
        lacking=() if os.path.exists("/proc/self/ns/time") else ("time",),
        resolv_conf=_read("/etc/resolv.conf"),
        hosts=_read("/etc/hosts"),
        hostname=os.uname().nodename or "localhost",
    )


def _read(path: str) -> bytes:
    """Empty for a file that is not there: a machine may do without."""
    try:
        return read_bytes(path)
    except OSError:
        return b""
