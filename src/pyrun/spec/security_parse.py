"""``securityContext`` of a pod and of its containers: what they say, and what of it contradicts itself.

What a container does not say, its pod says for it; the rules are those of Kubernetes' validation (core/validation,
ValidateSecurityContext and ValidatePodSecurityContext).
"""

from __future__ import annotations

from pyrun.spec.parse import quote
from pyrun.spec.pod_fields import object_of
from pyrun.spec.security import PodSecurity, Profile, SecurityContext, SeLinuxOptions
from pyrun.spec.sysctl_parse import read_sysctls
from pyrun.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.parse import Fields, Reader
    from pyrun.spec.pod import Container, PodSpec
    from pyrun.spec.security import ChangePolicy, GroupsPolicy, ProcMount, ProfileType

# core/validation, IsValidUserID and IsValidGroupID.
MAX_ID = 2**31 - 1
MAX_PROFILE_NAME = 4095  # core/validation, maxLocalhostProfileLength: PATH_MAX

APP_ARMOR_PREFIX = "container.apparmor.security.beta.kubernetes.io/"
PROFILE_TYPES: tuple[ProfileType, ...] = ("RuntimeDefault", "Unconfined", "Localhost")
PROC_MOUNTS: tuple[ProcMount, ...] = ("Default", "Unmasked")
GROUPS_POLICIES: tuple[GroupsPolicy, ...] = ("Merge", "Strict")
CHANGE_POLICIES: tuple[ChangePolicy, ...] = ("Always", "OnRootMismatch")
SE_LINUX_CHANGE_POLICIES = ("MountOption", "Recursive")


def read_pod_security(reader: Reader | None) -> tuple[PodSecurity, SecurityContext]:
    """``spec.securityContext``: what is the pod's, and what its containers have unless they say otherwise."""
    if reader is None:
        return PodSecurity(), SecurityContext()
    fields = object_of(reader, "PodSecurityContext")
    fs_group, groups = fields.get("fsGroup"), fields.get("supplementalGroups")
    fields.one_of("seLinuxChangePolicy", SE_LINUX_CHANGE_POLICIES, "MountOption")
    pod = PodSecurity(
        fs_group=fs_group.integer(0, MAX_ID) if fs_group is not None else None,
        fs_group_change_policy=fields.one_of("fsGroupChangePolicy", CHANGE_POLICIES, "Always"),
        supplemental_groups=groups.integers(0, MAX_ID) if groups is not None else (),
        supplemental_groups_policy=fields.one_of("supplementalGroupsPolicy", GROUPS_POLICIES, "Merge"),
        sysctls=read_sysctls(fields),
    )
    return pod, _read_common(fields, SecurityContext())


def read_security(reader: Reader | None, pod: SecurityContext) -> SecurityContext:
    """``containers[].securityContext``, on top of what the *pod* says."""
    if reader is None:
        return pod
    fields = object_of(reader, "SecurityContext")
    add, drop = _read_capabilities(fields.get("capabilities"))
    escalation = fields.get("allowPrivilegeEscalation")
    security = replace(
        _read_common(fields, pod),
        read_only_root=fields.boolean("readOnlyRootFilesystem"),
        allow_privilege_escalation=escalation.boolean() if escalation is not None else True,
        capabilities_add=add,
        capabilities_drop=drop,
        privileged=fields.boolean("privileged"),
        proc_mount=fields.one_of("procMount", PROC_MOUNTS, "Default"),
    )
    if not security.allow_privilege_escalation:
        _check_escalation(fields, security)
    return security


def _check_escalation(fields: Fields, security: SecurityContext) -> None:
    place = fields.need("allowPrivilegeEscalation")
    if security.privileged:
        raise place.error("cannot be false while privileged is true")
    capabilities = fields.get("capabilities")
    added = object_of(capabilities, "Capabilities").items("add") if capabilities is not None else []
    if any([item.value == "CAP_SYS_ADMIN" for item in added]):
        raise place.error("cannot be false while CAP_SYS_ADMIN is added")


def _read_common(fields: Fields, base: SecurityContext) -> SecurityContext:
    """The fields that both have."""
    user, group, non_root = fields.get("runAsUser"), fields.get("runAsGroup"), fields.get("runAsNonRoot")
    seccomp, app_armor, se_linux = (fields.get(n) for n in ("seccompProfile", "appArmorProfile", "seLinuxOptions"))
    return replace(
        base,
        run_as_user=user.integer(0, MAX_ID) if user is not None else base.run_as_user,
        run_as_group=group.integer(0, MAX_ID) if group is not None else base.run_as_group,
        run_as_non_root=non_root.boolean() if non_root is not None else base.run_as_non_root,
        seccomp=_read_profile(seccomp, "SeccompProfile") if seccomp is not None else base.seccomp,
        app_armor=_read_profile(app_armor, "AppArmorProfile") if app_armor is not None else base.app_armor,
        se_linux=_read_se_linux(se_linux) if se_linux is not None else base.se_linux,
    )


def _read_capabilities(reader: Reader | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if reader is None:
        return (), ()
    fields = object_of(reader, "Capabilities")
    add, drop = [tuple([_read_capability(item) for item in fields.items(name)]) for name in ("add", "drop")]
    return add, drop


def _read_capability(reader: Reader) -> str:
    """As in ``NET_ADMIN``. ``CAP_`` before it is CRI-O's habit, small letters are containerd's."""
    name = reader.string().upper().removeprefix("CAP_")
    if not name or not name.replace("_", "").isalnum():
        raise reader.error(f"{quote(reader.string())} is not the name of a capability")
    return name


def _read_profile(reader: Reader, kind: str) -> Profile:
    fields = object_of(reader, kind)
    type_ = fields.need("type").one_of(PROFILE_TYPES)
    name = fields.get("localhostProfile")
    if type_ != "Localhost":
        if name is not None:
            raise name.error("can be set only where type is 'Localhost'")
        return Profile(type_)
    text = fields.need("localhostProfile").string()
    place = fields.need("localhostProfile")
    if not text or text != text.strip():
        raise place.error("must be a name, without spaces before or after it")
    if len(text) > MAX_PROFILE_NAME:
        raise place.error(f"has {len(text)} characters; at most {MAX_PROFILE_NAME} are allowed")
    if kind == "SeccompProfile" and (text.startswith("/") or ".." in text.split("/")):
        raise place.error(f"{quote(text)} must be a relative path without '..', below the directory of profiles")
    return Profile(type_, text)


def _read_se_linux(reader: Reader) -> SeLinuxOptions:
    fields = object_of(reader, "SELinuxOptions")
    options = SeLinuxOptions(*[fields.string(name) for name in ("user", "role", "type", "level")])
    for name in ("user", "role", "type", "level"):
        text = fields.string(name)
        if not text.isprintable() or " " in text or (name != "level" and ":" in text):
            raise fields.need(name).error(f"{quote(text)} is not part of a label")
    return options


# ---- AppArmor as it was before it had fields -------------------------------------------------------------------------


def apply_app_armor(pod: PodSpec, annotations: Reader) -> PodSpec:
    """*pod* with the profiles that annotations under :data:`APP_ARMOR_PREFIX` name, for containers without an appArmorProfile, as
    the API server copies them (core/v1, KEP-24)."""
    found: dict[str, Profile] = {}
    names = [each.name for each in (*pod.init_containers, *pod.containers, *pod.ephemeral_containers)]
    for member in annotations.members():
        name = member.key.removeprefix(APP_ARMOR_PREFIX)
        if name != member.key:
            if name not in names:
                raise member.error(f"there is no container {quote(name)}")
            found[name] = _annotated_profile(member)

    def with_profiles(containers: tuple[Container, ...]) -> tuple[Container, ...]:
        return tuple([_with_profile(each, found.get(each.name)) for each in containers])

    return replace(
        pod,
        init_containers=with_profiles(pod.init_containers),
        containers=with_profiles(pod.containers),
        ephemeral_containers=with_profiles(pod.ephemeral_containers),
    )


def _annotated_profile(reader: Reader) -> Profile:
    text = reader.string()
    if text in ("runtime/default", "unconfined"):
        return Profile("RuntimeDefault" if text == "runtime/default" else "Unconfined")
    if not text.startswith("localhost/") or text == "localhost/":
        raise reader.error(f"{quote(text)} is none of 'runtime/default', 'unconfined' and 'localhost/<profile>'")
    return Profile("Localhost", text.removeprefix("localhost/"))


def _with_profile(container: Container, profile: Profile | None) -> Container:
    if profile is None or container.security.app_armor is not None:
        return container
    return replace(container, security=replace(container.security, app_armor=profile))
