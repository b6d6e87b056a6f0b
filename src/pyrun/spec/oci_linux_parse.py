"""``linux`` of ``config.json``: the runtime specification's ``config-linux.md``, section by section."""

from __future__ import annotations

from pyrun.spec import oci
from pyrun.spec.oci_check import check_unique
from pyrun.spec.oci_resources_parse import RESOURCES
from pyrun.spec.oci_table import (
    ABSOLUTE,
    ABSOLUTE_OR_EMPTY,
    ABSOLUTE_PATHS,
    BOOLEAN,
    FILE_MODE,
    NUMBER_LIST,
    RAW_OBJECT,
    STRING,
    STRING_MAP,
    UINT32,
    USER_ID,
    Field,
    Kind,
    Table,
    integer,
    list_of,
    map_of,
    one_of,
)
from pyrun.spec.parse import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.parse import Reader

NAMESPACES = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")
PROPAGATIONS = ("", "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable")
CLOCKS = ("monotonic", "boottime")
MEMORY_POLICIES = (
    "MPOL_DEFAULT",
    "MPOL_BIND",
    "MPOL_INTERLEAVE",
    "MPOL_WEIGHTED_INTERLEAVE",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_LOCAL",
)
MEMORY_POLICIES_WITHOUT_NODES = ("MPOL_DEFAULT", "MPOL_LOCAL")
MEMORY_POLICY_FLAGS = ("MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES")
# The kernel's device numbers have 12 and 20 bits (MINORBITS of linux/kdev_t.h); of larger ones it would make another device.
MAX_MAJOR = 2**12 - 1
MAX_MINOR = 2**20 - 1
# IFNAMSIZ of linux/if.h, without the NUL.
MAX_NET_DEVICE_NAME = 15


# Rules between fields -----------------------------------------------------------------------------------------------


def _check_device(device: oci.OciDevice, reader: Reader) -> None:
    members = reader.value if isinstance(reader.value, dict) else {}
    for name in ("major", "minor"):
        if device.type != "p" and members.get(name) is None:
            raise reader.member_error(name, f"required for a device of type {device.type!r}")


def _check_memory_policy(policy: oci.OciMemoryPolicy, reader: Reader) -> None:
    if policy.mode in MEMORY_POLICIES_WITHOUT_NODES and policy.nodes:
        raise reader.member_error("nodes", f"{policy.mode} takes none")
    if policy.mode not in (*MEMORY_POLICIES_WITHOUT_NODES, "MPOL_PREFERRED") and not policy.nodes:
        raise reader.member_error("nodes", f"required for {policy.mode}")


def _check_intel_rdt(rdt: oci.OciIntelRdt, reader: Reader) -> None:
    if rdt.clos_id in (".", "..") or "/" in rdt.clos_id or "\n" in rdt.clos_id:
        raise reader.member_error("closID", f"{quote(rdt.clos_id)} is not the name of a directory")
    for i, line in enumerate(rdt.schemata):
        if "\n" in line:
            raise reader.member_error("schemata", f"line {i} has a line break in it")
    for name, line, prefix in (("l3CacheSchema", rdt.l3_cache_schema, "L3"), ("memBwSchema", rdt.mem_bw_schema, "MB:")):
        if line and (not line.startswith(prefix) or "\n" in line):
            raise reader.member_error(name, f"{quote(line)} is not one line that begins with {prefix!r}")


def _check_linux(linux: oci.OciLinux, reader: Reader) -> None:
    paths = {namespace.type: namespace.path for namespace in linux.namespaces}
    check_unique(reader, "namespaces", "type", [namespace.type for namespace in linux.namespaces])
    # Offsets can be set only before the first process enters the namespace: anywhere else they would be dropped.
    if linux.time_offsets and paths.get("time") != "":
        raise reader.member_error("timeOffsets", "needs a new time namespace: one in namespaces, without a path")
    for name, mappings in (("uidMappings", linux.uid_mappings), ("gidMappings", linux.gid_mappings)):
        if mappings and "user" not in paths:
            raise reader.member_error(name, "needs a user namespace: one in namespaces")
    # Their names must be free, and they must come back to the host at the end, which the host's own namespace cannot promise.
    if linux.net_devices and "network" not in paths:
        raise reader.member_error("netDevices", "needs a network namespace: one in namespaces")
    names = [device.name or host for host, device in linux.net_devices]
    if len(set(names)) != len(names):
        raise reader.member_error("netDevices", "two devices get the same name")


# Odd shapes ---------------------------------------------------------------------------------------------------------


def _read_time_offset(reader: Reader) -> oci.OciTimeOffset:
    if reader.key not in CLOCKS:
        raise reader.error(f"there is no such clock; there are {' and '.join(CLOCKS)}")
    fields = reader.object(("secs", "nanosecs"))
    secs, nanosecs = fields.get("secs"), fields.get("nanosecs")
    return oci.OciTimeOffset(
        reader.key,
        secs.integer(-(2**63), 2**63 - 1) if secs is not None else 0,
        nanosecs.integer(0, 999_999_999) if nanosecs is not None else 0,
    )


def _write_time_offset(offset: oci.OciTimeOffset) -> tuple[str, object]:
    return offset.clock, {"secs": offset.secs, "nanosecs": offset.nanosecs}


def _check_net_device_name(reader: Reader, name: str) -> None:
    """As the kernel's dev_valid_name() has it."""
    size = len(name.encode(errors="surrogatepass"))
    if size == 0 or size > MAX_NET_DEVICE_NAME or name in (".", "..") or any([c in "/:" or c.isspace() for c in name]):
        raise reader.error(f"{quote(name)} is not the name of a network device")


def _read_net_device(reader: Reader) -> tuple[str, oci.OciNetDevice]:
    _check_net_device_name(reader, reader.key)
    name = reader.object(("name",)).get("name")
    if name is None or name.value == "":
        return reader.key, oci.OciNetDevice()
    inside = name.string()
    _check_net_device_name(name, inside)
    return reader.key, oci.OciNetDevice(inside)


def _write_net_device(device: tuple[str, oci.OciNetDevice]) -> tuple[str, object]:
    host, inside = device
    return host, {"name": inside.name} if inside.name else {}


def _read_schemata(reader: Reader) -> tuple[str, ...]:
    """A list of lines; before 1.3 it was one string of several."""
    if isinstance(reader.value, str):
        return tuple(reader.string().splitlines())
    return reader.strings()


def _read_personality_flags(reader: Reader) -> tuple[str, ...]:
    for flag in reader.items():
        raise flag.error(f"{quote(flag.string())}: the specification has no flag yet")
    return ()


# The tables ---------------------------------------------------------------------------------------------------------

NAMESPACE = Table(
    oci.OciNamespace,
    (
        Field("type", "type", one_of(*NAMESPACES)),
        Field("path", "path", ABSOLUTE_OR_EMPTY),
    ),
)

ID_MAPPING = Table(
    oci.OciIdMapping,
    (
        Field("containerID", "container_id", UINT32),
        Field("hostID", "host_id", UINT32),
        Field("size", "size", integer(1, 2**32 - 1)),
    ),
)

DEVICE = Table(
    oci.OciDevice,
    (
        Field("path", "path", ABSOLUTE),
        Field("type", "type", one_of("c", "u", "b", "p")),
        Field("major", "major", integer(0, MAX_MAJOR), always=True),
        Field("minor", "minor", integer(0, MAX_MINOR), always=True),
        Field("fileMode", "file_mode", FILE_MODE),
        Field("uid", "uid", USER_ID),
        Field("gid", "gid", USER_ID),
    ),
    check=_check_device,
)

INTEL_RDT = Table(
    oci.OciIntelRdt,
    (
        Field("closID", "clos_id", STRING),
        Field("schemata", "schemata", Kind(_read_schemata, list)),
        Field("l3CacheSchema", "l3_cache_schema", STRING),
        Field("memBwSchema", "mem_bw_schema", STRING),
        Field("enableMonitoring", "enable_monitoring", BOOLEAN),
        Field("enableCMT", "enable_cmt", BOOLEAN),
        Field("enableMBM", "enable_mbm", BOOLEAN),
    ),
    check=_check_intel_rdt,
)

MEMORY_POLICY = Table(
    oci.OciMemoryPolicy,
    (
        Field("mode", "mode", one_of(*MEMORY_POLICIES)),
        Field("nodes", "nodes", NUMBER_LIST),
        Field("flags", "flags", list_of(one_of(*MEMORY_POLICY_FLAGS))),
    ),
    check=_check_memory_policy,
)

PERSONALITY = Table(
    oci.OciPersonality,
    (
        Field("domain", "domain", one_of("LINUX", "LINUX32")),
        Field("flags", "flags", Kind(_read_personality_flags, list)),
    ),
)

LINUX = Table(
    oci.OciLinux,
    (
        Field("namespaces", "namespaces", list_of(NAMESPACE.kind)),
        Field("uidMappings", "uid_mappings", list_of(ID_MAPPING.kind)),
        Field("gidMappings", "gid_mappings", list_of(ID_MAPPING.kind)),
        Field("timeOffsets", "time_offsets", map_of(_read_time_offset, _write_time_offset)),
        Field("devices", "devices", list_of(DEVICE.kind)),
        Field("netDevices", "net_devices", map_of(_read_net_device, _write_net_device)),
        Field("cgroupsPath", "cgroups_path", STRING),
        Field("resources", "resources", RESOURCES.kind),
        Field("intelRdt", "intel_rdt", INTEL_RDT.kind),
        Field("memoryPolicy", "memory_policy", MEMORY_POLICY.kind),
        Field("sysctl", "sysctl", STRING_MAP),
        Field("seccomp", "seccomp", RAW_OBJECT),
        Field("rootfsPropagation", "rootfs_propagation", one_of(*PROPAGATIONS)),
        Field("maskedPaths", "masked_paths", ABSOLUTE_PATHS),
        Field("readonlyPaths", "readonly_paths", ABSOLUTE_PATHS),
        Field("mountLabel", "mount_label", STRING),
        Field("personality", "personality", PERSONALITY.kind),
    ),
    check=_check_linux,
)
