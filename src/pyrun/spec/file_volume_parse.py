"""Volumes whose files pyrun writes: ConfigMaps, Secrets, the downward API, and these projected into one."""

from __future__ import annotations

from pyrun.spec.environment_parse import FILE_FIELDS, read_field_ref, read_resource_ref
from pyrun.spec.names import check_config_key, check_dns_subdomain
from pyrun.spec.parse import quote
from pyrun.spec.paths import read_relative_path
from pyrun.spec.pod_fields import checked, object_of
from pyrun.spec.source import DownwardFile, DownwardVolume, KeyToPath, ObjectVolume, ProjectedVolume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.parse import Fields, Reader
    from pyrun.spec.source import ObjectKind

DEFAULT_MODE = 0o644


def read_object_volume(reader: Reader, kind: ObjectKind) -> ObjectVolume:
    """``configMap`` or ``secret``."""
    fields = object_of(reader, f"{kind}VolumeSource")
    name = "name" if kind == "ConfigMap" else "secretName"
    return _object_volume(fields, kind, name, _read_mode(fields, "defaultMode") or DEFAULT_MODE)


def _object_volume(fields: Fields, kind: ObjectKind, name: str, mode: int) -> ObjectVolume:
    items = fields.get("items")
    return ObjectVolume(
        kind,
        checked(fields.need(name), check_dns_subdomain),
        tuple([_read_item(item) for item in items.items()]) if items is not None and items.value else None,
        fields.boolean("optional"),
        mode,
    )


def read_downward_volume(reader: Reader) -> DownwardVolume:
    """``downwardAPI``."""
    fields = object_of(reader, "DownwardAPIVolumeSource")
    return _downward_volume(fields, _read_mode(fields, "defaultMode") or DEFAULT_MODE)


def _downward_volume(fields: Fields, mode: int) -> DownwardVolume:
    return DownwardVolume(tuple([_read_downward_file(item) for item in fields.items("items")]), mode)


def read_projected_volume(reader: Reader) -> ProjectedVolume:
    """``projected``."""
    fields = object_of(reader, "ProjectedVolumeSource")
    mode = _read_mode(fields, "defaultMode") or DEFAULT_MODE
    return ProjectedVolume(tuple([_read_projection(item, mode) for item in fields.items("sources")]), mode)


def _read_projection(reader: Reader, mode: int) -> ObjectVolume | DownwardVolume:
    fields = object_of(reader, "VolumeProjection")
    given = fields.names()
    if len(given) != 1:
        raise reader.error(f"needs one source; found {', '.join(given) or 'none'}")
    (name,) = given
    where = fields.need(name)
    if name == "downwardAPI":
        return _downward_volume(object_of(where, "DownwardAPIProjection"), mode)
    kind: ObjectKind = "ConfigMap" if name == "configMap" else "Secret"
    return _object_volume(object_of(where, f"{kind}Projection"), kind, "name", mode)


def _read_item(reader: Reader) -> KeyToPath:
    fields = object_of(reader, "KeyToPath")
    return KeyToPath(
        checked(fields.need("key"), check_config_key), _read_path(fields.need("path")), _read_mode(fields, "mode")
    )


def _read_downward_file(reader: Reader) -> DownwardFile:
    fields = object_of(reader, "DownwardAPIVolumeFile")
    path, field, resource = _read_path(fields.need("path")), fields.get("fieldRef"), fields.get("resourceFieldRef")
    if (field is None) == (resource is None):
        raise reader.error("needs one of fieldRef, resourceFieldRef")
    if field is not None:
        return DownwardFile(path, read_field_ref(field, FILE_FIELDS), _read_mode(fields, "mode"))
    assert resource is not None
    return DownwardFile(path, read_resource_ref(resource, needs_container=True), _read_mode(fields, "mode"))


def _read_path(reader: Reader) -> str:
    path = read_relative_path(reader)
    if not path:
        raise reader.error("must not be empty")
    if path.startswith(".."):
        raise reader.error(f"{quote(path)} must not begin with '..'")
    return path


def _read_mode(fields: Fields, name: str) -> int | None:
    reader = fields.get(name)
    return reader.integer(0, 0o777) if reader is not None else None
