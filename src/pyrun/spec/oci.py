"""The values of an OCI runtime configuration (``config.json``).

Field for field the Linux part of the OCI runtime specification 1.3, names in snake case. Maps are tuples of pairs.
The tables that tie each attribute to its JSON name are in :mod:`pyrun.spec.oci_parse` and the modules beside it; adding a
field means adding it here and there, and nothing else.
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


class OciConsoleSize(Value):
    """``process.consoleSize``, in characters."""

    height: int
    width: int


class OciScheduler(Value):
    """``process.scheduler``, as :manpage:`sched_setattr(2)` takes it; ``runtime``, ``deadline`` and ``period`` in nanoseconds."""

    policy: str
    nice: int = 0
    priority: int = 0
    flags: tuple[str, ...] = ()
    runtime: int = 0
    deadline: int = 0
    period: int = 0


class OciIoPriority(Value):
    """``process.ioPriority``: ``class_`` is a name such as ``IOPRIO_CLASS_BE``; 0 is the highest priority in it."""

    class_: str
    priority: int = 0


class OciExecCpuAffinity(Value):
    """``process.execCPUAffinity``: processors such as ``0-3,7`` before and after the move into the cgroup; ``""``: all."""

    initial: str = ""
    final: str = ""


class OciProcess(Value):
    """``process``. Without ``capabilities`` all five sets are empty."""

    cwd: str
    args: tuple[str, ...] = ()
    terminal: bool = False
    user: OciUser = OciUser()
    env: tuple[str, ...] = ()
    capabilities: OciCapabilities | None = None
    rlimits: tuple[OciRlimit, ...] = ()
    no_new_privileges: bool = False
    oom_score_adj: int | None = None
    console_size: OciConsoleSize | None = None
    scheduler: OciScheduler | None = None
    io_priority: OciIoPriority | None = None
    exec_cpu_affinity: OciExecCpuAffinity | None = None
    apparmor_profile: str = ""
    selinux_label: str = ""


class OciRoot(Value):
    """``root``; a relative path is relative to the bundle."""

    path: str
    readonly: bool = False


class OciIdMapping(Value):
    """``linux.uidMappings[]`` and ``gidMappings[]``, and those of a mount."""

    container_id: int
    host_id: int
    size: int


class OciMount(Value):
    """``mounts[]``, in order. ``type`` and ``source`` are ``""`` when not given. The mappings are those of an idmapped mount."""

    destination: str
    type: str = ""
    source: str = ""
    options: tuple[str, ...] = ()
    uid_mappings: tuple[OciIdMapping, ...] = ()
    gid_mappings: tuple[OciIdMapping, ...] = ()


class OciHook(Value):
    """One of ``hooks``. ``args`` has the program's own name first, as in execv(3)."""

    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout_s: int | None = None


class OciHooks(Value):
    """``hooks``: what is run at six points of a container's life."""

    prestart: tuple[OciHook, ...] = ()
    create_runtime: tuple[OciHook, ...] = ()
    create_container: tuple[OciHook, ...] = ()
    start_container: tuple[OciHook, ...] = ()
    poststart: tuple[OciHook, ...] = ()
    poststop: tuple[OciHook, ...] = ()


class OciNamespace(Value):
    """``linux.namespaces[]``: a new one, or the one at ``path``."""

    type: NamespaceType
    path: str = ""


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
    """``linux.resources.cpu``; a ``quota`` that is not positive: no limit. ``cpus`` and ``mems`` are lists such as ``0-3,7``."""

    shares: int | None = None
    quota: int | None = None
    burst_us: int | None = None
    period: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpus: str = ""
    mems: str = ""
    idle: int | None = None


class OciMemory(Value):
    """``linux.resources.memory``, in bytes; -1: no limit. ``swap`` is memory and swap together."""

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    kernel: int | None = None
    kernel_tcp: int | None = None
    swappiness: int | None = None
    disable_oom_killer: bool = False
    use_hierarchy: bool | None = None
    check_before_update: bool = False


class OciPids(Value):
    """``linux.resources.pids``; -1: no limit."""

    limit: int | None = None


class OciDeviceRule(Value):
    """``linux.resources.devices[]``: a rule of the device filter. ``type`` "a", "c" or "b"; None numbers mean: all."""

    allow: bool
    type: str = "a"
    major: int | None = None
    minor: int | None = None
    access: str = ""


class OciWeightDevice(Value):
    """``linux.resources.blockIO.weightDevice[]``."""

    major: int
    minor: int
    weight: int | None = None
    leaf_weight: int | None = None


class OciThrottleDevice(Value):
    """``linux.resources.blockIO.throttle…Device[]``: ``rate`` in bytes or operations a second; 0: no limit."""

    major: int
    minor: int
    rate: int


class OciBlockIo(Value):
    """``linux.resources.blockIO``."""

    weight: int | None = None
    leaf_weight: int | None = None
    weight_device: tuple[OciWeightDevice, ...] = ()
    throttle_read_bps_device: tuple[OciThrottleDevice, ...] = ()
    throttle_write_bps_device: tuple[OciThrottleDevice, ...] = ()
    throttle_read_iops_device: tuple[OciThrottleDevice, ...] = ()
    throttle_write_iops_device: tuple[OciThrottleDevice, ...] = ()


class OciHugepageLimit(Value):
    """``linux.resources.hugepageLimits[]``: ``page_size`` as the kernel writes it, such as ``2MB``; ``limit`` in bytes."""

    page_size: str
    limit: int


class OciNetworkPriority(Value):
    """``linux.resources.network.priorities[]``."""

    name: str
    priority: int


class OciNetwork(Value):
    """``linux.resources.network``, which only cgroup v1 has."""

    class_id: int | None = None
    priorities: tuple[OciNetworkPriority, ...] = ()


class OciRdma(Value):
    """``linux.resources.rdma``: the limits of one device; None: no limit."""

    device: str
    hca_handles: int | None = None
    hca_objects: int | None = None


class OciResources(Value):
    """``linux.resources``. ``unified`` are cgroup v2 files and what to write into them."""

    cpu: OciCpu | None = None
    memory: OciMemory | None = None
    pids: OciPids | None = None
    devices: tuple[OciDeviceRule, ...] = ()
    unified: Pairs = ()
    block_io: OciBlockIo | None = None
    hugepage_limits: tuple[OciHugepageLimit, ...] = ()
    network: OciNetwork | None = None
    rdma: tuple[OciRdma, ...] = ()


class OciIntelRdt(Value):
    """``linux.intelRdt``: a class of service of resctrl, and lines for its ``schemata``. CMT and MBM: monitoring before 1.3."""

    clos_id: str = ""
    schemata: tuple[str, ...] = ()
    l3_cache_schema: str = ""
    mem_bw_schema: str = ""
    enable_monitoring: bool = False
    enable_cmt: bool = False
    enable_mbm: bool = False


class OciMemoryPolicy(Value):
    """``linux.memoryPolicy``, as :manpage:`set_mempolicy(2)` takes it; ``nodes`` are a list such as ``0-1,3``."""

    mode: str
    nodes: str = ""
    flags: tuple[str, ...] = ()


class OciNetDevice(Value):
    """One device of ``linux.netDevices``: its name inside, ``""`` for the one that it has."""

    name: str = ""


class OciPersonality(Value):
    """``linux.personality``: ``domain`` is ``LINUX`` or ``LINUX32``; the specification has no flag yet."""

    domain: str
    flags: tuple[str, ...] = ()


class OciLinux(Value):
    """``linux``. ``seccomp`` is the JSON object as it stands, or None for no filter; ``net_devices`` go by their host names."""

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
    mount_label: str = ""
    intel_rdt: OciIntelRdt | None = None
    memory_policy: OciMemoryPolicy | None = None
    net_devices: tuple[tuple[str, OciNetDevice], ...] = ()
    personality: OciPersonality | None = None


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
    hooks: OciHooks = OciHooks()
