"""Where a variable's value comes from: ``valueFrom`` and ``envFrom``. Loaded where a manifest has them."""

from __future__ import annotations

from pyrun.spec.names import check_config_key, check_dns_label, check_dns_subdomain, check_env_name, check_label_key
from pyrun.spec.parse import did_you_mean, quote
from pyrun.spec.paths import read_relative_path
from pyrun.spec.pod_fields import checked, object_of
from pyrun.spec.quantity import NANO, read_quantity
from pyrun.spec.source import EnvFrom, FieldRef, FileKeyRef, KeyRef, ResourceFieldRef

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.parse import Reader
    from pyrun.spec.source import ObjectKind

# "Downward API": available fields. Those of a variable, and those of a file.
ENV_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
FILE_FIELDS = ("metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels", "metadata.annotations")
RESOURCE_NAMES = ("cpu", "memory", "ephemeral-storage")


def read_value_from(reader: Reader) -> FieldRef | ResourceFieldRef | KeyRef | FileKeyRef:
    """``valueFrom``."""
    fields = object_of(reader, "EnvVarSource")
    given = fields.names()
    if len(given) != 1:
        raise reader.error(f"needs one source; found {', '.join(given) or 'none'}")
    (name,) = given
    where = fields.need(name)
    if name == "fieldRef":
        return read_field_ref(where, ENV_FIELDS)
    if name == "resourceFieldRef":
        return read_resource_ref(where)
    if name == "fileKeyRef":
        return _read_file_ref(where)
    return _read_key_ref(where, "ConfigMap" if name == "configMapKeyRef" else "Secret")


def read_env_from(reader: Reader) -> EnvFrom:
    """``envFrom[]``."""
    fields = object_of(reader, "EnvFromSource")
    given = [name for name in ("configMapRef", "secretRef") if fields.get(name) is not None]
    if len(given) != 1:
        raise reader.error(f"needs one of configMapRef, secretRef; found {', '.join(given) or 'none'}")
    (name,) = given
    kind: ObjectKind = "ConfigMap" if name == "configMapRef" else "Secret"
    prefix = fields.get("prefix")
    source = object_of(fields.need(name), f"{kind}EnvSource")
    return EnvFrom(
        kind,
        checked(source.need("name"), check_dns_subdomain),
        checked(prefix, check_env_name) if prefix is not None and prefix.value != "" else "",
        source.boolean("optional"),
    )


def read_field_ref(reader: Reader, allowed: tuple[str, ...]) -> FieldRef:
    """``fieldRef``; a label or an annotation by ``metadata.labels['key']``."""
    fields = object_of(reader, "ObjectFieldSelector")
    version = fields.get("apiVersion")
    if version is not None and version.string() not in ("", "v1"):
        raise version.error(f"expected 'v1', found {quote(version.string())}")
    path = fields.need("fieldPath")
    text = path.string()
    field, bracket, key = text.partition("['")
    if bracket and field in ("metadata.labels", "metadata.annotations") and key.endswith("']"):
        complaint = check_label_key(key[:-2].lower())
        if complaint is not None:
            raise path.error(complaint)
    elif text not in allowed:
        known = (*allowed, "metadata.labels['<key>']", "metadata.annotations['<key>']")
        raise path.error(f"{quote(text)} is none of {', '.join(known)}{did_you_mean(text, known)}")
    return FieldRef(text)


def read_resource_ref(reader: Reader, needs_container: bool = False) -> ResourceFieldRef:
    """``resourceFieldRef``; a file has to say whose."""
    fields = object_of(reader, "ResourceFieldSelector")
    container, divisor, resource = fields.get("containerName"), fields.get("divisor"), fields.need("resource")
    if needs_container:
        container = fields.need("containerName")
    text = resource.string()
    what, _, name = text.partition(".")
    if what not in ("limits", "requests") or not (name in RESOURCE_NAMES or name.startswith("hugepages-")):
        known = [f"{each}.{name}" for each in ("limits", "requests") for name in RESOURCE_NAMES]
        raise resource.error(f"{quote(text)} is none of {', '.join(known)}{did_you_mean(text, known)}")
    return ResourceFieldRef(
        text,
        _read_divisor(divisor, name) if divisor is not None else NANO,
        checked(container, check_dns_label) if container is not None and container.value != "" else "",
    )


def _read_divisor(reader: Reader, name: str) -> int:
    """Those that the API server takes (core validation, validateContainerResourceDivisor). Zero is one."""
    nano = read_quantity(reader)
    bytes_of = [1, *[base**power for base in (1000, 1024) for power in range(1, 7)]]
    allowed = [NANO // 1000, NANO] if name == "cpu" else [NANO * each for each in bytes_of]
    if nano and nano not in allowed:
        wanted = "1m or 1" if name == "cpu" else "1, or 1 with a unit such as k, M, Ki, Mi"
        raise reader.error(f"{quote(str(reader.value))}: only {wanted} can divide {name}")
    return nano or NANO


def _read_key_ref(reader: Reader, kind: ObjectKind) -> KeyRef:
    fields = object_of(reader, f"{kind}KeySelector")
    return KeyRef(
        kind,
        checked(fields.need("name"), check_dns_subdomain),
        checked(fields.need("key"), check_config_key),
        fields.boolean("optional"),
    )


def _read_file_ref(reader: Reader) -> FileKeyRef:
    fields = object_of(reader, "FileKeySelector")
    path = fields.need("path")
    relative = read_relative_path(path)
    if not relative:
        raise path.error("must not be empty")
    return FileKeyRef(
        checked(fields.need("volumeName"), check_dns_label),
        relative,
        checked(fields.need("key"), check_env_name),
        fields.boolean("optional"),
    )
