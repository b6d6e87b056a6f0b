"""The values of a Pod: what :func:`pyrun.spec.pod_parse.parse_pod` makes of a manifest.

Names are Kubernetes' own in snake case, with the unit added where there is one. Maps are tuples of pairs in the order
of the manifest, so that every value is immutable and hashable. All defaults of Kubernetes have been applied: a reader
of these values needs to know none of them.
"""

from __future__ import annotations

from pyrun.spec.handler import Lifecycle, Probe
from pyrun.spec.image import ImageReference
from pyrun.spec.security import PodSecurity, SecurityContext
from pyrun.spec.source import (
    ClaimVolume,
    ConfigObject,
    DownwardVolume,
    EmptyDir,
    EnvFrom,
    FieldRef,
    FileKeyRef,
    HostPath,
    ImageVolume,
    KeyRef,
    ObjectVolume,
    ProjectedVolume,
    ResourceFieldRef,
)
from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    Pairs: TypeAlias = tuple[tuple[str, str], ...]
    RestartPolicy: TypeAlias = Literal["Always", "OnFailure", "Never"]
    ImagePullPolicy: TypeAlias = Literal["IfNotPresent", "Never"]
    Protocol: TypeAlias = Literal["TCP", "UDP", "SCTP"]
    MountPropagation: TypeAlias = Literal["None", "HostToContainer", "Bidirectional"]
    RecursiveReadOnly: TypeAlias = Literal["Disabled", "IfPossible", "Enabled"]
    DnsPolicy: TypeAlias = Literal["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]
    MessagePolicy: TypeAlias = Literal["File", "FallbackToLogsOnError"]
    RuleAction: TypeAlias = Literal["Restart", "RestartAllContainers"]


class Metadata(Value):
    """``metadata``. ``uid`` is None when the manifest has none: whoever runs the pod then makes one."""

    name: str
    namespace: str = "default"
    uid: str | None = None
    labels: Pairs = ()
    annotations: Pairs = ()


class EnvVar(Value):
    """``env[]``: a value as written (``$(VAR)`` is not expanded yet, see :mod:`pyrun.spec.expand`), or where it comes from."""

    name: str
    value: str = ""
    source: FieldRef | ResourceFieldRef | KeyRef | FileKeyRef | None = None


class VolumeMount(Value):
    """``volumeMounts[]``. ``mount_path`` is absolute and normal; ``sub_path`` is relative, normal, and may be empty.

    ``sub_path_expr`` is as written, ``$(VAR)`` and all; one of the two is empty.
    """

    name: str
    mount_path: str
    read_only: bool = False
    sub_path: str = ""
    sub_path_expr: str = ""
    recursive_read_only: RecursiveReadOnly = "Disabled"
    mount_propagation: MountPropagation = "None"


class ContainerPort(Value):
    """``ports[]``: information only; ``host_port`` is set on hostNetwork pods alone and equals ``container_port``."""

    container_port: int
    name: str = ""
    protocol: Protocol = "TCP"
    host_port: int | None = None
    host_ip: str = ""


class Resources(Value):
    """``resources``. None means: not asked for. A request that is not written is its limit.

    ``hugepages`` are pairs of page size and amount, in bytes, ascending; request and limit are the same.
    """

    cpu_request_milli: int | None = None
    cpu_limit_milli: int | None = None
    memory_request_bytes: int | None = None
    memory_limit_bytes: int | None = None
    ephemeral_storage_request_bytes: int | None = None
    ephemeral_storage_limit_bytes: int | None = None
    hugepages: tuple[tuple[int, int], ...] = ()


class RestartRule(Value):
    """``restartPolicyRules[]``: ``action`` if the exit code is in ``exit_codes``, or, ``negated``, if it is not."""

    action: RuleAction
    exit_codes: tuple[int, ...]
    negated: bool = False


class Rlimit(Value):
    """A resource limit of a process (setrlimit(2)); ``resource`` as in ``RLIMIT_NOFILE``. 2**64 - 1 is infinity."""

    resource: str
    soft: int
    hard: int


class IoLimit(Value):
    """A line of ``io.max``: for the block device that has ``path`` on it. None: no limit."""

    path: str
    read_bytes_per_s: int | None = None
    write_bytes_per_s: int | None = None
    read_operations_per_s: int | None = None
    write_operations_per_s: int | None = None


class Container(Value):
    """``containers[]``, ``initContainers[]`` or ``ephemeralContainers[]``. ``working_dir`` is ``"/"`` when the manifest has none.

    ``restart_policy`` is None where the pod's holds. ``security`` is merged with the pod's. ``target_container_name`` is an
    ephemeral container's. What is below ``rlimits`` comes from annotations under ``pyrun.dev/``.
    """

    name: str
    image: ImageReference
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFrom, ...] = ()
    working_dir: str = "/"
    volume_mounts: tuple[VolumeMount, ...] = ()
    resources: Resources = Resources()
    resize_policy: Pairs = ()
    ports: tuple[ContainerPort, ...] = ()
    image_pull_policy: ImagePullPolicy = "IfNotPresent"
    restart_policy: RestartPolicy | None = None
    restart_rules: tuple[RestartRule, ...] = ()
    startup_probe: Probe | None = None
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    lifecycle: Lifecycle = Lifecycle()
    security: SecurityContext = SecurityContext()
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    termination_message_path: str = "/dev/termination-log"
    termination_message_policy: MessagePolicy = "File"
    target_container_name: str = ""
    rlimits: tuple[Rlimit, ...] = ()
    init: bool = False
    oom_group: bool = True
    io_weight: int | None = None
    io_max: tuple[IoLimit, ...] = ()
    pids_limit: int | None = None


class Volume(Value):
    """``volumes[]``. A volume without any source is an emptyDir, as in Kubernetes."""

    name: str
    source: EmptyDir | HostPath | ObjectVolume | DownwardVolume | ProjectedVolume | ImageVolume | ClaimVolume = (
        EmptyDir()
    )


class HostAlias(Value):
    """``hostAliases[]``."""

    ip: str
    hostnames: tuple[str, ...] = ()


class DnsConfig(Value):
    """``dnsConfig``. ``options`` are ``name`` or ``name:value``."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class TimeOffsets(Value):
    """Offsets of the pod's clocks against the machine's; may be negative.

    From the annotations ``pyrun.dev/time-offset-monotonic`` and ``pyrun.dev/time-offset-boottime``.
    time_namespaces(7) wants seconds and nanoseconds with the latter not negative: ``divmod(offset_ns,
    1_000_000_000)``.
    """

    monotonic_ns: int = 0
    boottime_ns: int = 0


class PodSpec(Value):
    """A whole Pod: ``metadata`` and ``spec`` of the manifest, validated, with all defaults in place.

    ``hostname`` is empty only on the machine's network: such a pod has the machine's. ``cluster_domain`` stands in no manifest,
    nor does ``user_range``: the first of the 65536 ids of the machine's that a pod with users of its own has been given.
    ``objects`` are the ConfigMaps and Secrets that came with it. ``warnings`` are one-line sentences for the user: what was
    accepted but will not behave as Kubernetes would; ``ignored`` are the names of the fields that have no meaning on one node.
    """

    metadata: Metadata
    containers: tuple[Container, ...]
    init_containers: tuple[Container, ...] = ()
    ephemeral_containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()
    hostname: str = ""
    subdomain: str = ""
    set_hostname_as_fqdn: bool = False
    cluster_domain: str = "cluster.local"
    host_aliases: tuple[HostAlias, ...] = ()
    dns_policy: DnsPolicy = "ClusterFirst"
    dns_config: DnsConfig = DnsConfig()
    restart_policy: RestartPolicy = "Always"
    termination_grace_period_s: int = 30
    active_deadline_s: int | None = None
    share_process_namespace: bool = False
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    host_users: bool = True
    user_range: int | None = None
    security: PodSecurity = PodSecurity()
    resources: Resources = Resources()
    overhead: Resources = Resources()
    node_name: str = ""
    service_account_name: str = "default"
    time_offsets: TimeOffsets = TimeOffsets()
    pids_limit: int | None = None
    io_weight: int | None = None
    io_max: tuple[IoLimit, ...] = ()
    loopback: bool = True
    objects: tuple[ConfigObject, ...] = ()
    warnings: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
