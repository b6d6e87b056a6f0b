"""Manifest → :class:`~pyrun.spec.pod.PodSpec`: the fields of the pod itself, and the rules between fields.

Everything that Kubernetes' API server would refuse is refused here, with a JSON pointer to the place. Nothing is
dropped silently: a field that is not read is an error, and one that will not do what Kubernetes would make of it is a
warning.
"""

from __future__ import annotations

from pyrun.errors import SpecError
from pyrun.spec.container_parse import RESTART_POLICIES, read_container
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
from pyrun.spec.pod_fields import ANNOTATION_PREFIX, MEANINGLESS, SERVER_METADATA, checked, object_of
from pyrun.spec.resources_parse import check_resources, read_overhead, read_pod_resources
from pyrun.spec.security import PodSecurity, SecurityContext
from pyrun.spec.volume_parse import read_volume
from pyrun.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.container_parse import Place
    from pyrun.spec.parse import Fields
    from pyrun.spec.pod import Container, Pairs
    from pyrun.spec.source import ConfigObject

# Read by pyrun.spec.network_parse, where a pod has one of them.
NETWORK_FIELDS = ("subdomain", "hostnameOverride", "setHostnameAsFQDN", "hostAliases", "dnsPolicy", "dnsConfig")

APP_ARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"  # before it had a field

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


def load_pod(data: bytes, source: str, objects: tuple[ConfigObject, ...] = ()) -> PodSpec:
    """The Pod in *data*, JSON or YAML; *source* names it in errors. ConfigMaps and Secrets may stand beside it, as documents of
    their own or as items of a List; *objects* are more of them, from elsewhere."""
    return parse_pod(load_document(data, source), source, objects)


def parse_pod(document: object, source: str, objects: tuple[ConfigObject, ...] = ()) -> PodSpec:
    """The Pod in *document*, validated and with all defaults. Arguments as for :func:`load_pod`."""
    place = source
    try:
        if isinstance(document, dict) and document.get("kind") == "List":
            place, document, objects = _from_list(document, source, objects)
        return _read_pod(Reader(document), objects)
    except SpecError as error:
        raise error.located(error.source or place) from None


def _from_list(
    document: object, source: str, objects: tuple[ConfigObject, ...]
) -> tuple[str, object, tuple[ConfigObject, ...]]:
    """Where its one Pod stands, the Pod, and all ConfigMaps and Secrets."""
    from pyrun.spec.object_parse import documents_of, kind_of, parse_objects

    documents = documents_of(document)
    pods = [(where, item) for where, item in documents if kind_of(item) not in ("ConfigMap", "Secret")]
    if len(pods) != 1:
        found = f"{len(pods)}: {', '.join([where for where, _item in pods])}" if pods else "none"
        raise SpecError("", f"one Pod at a time, with ConfigMaps and Secrets beside it; found {found}")
    (where, pod) = pods[0]
    beside = parse_objects([each for each in documents if each[1] is not pod], source)
    return f"{source} ({where})", pod, (*objects, *beside)


def _read_pod(reader: Reader, objects: tuple[ConfigObject, ...]) -> PodSpec:
    _check_kind(reader)
    fields = object_of(reader, "Pod")
    warnings: list[str] = []
    if fields.get("status") is not None and fields.need("status").value:
        warnings.append("/status: ignored; it tells what a server saw, not what is asked for")
    metadata_fields = object_of(fields.need("metadata"), "ObjectMeta")
    metadata = _read_metadata(metadata_fields, warnings)
    spec_fields = object_of(fields.need("spec"), "PodSpec", warnings)
    pod = _read_spec(spec_fields, metadata, warnings)
    if any([spec_fields.get(name) is not None for name in NETWORK_FIELDS]):
        from pyrun.spec.network_parse import apply_network

        pod = apply_network(pod, spec_fields, warnings)
    pod = replace(pod, objects=objects)
    if any([key.startswith(ANNOTATION_PREFIX) for key, _ in metadata.annotations]):
        from pyrun.spec.annotations import apply_annotations

        pod = apply_annotations(pod, metadata_fields.need("annotations"), warnings)
    if any([key.startswith(APP_ARMOR_ANNOTATION) for key, _ in metadata.annotations]):
        from pyrun.spec.security_parse import apply_app_armor

        pod = apply_app_armor(pod, metadata_fields.need("annotations"))
    check_pod(pod)
    pod = apply_defaults(replace(pod, warnings=tuple(warnings)))
    check_resources(pod)
    return pod


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
    deadline, system = fields.get("activeDeadlineSeconds"), fields.get("os")
    if system is not None and object_of(system, "PodOS").need("name").string() != "linux":
        raise system.member_error("name", "this machine runs linux")
    if not fields.need("containers").items():
        raise fields.need("containers").error("a pod has at least one container")
    pod_security, security = _read_security(fields.get("securityContext"))

    def read(name: str, place: Place) -> tuple[Container, ...]:
        return tuple([read_container(item, warnings, place, security) for item in fields.items(name)])

    return PodSpec(
        metadata=metadata,
        containers=read("containers", "regular"),
        init_containers=read("initContainers", "init"),
        ephemeral_containers=read("ephemeralContainers", "ephemeral"),
        volumes=tuple([read_volume(item) for item in fields.items("volumes")]),
        hostname=checked(hostname, check_dns_label) if hostname is not None and hostname.value != "" else "",
        restart_policy=fields.one_of("restartPolicy", RESTART_POLICIES, "Always"),
        termination_grace_period_s=grace.integer(0, 2**31 - 1) if grace is not None else 30,
        active_deadline_s=deadline.integer(1, 2**31 - 1) if deadline is not None else None,
        node_name=fields.string("nodeName"),
        service_account_name=fields.string("serviceAccountName") or "default",
        ignored=tuple([name for name in fields.names() if name in MEANINGLESS["PodSpec"]]),
        share_process_namespace=fields.boolean("shareProcessNamespace"),
        host_network=fields.boolean("hostNetwork"),
        host_pid=fields.boolean("hostPID"),
        host_ipc=fields.boolean("hostIPC"),
        host_users=fields.boolean("hostUsers", True),
        security=pod_security,
        resources=read_pod_resources(fields.get("resources"), warnings),
        overhead=read_overhead(fields.get("overhead"), warnings),
    )


def _read_security(reader: Reader | None) -> tuple[PodSecurity, SecurityContext]:
    """Also what it says for all containers."""
    if reader is None:
        return PodSecurity(), SecurityContext()
    from pyrun.spec.security_parse import read_pod_security

    return read_pod_security(reader)
