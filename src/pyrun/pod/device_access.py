"""A filter of devices before containers that may make device nodes: else they could make the machine's disk, and read it.

Other containers need none: they have no other nodes than what they were given. In a user namespace no node can be made, and a
privileged container is to have all devices.
"""

from __future__ import annotations

import os
import stat

from pyrun.container.device_filter import device_filter
from pyrun.container.lower import volume_source
from pyrun.kernel.device_access import set_device_filter
from pyrun.spec.oci import OciDeviceRule
from pyrun.spec.source import HostPath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyrun.container.layout import PodPaths
    from pyrun.kernel.cgroup import Cgroup
    from pyrun.kernel.fd import Fd
    from pyrun.spec.pod import Container, PodSpec


def may_make_nodes(pod: PodSpec, container: Container, bounding: tuple[str, ...]) -> bool:
    """Whether a container whose bounding set has these names needs a filter."""
    return "CAP_MKNOD" in bounding and pod.host_users and not container.security.privileged


def limit_devices(group: Cgroup, pod: PodSpec, container: Container, paths: PodPaths, opened: Mapping[str, Fd]) -> None:
    """Let the container in *group* use the default devices, and those that are its volumes. Raises :class:`KernelError`."""
    mounted = {mount.name for mount in container.volume_mounts}
    sources = [volume for volume in pod.volumes if volume.name in mounted and isinstance(volume.source, HostPath)]
    rules = [_rule(opened[volume_source(volume, paths)]) for volume in sources]
    set_device_filter(group, device_filter([rule for rule in rules if rule is not None]))


def _rule(fd: Fd) -> OciDeviceRule | None:
    status = os.fstat(fd.fileno())
    kind = "c" if stat.S_ISCHR(status.st_mode) else "b" if stat.S_ISBLK(status.st_mode) else ""
    if not kind:
        return None
    return OciDeviceRule(True, kind, os.major(status.st_rdev), os.minor(status.st_rdev), "rwm")
