"""What this kernel can do, found by trying it: a version number tells neither what was backported nor what was configured away.

Here are the probes that need no child: each makes a call that changes nothing, and tells "there is no such call" from every other
answer. Those that need a process of their own are in :mod:`pyrun.kernel.features`.
"""

from __future__ import annotations

import errno
import fcntl
import os

from pyrun._core import lib
from pyrun.errors import KernelError, PyrunError
from pyrun.linux import capability, cgroupfs, mount, namespace, pidfd, procfs, seccomp
from pyrun.linux.file import close_range, openat2
from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrun.linux.cgroupfs import CgroupLayout

ONLY_ROOT = "only root can tell"
FORBIDDEN = (errno.EPERM, errno.EACCES)
ALL_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class Feature(Value):
    """One thing that a kernel has or lacks.

    ``available`` is None when it cannot be known from here; ``detail`` says what was seen, ``needs`` what would mend it; without
    a ``required`` one no pod runs.
    """

    area: str
    name: str
    available: bool | None
    detail: str = ""
    needs: str = ""
    required: bool = False


def probe(area: str, name: str, needs: str, call: Callable[[], str | None], *, required: bool = True) -> Feature:
    """The feature that *call* tries: available if it returns (with a detail, perhaps), not if it raises PyrunError.

    Kernel: what *call* does.
    Affects: what *call* affects.
    Raises: what is no PyrunError.
    """
    try:
        return Feature(area, name, True, call() or "", "", required)
    except PyrunError as error:
        if isinstance(error, KernelError) and error.errno in FORBIDDEN and os.geteuid() != 0:
            return Feature(area, name, None, ONLY_ROOT, "run as root", required)
        return Feature(area, name, False, str(error), needs, required)


def read_kernel_features() -> tuple[Feature, ...]:
    """The calls that pyrun is built on, and what this process may do.

    Kernel: pidfd_open(2), waitid(2), close_range(2), openat2(2), memfd_create(2), seccomp(2), the mount API of Linux 5.2.
    Affects: nothing.
    Raises: ENOENT without /proc.
    """
    return (
        _capability_feature("CAP_SYS_ADMIN", "run as root, with CAP_SYS_ADMIN", True),
        _capability_feature(
            "CAP_SYS_RESOURCE",
            "a root that has it: oom_score_adj is not lowered and hard rlimits are not raised without",
            False,
        ),
        probe("process", "pidfd", "Linux 5.4", _try_pidfd),
        probe("process", "close_range", "Linux 5.11", _try_close_range),
        probe("process", "sealed memfd", "Linux 3.17, and sysctl vm.memfd_noexec below 2", _try_memfd),
        probe("process", "seccomp", "CONFIG_SECCOMP_FILTER", _try_seccomp),
        probe("process", "seccomp notification", "Linux 5.0", _try_seccomp_notification, required=False),
        probe("file system", "openat2", "Linux 5.6", _try_openat2),
        probe("mount", "open_tree", "Linux 5.2", _try_open_tree),
        probe("mount", "fsopen, fsmount, mount_setattr", "Linux 5.12", _try_mount_api),
        *[_file_system_feature(name) for name in ("proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup2")],
    )


def read_namespace_features() -> tuple[Feature, ...]:
    """The kinds of namespaces that this kernel was built with; whether they can be made, only root can try.

    Kernel: /proc/self/ns, namespaces(7).
    Affects: nothing.
    Raises: nothing.
    """
    return tuple([_namespace_feature(kind) for kind in namespace.NAMESPACE_TYPES])


def cgroup_features(layout: CgroupLayout) -> tuple[Feature, ...]:
    """What *layout* offers: v2 itself, which pods need, and its controllers, which limits need. Pure.

    Kernel: cgroups(7).
    Affects: nothing.
    Raises: nothing.
    """
    place = f"{layout.kind} layout, {layout.root}" if layout.root is not None else "v1 only, or none"
    mend = "boot with systemd.unified_cgroup_hierarchy=1, or mount -t cgroup2 none /sys/fs/cgroup/unified"
    has_v2 = layout.root is not None
    features = [Feature("cgroup", "cgroup v2", has_v2, place, "" if has_v2 else mend, True)]
    for controller in ("cpu", "memory", "pids", "io", "cpuset", "hugetlb"):
        available = controller in layout.controllers
        reason = "" if available else cgroupfs.explain_missing(controller, layout)
        detail, _, needs = reason.partition("; ")
        features.append(Feature("cgroup", f"{controller} controller", available, detail, needs))
    return tuple(features)


# ---- the attempts ----------------------------------------------------------------------------------------------------


def _capability_feature(name: str, needs: str, required: bool) -> Feature:
    if os.geteuid() != 0:
        return Feature("process", name, None, ONLY_ROOT, "run as root", required)
    held = procfs.read_status().capabilities.effective
    available = bool(held >> capability.CAPABILITY_NUMBERS[name] & 1)
    return Feature("process", name, available, "", "" if available else needs, required)


def _namespace_feature(kind: str) -> Feature:
    row = namespace.NAMESPACE_TYPES[kind]
    available = os.path.exists(f"/proc/self/ns/{row.children_link}")
    required = kind != "user"
    detail = "built in; only root can tell whether it can be made" if available else "not in this kernel"
    needs = "run as root" if available else f"a kernel built with {kind} namespaces"
    return Feature("namespace", kind, None if available else False, detail, needs, required)


def _file_system_feature(name: str) -> Feature:
    known = [line.split("\t")[-1] for line in procfs.read_text("/proc/filesystems").splitlines()]
    available = name in known
    return Feature(
        "file system", name, available, "", "" if available else f"load or build in {name}", name != "mqueue"
    )


def _try_pidfd() -> None:
    fd = pidfd.pidfd_open(os.getpid())
    try:
        pidfd.pidfd_send_signal(fd, 0)
        pidfd.waitid(fd, lib.WNOHANG)
    except KernelError as error:
        if error.errno != errno.ECHILD:  # the right answer: we are not our own child
            raise
    finally:
        os.close(fd)


def _try_close_range() -> None:
    close_range(2**32 - 1, 2**32 - 1, lib.CLOSE_RANGE_CLOEXEC)


def _try_memfd() -> str | None:
    flags, detail = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING, None
    try:
        try:
            fd = os.memfd_create("pyrun-probe", flags | lib.MFD_EXEC)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            detail = "without MFD_EXEC (Linux 6.3)"
            fd = os.memfd_create("pyrun-probe", flags)
        try:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, ALL_SEALS)
        finally:
            os.close(fd)
    except OSError as error:
        raise KernelError(error.errno or 0, "memfd_create(2)") from None
    return detail


def _try_seccomp() -> None:
    if not seccomp.has_action(seccomp.SECCOMP_RET_ERRNO):
        raise KernelError(errno.EOPNOTSUPP, "seccomp(2)")


def _try_seccomp_notification() -> None:
    if not seccomp.has_action(seccomp.SECCOMP_RET_USER_NOTIF):
        raise KernelError(errno.EOPNOTSUPP, "seccomp(2)")


def _try_openat2() -> None:
    os.close(openat2(lib.AT_FDCWD, "/", os.O_PATH, resolve=lib.RESOLVE_IN_ROOT))


def _try_open_tree() -> None:
    os.close(mount.open_tree(lib.AT_FDCWD, "/", lib.OPEN_TREE_CLONE if os.geteuid() == 0 else 0))


def _try_mount_api() -> None:
    """A detached tmpfs: made, made read-only, and gone with its descriptor."""
    fs_fd = mount.fsopen("tmpfs")
    try:
        mount.fsconfig_create(fs_fd)
        mount_fd = mount.fsmount(fs_fd)
    finally:
        os.close(fs_fd)
    try:
        mount.mount_setattr(mount_fd, "", lib.AT_EMPTY_PATH, attr_set=lib.MOUNT_ATTR_RDONLY)
    finally:
        os.close(mount_fd)
