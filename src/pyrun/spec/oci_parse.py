"""``config.json`` ↔ :class:`~pyrun.spec.oci.OciSpec`.

The tables follow the runtime specification's ``config.md`` and ``config-linux.md`` section by section; what each kind of
row does is in :mod:`pyrun.spec.oci_table`. A value that the specification does not define is an error that names it.
"""

from __future__ import annotations

from pyrun.errors import SpecError
from pyrun.spec import oci
from pyrun.spec.oci_table import (
    ABSOLUTE,
    ABSOLUTE_PATHS,
    BOOLEAN,
    FILE_MODE,
    INT64,
    NOT_EMPTY,
    RAW_OBJECT,
    STRING,
    STRING_MAP,
    STRINGS,
    UINT32,
    UINT64,
    USER_ID,
    Field,
    Kind,
    Table,
    integer,
    list_of,
    one_of,
)
from pyrun.spec.parse import Reader, load_document, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

RLIMITS = (
    "RLIMIT_AS",
    "RLIMIT_CORE",
    "RLIMIT_CPU",
    "RLIMIT_DATA",
    "RLIMIT_FSIZE",
    "RLIMIT_LOCKS",
    "RLIMIT_MEMLOCK",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_NOFILE",
    "RLIMIT_NPROC",
    "RLIMIT_RSS",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
    "RLIMIT_SIGPENDING",
    "RLIMIT_STACK",
)
PROPAGATIONS = ("", "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable")
CLOCKS = ("monotonic", "boottime")


def load_oci(data: bytes, source: str) -> oci.OciSpec:
    """The configuration in *data*; *source* names it in errors."""
    return parse_oci(load_document(data, source), source)


def parse_oci(document: object, source: str) -> oci.OciSpec:
    """The configuration in *document*; *source* names it in errors."""
    try:
        spec: oci.OciSpec = SPEC.read(Reader(document))
    except SpecError as error:
        raise error.located(source) from None
    return spec


def oci_to_json(spec: oci.OciSpec) -> dict[str, object]:
    """*spec* in the specification's own names, ready for ``json.dumps``; what has its default is left out."""
    return SPEC.write(spec)


# Rules between fields -----------------------------------------------------------------------------------------------


def _check_unique(reader: Reader, field: str, names: Iterable[str]) -> None:
    """The specification: a runtime MUST generate an error for a second entry of the same type."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            raise SpecError(f"{reader.pointer}/{field}/{index}/type", f"{quote(name)} is in the list already")
        seen.add(name)


def _check_process(process: oci.OciProcess, reader: Reader) -> None:
    if not process.args:
        raise reader.member_error("args", "required: the program and its arguments")
    _check_unique(reader, "rlimits", [limit.type for limit in process.rlimits])


def _check_rlimit(limit: oci.OciRlimit, reader: Reader) -> None:
    if limit.soft > limit.hard:
        raise reader.member_error("soft", f"{limit.soft} is more than the hard limit {limit.hard}")


def _check_device(device: oci.OciDevice, reader: Reader) -> None:
    members = reader.value if isinstance(reader.value, dict) else {}
    for name in ("major", "minor"):
        if device.type != "p" and members.get(name) is None:
            raise reader.member_error(name, f"required for a device of type {device.type!r}")


def _check_linux(linux: oci.OciLinux, reader: Reader) -> None:
    paths = {namespace.type: namespace.path for namespace in linux.namespaces}
    _check_unique(reader, "namespaces", [namespace.type for namespace in linux.namespaces])
    # Offsets can be set only before the first process enters the namespace: anywhere else they would be dropped.
    if linux.time_offsets and paths.get("time") != "":
        raise reader.member_error("timeOffsets", "needs a new time namespace: one in namespaces, without a path")


def _check_version(spec: oci.OciSpec, reader: Reader) -> None:
    if not spec.oci_version.startswith("1."):
        raise reader.member_error("ociVersion", f"{quote(spec.oci_version)} is not supported; 1.x is")


# Odd shapes ---------------------------------------------------------------------------------------------------------


def _read_time_offsets(reader: Reader) -> tuple[oci.OciTimeOffset, ...]:
    offsets: list[oci.OciTimeOffset] = []
    for member in reader.members():
        if member.key not in CLOCKS:
            raise member.error(f"there is no such clock; there are {' and '.join(CLOCKS)}")
        fields = member.object(("secs", "nanosecs"))
        secs, nanosecs = fields.get("secs"), fields.get("nanosecs")
        offsets.append(
            oci.OciTimeOffset(
                member.key,
                secs.integer(-(2**63), 2**63 - 1) if secs is not None else 0,
                nanosecs.integer(0, 999_999_999) if nanosecs is not None else 0,
            )
        )
    return tuple(offsets)


def _write_time_offsets(offsets: tuple[oci.OciTimeOffset, ...]) -> object:
    return {offset.clock: {"secs": offset.secs, "nanosecs": offset.nanosecs} for offset in offsets}


def _read_unified(reader: Reader) -> tuple[tuple[str, str], ...]:
    for member in reader.members():
        # A slash would reach into another group.
        if not member.key or "/" in member.key or member.key in (".", ".."):
            raise member.error("must be the name of a file in a cgroup")
    return reader.mapping_of_strings()


TIME_OFFSETS = Kind(_read_time_offsets, _write_time_offsets)
UNIFIED = Kind(_read_unified, dict)

# process ------------------------------------------------------------------------------------------------------------

USER = Table(
    oci.OciUser,
    (
        Field("uid", "uid", USER_ID, always=True),
        Field("gid", "gid", USER_ID, always=True),
        Field("umask", "umask", integer(0, 0o777)),
        Field("additionalGids", "additional_gids", list_of(USER_ID)),
    ),
    not_built="username",
)

CAPABILITIES = Table(
    oci.OciCapabilities,
    tuple(
        [Field(name, name, STRINGS) for name in ("bounding", "effective", "inheritable", "permitted", "ambient")],
    ),
)

RLIMIT = Table(
    oci.OciRlimit,
    (
        Field("type", "type", one_of(*RLIMITS)),
        Field("soft", "soft", UINT64),
        Field("hard", "hard", UINT64),
    ),
    check=_check_rlimit,
)

PROCESS = Table(
    oci.OciProcess,
    (
        Field("terminal", "terminal", BOOLEAN),
        Field("user", "user", USER.kind, always=True),
        Field("args", "args", STRINGS),
        Field("env", "env", STRINGS),
        Field("cwd", "cwd", ABSOLUTE),
        Field("capabilities", "capabilities", CAPABILITIES.kind),
        Field("rlimits", "rlimits", list_of(RLIMIT.kind)),
        Field("noNewPrivileges", "no_new_privileges", BOOLEAN),
        Field("oomScoreAdj", "oom_score_adj", integer(-1000, 1000)),
    ),
    not_built="apparmorProfile commandLine consoleSize execCPUAffinity ioPriority scheduler selinuxLabel",
    check=_check_process,
)

# root and mounts ----------------------------------------------------------------------------------------------------

ROOT = Table(oci.OciRoot, (Field("path", "path", NOT_EMPTY), Field("readonly", "readonly", BOOLEAN)))

MOUNT = Table(
    oci.OciMount,
    (
        Field("destination", "destination", NOT_EMPTY),
        Field("type", "type", STRING),
        Field("source", "source", STRING),
        Field("options", "options", STRINGS),
    ),
    not_built="uidMappings gidMappings",
)

# linux --------------------------------------------------------------------------------------------------------------

NAMESPACE = Table(
    oci.OciNamespace,
    (
        Field("type", "type", one_of("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")),
        Field("path", "path", ABSOLUTE),
    ),
)

ID_MAPPING = Table(
    oci.OciIdMapping,
    (
        Field("containerID", "container_id", UINT32),
        Field("hostID", "host_id", UINT32),
        Field("size", "size", UINT32),
    ),
)

DEVICE = Table(
    oci.OciDevice,
    (
        Field("path", "path", ABSOLUTE),
        Field("type", "type", one_of("c", "u", "b", "p")),
        Field("major", "major", UINT32, always=True),
        Field("minor", "minor", UINT32, always=True),
        Field("fileMode", "file_mode", FILE_MODE),
        Field("uid", "uid", USER_ID),
        Field("gid", "gid", USER_ID),
    ),
    check=_check_device,
)

CPU = Table(
    oci.OciCpu,
    (
        Field("shares", "shares", UINT64),
        Field("quota", "quota", INT64),
        Field("period", "period", UINT64),
    ),
    not_built="burst cpus idle mems realtimePeriod realtimeRuntime",
)

MEMORY = Table(
    oci.OciMemory,
    (
        Field("limit", "limit", INT64),
        Field("reservation", "reservation", INT64),
        Field("swap", "swap", INT64),
    ),
    not_built="checkBeforeUpdate disableOOMKiller kernel kernelTCP swappiness useHierarchy",
)

PIDS = Table(oci.OciPids, (Field("limit", "limit", INT64),))

DEVICE_RULE = Table(
    oci.OciDeviceRule,
    (
        Field("allow", "allow", BOOLEAN),
        Field("type", "type", one_of("a", "c", "b")),
        Field("major", "major", INT64),
        Field("minor", "minor", INT64),
        Field("access", "access", STRING),
    ),
)

RESOURCES = Table(
    oci.OciResources,
    (
        Field("devices", "devices", list_of(DEVICE_RULE.kind)),
        Field("cpu", "cpu", CPU.kind),
        Field("memory", "memory", MEMORY.kind),
        Field("pids", "pids", PIDS.kind),
        Field("unified", "unified", UNIFIED),
    ),
    not_built="blockIO hugepageLimits network rdma",
)

LINUX = Table(
    oci.OciLinux,
    (
        Field("namespaces", "namespaces", list_of(NAMESPACE.kind)),
        Field("uidMappings", "uid_mappings", list_of(ID_MAPPING.kind)),
        Field("gidMappings", "gid_mappings", list_of(ID_MAPPING.kind)),
        Field("timeOffsets", "time_offsets", TIME_OFFSETS),
        Field("devices", "devices", list_of(DEVICE.kind)),
        Field("cgroupsPath", "cgroups_path", STRING),
        Field("resources", "resources", RESOURCES.kind),
        Field("sysctl", "sysctl", STRING_MAP),
        Field("seccomp", "seccomp", RAW_OBJECT),
        Field("rootfsPropagation", "rootfs_propagation", one_of(*PROPAGATIONS)),
        Field("maskedPaths", "masked_paths", ABSOLUTE_PATHS),
        Field("readonlyPaths", "readonly_paths", ABSOLUTE_PATHS),
    ),
    not_built="intelRdt memoryPolicy mountLabel netDevices personality",
    check=_check_linux,
)

# The whole file -----------------------------------------------------------------------------------------------------

SPEC = Table(
    oci.OciSpec,
    (
        Field("ociVersion", "oci_version", NOT_EMPTY, required=True),
        Field("process", "process", PROCESS.kind),
        Field("root", "root", ROOT.kind),
        Field("hostname", "hostname", STRING),
        Field("domainname", "domainname", STRING),
        Field("mounts", "mounts", list_of(MOUNT.kind)),
        Field("linux", "linux", LINUX.kind),
        Field("annotations", "annotations", STRING_MAP),
    ),
    not_built="freebsd hooks solaris vm windows zos",
    check=_check_version,
)
