"""The device nodes of a container and the links beside them, in whatever is its /dev."""

from __future__ import annotations

import stat

from pyrun.container.layout import MESSAGE_PATH
from pyrun.container.root_plan import ROOT, clean_path, has_user_namespace
from pyrun.kernel.step import Attach, MakeDirectory, MakeNode, MakeSymlink, OpenTree
from pyrun.spec.oci import OciDevice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.container.root_plan import Mount
    from pyrun.kernel.step import Step
    from pyrun.spec.oci import OciSpec

NODE_MODE = 0o666
NODES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
LINKS = (
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
)
FILE_TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


def open_devices(spec: OciSpec, mounts: tuple[Mount, ...]) -> list[Step]:
    """The host's nodes, where the container has a user namespace: nobody may make one there."""
    if not has_user_namespace(spec):
        return []
    return [
        OpenTree(device.path, _device_slot(device), recursive=False, propagation="private")
        for device in _devices(spec, mounts)
        if device.type != "p"
    ]


def make_devices(spec: OciSpec, mounts: tuple[Mount, ...]) -> list[Step]:
    """The nodes and links that OCI promises, and those of ``linux.devices``; a /dev that was bound in is left as it is."""
    if _is_dev_bound(mounts):
        return []
    ours = [mount.tree for mount in mounts if mount.target == "/dev" and mount.is_new]
    dev = ours[-1] if ours else None
    steps: list[Step] = [] if dev else [MakeDirectory("/dev", at=ROOT)]
    for device in _devices(spec, mounts):
        steps += _make_device(spec, device, dev)
    taken = {mount.target for mount in mounts}
    for name, target in LINKS:
        if f"/dev/{name}" not in taken:
            path, at = _in_dev(f"/dev/{name}", dev)
            steps.append(MakeSymlink(path, target, at=at, keep=dev is None))
    return steps


def make_message_file(mounts: tuple[Mount, ...]) -> list[Step]:
    """/dev/termination-log, for every user to write; none in a /dev that is not the container's own."""
    ours = [mount.tree for mount in mounts if mount.target == "/dev" and mount.is_new]
    name = MESSAGE_PATH.removeprefix("/dev/")
    return [MakeNode(name, stat.S_IFREG | NODE_MODE, 0, 0, ours[-1])] if ours and not _is_dev_bound(mounts) else []


def _is_dev_bound(mounts: tuple[Mount, ...]) -> bool:
    return any([mount.target == "/dev" and mount.is_tree for mount in mounts])


def _devices(spec: OciSpec, mounts: tuple[Mount, ...]) -> list[OciDevice]:
    """What has to be made: one of ``linux.devices`` stands for a promised one of the same name, a mount for either."""
    found = {f"/dev/{name}": OciDevice(f"/dev/{name}", "c", major, minor) for name, major, minor in NODES}
    found |= {clean_path(device.path): device for device in spec.linux.devices}
    taken = {mount.target for mount in mounts}
    return [] if _is_dev_bound(mounts) else [device for path, device in found.items() if path not in taken]


def _device_slot(device: OciDevice) -> str:
    return f"device {device.path}"


def _in_dev(path: str, dev: str | None) -> tuple[str, str]:
    """*path* as a name in our /dev and its slot, or in the root."""
    return (path[len("/dev/") :], dev) if dev and path.startswith("/dev/") else (path, ROOT)


def _make_device(spec: OciSpec, device: OciDevice, dev: str | None) -> list[Step]:
    path, at = _in_dev(clean_path(device.path), dev)
    if has_user_namespace(spec) and device.type != "p":
        return [Attach(_device_slot(device), path, at=at, create=True)]
    parent = path.rpartition("/")[0]
    steps: list[Step] = [MakeDirectory(parent, at=at)] if parent not in ("", "/dev") else []
    mode = FILE_TYPES[device.type] | (NODE_MODE if device.file_mode is None else device.file_mode)
    return [*steps, MakeNode(path, mode, device.major, device.minor, at, device.uid or 0, device.gid or 0)]
