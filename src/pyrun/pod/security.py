"""What a pod's security depends on besides its manifest: the users of its images, profiles, the machine's devices and modules.

Planning is pure; so this is read before, and becomes part of the :class:`~pyrun.spec.pod.PodSpec`.
"""

from __future__ import annotations

import os
import stat

from pyrun.errors import SpecError, Unsupported
from pyrun.pod.accounts import read_account
from pyrun.spec.security import Found, HostDevice
from pyrun.value import Value, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.pod.user_range import UserRanges
    from pyrun.spec.pod import Container, PodSpec
    from pyrun.spec.security import SecurityContext

MAX_PROFILE_BYTES = 16 * 1024 * 1024
# Of the machine's /dev what a container has of its own, or other programs keep there (containerd, pkg/oci/utils_unix.go).
OWN_DEVICES = ("pts", "shm", "fd", "mqueue", "console", "ptmx", "core", ".lxc", ".lxd-mounts", ".udev")
KINDS = ("init_containers", "containers", "ephemeral_containers")
FIELDS = {
    "init_containers": "initContainers",
    "containers": "containers",
    "ephemeral_containers": "ephemeralContainers",
}


class SecurityPolicy(Value):
    """What whoever runs pods allows them.

    ``unsafe_sysctls`` are names, or beginnings of names with ``*``; ``seccomp_profiles`` is the directory in which Localhost
    profiles are looked up, empty for none. ``user_ranges`` are the ids that pods with ``hostUsers: false`` are given.
    """

    unsafe_sysctls: tuple[str, ...] = ()
    seccomp_profiles: str = ""
    user_ranges: UserRanges | None = None


NO_POLICY = SecurityPolicy()


def settle_security(pod: PodSpec, policy: SecurityPolicy = NO_POLICY) -> PodSpec:
    """*pod* with what the machine and its images add to its security.

    Raises :class:`SpecError` for what *policy* does not allow, and a profile that cannot be had; :class:`Unsupported` for what
    this kernel does not have.
    """
    if pod.security.sysctls:
        from pyrun.spec.sysctl_parse import check_safe

        check_safe(pod, policy.unsafe_sysctls)
    return replace(pod, **{kind: _settle_all(pod, kind, policy) for kind in KINDS if getattr(pod, kind)})


def _settle_all(pod: PodSpec, kind: str, policy: SecurityPolicy) -> tuple[Container, ...]:
    containers: tuple[Container, ...] = getattr(pod, kind)
    strict = pod.security.supplemental_groups_policy == "Strict"
    return tuple(
        [
            _settle(each, strict, policy, f"/spec/{FIELDS[kind]}/{index}/securityContext")
            for index, each in enumerate(containers)
        ]
    )


def _settle(container: Container, strict: bool, policy: SecurityPolicy, pointer: str) -> Container:
    security = container.security
    _check_modules(security)
    account = read_account(container.image.path, security.run_as_user or 0)
    found = Found(
        gid=account.gid,
        groups=() if strict else account.groups,
        home=account.home,
        seccomp=_read_profile(security, policy, pointer),
        devices=tuple(_devices("/dev")) if security.privileged else (),
    )
    return container if found == security.found else replace(container, security=replace(security, found=found))


def _check_modules(security: SecurityContext) -> None:
    profile = security.app_armor
    if profile is not None and profile.type != "Unconfined":
        if not _has_app_armor():
            raise Unsupported("an AppArmor profile", "a kernel with AppArmor switched on, or no appArmorProfile")
        if profile.type == "RuntimeDefault":
            raise Unsupported("AppArmor's RuntimeDefault", "type Localhost: pyrun brings no profile of its own")
    if security.se_linux is not None and not os.path.exists("/sys/fs/selinux/enforce"):
        raise Unsupported("seLinuxOptions", "a kernel with SELinux switched on, or no seLinuxOptions")


def _has_app_armor() -> bool:
    try:
        with open("/sys/module/apparmor/parameters/enabled", encoding="ascii") as file:
            return file.read(1) == "Y"
    except OSError:
        return False


# ---- profiles ----


def _read_profile(security: SecurityContext, policy: SecurityPolicy, pointer: str) -> bytes:
    profile = security.seccomp
    if profile is None or profile.type != "Localhost" or security.privileged:
        return b""
    place = f"{pointer}/seccompProfile/localhostProfile"
    if not policy.seccomp_profiles:
        raise SpecError(place, "there is no directory of profiles here")
    path = os.path.join(policy.seccomp_profiles, profile.localhost)
    try:
        with open(path, "rb", buffering=0) as file:
            content = file.read(MAX_PROFILE_BYTES)
    except OSError as error:
        raise SpecError(place, f"{path}: {error.strerror}") from None
    _check_profile(content, path, place)
    return content


def _check_profile(content: bytes, path: str, place: str) -> None:
    """Once here, where it can be said what is wrong with it and where."""
    from pyrun.container.lower_security import load_seccomp
    from pyrun.container.seccomp import seccomp_filter

    try:
        seccomp_filter(load_seccomp(content, path))
    except SpecError as error:
        raise SpecError(place, f"{error.located(path)}") from None


# ---- devices ----


def _devices(directory: str) -> Iterator[HostDevice]:
    """Every node below *directory*, in the order of their names."""
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        if entry.name in OWN_DEVICES or entry.is_symlink():
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _devices(entry.path)
            continue
        status = entry.stat(follow_symlinks=False)
        kind = "c" if stat.S_ISCHR(status.st_mode) else "b" if stat.S_ISBLK(status.st_mode) else ""
        if kind:
            number = status.st_rdev
            mode = stat.S_IMODE(status.st_mode)
            yield HostDevice(entry.path, kind, os.major(number), os.minor(number), mode, status.st_uid, status.st_gid)
