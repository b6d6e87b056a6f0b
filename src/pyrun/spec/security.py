"""What a container may do: ``securityContext`` of a container, with the pod's where it says nothing itself."""

from __future__ import annotations

from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    ProfileType: TypeAlias = Literal["RuntimeDefault", "Unconfined", "Localhost"]
    ProcMount: TypeAlias = Literal["Default", "Unmasked"]
    GroupsPolicy: TypeAlias = Literal["Merge", "Strict"]
    ChangePolicy: TypeAlias = Literal["Always", "OnRootMismatch"]


class Profile(Value):
    """``seccompProfile`` or ``appArmorProfile``. ``localhost`` is ``localhostProfile``, else empty."""

    type: ProfileType = "RuntimeDefault"
    localhost: str = ""


class SeLinuxOptions(Value):
    """``seLinuxOptions``."""

    user: str = ""
    role: str = ""
    type: str = ""
    level: str = ""


class HostDevice(Value):
    """A device node of the machine's; ``type`` is ``c`` or ``b``, ``mode`` its permissions."""

    path: str
    type: str
    major: int
    minor: int
    mode: int
    uid: int
    gid: int


class Found(Value):
    """What the image and the machine add to a :class:`SecurityContext`: see :func:`pyrun.pod.security.settle_security`.

    ``gid`` is the user's own group, ``groups`` all of its groups, ``home`` its home directory. ``seccomp`` is the content of the
    file that a Localhost profile names; ``devices`` are all those of the machine, for a privileged container.
    """

    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = ""
    seccomp: bytes = b""
    devices: tuple[HostDevice, ...] = ()


class SecurityContext(Value):
    """``securityContext`` of a container, merged with the pod's. None: nobody said anything.

    Capabilities are written as in Kubernetes, without ``CAP_``; ``ALL`` stands for all. ``found`` is what does not stand in the
    manifest.
    """

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool = False
    read_only_root: bool = False
    allow_privilege_escalation: bool = True
    capabilities_add: tuple[str, ...] = ()
    capabilities_drop: tuple[str, ...] = ()
    privileged: bool = False
    proc_mount: ProcMount = "Default"
    seccomp: Profile | None = None
    app_armor: Profile | None = None
    se_linux: SeLinuxOptions | None = None
    found: Found = Found()


class PodSecurity(Value):
    """What ``spec.securityContext`` says about the pod as a whole."""

    fs_group: int | None = None
    fs_group_change_policy: ChangePolicy = "Always"
    supplemental_groups: tuple[int, ...] = ()
    supplemental_groups_policy: GroupsPolicy = "Merge"
    sysctls: tuple[tuple[str, str], ...] = ()
