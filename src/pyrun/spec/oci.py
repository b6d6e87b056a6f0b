"""The values of an OCI runtime configuration (``config.json``), as far as pyrun makes and plans them.

Field for field the Linux part of the OCI runtime specification 1.2, names in snake case. Maps are tuples of pairs.
The table that ties each attribute to its JSON name is in :mod:`pyrun.spec.oci_parse`; adding a field means adding it
here and there, and nothing else.
"""

from __future__ import annotations

from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal, TypeAlias

    Pairs: TypeAlias = tuple[tuple[str, str], ...]
    NamespaceType: TypeAlias = Literal["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"]
    DeviceType: TypeAlias = Literal["c", "u", "b", "p"]

OCI_VERSION = "1.2.0"


class OciUser(Value):
    """``process.user``. ``umask`` None leaves it as it is."""

    uid: int = 0
    gid: int = 0
    umask: int | None = None
    additional_gids: tuple[int, ...] = ()


class OciCapabilities(Value):
    """``process.capabilities``: five sets of names such as ``CAP_CHOWN``."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


class OciRlimit(Value):
    """``process.rlimits[]``; ``type`` is a name such as ``RLIMIT_NOFILE``; 2**64 - 1 is RLIM_INFINITY."""

    type: str
    soft: int
    hard: int


class OciProcess(Value):
    """``process``. ``capabilities`` None leaves the capability sets alone."""

    cwd: str
    args: tuple[str, ...] = ()
    terminal: bool = False
    user: OciUser = OciUser()
    env: tuple[str, ...] = ()
    capabilities: OciCapabilities | None = None
    rlimits: tuple[OciRlimit, ...] = ()
    no_new_privileges: bool = False
    oom_score_adj: int | None = None


class OciRoot(Value):
    """``root``; a relative path is relative to the bundle."""

    path: str
    readonly: bool = False


class OciMount(Value):
    """``mounts[]``, in order. ``type`` and ``source`` are ``""`` when not given."""

    destination: str
    type: str = ""
    source: str = ""
    options: tuple[str, ...] = ()


class OciNamespace(Value):
    """``linux.namespaces[]``: a new one, or the one at ``path``."""

    type: NamespaceType
    path: str = ""


class OciIdMapping(Value):
    """``linux.uidMappings[]`` and ``gidMappings[]``."""

    container_id: int
    host_id: int
    size: int


class OciTimeOffset(Value):
    """One clock of ``linux.timeOffsets``: ``clock`` is ``monotonic`` or ``boottime``."""

    clock: str
    secs: int = 0
    nanosecs: int = 0


class OciDevice(Value):
    """``linux.devices[]``: a node to make. ``type`` is c, u, b or p; None leaves mode or owner to the runtime."""

    path: str
    type: DeviceType
    major: int = 0
    minor: int = 0
    file_mode: int | None = None
    uid: int | None = None
    gid: int | None = None


class OciCpu(Value):
    """``linux.resources.cpu``; ``quota`` may be negative: no limit."""

    shares: int | None = None
    quota: int | None = None
    period: int | None = None


class OciMemory(Value):
    """``linux.resources.memory``, in bytes; -1: no limit. ``swap`` is memory and swap together."""

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None


class OciPids(Value):
    """``linux.resources.pids``."""

    limit: int


class OciDeviceRule(Value):
    """``linux.resources.devices[]``: a rule of the device filter. ``type`` "a", "c" or "b"; None numbers mean: all."""

    allow: bool
    type: str = "a"
    major: int | None = None
    minor: int | None = None
    access: str = ""


class OciResources(Value):
    """``linux.resources``. ``unified`` are cgroup v2 files and what to write into them."""

    cpu: OciCpu | None = None
    memory: OciMemory | None = None
    pids: OciPids | None = None
    devices: tuple[OciDeviceRule, ...] = ()
    unified: Pairs = ()


class OciLinux(Value):
    """``linux``. ``seccomp`` is the JSON object as it stands, or None for no filter."""

    namespaces: tuple[OciNamespace, ...] = ()
    uid_mappings: tuple[OciIdMapping, ...] = ()
    gid_mappings: tuple[OciIdMapping, ...] = ()
    time_offsets: tuple[OciTimeOffset, ...] = ()
    devices: tuple[OciDevice, ...] = ()
    cgroups_path: str = ""
    resources: OciResources | None = None
    sysctl: Pairs = ()
    seccomp: Mapping[str, object] | None = None
    rootfs_propagation: str = ""
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()


class OciSpec(Value):
    """A whole ``config.json``."""

    root: OciRoot
    process: OciProcess | None = None
    oci_version: str = OCI_VERSION
    hostname: str = ""
    domainname: str = ""
    mounts: tuple[OciMount, ...] = ()
    linux: OciLinux = OciLinux()
    annotations: Pairs = ()
