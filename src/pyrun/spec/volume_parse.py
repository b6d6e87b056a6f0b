"""``volumes[]`` of a manifest."""

from __future__ import annotations

from pyrun.spec.names import check_dns_label
from pyrun.spec.paths import read_absolute_path
from pyrun.spec.pod import EmptyDir, HostPath, Volume
from pyrun.spec.pod_fields import checked, object_of
from pyrun.spec.quantity import read_quantity, to_units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.parse import Reader
    from pyrun.spec.pod import EmptyDirMedium, HostPathType

MEDIA: tuple[EmptyDirMedium, ...] = ("", "Memory")
HOST_PATH_TYPES: tuple[HostPathType, ...] = (
    "",
    "DirectoryOrCreate",
    "Directory",
    "FileOrCreate",
    "File",
    "Socket",
    "CharDevice",
    "BlockDevice",
)


def read_volume(reader: Reader) -> Volume:
    fields = object_of(reader, "Volume")
    name = checked(fields.need("name"), check_dns_label)
    empty_dir, host_path = fields.get("emptyDir"), fields.get("hostPath")
    if host_path is not None:
        if empty_dir is not None:
            raise reader.error("a volume has one source; this one has emptyDir and hostPath")
        return Volume(name, _read_host_path(host_path))
    return Volume(name, _read_empty_dir(empty_dir) if empty_dir is not None else EmptyDir())


def _read_empty_dir(reader: Reader) -> EmptyDir:
    fields = object_of(reader, "EmptyDirVolumeSource")
    medium = fields.get("medium")
    if medium is not None and medium.string().startswith("HugePages"):
        raise medium.error("'HugePages' is known to Kubernetes but not built yet")
    chosen = medium.one_of(MEDIA) if medium is not None else ""
    limit = fields.get("sizeLimit")
    # Zero is no limit, as in the kubelet.
    size = (to_units(read_quantity(limit)) or None) if limit is not None else None
    if limit is not None and size is not None and chosen != "Memory":
        raise limit.error("a size limit on disk is known to Kubernetes but not built yet; with medium: Memory it works")
    return EmptyDir(chosen, size)


def _read_host_path(reader: Reader) -> HostPath:
    fields = object_of(reader, "HostPathVolumeSource")
    return HostPath(read_absolute_path(fields.need("path")), fields.one_of("type", HOST_PATH_TYPES, ""))
