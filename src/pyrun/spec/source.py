"""Where values and files of a container come from: its environment's sources, ConfigMaps and Secrets, and volumes."""

from __future__ import annotations

from pyrun.spec.image import ImageReference
from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    ObjectKind: TypeAlias = Literal["ConfigMap", "Secret"]
    EmptyDirMedium: TypeAlias = str  # "", "Memory", "HugePages" or "HugePages-<size>"
    HostPathType: TypeAlias = Literal[
        "", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"
    ]


class ConfigObject(Value):
    """A ConfigMap or a Secret. ``data`` has the bytes of each key, decoded, sorted by key; ``binary`` are the keys that no
    variable can have, those of a ConfigMap's ``binaryData``."""

    kind: ObjectKind
    name: str
    data: tuple[tuple[str, bytes], ...] = ()
    namespace: str = "default"
    binary: tuple[str, ...] = ()

    def texts(self) -> dict[str, bytes]:
        """What variables can be given."""
        return {key: value for key, value in self.data if key not in self.binary}


# ---- what one variable or one file of the downward API is ----


class FieldRef(Value):
    """``fieldRef``: ``path`` as written, e.g. ``metadata.labels['app']``."""

    path: str


class ResourceFieldRef(Value):
    """``resourceFieldRef``. ``container`` is empty for the container that asks; ``divisor_nano`` is in 1e-9 of the unit."""

    resource: str
    divisor_nano: int = 1_000_000_000
    container: str = ""


class KeyRef(Value):
    """``configMapKeyRef`` or ``secretKeyRef``."""

    kind: ObjectKind
    name: str
    key: str
    optional: bool = False


class FileKeyRef(Value):
    """``fileKeyRef``: ``key`` in the env file ``path`` of the volume ``volume_name``."""

    volume_name: str
    path: str
    key: str
    optional: bool = False


class EnvFrom(Value):
    """``envFrom[]``: every key of an object, behind ``prefix``."""

    kind: ObjectKind
    name: str
    prefix: str = ""
    optional: bool = False


# ---- sources of volumes ----


class EmptyDir(Value):
    """``emptyDir``. ``medium`` is ``""`` (disk), ``"Memory"`` (tmpfs), or ``"HugePages"`` with or without ``"-2Mi"``."""

    medium: EmptyDirMedium = ""
    size_limit_bytes: int | None = None
    mode: int = 0o777


class HostPath(Value):
    """``hostPath``. ``path`` is absolute and normal; ``type`` ``""`` means: no check before mounting. ``claimed``: it stands for
    a claim, so it may be given to the pod's group."""

    path: str
    type: HostPathType = ""
    claimed: bool = False


class KeyToPath(Value):
    """``items[]``: the file that a key becomes; ``path`` is relative and normal. ``mode`` None is the volume's."""

    key: str
    path: str
    mode: int | None = None


class ObjectVolume(Value):
    """``configMap`` or ``secret``. Without ``items`` (None) every key is a file of its name."""

    kind: ObjectKind
    name: str
    items: tuple[KeyToPath, ...] | None = None
    optional: bool = False
    default_mode: int = 0o644


class DownwardFile(Value):
    """``downwardAPI.items[]``."""

    path: str
    ref: FieldRef | ResourceFieldRef
    mode: int | None = None


class DownwardVolume(Value):
    """``downwardAPI``."""

    items: tuple[DownwardFile, ...] = ()
    default_mode: int = 0o644


class ProjectedVolume(Value):
    """``projected``: the sources' files in one directory. The sources' own ``default_mode`` is this volume's."""

    sources: tuple[ObjectVolume | DownwardVolume, ...] = ()
    default_mode: int = 0o644


class ImageVolume(Value):
    """``image``: a root file system, read-only."""

    reference: ImageReference


class ClaimVolume(Value):
    """``persistentVolumeClaim``: a directory of that name that outlives the pod."""

    claim_name: str
    read_only: bool = False
