"""``config.json`` ↔ :class:`~pyrun.spec.oci.OciSpec`.

The tables follow the runtime specification's ``config.md`` section by section (``process`` and ``linux`` are in modules of their
own); what each kind of row does is in :mod:`pyrun.spec.oci_table`. A value that the specification does not define is an
error that names it.
"""

from __future__ import annotations

from pyrun.errors import SpecError
from pyrun.spec import oci
from pyrun.spec.oci_linux_parse import ID_MAPPING, LINUX
from pyrun.spec.oci_process_parse import PROCESS
from pyrun.spec.oci_resources_parse import RESOURCES
from pyrun.spec.oci_table import (
    ABSOLUTE,
    BOOLEAN,
    NOT_EMPTY,
    STRING,
    STRINGS,
    Field,
    Kind,
    Table,
    integer,
    list_of,
)
from pyrun.spec.parse import Reader, load_json, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def load_oci(data: bytes, source: str) -> oci.OciSpec:
    """The configuration in *data*, which is JSON; *source* names it in errors."""
    return parse_oci(load_json(data, source), source)


def parse_oci(document: object, source: str) -> oci.OciSpec:
    """The configuration in *document*; *source* names it in errors."""
    spec: oci.OciSpec = _parse(SPEC, document, source)
    return spec


def load_oci_process(data: bytes, source: str) -> oci.OciProcess:
    """A ``process`` by itself, as ``exec --process`` has it."""
    process: oci.OciProcess = _parse(PROCESS, load_json(data, source), source)
    return process


def load_oci_resources(data: bytes, source: str) -> oci.OciResources:
    """``linux.resources`` by itself, as ``update --resources`` has it."""
    return parse_oci_resources(load_json(data, source), source)


def parse_oci_resources(document: object, source: str) -> oci.OciResources:
    """``linux.resources`` by itself, as a document."""
    resources: oci.OciResources = _parse(RESOURCES, document, source)
    return resources


def oci_to_json(spec: oci.OciSpec) -> dict[str, object]:
    """*spec* in the specification's own names, ready for ``json.dumps``; what has its default is left out."""
    return SPEC.write(spec)


def _parse(table: Table, document: object, source: str) -> Any:
    try:
        return table.read(Reader(document))
    except SpecError as error:
        raise error.located(source) from None


# Rules between fields -----------------------------------------------------------------------------------------------


def _check_mount(mount: oci.OciMount, reader: Reader) -> None:
    if bool(mount.uid_mappings) != bool(mount.gid_mappings):
        missing = "gidMappings" if mount.uid_mappings else "uidMappings"
        raise reader.member_error(missing, "required: uidMappings and gidMappings go together")


def _check_spec(spec: oci.OciSpec, reader: Reader) -> None:
    if not _is_supported(spec.oci_version):
        raise reader.member_error("ociVersion", f"{quote(spec.oci_version)} is not supported; 1.x is, such as '1.2.0'")
    if "uts" not in [namespace.type for namespace in spec.linux.namespaces]:
        for name, value in (("hostname", spec.hostname), ("domainname", spec.domainname)):
            if value:
                raise reader.member_error(name, "needs a uts namespace: one in namespaces")


def _is_supported(version: str) -> bool:
    """Whether it is a semantic version of the first major one."""
    numbers = version.partition("+")[0].partition("-")[0].split(".")
    digits = all([number.isdecimal() and number.isascii() for number in numbers])
    return len(numbers) == 3 and digits and numbers[0] == "1"


def _read_annotations(reader: Reader) -> tuple[tuple[str, str], ...]:
    for member in reader.members():
        if not member.key:
            raise reader.error("a name must not be empty")
    return reader.mapping_of_strings()


# root, mounts and hooks ---------------------------------------------------------------------------------------------

ROOT = Table(oci.OciRoot, (Field("path", "path", NOT_EMPTY), Field("readonly", "readonly", BOOLEAN)))

MOUNT = Table(
    oci.OciMount,
    (
        Field("destination", "destination", NOT_EMPTY),
        Field("type", "type", STRING),
        Field("source", "source", STRING),
        Field("options", "options", STRINGS),
        Field("uidMappings", "uid_mappings", list_of(ID_MAPPING.kind)),
        Field("gidMappings", "gid_mappings", list_of(ID_MAPPING.kind)),
    ),
    check=_check_mount,
)

HOOK = Table(
    oci.OciHook,
    (
        Field("path", "path", ABSOLUTE),
        Field("args", "args", STRINGS),
        Field("env", "env", STRINGS),
        Field("timeout", "timeout_s", integer(1, 2**31 - 1)),
    ),
)

HOOKS = Table(
    oci.OciHooks,
    (
        Field("prestart", "prestart", list_of(HOOK.kind)),
        Field("createRuntime", "create_runtime", list_of(HOOK.kind)),
        Field("createContainer", "create_container", list_of(HOOK.kind)),
        Field("startContainer", "start_container", list_of(HOOK.kind)),
        Field("poststart", "poststart", list_of(HOOK.kind)),
        Field("poststop", "poststop", list_of(HOOK.kind)),
    ),
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
        Field("hooks", "hooks", HOOKS.kind),
        Field("linux", "linux", LINUX.kind),
        Field("annotations", "annotations", Kind(_read_annotations, dict)),
    ),
    foreign="freebsd solaris vm windows zos",
    check=_check_spec,
)
