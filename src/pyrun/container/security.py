"""What a container may do and see by default: capabilities, masked paths, read-only paths.

Names and numbers of capabilities are those of linux/capability.h. A set of them is a tuple of names in a specification and
a mask of 64 bits, one per number, towards the kernel.
"""

from __future__ import annotations

from pyrun.errors import SpecError
from pyrun.linux.capability import ALL_CAPABILITIES_MASK, CAPABILITY_NAMES, CAPABILITY_NUMBERS
from pyrun.linux.file import read_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyrun.spec.oci import OciCapabilities

__all__ = [
    "ALL_CAPABILITIES_MASK",
    "CAPABILITY_NAMES",
    "CAPABILITY_NUMBERS",
    "DEFAULT_CAPABILITIES",
    "DEFAULT_CAPABILITY_MASK",
    "MASKED_PATHS",
    "READONLY_PATHS",
    "available_capabilities",
    "capability_mask",
    "capability_names",
]

# The fourteen that Docker and containerd's CRI give, without CAP_MKNOD: as long as no device filter stands before it, a
# container that may make device nodes may read the host's disk. podman leaves it out too, and AUDIT_WRITE and NET_RAW with it.
DEFAULT_CAPABILITIES = (
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)

# Places of /proc and /sys that tell of the host or reach into it, hidden as containerd, podman and Kubernetes' default
# procMount do. A path that this kernel does not have is passed over.
MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
# Places of /proc that are not namespaced and could be written by the container's root.
READONLY_PATHS = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)


def capability_mask(names: Iterable[str], pointer: str = "") -> int:
    """The mask of *names*. Raises SpecError at *pointer* for a name that is none."""
    mask = 0
    for i, name in enumerate(names):
        if name not in CAPABILITY_NUMBERS:
            raise SpecError(f"{pointer}/{i}" if pointer else "", f"{name!r} is not a capability")
        mask |= 1 << CAPABILITY_NUMBERS[name]
    return mask


def known_capability_mask(names: Iterable[str]) -> int:
    """The mask of those of *names* that are capabilities."""
    return capability_mask([name for name in names if name in CAPABILITY_NUMBERS])


def unknown_capabilities(capabilities: OciCapabilities | None) -> tuple[str, ...]:
    """What is no capability, each in a sentence: the OCI specification wants a warning, not an error."""
    if capabilities is None:
        return ()
    names = {name for field in capabilities._fields for name in getattr(capabilities, field)}
    return tuple(
        [f"{name!r} is not a capability that is known here: left out" for name in sorted(names - {*CAPABILITY_NUMBERS})]
    )


def capability_names(mask: int) -> tuple[str, ...]:
    """The names in *mask*, by number; a bit that has no name yet is left out."""
    return tuple([name for number, name in enumerate(CAPABILITY_NAMES) if mask >> number & 1])


def available_capabilities(status_path: str = "/proc/self/status") -> int:
    """The mask of what this process can hand on: what is both in its bounding set and permitted to it.

    A capability outside this mask cannot be given to a container: capset(2) would fail with EPERM.
    """
    status = read_bytes(status_path)
    return _status_mask(status, b"CapBnd:") & _status_mask(status, b"CapPrm:")


def _status_mask(status: bytes, key: bytes) -> int:
    start = status.index(key) + len(key)
    return int(status[start : status.index(b"\n", start)], 16)


ADMIN_MASK = capability_mask(("CAP_SYS_ADMIN",))
DEFAULT_CAPABILITY_MASK = capability_mask(DEFAULT_CAPABILITIES)
