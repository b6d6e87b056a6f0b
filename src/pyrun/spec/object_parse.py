"""ConfigMaps and Secrets, which stand beside a Pod in its file or in files of their own; and which documents a file has."""

from __future__ import annotations

from pyrun.errors import SpecError
from pyrun.spec.names import check_config_key, check_dns_label, check_dns_subdomain
from pyrun.spec.parse import Reader, load_document, quote
from pyrun.spec.pod_fields import SERVER_METADATA, checked
from pyrun.spec.source import ConfigObject

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.parse import Fields
    from pyrun.spec.source import ObjectKind

OBJECT_KINDS: tuple[ObjectKind, ...] = ("ConfigMap", "Secret")
MAX_OBJECT_BYTES = 1024 * 1024  # apimachinery, MaxSecretSize; a ConfigMap likewise
_FIELDS = {
    "ConfigMap": ("apiVersion", "kind", "metadata", "data", "binaryData", "immutable"),
    "Secret": ("apiVersion", "kind", "metadata", "data", "stringData", "immutable", "type"),
}
_METADATA = ("name", "namespace", "labels", "annotations", "uid", *SERVER_METADATA)


def documents_of(document: object) -> list[tuple[str, object]]:
    """The documents in a file's one: the items of a List, each with a word about where it stands; else itself, without one."""
    if not isinstance(document, dict) or document.get("kind") != "List":
        return [("", document)]
    items = Reader(document).object(document).items("items")
    return [(f"document {number}", item.value) for number, item in enumerate(items, 1)]


def kind_of(document: object) -> object:
    """``kind``; None for what has none."""
    return document.get("kind") if isinstance(document, dict) else None


def load_objects(data: bytes, source: str) -> tuple[ConfigObject, ...]:
    """The ConfigMaps and Secrets in a file: YAML documents, or a List; *source* names it in errors. Nothing else may be in it."""
    return parse_objects(documents_of(load_document(data, source)), source)


def parse_objects(documents: list[tuple[str, object]], source: str) -> tuple[ConfigObject, ...]:
    """The ConfigMaps and Secrets among *documents*, which are nothing else. Raises SpecError."""
    found: dict[tuple[str, str, str], ConfigObject] = {}
    for where, document in documents:
        place = f"{source} ({where})" if where else source
        try:
            made = read_object(Reader(document))
            if found.setdefault((made.kind, made.namespace, made.name), made) is not made:
                raise SpecError("/metadata/name", f"there is another {made.kind} {made.name!r}")
        except SpecError as error:
            raise error.located(place) from None
    return tuple(found.values())


def read_object(reader: Reader) -> ConfigObject:
    """A ConfigMap or a Secret."""
    if type(reader.value) is not dict:
        raise reader.wrong_type("a ConfigMap or a Secret, which is an object")
    kind = reader.object(reader.value).need("kind").one_of(OBJECT_KINDS)
    fields = reader.object(_FIELDS[kind])
    version = fields.need("apiVersion")
    if version.string() != "v1":
        raise version.error(f"expected 'v1', found {quote(version.string())}")
    metadata = fields.need("metadata").object(_METADATA)
    namespace = metadata.get("namespace")
    data = _read_map(fields, "data", kind == "Secret")
    # As in the API server, what is written as text wins.
    binary = _read_map(fields, "binaryData", True)
    data |= binary | _read_map(fields, "stringData", False)
    if sum([len(value) for value in data.values()]) > MAX_OBJECT_BYTES:
        raise reader.error(f"more than {MAX_OBJECT_BYTES} bytes of data")
    return ConfigObject(
        kind,
        checked(metadata.need("name"), check_dns_subdomain),
        tuple(sorted(data.items())),
        checked(namespace, check_dns_label) if namespace is not None and namespace.value != "" else "default",
        tuple(sorted(binary)),
    )


def _read_map(fields: Fields, name: str, encoded: bool) -> dict[str, bytes]:
    reader = fields.get(name) if name in fields.names() else None
    if reader is None:
        return {}
    for member in reader.members():
        complaint = check_config_key(member.key)
        if complaint is not None:
            raise member.error(complaint)
    return {member.key: _decoded(member) if encoded else member.string().encode() for member in reader.members()}


def _decoded(reader: Reader) -> bytes:
    import binascii

    try:
        return binascii.a2b_base64("".join(reader.string().split()), strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise reader.error(f"is not base64: {error}; in a Secret, plain text goes into stringData") from None
