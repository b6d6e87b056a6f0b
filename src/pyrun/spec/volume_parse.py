"""``volumes[]`` of a manifest."""

from __future__ import annotations

from pyrun.spec.image import parse_image
from pyrun.spec.names import check_dns_label, check_dns_subdomain
from pyrun.spec.paths import read_absolute_path
from pyrun.spec.pod import Volume
from pyrun.spec.pod_fields import checked, object_of
from pyrun.spec.quantity import parse_quantity, read_quantity, to_units
from pyrun.spec.source import ClaimVolume, EmptyDir, HostPath, ImageVolume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from pyrun.spec.parse import Reader
    from pyrun.spec.source import DownwardVolume, EmptyDirMedium, HostPathType, ObjectVolume, ProjectedVolume

    Source: TypeAlias = (
        EmptyDir | HostPath | ImageVolume | ClaimVolume | ObjectVolume | DownwardVolume | ProjectedVolume
    )

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
    given = [each for each in fields.names() if each != "name"]
    if len(given) > 1:
        raise reader.error(f"a volume has one source; this one has {' and '.join(given)}")
    if not given:
        return Volume(name, EmptyDir())
    return Volume(name, _read_source(given[0], fields.need(given[0])))


def _read_source(name: str, reader: Reader) -> Source:
    if name == "emptyDir":
        return _read_empty_dir(reader)
    if name == "hostPath":
        return _read_host_path(reader)
    if name == "image":
        return _read_image(reader)
    if name == "persistentVolumeClaim":
        claim = object_of(reader, "PersistentVolumeClaimVolumeSource")
        return ClaimVolume(checked(claim.need("claimName"), check_dns_subdomain), claim.boolean("readOnly"))
    from pyrun.spec.file_volume_parse import read_downward_volume, read_object_volume, read_projected_volume

    if name == "downwardAPI":
        return read_downward_volume(reader)
    if name == "projected":
        return read_projected_volume(reader)
    return read_object_volume(reader, "ConfigMap" if name == "configMap" else "Secret")


def _read_image(reader: Reader) -> ImageVolume:
    fields = object_of(reader, "ImageVolumeSource")
    reference = fields.need("reference")
    policy = fields.get("pullPolicy")
    if policy is not None and policy.one_of(("IfNotPresent", "Never", "Always")) == "Always":
        raise policy.error("'Always' cannot be kept: nothing is pulled from a registry yet")
    return ImageVolume(parse_image(reference.string(), reference.pointer))


def _read_empty_dir(reader: Reader) -> EmptyDir:
    fields = object_of(reader, "EmptyDirVolumeSource")
    medium = fields.get("medium")
    chosen = _read_medium(medium) if medium is not None else ""
    limit = fields.get("sizeLimit")
    # Zero is no limit, as in the kubelet.
    size = (to_units(read_quantity(limit)) or None) if limit is not None else None
    mode = fields.get("mode")
    return EmptyDir(chosen, size, mode.integer(0, 0o1777) if mode is not None else 0o777)


def _read_medium(reader: Reader) -> str:
    text = reader.string()
    size = text.removeprefix("HugePages-")
    if size == text:
        return reader.one_of((*MEDIA, "HugePages"))
    try:
        parse_quantity(size)
    except ValueError as error:
        raise reader.error(str(error)) from None
    return text


def _read_host_path(reader: Reader) -> HostPath:
    fields = object_of(reader, "HostPathVolumeSource")
    return HostPath(read_absolute_path(fields.need("path")), fields.one_of("type", HOST_PATH_TYPES, ""))
