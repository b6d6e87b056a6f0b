"""Who owns a container's cgroup: ``config-linux.md``, "Cgroup ownership".

A container that gets its own cgroup to write to (systemd in a container) must own it; its limits it must not own.
"""

from __future__ import annotations

import errno
import os

from pyrun.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.kernel.cgroup import Cgroup
    from pyrun.spec.oci import OciSpec

DELEGATED = "/sys/kernel/cgroup/delegate"
# What the specification names for kernels without that file.
DELEGATED_ALWAYS = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")


def cgroup_owner(spec: OciSpec) -> int | None:
    """The user of the host that the container's group is given to; None leaves it with root.

    Only with a new cgroup namespace and a cgroup file system that may be written.
    """
    new = [namespace.type for namespace in spec.linux.namespaces if not namespace.path]
    writable = any(
        mount.destination == "/sys/fs/cgroup" and mount.source == "cgroup" and "ro" not in mount.options
        for mount in spec.mounts
    )
    if spec.process is None or "cgroup" not in new or not writable:
        return None
    return _host_uid(spec, spec.process.user.uid) or None


def _host_uid(spec: OciSpec, uid: int) -> int | None:
    """None for a user of a namespace that somebody else has mapped."""
    if not any([namespace.type == "user" for namespace in spec.linux.namespaces]):
        return uid
    for mapping in spec.linux.uid_mappings:
        if 0 <= uid - mapping.container_id < mapping.size:
            return mapping.host_id + uid - mapping.container_id
    return None


def delegate_cgroup(group: Cgroup, spec: OciSpec) -> None:
    """Give *group* and the files in it that may be delegated to the container's user, if it is to have them.

    Raises :class:`KernelError`.
    """
    owner = cgroup_owner(spec)
    if owner is None:
        return
    _give(group, ".", owner)
    for name in _read_delegated():
        _give(group, name, owner, if_exists=True)  # some are a controller's


def _give(group: Cgroup, name: str, owner: int, *, if_exists: bool = False) -> None:
    try:
        os.chown(name, owner, -1, dir_fd=group.fileno())
    except OSError as error:
        if error.errno != errno.ENOENT or not if_exists:
            raise KernelError(error.errno or 0, "fchownat(2)", f"{group.path}/{name}") from None


def _read_delegated() -> tuple[str, ...]:
    try:
        with open(DELEGATED) as file:
            return tuple(file.read().split())
    except FileNotFoundError:
        return DELEGATED_ALWAYS
