"""Manifest → :class:`~pyrun.spec.pod.PodSpec`: the fields of the pod itself, and the rules between fields.

Everything that Kubernetes' API server would refuse is refused here, with a JSON pointer to the place. Nothing is
dropped silently: a field that is not read is an error, and one that will not do what Kubernetes would make of it is a
warning.
"""

from __future__ import annotations

from pyrun.errors import SpecError
from pyrun.spec.annotations import read_time_offsets
from pyrun.spec.container_parse import read_container
from pyrun.spec.defaults import apply_defaults
from pyrun.spec.names import (
    check_annotation_key,
    check_dns_label,
    check_dns_subdomain,
    check_label_key,
    check_label_value,
    check_uid,
)
from pyrun.spec.parse import Reader, did_you_mean, load_document, quote
from pyrun.spec.pod import Metadata, PodSpec
from pyrun.spec.pod_check import check_pod
from pyrun.spec.pod_fields import SERVER_METADATA, checked, object_of
from pyrun.spec.volume_parse import read_volume
from pyrun.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.parse import Fields
    from pyrun.spec.pod import Container, Pairs, RestartPolicy

RESTART_POLICIES: tuple[RestartPolicy, ...] = ("Always", "OnFailure", "Never")

# apimachinery, TotalAnnotationSizeLimitB.
MAX_ANNOTATIONS_BYTES = 256 * 1024

_POD_TEMPLATES = {
    "Deployment": "/spec/template",
    "ReplicaSet": "/spec/template",
    "ReplicationController": "/spec/template",
    "StatefulSet": "/spec/template",
    "DaemonSet": "/spec/template",
    "Job": "/spec/template",
    "CronJob": "/spec/jobTemplate/spec/template",
    "PodTemplate": "/template",
}


def load_pod(data: bytes, source: str) -> PodSpec:
    """The Pod in *data*, JSON or YAML; *source* names it in errors."""
    return parse_pod(load_document(data, source), source)


def parse_pod(document: object, source: str) -> PodSpec:
    """The Pod in *document*, validated and with all defaults; *source* names it in errors."""
    try:
        return _read_pod(Reader(document))
    except SpecError as error:
        raise error.located(source) from None


def _read_pod(reader: Reader) -> PodSpec:
    _check_kind(reader)
    fields = object_of(reader, "Pod")
    warnings: list[str] = []
    if fields.get("status") is not None and fields.need("status").value:
        warnings.append("/status: ignored; it tells what a server saw, not what is asked for")
    metadata_fields = object_of(fields.need("metadata"), "ObjectMeta")
    metadata = _read_metadata(metadata_fields, warnings)
    pod = _read_spec(object_of(fields.need("spec"), "PodSpec", warnings), metadata, warnings)
    pod = replace(pod, time_offsets=read_time_offsets(metadata_fields.get("annotations")))
    check_pod(pod, warnings)
    return apply_defaults(replace(pod, warnings=tuple(warnings)))


def _check_kind(reader: Reader) -> None:
    """Before any other field, so that a Deployment is not told that it has an unknown field."""
    if type(reader.value) is not dict:
        raise reader.wrong_type("a Pod, which is an object")
    fields = reader.object(reader.value)
    kind_reader = fields.need("kind")
    kind = kind_reader.string()
    if kind in _POD_TEMPLATES:
        template = _POD_TEMPLATES[kind]
        raise kind_reader.error(f"pyrun runs Pods: take {template} out of this {kind}, add apiVersion v1 and kind Pod")
    if kind == "List":
        raise kind_reader.error("pyrun runs one Pod per file, for now; this is a List")
    if kind != "Pod":
        raise kind_reader.error(f"expected 'Pod', found {quote(kind)}{did_you_mean(kind, ('Pod',))}")
    version = fields.need("apiVersion")
    if version.string() != "v1":
        raise version.error(f"expected 'v1', found {quote(version.string())}")


def _read_metadata(fields: Fields, warnings: list[str]) -> Metadata:
    from_server = [name for name in SERVER_METADATA if fields.get(name) is not None]
    if from_server:
        warnings.append(f"/metadata: {', '.join(from_server)}: ignored; a server wrote it")
    namespace, uid = fields.get("namespace"), fields.get("uid")
    annotations = fields.get("annotations")
    return Metadata(
        name=checked(fields.need("name"), check_dns_subdomain),
        namespace=checked(namespace, check_dns_label) if namespace is not None and namespace.value != "" else "default",
        uid=checked(uid, check_uid) if uid is not None and uid.value != "" else None,
        labels=_read_labels(fields.get("labels")),
        annotations=_read_annotations(annotations) if annotations is not None else (),
    )


def _read_labels(reader: Reader | None) -> Pairs:
    if reader is None:
        return ()
    for member in reader.members():
        _complain(member, check_label_key(member.key))
        checked(member, check_label_value)
    return reader.mapping_of_strings()


def _read_annotations(reader: Reader) -> Pairs:
    size = 0
    for member in reader.members():
        _complain(member, check_annotation_key(member.key))
        size += len(member.key) + len(member.string().encode())
    if size > MAX_ANNOTATIONS_BYTES:
        raise reader.error(f"{size} bytes of annotations; at most {MAX_ANNOTATIONS_BYTES} are allowed")
    return reader.mapping_of_strings()


def _complain(reader: Reader, complaint: str | None) -> None:
    if complaint is not None:
        raise reader.error(complaint)


def _read_spec(fields: Fields, metadata: Metadata, warnings: list[str]) -> PodSpec:
    hostname, grace = fields.get("hostname"), fields.get("terminationGracePeriodSeconds")
    return PodSpec(
        metadata=metadata,
        containers=_read_containers(fields.need("containers"), warnings),
        volumes=tuple([read_volume(item) for item in fields.items("volumes")]),
        hostname=checked(hostname, check_dns_label) if hostname is not None and hostname.value != "" else "",
        restart_policy=_read_restart_policy(fields, warnings),
        termination_grace_period_s=grace.integer(0, 2**31 - 1) if grace is not None else 30,
        share_process_namespace=fields.boolean("shareProcessNamespace"),
        host_network=fields.boolean("hostNetwork"),
        host_pid=fields.boolean("hostPID"),
        host_ipc=fields.boolean("hostIPC"),
    )


def _read_containers(reader: Reader, warnings: list[str]) -> tuple[Container, ...]:
    items = reader.items()
    if not items:
        raise reader.error("a pod has at least one container")
    return tuple([read_container(item, warnings) for item in items])


def _read_restart_policy(fields: Fields, warnings: list[str]) -> RestartPolicy:
    policy = fields.one_of("restartPolicy", RESTART_POLICIES, "Always")
    if policy != "Never":
        written = policy if fields.get("restartPolicy") is not None else f"{policy}, which is the default,"
        warnings.append(f"/spec/restartPolicy: {written} is accepted, but every container runs once for now")
    return policy
