"""``containers[]`` of a manifest: one container, as far as it can be judged without the rest of the pod."""

from __future__ import annotations

from pyrun.spec.image import parse_image
from pyrun.spec.names import check_dns_label, check_env_name, check_port_name
from pyrun.spec.parse import quote
from pyrun.spec.paths import read_absolute_path, read_relative_path
from pyrun.spec.pod import Container, ContainerPort, EnvVar, RestartRule, VolumeMount
from pyrun.spec.pod_fields import checked, object_of
from pyrun.spec.resources_parse import read_resize_policy, read_resources
from pyrun.spec.security import SecurityContext
from pyrun.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    from pyrun.spec.parse import Fields, Reader
    from pyrun.spec.pod import (
        ImagePullPolicy,
        MessagePolicy,
        MountPropagation,
        Protocol,
        RecursiveReadOnly,
        RestartPolicy,
        RuleAction,
    )
    from pyrun.spec.source import EnvFrom

    Place: TypeAlias = Literal["regular", "init", "ephemeral"]

NOTHING_SAID = SecurityContext()
PROTOCOLS: tuple[Protocol, ...] = ("TCP", "UDP", "SCTP")


RECURSIVE_READ_ONLY: tuple[RecursiveReadOnly, ...] = ("Disabled", "IfPossible", "Enabled")
MOUNT_PROPAGATIONS: tuple[MountPropagation, ...] = ("None", "HostToContainer", "Bidirectional")
MESSAGE_PATH = "/dev/termination-log"
MESSAGE_POLICIES: tuple[MessagePolicy, ...] = ("File", "FallbackToLogsOnError")
RESTART_POLICIES: tuple[RestartPolicy, ...] = ("Always", "OnFailure", "Never")
RULE_ACTIONS: tuple[RuleAction, ...] = ("Restart", "RestartAllContainers")
MAX_RULES = 20

# What a container may not have where it stands, and why (core validation: validateInitContainers, validateEphemeralContainers).
_HANDLERS = ("startupProbe", "livenessProbe", "readinessProbe", "lifecycle")
_FORBIDDEN = {
    "init": (
        _HANDLERS,
        "only a sidecar, which is an init container with restartPolicy Always, may have it",
    ),
    "ephemeral": (
        (
            "ports",
            *_HANDLERS,
            "resources",
            "resizePolicy",
            "restartPolicy",
            "restartPolicyRules",
        ),
        "an ephemeral container may not have it",
    ),
}


def read_container(
    reader: Reader, warnings: list[str], place: Place = "regular", security: SecurityContext = NOTHING_SAID
) -> Container:
    """A container that stands in *place* of the pod; *security* is what the pod's securityContext says for all of them."""
    fields = object_of(reader, "EphemeralContainer" if place == "ephemeral" else "Container", warnings)
    policy = fields.get("restartPolicy")
    restart_policy = policy.one_of(RESTART_POLICIES) if policy is not None and place != "ephemeral" else None
    _check_place(reader, fields, "regular" if restart_policy == "Always" else place)
    image, working_dir = fields.need("image"), fields.get("workingDir")
    ports = tuple([_read_port(item) for item in fields.items("ports")])
    container = Container(
        name=checked(fields.need("name"), check_dns_label),
        image=parse_image(image.string(), image.pointer),
        command=fields.strings("command"),
        args=fields.strings("args"),
        env=tuple([_read_env(item) for item in fields.items("env")]),
        env_from=_read_env_from(fields.items("envFrom")),
        working_dir=_read_working_dir(working_dir) if working_dir is not None else "/",
        volume_mounts=tuple([_read_mount(item) for item in fields.items("volumeMounts")]),
        resources=read_resources(fields.get("resources"), warnings),
        resize_policy=read_resize_policy(fields.items("resizePolicy")),
        ports=ports,
        image_pull_policy=_read_pull_policy(fields.get("imagePullPolicy")),
        restart_policy=restart_policy,
        stdin=fields.boolean("stdin"),
        stdin_once=fields.boolean("stdinOnce"),
        tty=fields.boolean("tty"),
        termination_message_path=_read_message_path(fields.get("terminationMessagePath")),
        termination_message_policy=fields.one_of("terminationMessagePolicy", MESSAGE_POLICIES, "File"),
        restart_rules=_read_rules(fields.get("restartPolicyRules"), restart_policy),
        target_container_name=fields.string("targetContainerName") if place == "ephemeral" else "",
        security=_read_security(fields.get("securityContext"), security),
    )
    _check_command(reader, container)
    return _with_handlers(container, fields) if any([fields.get(name) is not None for name in _HANDLERS]) else container


def _with_handlers(container: Container, fields: Fields) -> Container:
    """Their module is loaded where a pod has some."""
    from pyrun.spec.handler_parse import read_lifecycle, read_probe

    ports = {port.name: port.container_port for port in container.ports if port.name}
    return replace(
        container,
        startup_probe=read_probe(fields.get("startupProbe"), ports),
        liveness_probe=read_probe(fields.get("livenessProbe"), ports),
        readiness_probe=read_probe(fields.get("readinessProbe"), ports, readiness=True),
        lifecycle=read_lifecycle(fields.get("lifecycle"), ports),
    )


def _read_message_path(reader: Reader | None) -> str:
    path = read_absolute_path(reader) if reader is not None and reader.value != "" else MESSAGE_PATH
    if reader is not None and path == "/":
        raise reader.error("must be a file")
    return path


def _check_place(reader: Reader, fields: Fields, place: Place) -> None:
    names, why = _FORBIDDEN.get(place, ((), ""))
    for name in names:
        if fields.get(name) is not None:
            raise reader.member_error(name, why)


def _read_rules(reader: Reader | None, policy: RestartPolicy | None) -> tuple[RestartRule, ...]:
    if reader is None:
        return ()
    items = reader.items()
    if items and policy is None:
        raise reader.error("needs a restartPolicy of the container, which holds where no rule does")
    if len(items) > MAX_RULES:
        raise reader.error(f"{len(items)} rules; at most {MAX_RULES} are allowed")
    return tuple([_read_rule(item) for item in items])


def _read_rule(reader: Reader) -> RestartRule:
    fields = object_of(reader, "ContainerRestartRule")
    action = fields.need("action").one_of(RULE_ACTIONS)
    codes = object_of(fields.need("exitCodes"), "ContainerRestartRuleOnExitCodes")
    operator = codes.need("operator").one_of(("In", "NotIn"))
    values = codes.need("values").integers(0, 255)
    if not values:
        raise codes.need("values").error("at least one exit code is needed")
    return RestartRule(action, values, operator == "NotIn")


def _read_security(reader: Reader | None, pod: SecurityContext) -> SecurityContext:
    if reader is None:
        return pod
    from pyrun.spec.security_parse import read_security

    return read_security(reader, pod)


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
    name, value_from = checked(fields.need("name"), check_env_name), fields.get("valueFrom")
    if value_from is None:
        return EnvVar(name, fields.string("value"))
    if fields.string("value"):
        raise value_from.error("not together with a value")
    from pyrun.spec.environment_parse import read_value_from

    return EnvVar(name, "", read_value_from(value_from))


def _read_env_from(items: list[Reader]) -> tuple[EnvFrom, ...]:
    if not items:
        return ()
    from pyrun.spec.environment_parse import read_env_from

    return tuple([read_env_from(item) for item in items])


def _read_port(reader: Reader) -> ContainerPort:
    fields = object_of(reader, "ContainerPort")
    name = fields.get("name")
    host_port = fields.get("hostPort")
    return ContainerPort(
        container_port=fields.need("containerPort").integer(1, 65535),
        name=checked(name, check_port_name) if name is not None and name.value != "" else "",
        protocol=fields.one_of("protocol", PROTOCOLS, "TCP"),
        host_port=(host_port.integer(0, 65535) or None) if host_port is not None else None,
        host_ip=_read_host_ip(fields.get("hostIP")),
    )


def _read_host_ip(reader: Reader | None) -> str:
    if reader is None or reader.value == "":
        return ""
    from pyrun.spec.network_parse import read_ip

    return read_ip(reader)


def _read_mount(reader: Reader) -> VolumeMount:
    fields = object_of(reader, "VolumeMount")
    path = fields.need("mountPath")
    mount_path = read_absolute_path(path)
    if mount_path == "/":
        raise path.error("a volume cannot be mounted on the container's root")
    if ":" in mount_path:
        raise path.error(f"{quote(mount_path)} must not contain ':'")
    sub_path, expression = fields.get("subPath"), fields.string("subPathExpr")
    if expression and fields.string("subPath"):
        raise fields.need("subPathExpr").error("not together with subPath")
    mount = VolumeMount(
        name=fields.need("name").string(),
        mount_path=mount_path,
        read_only=fields.boolean("readOnly"),
        sub_path=read_relative_path(sub_path) if sub_path is not None else "",
        sub_path_expr=expression,
        recursive_read_only=fields.one_of("recursiveReadOnly", RECURSIVE_READ_ONLY, "Disabled"),
        mount_propagation=fields.one_of("mountPropagation", MOUNT_PROPAGATIONS, "None"),
    )
    if mount.recursive_read_only != "Disabled":
        if not mount.read_only:
            raise fields.need("recursiveReadOnly").error("only together with readOnly: true")
        if mount.mount_propagation != "None":
            raise fields.need("recursiveReadOnly").error("only where mountPropagation is None")
    return mount
