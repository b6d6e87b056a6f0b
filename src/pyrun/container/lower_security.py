"""``securityContext`` in the words of an OCI specification: user, capabilities, filter, what is hidden. Pure."""

from __future__ import annotations

from pyrun.container.seccomp import DefaultProfile
from pyrun.container.security import (
    CAPABILITY_NUMBERS,
    DEFAULT_CAPABILITIES,
    MASKED_PATHS,
    READONLY_PATHS,
    capability_mask,
    capability_names,
)
from pyrun.errors import SpecError, Unsupported
from pyrun.spec.oci import OciDevice, OciUser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyrun.spec.pod import Container, PodSpec
    from pyrun.spec.security import SeLinuxOptions

ROOT_HOME = "/root"


def lower_user(pod: PodSpec, container: Container) -> OciUser:
    """The user, and its groups: its own, those of the image, and what the pod adds, as containerd has them."""
    security = container.security
    found = security.found
    gid = found.gid if security.run_as_group is None else security.run_as_group
    fs_group = () if pod.security.fs_group is None else (pod.security.fs_group,)
    groups = dict.fromkeys((gid, *found.groups, *pod.security.supplemental_groups, *fs_group))
    return OciUser(security.run_as_user or 0, gid, umask=0o022, additional_gids=tuple(groups))


def home_of(container: Container) -> str:
    """What HOME is, unless the manifest says so: as the image's /etc/passwd has it, or what every runtime takes then."""
    security = container.security
    return security.found.home or ("/" if security.run_as_user else ROOT_HOME)


def capabilities_of(container: Container, available: int) -> tuple[str, ...]:
    """The names of the container's capabilities, of those in the mask *available*, which are all that can be handed on.

    ``ALL`` is cut to them. Raises :class:`Unsupported` for one that is asked for by name and is not among them, and
    :class:`SpecError` for a name that is none.
    """
    security = container.security
    if security.privileged:
        return capability_names(available)
    add, drop = security.capabilities_add, security.capabilities_drop
    mask = capability_mask(DEFAULT_CAPABILITIES)
    if "ALL" in add:
        mask = available
    if "ALL" in drop:
        mask = 0
    return capability_names((mask | _named(add, available)) & ~_named(drop, ~0) & available)


def _named(names: tuple[str, ...], available: int) -> int:
    mask = 0
    for name in names:
        if name == "ALL":
            continue
        if f"CAP_{name}" not in CAPABILITY_NUMBERS:
            raise SpecError("", f"{name!r} is not a capability")
        bit = 1 << CAPABILITY_NUMBERS[f"CAP_{name}"]
        if not bit & available:
            raise Unsupported(f"capability {name}", "a process that has it: this one does not, and cannot hand it on")
        mask |= bit
    return mask


def seccomp_of(container: Container, names: tuple[str, ...]) -> Mapping[str, object] | None:
    """The profile, None for no filter. What says nothing gets the default one, for a bounding set of *names*."""
    security = container.security
    if security.privileged or (security.seccomp is not None and security.seccomp.type == "Unconfined"):
        return None
    if security.seccomp is None or security.seccomp.type == "RuntimeDefault":
        return DefaultProfile(names)
    if not security.found.seccomp:
        raise Unsupported(f"seccomp profile {security.seccomp.localhost}", "its file, which has not been read")
    return load_seccomp(security.found.seccomp, security.seccomp.localhost)


def load_seccomp(content: bytes, name: str) -> Mapping[str, object]:
    """The object in a profile's file. Raises :class:`SpecError` naming the file."""
    from pyrun.spec.parse import load_json

    profile = load_json(content, name)
    if not isinstance(profile, dict):
        raise SpecError("", "must be an object", source=name)
    return profile


def masked_paths_of(container: Container) -> tuple[str, ...]:
    return () if _is_unmasked(container) else MASKED_PATHS


def readonly_paths_of(container: Container) -> tuple[str, ...]:
    return () if _is_unmasked(container) else READONLY_PATHS


def _is_unmasked(container: Container) -> bool:
    return container.security.privileged or container.security.proc_mount == "Unmasked"


def devices_of(container: Container) -> tuple[OciDevice, ...]:
    """Those of the machine, for a privileged container: what was found when its pod was settled."""
    return tuple(
        [
            OciDevice(each.path, each.type, each.major, each.minor, each.mode, each.uid, each.gid)  # type: ignore[arg-type]
            for each in container.security.found.devices
        ]
    )


def app_armor_of(container: Container) -> str:
    """The profile, empty for none: what is unconfined is left as its launcher is."""
    profile = container.security.app_armor
    return "" if profile is None or container.security.privileged else profile.localhost


def se_linux_of(container: Container) -> str:
    options = container.security.se_linux
    return "" if options is None else _label(options)


def _label(options: SeLinuxOptions) -> str:
    """What is left out is as the reference policy has it for containers (container-selinux)."""
    user, role, type_ = options.user or "system_u", options.role or "system_r", options.type or "container_t"
    return f"{user}:{role}:{type_}:{options.level or 's0'}"
