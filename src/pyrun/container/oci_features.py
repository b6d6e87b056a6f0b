"""What of the OCI specification is understood here, as the specification's ``features.md`` wants it told.

Callers believe it: containerd mounts volumes with shifted owners where ``mountExtensions.idmap`` is true. So it is not a list
that somebody keeps, but what the planner makes of a small configuration with the thing in it. Whether this machine's kernel can
do it is another question, which ``features`` leaves open; :func:`pyrun.read_features` answers it.
"""

from __future__ import annotations

from pyrun.container.mounts import plan_mount
from pyrun.container.plan import Setting, plan_container
from pyrun.container.seccomp_compile import FOREIGN, MACHINES
from pyrun.container.seccomp_rules import ACTIONS, FLAGS, OPERATORS
from pyrun.errors import SpecError
from pyrun.linux import seccomp
from pyrun.linux.capability import CAPABILITY_NAMES
from pyrun.spec.oci import OCI_VERSION, OciIdMapping, OciMount
from pyrun.spec.oci_linux_parse import MEMORY_POLICIES, MEMORY_POLICY_FLAGS, NAMESPACES
from pyrun.spec.oci_parse import parse_oci

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Json: TypeAlias = dict[str, Any]

OLDEST_VERSION = "1.0.0"
HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
# Those of the specification's config.md, "Linux mount options", and copy-symlink, which is crun's and podman's.
MOUNT_OPTIONS = tuple(
    (
        "async atime bind copy-symlink defaults dev diratime dirsync exec idmap iversion lazytime loud mand"
        " noatime nodev nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid"
        " nosymfollow private ratime rbind rdev rdiratime relatime remount rexec ridmap rnoatime rnodev"
        " rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw"
        " rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime suid"
        " symfollow sync tmpcopyup unbindable"
    ).split()
)
_MAPPING = (OciIdMapping(0, 100_000, 65_536),)
# What an option may stand on. With some of them it has no meaning, or lacks something; one is enough.
_MOUNTS = (
    OciMount("/x", "bind", "/y"),
    OciMount("/x", "tmpfs", "tmpfs"),
    OciMount("/x", "bind", "/y", (), _MAPPING, _MAPPING),
)
# The smallest part of `linux` that asks for each.
_LINUX = {
    "selinux": {"mountLabel": "system_u:object_r:container_file_t:s0"},
    "memoryPolicy": {"memoryPolicy": {"mode": "MPOL_LOCAL"}},
    "netDevices": {"netDevices": {"eth0": {"name": "eth0"}}, "namespaces": [{"type": "mount"}, {"type": "network"}]},
}
_NEW_MOUNT_NAMESPACE = {"type": "mount"}


def oci_features() -> Json:
    """The ``features`` object, but for annotations, which are the program's."""
    return {
        "ociVersionMin": OLDEST_VERSION,
        "ociVersionMax": OCI_VERSION,
        "hooks": list(HOOKS),
        "mountOptions": [option for option in MOUNT_OPTIONS if understands_option(option)],
        "linux": _linux(),
    }


def _linux() -> Json:
    enabled = {name: _plans({"linux": part}) for name, part in _LINUX.items()}
    return {
        "namespaces": [kind for kind in sorted(NAMESPACES) if _plans_namespace(kind)],
        "capabilities": list(CAPABILITY_NAMES),
        "cgroup": {"v1": False, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
        "seccomp": _seccomp(),
        "apparmor": {"enabled": _plans({"process": {"apparmorProfile": "x"}})},
        "selinux": {"enabled": enabled["selinux"]},
        "intelRdt": {"enabled": False},  # refused: nobody here speaks resctrl
        **_memory_policy(enabled["memoryPolicy"]),
        "mountExtensions": {"idmap": {"enabled": understands_option("idmap")}},
        "netDevices": {"enabled": enabled["netDevices"]},
    }


def _memory_policy(enabled: bool) -> Json:
    return {"memoryPolicy": {"modes": list(MEMORY_POLICIES), "flags": list(MEMORY_POLICY_FLAGS)}} if enabled else {}


def _seccomp() -> Json:
    known = [*FOREIGN.split(), *[name for architectures in MACHINES.values() for name in architectures]]
    return {
        "enabled": True,
        "actions": sorted(ACTIONS),
        "operators": sorted(OPERATORS),
        "archs": sorted(known),
        "knownFlags": sorted(FLAGS),
        "supportedFlags": [name for name in sorted(FLAGS) if seccomp.has_flag(FLAGS[name])],
    }


def understands_option(option: str) -> bool:
    """Whether *option* is one of ours, not one handed on to a file system as data."""
    return any([_understands(mount, option) for mount in _MOUNTS])


def _understands(mount: OciMount, option: str) -> bool:
    changed = OciMount(mount.destination, mount.type, mount.source, (option,), mount.uid_mappings, mount.gid_mappings)
    try:
        return option not in plan_mount(changed, "/mounts/0").data
    except SpecError:
        return False


def _plans_namespace(kind: str) -> bool:
    part: Json = {"namespaces": [_NEW_MOUNT_NAMESPACE]}
    if kind != "mount":
        part["namespaces"] = [_NEW_MOUNT_NAMESPACE, {"type": kind}]
    if kind == "user":
        mapping = [{"containerID": 0, "hostID": 100_000, "size": 65_536}]
        part |= {"uidMappings": mapping, "gidMappings": mapping}
    return _plans({"linux": part})


def _plans(changes: Json) -> bool:
    """Whether the smallest configuration, with *changes* in its objects, can be planned."""
    config: Json = {
        "ociVersion": OCI_VERSION,
        "root": {"path": "/rootfs"},
        "process": {"cwd": "/", "args": ["x"], "user": {"uid": 0, "gid": 0}},
        "linux": {"namespaces": [_NEW_MOUNT_NAMESPACE]},
    }
    for name, part in changes.items():
        config[name] = {**config[name], **part}
    try:
        plan_container(parse_oci(config, ""), Setting())
    except SpecError:
        return False
    return True
