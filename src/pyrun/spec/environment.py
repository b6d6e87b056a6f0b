"""The values of variables and of downward files: references looked up. Pure; what is not in the pod is in :class:`Facts`."""

from __future__ import annotations

from pyrun.errors import SpecError
from pyrun.spec.pod import EnvVar
from pyrun.spec.quantity import NANO
from pyrun.spec.source import FieldRef, FileKeyRef, KeyRef, ResourceFieldRef
from pyrun.value import Value, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.pod import Container, PodSpec, Resources
    from pyrun.spec.source import ConfigObject, ObjectKind


class Facts(Value):
    """What references can tell besides the manifest. Amounts are the node's, for a container without a limit."""

    uid: str = ""
    node_name: str = ""
    host_ip: str = ""
    pod_ip: str = ""
    cpu_milli: int = 0
    memory_bytes: int = 0
    storage_bytes: int = 0


def has_sources(container: Container) -> bool:
    """Whether anything is to be looked up for its environment."""
    return bool(container.env_from) or any([variable.source is not None for variable in container.env])


def resolve_environment(pod: PodSpec, container: Container, facts: Facts) -> Container:
    """*container* with values in place of sources: first what ``envFrom`` has, then ``env``. A ``fileKeyRef`` stays, for its file
    can be read only when the volumes are there. What is optional and missing defines nothing."""
    if not has_sources(container):
        return container
    found: list[EnvVar] = []
    for source in container.env_from:
        made = find_object(pod, source.kind, source.name)
        if made is not None:
            found += [_plain(source.prefix + key, _text(made, key)) for key in made.texts()]
    for variable in container.env:
        if variable.source is None or isinstance(variable.source, FileKeyRef):
            found.append(variable)
            continue
        text = _look_up(pod, container, variable.source, facts)
        if text is not None:
            found.append(_plain(variable.name, text))
    return replace(container, env=tuple(found), env_from=())


def plain_variable(name: str, text: str) -> EnvVar:
    """A variable whose value is *text*, whatever looks like a reference in it."""
    return _plain(name, text)


def _plain(name: str, text: str) -> EnvVar:
    return EnvVar(name, text.replace("$", "$$"))


def _text(made: ConfigObject, key: str) -> str:
    """An environment is bytes; what is not UTF-8 passes as it is. Raises SpecError for what no variable can hold."""
    value = made.texts()[key]
    if b"\0" in value:
        raise SpecError("", f"{key!r} of {made.kind} {made.name!r} has a NUL character, so no variable can have it")
    return value.decode(errors="surrogateescape")


def _look_up(
    pod: PodSpec, container: Container, source: FieldRef | ResourceFieldRef | KeyRef, facts: Facts
) -> str | None:
    if isinstance(source, FieldRef):
        return field_value(pod, source.path, facts)
    if isinstance(source, ResourceFieldRef):
        return resource_value(pod, source, facts, container)
    made = find_object(pod, source.kind, source.name)
    return _text(made, source.key) if made is not None and source.key in made.texts() else None


def find_object(pod: PodSpec, kind: ObjectKind, name: str) -> ConfigObject | None:
    """The ConfigMap or Secret *name* in the pod's namespace."""
    for made in pod.objects:
        if (made.kind, made.name, made.namespace) == (kind, name, pod.metadata.namespace):
            return made
    return None


def field_value(pod: PodSpec, path: str, facts: Facts) -> str:
    """What ``fieldRef`` tells. A label that is not there is empty."""
    field, bracket, key = path.partition("['")
    if bracket:
        pairs = pod.metadata.labels if field == "metadata.labels" else pod.metadata.annotations
        return dict(pairs).get(key[:-2], "")
    if path in ("metadata.labels", "metadata.annotations"):
        pairs = pod.metadata.labels if path == "metadata.labels" else pod.metadata.annotations
        return "\n".join([f"{name}={_quoted(value)}" for name, value in sorted(pairs)])
    values = {
        "metadata.name": pod.metadata.name,
        "metadata.namespace": pod.metadata.namespace,
        "metadata.uid": pod.metadata.uid or facts.uid,
        "spec.nodeName": pod.node_name or facts.node_name,
        "spec.serviceAccountName": pod.service_account_name,
        "status.hostIP": facts.host_ip,
        "status.hostIPs": facts.host_ip,
        "status.podIP": facts.pod_ip,
        "status.podIPs": facts.pod_ip,
    }
    return values[path]


def _quoted(text: str) -> str:
    """As Go's %q, which the kubelet uses (pkg/fieldpath, FormatMap)."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join([escapes.get(c) or (c if c.isprintable() else f"\\u{ord(c):04x}") for c in text]) + '"'


def resource_value(pod: PodSpec, ref: ResourceFieldRef, facts: Facts, own: Container | None = None) -> str:
    """What ``resourceFieldRef`` tells, rounded up to a whole number of the divisor."""
    every = (*pod.init_containers, *pod.containers)
    named = [each for each in every if each.name == ref.container]
    container = named[0] if named else own
    assert container is not None
    what, _, name = ref.resource.partition(".")
    nano = _amount_nano(container.resources, what == "limits", name, facts)
    return str(-(-nano // ref.divisor_nano))


def _amount_nano(asked: Resources, limit: bool, name: str, facts: Facts) -> int:
    """A limit that is not there is what the node has; a request that is not there is none."""
    if name == "cpu":
        cpu = asked.cpu_limit_milli or facts.cpu_milli if limit else asked.cpu_request_milli or 0
        return cpu * (NANO // 1000)
    if name == "memory":
        memory = asked.memory_limit_bytes or facts.memory_bytes if limit else asked.memory_request_bytes or 0
        return memory * NANO
    if name == "ephemeral-storage":
        most = asked.ephemeral_storage_limit_bytes or facts.storage_bytes
        return (most if limit else asked.ephemeral_storage_request_bytes or 0) * NANO
    from pyrun.spec.quantity import parse_quantity

    page = parse_quantity(name.removeprefix("hugepages-")) // NANO
    return dict(asked.hugepages).get(page, 0) * NANO
