"""The values of a Pod: what :func:`pyrun.spec.pod_parse.parse_pod` makes of a manifest.

Names are Kubernetes' own in snake case, with the unit added where there is one. Maps are tuples of pairs in the order
of the manifest, so that every value is immutable and hashable. All defaults of Kubernetes have been applied: a reader
of these values needs to know none of them.
"""

from __future__ import annotations

from pyrun.spec.image import ImageReference
from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    Pairs: TypeAlias = tuple[tuple[str, str], ...]
    RestartPolicy: TypeAlias = Literal["Always", "OnFailure", "Never"]
    ImagePullPolicy: TypeAlias = Literal["IfNotPresent", "Never"]
    Protocol: TypeAlias = Literal["TCP", "UDP", "SCTP"]
    EmptyDirMedium: TypeAlias = Literal["", "Memory"]
    HostPathType: TypeAlias = Literal[
        "", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"
    ]


class Metadata(Value):
    """``metadata``. ``uid`` is None when the manifest has none: whoever runs the pod then makes one."""

    name: str
    namespace: str = "default"
    uid: str | None = None
    labels: Pairs = ()
    annotations: Pairs = ()


class EnvVar(Value):
    """``env[]``, as written: ``$(VAR)`` is not expanded yet (see :mod:`pyrun.spec.expand`)."""

    name: str
    value: str = ""


class VolumeMount(Value):
    """``volumeMounts[]``. ``mount_path`` is absolute and normal; ``sub_path`` is relative, normal, and may be empty."""

    name: str
    mount_path: str
    read_only: bool = False
    sub_path: str = ""


class ContainerPort(Value):
    """``ports[]``: information only; ``host_port`` is set on hostNetwork pods alone and equals ``container_port``."""

    container_port: int
    name: str = ""
    protocol: Protocol = "TCP"
    host_port: int | None = None


class Resources(Value):
    """``resources`` of a container. None means: not asked for. A request that is not written is its limit."""

    cpu_request_milli: int | None = None
    cpu_limit_milli: int | None = None
    memory_request_bytes: int | None = None
    memory_limit_bytes: int | None = None


class Container(Value):
    """``containers[]``. ``working_dir`` is ``"/"`` when the manifest has none."""

    name: str
    image: ImageReference
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[EnvVar, ...] = ()
    working_dir: str = "/"
    volume_mounts: tuple[VolumeMount, ...] = ()
    resources: Resources = Resources()
    ports: tuple[ContainerPort, ...] = ()
    image_pull_policy: ImagePullPolicy = "IfNotPresent"


class EmptyDir(Value):
    """``emptyDir``. ``medium`` is ``""`` (disk) or ``"Memory"`` (tmpfs)."""

    medium: EmptyDirMedium = ""
    size_limit_bytes: int | None = None


class HostPath(Value):
    """``hostPath``. ``path`` is absolute and normal; ``type`` ``""`` means: no check before mounting."""

    path: str
    type: HostPathType = ""


class Volume(Value):
    """``volumes[]``. A volume without any source is an emptyDir, as in Kubernetes."""

    name: str
    source: EmptyDir | HostPath = EmptyDir()


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

    ``hostname`` is empty only on the machine's network: such a pod has the machine's. ``warnings`` are one-line sentences
    for the user: what was accepted but will not behave as Kubernetes would.
    """

    metadata: Metadata
    containers: tuple[Container, ...]
    volumes: tuple[Volume, ...] = ()
    hostname: str = ""
    restart_policy: RestartPolicy = "Always"
    termination_grace_period_s: int = 30
    share_process_namespace: bool = False
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    time_offsets: TimeOffsets = TimeOffsets()
    warnings: tuple[str, ...] = ()
