"""``linux.resources`` of ``config.json``, also what ``update --resources`` is given: ``config-linux.md``, "Control groups".

The whole of it, with what only cgroup v1 has: whether a limit can be had is not the document's matter
(:mod:`pyrun.container.oci_limits`).
"""

from __future__ import annotations

from pyrun.spec import oci
from pyrun.spec.oci_check import check_unique
from pyrun.spec.oci_table import (
    BOOLEAN,
    INT64,
    NOT_EMPTY,
    STRING,
    UINT32,
    UINT64,
    Field,
    Kind,
    Table,
    integer,
    list_of,
    map_of,
)
from pyrun.spec.parse import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.parse import Reader

ACCESSES = "rwm"
MIN_IO_WEIGHT, MAX_IO_WEIGHT = 10, 1000
PAGE_SIZE_UNITS = ("KB", "MB", "GB")


# Odd shapes ---------------------------------------------------------------------------------------------------------


def _read_unified(reader: Reader) -> tuple[tuple[str, str], ...]:
    for member in reader.members():
        # A slash would reach into another group.
        if not member.key or "/" in member.key or member.key in (".", ".."):
            raise member.error("must be the name of a file in a cgroup")
    return reader.mapping_of_strings()


def _read_rule_type(reader: Reader) -> str:
    return "a" if reader.value == "" else reader.one_of(("a", "c", "b"))


def _read_access(reader: Reader) -> str:
    text = reader.string()
    if text.strip(ACCESSES) or len(set(text)) != len(text):
        raise reader.error(f"{quote(text)} is no composition of 'r', 'w' and 'm'")
    return text


def _read_io_weight(reader: Reader) -> int:
    weight = reader.integer(0, MAX_IO_WEIGHT)
    if 0 < weight < MIN_IO_WEIGHT:  # 0 is what callers send for none
        raise reader.error(f"must be between {MIN_IO_WEIGHT} and {MAX_IO_WEIGHT}, found {weight}")
    return weight


def _read_page_size(reader: Reader) -> str:
    text = reader.string()
    number = text[:-2]
    if text[-2:] not in PAGE_SIZE_UNITS or not (number.isascii() and number.isdecimal()) or number[0] == "0":
        raise reader.error(f"{quote(text)} is no size of pages such as '2MB'")
    return text


def _read_rdma(reader: Reader) -> oci.OciRdma:
    if not reader.key or not set(reader.key).isdisjoint(" \t\n"):
        raise reader.error("must be the name of a device")
    fields = reader.object(("hcaHandles", "hcaObjects"))
    handles, objects = fields.get("hcaHandles"), fields.get("hcaObjects")
    if handles is None and objects is None:
        raise reader.error("hcaHandles or hcaObjects must be given")
    return oci.OciRdma(
        reader.key,
        None if handles is None else handles.integer(0, 2**32 - 1),
        None if objects is None else objects.integer(0, 2**32 - 1),
    )


def _write_rdma(limit: oci.OciRdma) -> tuple[str, object]:
    numbers = (("hcaHandles", limit.hca_handles), ("hcaObjects", limit.hca_objects))
    return limit.device, {name: number for name, number in numbers if number is not None}


def _check_weight_device(device: oci.OciWeightDevice, reader: Reader) -> None:
    if device.weight is None and device.leaf_weight is None:
        raise reader.error("weight or leafWeight must be given")


def _check_resources(resources: oci.OciResources, reader: Reader) -> None:
    check_unique(reader, "hugepageLimits", "pageSize", [limit.page_size for limit in resources.hugepage_limits])


UNIFIED = Kind(_read_unified, dict)
BYTES = integer(-1, 2**63 - 1)
DEVICE_NUMBER = integer(0, 2**32 - 1)
# -1 is what the device cgroup's users write for all.
RULE_NUMBER = Kind(lambda reader: None if reader.integer(-1, 2**32 - 1) == -1 else reader.value, lambda number: number)
IO_WEIGHT = Kind(_read_io_weight, lambda weight: weight)

# The tables ---------------------------------------------------------------------------------------------------------

CPU = Table(
    oci.OciCpu,
    (
        Field("shares", "shares", UINT64),
        Field("quota", "quota", INT64),
        Field("burst", "burst_us", UINT64),
        Field("period", "period", UINT64),
        Field("realtimeRuntime", "realtime_runtime", INT64),
        Field("realtimePeriod", "realtime_period", UINT64),
        Field("cpus", "cpus", STRING),
        Field("mems", "mems", STRING),
        Field("idle", "idle", integer(0, 1)),
    ),
)

MEMORY = Table(
    oci.OciMemory,
    (
        Field("limit", "limit", BYTES),
        Field("reservation", "reservation", BYTES),
        Field("swap", "swap", BYTES),
        Field("kernel", "kernel", BYTES),
        Field("kernelTCP", "kernel_tcp", BYTES),
        Field("swappiness", "swappiness", integer(0, 100)),
        Field("disableOOMKiller", "disable_oom_killer", BOOLEAN),
        Field("useHierarchy", "use_hierarchy", BOOLEAN),
        Field("checkBeforeUpdate", "check_before_update", BOOLEAN),
    ),
)

PIDS = Table(oci.OciPids, (Field("limit", "limit", integer(-1, 2**63 - 1)),))

DEVICE_RULE = Table(
    oci.OciDeviceRule,
    (
        Field("allow", "allow", BOOLEAN),
        Field("type", "type", Kind(_read_rule_type, lambda kind: kind)),
        Field("major", "major", RULE_NUMBER),
        Field("minor", "minor", RULE_NUMBER),
        Field("access", "access", Kind(_read_access, lambda access: access)),
    ),
)

WEIGHT_DEVICE = Table(
    oci.OciWeightDevice,
    (
        Field("major", "major", DEVICE_NUMBER),
        Field("minor", "minor", DEVICE_NUMBER),
        Field("weight", "weight", IO_WEIGHT),
        Field("leafWeight", "leaf_weight", IO_WEIGHT),
    ),
    check=_check_weight_device,
)

THROTTLE_DEVICE = Table(
    oci.OciThrottleDevice,
    (
        Field("major", "major", DEVICE_NUMBER),
        Field("minor", "minor", DEVICE_NUMBER),
        Field("rate", "rate", UINT64),
    ),
)

BLOCK_IO = Table(
    oci.OciBlockIo,
    (
        Field("weight", "weight", IO_WEIGHT),
        Field("leafWeight", "leaf_weight", IO_WEIGHT),
        Field("weightDevice", "weight_device", list_of(WEIGHT_DEVICE.kind)),
        Field("throttleReadBpsDevice", "throttle_read_bps_device", list_of(THROTTLE_DEVICE.kind)),
        Field("throttleWriteBpsDevice", "throttle_write_bps_device", list_of(THROTTLE_DEVICE.kind)),
        Field("throttleReadIOPSDevice", "throttle_read_iops_device", list_of(THROTTLE_DEVICE.kind)),
        Field("throttleWriteIOPSDevice", "throttle_write_iops_device", list_of(THROTTLE_DEVICE.kind)),
    ),
)

HUGEPAGE_LIMIT = Table(
    oci.OciHugepageLimit,
    (
        Field("pageSize", "page_size", Kind(_read_page_size, lambda size: size)),
        Field("limit", "limit", UINT64),
    ),
)

NETWORK_PRIORITY = Table(
    oci.OciNetworkPriority,
    (
        Field("name", "name", NOT_EMPTY),
        Field("priority", "priority", UINT32),
    ),
)

NETWORK = Table(
    oci.OciNetwork,
    (
        Field("classID", "class_id", UINT32),
        Field("priorities", "priorities", list_of(NETWORK_PRIORITY.kind)),
    ),
)

RESOURCES = Table(
    oci.OciResources,
    (
        Field("devices", "devices", list_of(DEVICE_RULE.kind)),
        Field("cpu", "cpu", CPU.kind),
        Field("memory", "memory", MEMORY.kind),
        Field("pids", "pids", PIDS.kind),
        Field("blockIO", "block_io", BLOCK_IO.kind),
        Field("hugepageLimits", "hugepage_limits", list_of(HUGEPAGE_LIMIT.kind)),
        Field("network", "network", NETWORK.kind),
        Field("rdma", "rdma", map_of(_read_rdma, _write_rdma)),
        Field("unified", "unified", UNIFIED),
    ),
    check=_check_resources,
)
