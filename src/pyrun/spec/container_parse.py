"""``containers[]`` of a manifest: one container, as far as it can be judged without the rest of the pod."""

from __future__ import annotations

from pyrun.spec.image import parse_image
from pyrun.spec.names import check_dns_label, check_env_name, check_port_name
from pyrun.spec.parse import did_you_mean, quote, shorten
from pyrun.spec.paths import read_absolute_path, read_relative_path
from pyrun.spec.pod import Container, ContainerPort, EnvVar, Resources, VolumeMount
from pyrun.spec.pod_fields import checked, object_of
from pyrun.spec.quantity import is_whole, read_quantity, to_milli, to_units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.parse import Reader
    from pyrun.spec.pod import ImagePullPolicy, Protocol

PROTOCOLS: tuple[Protocol, ...] = ("TCP", "UDP", "SCTP")


def read_container(reader: Reader, warnings: list[str]) -> Container:
    fields = object_of(reader, "Container", warnings)
    name = checked(fields.need("name"), check_dns_label)
    image = fields.need("image")
    mounts = tuple([_read_mount(item) for item in fields.items("volumeMounts")])
    resources = fields.get("resources")
    working_dir = fields.get("workingDir")
    container = Container(
        name=name,
        image=parse_image(image.string(), image.pointer),
        command=fields.strings("command"),
        args=fields.strings("args"),
        env=tuple([_read_env(item) for item in fields.items("env")]),
        working_dir=_read_working_dir(working_dir) if working_dir is not None else "/",
        volume_mounts=mounts,
        resources=_read_resources(resources, warnings) if resources is not None else Resources(),
        ports=tuple([_read_port(item) for item in fields.items("ports")]),
        image_pull_policy=_read_pull_policy(fields.get("imagePullPolicy")),
    )
    _check_command(reader, container)
    return container


def _check_command(reader: Reader, container: Container) -> None:
    argv = container.command + container.args
    if not argv:
        raise reader.member_error("command", f"required: the image {container.image} has no command of its own")
    if not argv[0]:
        which = "command" if container.command else "args"
        raise reader.member_error(which, "the first word, which is the program, must not be empty")


def _read_working_dir(reader: Reader) -> str:
    text = reader.string()
    if text and not text.startswith("/"):
        raise reader.error(f"{quote(text)} must be an absolute path")
    return text or "/"


def _read_pull_policy(reader: Reader | None) -> ImagePullPolicy:
    if reader is not None and reader.value == "Always":
        raise reader.error(
            "'Always' cannot be kept: nothing is pulled from a registry yet; write IfNotPresent or Never"
        )
    choices: tuple[ImagePullPolicy, ...] = ("IfNotPresent", "Never")
    return choices[0] if reader is None else reader.one_of(choices)


def _read_env(reader: Reader) -> EnvVar:
    fields = object_of(reader, "EnvVar")
    return EnvVar(checked(fields.need("name"), check_env_name), fields.string("value"))


def _read_port(reader: Reader) -> ContainerPort:
    fields = object_of(reader, "ContainerPort")
    name = fields.get("name")
    host_port = fields.get("hostPort")
    return ContainerPort(
        container_port=fields.need("containerPort").integer(1, 65535),
        name=checked(name, check_port_name) if name is not None and name.value != "" else "",
        protocol=fields.one_of("protocol", PROTOCOLS, "TCP"),
        host_port=(host_port.integer(0, 65535) or None) if host_port is not None else None,
    )


def _read_mount(reader: Reader) -> VolumeMount:
    fields = object_of(reader, "VolumeMount")
    path = fields.need("mountPath")
    mount_path = read_absolute_path(path)
    if mount_path == "/":
        raise path.error("a volume cannot be mounted on the container's root")
    if ":" in mount_path:
        raise path.error(f"{quote(mount_path)} must not contain ':'")
    sub_path = fields.get("subPath")
    return VolumeMount(
        name=fields.need("name").string(),
        mount_path=mount_path,
        read_only=fields.boolean("readOnly"),
        sub_path=read_relative_path(sub_path) if sub_path is not None else "",
    )


# Resources ----------------------------------------------------------------------------------------------------------


def _read_resources(reader: Reader, warnings: list[str]) -> Resources:
    fields = object_of(reader, "ResourceRequirements")
    requests, limits = fields.get("requests"), fields.get("limits")
    requested = _read_amounts(requests, warnings) if requests is not None else {}
    limited = _read_amounts(limits, warnings) if limits is not None else {}
    for name, amount in requested.items():
        if name in limited and amount > limited[name] and requests is not None and limits is not None:
            request, limit = _written(requests, name), _written(limits, name)
            raise requests.member_error(name, f"the request {request} is more than the limit {limit}")
    return Resources(
        cpu_request_milli=requested.get("cpu"),
        cpu_limit_milli=limited.get("cpu"),
        memory_request_bytes=requested.get("memory"),
        memory_limit_bytes=limited.get("memory"),
    )


def _written(amounts: Reader, name: str) -> str:
    value = amounts.value
    return shorten(str(value[name])) if isinstance(value, dict) else ""


def _read_amounts(reader: Reader, warnings: list[str]) -> dict[str, int]:
    """``{"cpu": milli-CPUs, "memory": bytes}``, each rounded up."""
    amounts: dict[str, int] = {}
    for member in reader.members():
        if member.value is None:
            continue
        if member.key == "cpu":
            amounts["cpu"] = to_milli(read_quantity(member))
        elif member.key == "memory":
            nano = read_quantity(member)
            amounts["memory"] = to_units(nano)
            if not is_whole(nano):
                warnings.append(f"{member.pointer}: {quote(str(member.value))} is no whole number of bytes, rounded up")
        else:
            raise member.error(_refused_resource(member.key))
    return amounts


def _refused_resource(name: str) -> str:
    from pyrun.spec.kubernetes import RESOURCES

    if name in RESOURCES or name.startswith("hugepages-"):
        return "known to Kubernetes but not built yet"
    if "/" in name:
        return "an extended resource, and this machine offers none"
    return "no such resource" + did_you_mean(name, ("cpu", "memory"))
