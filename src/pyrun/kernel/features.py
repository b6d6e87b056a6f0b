"""What this machine offers to pods, found by trying it in children that are gone again when the answer is known."""

from __future__ import annotations

import errno
import os
import struct

from pyrun.errors import KernelError, PyrunError
from pyrun.kernel.cgroup import Cgroup
from pyrun.kernel.fd import Fd
from pyrun.kernel.spawn import create
from pyrun.kernel.step import (
    Attach,
    ChangeDirectory,
    Gate,
    JoinNamespaces,
    LoadFilter,
    MakeDirectory,
    NewMount,
    NoNewPrivileges,
    Plan,
    SetPropagation,
    Step,
    Unshare,
)
from pyrun.linux import cgroupfs, features, mount, namespace, seccomp
from pyrun.linux.features import Feature

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# What each kind of namespace needs of the kernel's configuration; see namespaces(7) for the versions.
NAMESPACE_NEEDS = {
    "mount": "a kernel that lets root make mount namespaces",
    "uts": "CONFIG_UTS_NS",
    "ipc": "CONFIG_IPC_NS",
    "network": "CONFIG_NET_NS",
    "pid": "CONFIG_PID_NS",
    "user": "CONFIG_USER_NS, and sysctl user.max_user_namespaces above 0",
    "cgroup": "CONFIG_CGROUPS, Linux 4.6",
    "time": "CONFIG_TIME_NS, Linux 5.6",
}
ALLOW_ALL = struct.pack("=HBBI", 0x06, 0, 0, seccomp.SECCOMP_RET_ALLOW)  # BPF_RET | BPF_K
WAIT_S = 10.0
KILLED_SIGNAL = 9

OVERLAY_ON_TMPFS: Plan = (
    Unshare(("mount",)),
    SetPropagation("/", "private"),
    NewMount("tmpfs", "layers", ("mode=0755",)),
    Attach("layers", "/"),
    MakeDirectory("upper", at="layers"),
    MakeDirectory("work", at="layers"),
    ChangeDirectory(".", at="layers"),
    NewMount("overlay", "overlay", ("lowerdir=/", "upperdir=upper", "workdir=work")),
)


def read_features() -> tuple[Feature, ...]:
    """Every feature that pyrun uses or could use. As somebody else than root some stay unknown.

    Makes processes, namespaces and a cgroup for a moment, and leaves nothing behind.
    """
    layout = cgroupfs.read_layout()
    found = [*features.read_kernel_features(), *features.cgroup_features(layout)]
    if os.geteuid() != 0:
        return (*found, *features.read_namespace_features())
    found += [_namespace(kind) for kind in namespace.NAMESPACE_TYPES]
    found += [
        features.probe("namespace", "join by pidfd", "Linux 5.8", _try_join),
        features.probe("process", "seccomp filter", "CONFIG_SECCOMP_FILTER", _try_filter),
        features.probe("mount", "overlay on tmpfs", "CONFIG_OVERLAY_FS: modprobe overlay", _try_overlay),
        features.probe("mount", "idmapped tmpfs", "Linux 6.3", _try_idmap, required=False),
    ]
    if layout.root is not None:
        found += _cgroup_features()
    return tuple(found)


def can_run_pods(found: Sequence[Feature]) -> bool:
    """Whether everything required is there."""
    return all([feature.available for feature in found if feature.required])


def _namespace(kind: str) -> Feature:
    needs = NAMESPACE_NEEDS[kind]
    return features.probe("namespace", kind, needs, lambda: _try_namespace(kind), required=kind != "user")


def _try_plan(plan: Sequence[Step], namespaces: tuple[str, ...] = ()) -> None:
    """Run *plan* in a child up to its end, and let the child go."""
    created = create((*plan, Gate()), namespaces=namespaces)
    with created:
        created.wait_created()


def _try_namespace(kind: str) -> None:
    if kind == "user":
        os.close(_open_user_namespace())
    else:
        _try_plan((), (kind,))


def _try_join() -> None:
    with create((Gate(),), namespaces=("uts", "ipc")) as holder:
        holder.wait_created()
        with create((JoinNamespaces("holder", ("uts", "ipc")), Gate()), fds={"holder": holder.process}) as created:
            created.wait_created()


def _try_filter() -> None:
    _try_plan((NoNewPrivileges(), LoadFilter(ALLOW_ALL)))


def _try_overlay() -> None:
    _try_plan(OVERLAY_ON_TMPFS)


def _open_user_namespace() -> int:
    """A user namespace in which root is root; nobody lives in it when this returns."""
    with create((Gate(),), namespaces=("user",), uid_map="0 0 1\n", gid_map="0 0 1\n") as created:
        created.wait_created()
        return namespace.open_namespace(f"/proc/{created.process.pid}", "user")


def _try_idmap() -> None:
    user_ns = Fd.adopt(_open_user_namespace())
    with user_ns, Fd.adopt(mount.fsopen("tmpfs")) as context:
        mount.fsconfig_create(context.fileno())
        with Fd.adopt(mount.fsmount(context.fileno())) as tree:
            flags = mount.AT_EMPTY_PATH
            mount.mount_setattr(tree.fileno(), "", flags, attr_set=mount.MOUNT_ATTR_IDMAP, userns_fd=user_ns.fileno())


# ---- cgroups ---------------------------------------------------------------------------------------------------------


def _cgroup_features() -> list[Feature]:
    try:
        group = Cgroup.create(f"pyrun/check-{os.getpid()}")
    except PyrunError as error:
        needs = "write access to cgroup v2: in a container, a delegated group and cgroup v2 mounted read-write"
        return [Feature("cgroup", "making groups", False, str(error), needs, True)]
    with group:
        return [
            Feature("cgroup", "making groups", True, "", "", True),
            features.probe("cgroup", "CLONE_INTO_CGROUP", "Linux 5.7", lambda: _try_birth(group)),
            features.probe("cgroup", "freezer", "Linux 5.2", lambda: _try_freeze(group)),
            features.probe("cgroup", "cgroup.kill", "Linux 5.14", lambda: _try_kill(group)),
            _pressure(group),
        ]


def _try_birth(group: Cgroup) -> None:
    with create((Gate(),), cgroup=group) as created:
        created.wait_created()
        if group.read_procs() != (created.process.pid,):
            raise KernelError(errno.ENOSYS, "clone3(2)")


def _try_freeze(group: Cgroup) -> None:
    group.write_file("cgroup.freeze", "1")
    group.write_file("cgroup.freeze", "0")


def _try_kill(group: Cgroup) -> None:
    with create((Gate(),), cgroup=group) as created:
        created.wait_created()
        group.write_file("cgroup.kill", "1")
        status = created.process.wait(WAIT_S)
        if status is None or status.signal != KILLED_SIGNAL:
            raise KernelError(errno.ENOSYS, "cgroup.kill")


def _pressure(group: Cgroup) -> Feature:
    available = group.read_pressure("cpu") is not None
    needs = "" if available else "CONFIG_PSI, and boot with psi=1"
    return Feature("cgroup", "pressure (PSI)", available, "", needs)
