"""cgroup v2: where it is, and its files as values. The kernel's document is Documentation/admin-guide/cgroup-v2.rst.

Machines come in three layouts, and :func:`read_layout` tells them apart: :data:`UNIFIED` has every controller in v2,
:data:`HYBRID` has a v2 tree beside v1 hierarchies that hold controllers (processes can be grouped and killed, but not limited
by those), and :data:`LEGACY` has no v2 at all. Files are read and written by the descriptor of their directory, so that a
group which is removed and made again under the same name is not taken for the old one.
"""

from __future__ import annotations

import os

from pyrun.errors import KernelError
from pyrun.linux.file import read_bytes
from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Literal, TypeAlias

    from pyrun.linux.mountinfo import MountInfo

    LayoutKind: TypeAlias = Literal["unified", "hybrid", "legacy"]

UNIFIED: LayoutKind = "unified"
HYBRID: LayoutKind = "hybrid"
LEGACY: LayoutKind = "legacy"

UNIFIED_ROOT = "/sys/fs/cgroup"
HYBRID_ROOT = "/sys/fs/cgroup/unified"

CONTROLLERS = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc", "dmem")
"""Controllers that are enabled with ``cgroup.subtree_control``; each owns the files that begin with its name."""
# Where v1 calls a controller by another name; cpuacct is a part of v2's cpu.
V1_NAMES = {"io": "blkio"}
# The kernel's configuration option for each.
CONFIG_OPTIONS = {
    "cpuset": "CONFIG_CPUSETS",
    "cpu": "CONFIG_CGROUP_SCHED and CONFIG_FAIR_GROUP_SCHED",
    "io": "CONFIG_BLK_CGROUP",
    "memory": "CONFIG_MEMCG",
    "hugetlb": "CONFIG_CGROUP_HUGETLB",
    "pids": "CONFIG_CGROUP_PIDS",
    "rdma": "CONFIG_CGROUP_RDMA",
    "misc": "CONFIG_CGROUP_MISC",
    "dmem": "CONFIG_CGROUP_DMEM",
}
# Files that are there without the controller whose name they begin with: accounting of every group, and pressure (PSI).
_BASE_FILES = ("cpu.stat", "cpu.stat.local", "cpu.pressure", "io.pressure", "memory.pressure", "irq.pressure")

FILE_BYTES = 1 << 16


class KnownController(Value):
    """A line of /proc/cgroups, under its v1 name: ``hierarchy`` is 0 unless a v1 hierarchy has it."""

    name: str
    hierarchy: int
    enabled: bool


class CgroupLayout(Value):
    """How this machine has its cgroups.

    ``root`` is where cgroup v2 is mounted, None for :data:`LEGACY`; ``controllers`` are those that its root offers; ``v1_mounts``
    are the (controller, path) of v1 hierarchies; ``known`` is /proc/cgroups, which newer kernels leave incomplete.
    """

    kind: LayoutKind
    root: str | None
    controllers: tuple[str, ...] = ()
    v1_mounts: tuple[tuple[str, str], ...] = ()
    known: tuple[KnownController, ...] = ()


class PressureLine(Value):
    """Shares of time in per cent over 10, 60 and 300 s, and the sum."""

    avg10: float
    avg60: float
    avg300: float
    total_us: int


class Pressure(Value):
    """Pressure stall information, Documentation/accounting/psi.rst: time in which some, or all, processes were stalled."""

    some: PressureLine | None
    full: PressureLine | None


# ---- where it is -----------------------------------------------------------------------------------------------------


def find_root() -> str | None:
    """Where cgroup v2 is mounted; None if it is not. In the two usual cases this looks at one or two files only.

    Kernel: cgroups(7); only a group of v2 has a file cgroup.controllers.
    Affects: nothing.
    Raises: ENOENT without /proc, when the usual places have no v2.
    """
    for path in (UNIFIED_ROOT, HYBRID_ROOT):
        if os.access(f"{path}/cgroup.controllers", os.F_OK):
            return path
    from pyrun.linux.mountinfo import read_mountinfo  # where neither has it

    return detect_layout(read_mountinfo(), ()).root


def read_layout() -> CgroupLayout:
    """The layout of this machine as this process sees it.

    Kernel: /proc/self/mountinfo, /proc/cgroups, cgroup.controllers.
    Affects: nothing.
    Raises: ENOENT without /proc.
    """
    from pyrun.linux.mountinfo import read_mountinfo

    try:
        known = parse_known_controllers(read_bytes("/proc/cgroups"))
    except KernelError:
        known = ()  # a kernel without v1 may lack the file
    layout = detect_layout(read_mountinfo(), known)
    if layout.root is None:
        return layout
    controllers = parse_words(read_bytes(f"{layout.root}/cgroup.controllers"))
    return CgroupLayout(layout.kind, layout.root, controllers, layout.v1_mounts, layout.known)


def detect_layout(mounts: Iterable[MountInfo], known: tuple[KnownController, ...]) -> CgroupLayout:
    """The layout that a mount table and /proc/cgroups tell of; ``controllers`` stay empty. Pure.

    Kernel: mount(8) types cgroup and cgroup2.
    Affects: nothing.
    Raises: nothing.
    """
    v2: list[str] = []
    v1: list[tuple[str, str]] = []
    for mount in mounts:
        if mount.fs_type == "cgroup2":
            v2.append(mount.target)
        elif mount.fs_type == "cgroup":
            v1 += [(option, mount.target) for option in mount.super_options if option not in ("rw", "ro")]
    root = next((path for path in (UNIFIED_ROOT, HYBRID_ROOT) if path in v2), v2[0] if v2 else None)
    if root is None:
        return CgroupLayout(LEGACY, None, (), tuple(v1), known)
    held = [name for name, _ in v1 if not name.startswith("name=")]
    # v2 over the usual place hides whatever is mounted below, v1 or not.
    kind = HYBRID if held and root != UNIFIED_ROOT else UNIFIED
    return CgroupLayout(kind, root, (), tuple(v1), known)


def explain_missing(controller: str, layout: CgroupLayout) -> str:
    """Why *controller* is not among ``layout.controllers``, and what to do about it. Pure.

    Kernel: Documentation/admin-guide/kernel-parameters.txt has cgroup_disable and cgroup_no_v1.
    Affects: nothing.
    Raises: nothing.
    """
    v1_name = V1_NAMES.get(controller, controller)
    unified = "boot with systemd.unified_cgroup_hierarchy=1"
    if layout.root is None:
        return f"there is no cgroup v2; {unified}, or mount it: mount -t cgroup2 none {HYBRID_ROOT}"
    if any([name == v1_name for name, _ in layout.v1_mounts]):
        return f"it is mounted as v1; {unified}"
    for line in layout.known:
        if line.name == v1_name and not line.enabled:
            return f"it is disabled; boot without cgroup_disable={v1_name}"
        if line.name == v1_name and line.hierarchy:
            return f"a v1 hierarchy has it; {unified}"
        if line.name == v1_name:
            return f"the parent of {layout.root} does not delegate it; enable it in that group's cgroup.subtree_control"
    return f"this kernel does not have it; build it with {CONFIG_OPTIONS.get(controller, 'a controller of that name')}"


def controller_of(file: str) -> str | None:
    """The controller that a file of a group belongs to; None for the files that every group has.

    Kernel: files are named ``controller.what``.
    Affects: nothing.
    Raises: nothing.
    """
    prefix = file.partition(".")[0]
    return prefix if prefix in CONTROLLERS and file not in _BASE_FILES else None


# ---- files -----------------------------------------------------------------------------------------------------------


def open_cgroup(path: str, dir_fd: int | None = None) -> int:
    """A descriptor of a group's directory, for the functions below and for clone3's CLONE_INTO_CGROUP.

    Kernel: open(2).
    Affects: nothing; the group can be removed all the same.
    Raises: ENOENT if there is no such group; ENOTDIR if it is a file.
    Owns: the caller closes the descriptor, which is close-on-exec.
    """
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd)
    except OSError as error:
        raise KernelError(error.errno or 0, "open(2)", _path_of(dir_fd, path)) from None


def make_cgroup(path: str, dir_fd: int | None = None) -> None:
    """Make a group.

    Kernel: mkdir(2) in cgroup v2.
    Affects: the hierarchy.
    Raises: EEXIST; ENOENT if the parent has been removed; EAGAIN beyond cgroup.max.descendants or cgroup.max.depth.
    """
    try:
        os.mkdir(path, 0o755, dir_fd=dir_fd)
    except OSError as error:
        raise KernelError(error.errno or 0, "mkdir(2)", _path_of(dir_fd, path)) from None


def remove_cgroup(path: str, dir_fd: int | None = None) -> None:
    """Remove a group. Its accounting goes with it.

    Kernel: rmdir(2) in cgroup v2.
    Affects: the hierarchy.
    Raises: EBUSY while it has processes or groups below it; ENOENT if it is gone.
    Order: after the last read of memory.events, memory.peak and the like.
    """
    try:
        os.rmdir(path, dir_fd=dir_fd)
    except OSError as error:
        raise KernelError(error.errno or 0, "rmdir(2)", _path_of(dir_fd, path)) from None


def read_file(dir_fd: int, name: str) -> bytes:
    """The whole of a file of the group.

    Kernel: openat(2), read(2).
    Affects: nothing.
    Raises: ENOENT if there is no such file, or the group has been removed; ENODEV if it was removed meanwhile.
    """
    call = "open(2)"
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=dir_fd)
        call = "read(2)"
        try:
            chunks = [os.read(fd, FILE_BYTES)]
            while chunks[-1]:
                chunks.append(os.read(fd, FILE_BYTES))
        finally:
            os.close(fd)
    except OSError as error:
        raise KernelError(error.errno or 0, call, _path_of(dir_fd, name)) from None
    return b"".join(chunks)


def write_file(dir_fd: int, name: str, text: str) -> None:
    """Write to a file of the group, in one write: the kernel takes each as a whole.

    Kernel: openat(2), write(2).
    Affects: the group and the processes in it.
    Raises: ENOENT if there is no such file; EINVAL or ERANGE for a value that it does not take; EBUSY for a controller to be
    enabled while the group has processes; ENODEV if the group was removed.
    """
    call = "open(2)"
    try:
        fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=dir_fd)
        call = "write(2)"
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise KernelError(error.errno or 0, call, _path_of(dir_fd, name)) from None


def _path_of(dir_fd: int | None, name: str) -> str:
    """For error messages only; the group may be gone by now."""
    if dir_fd is None:
        return name
    try:
        return f"{os.readlink(f'/proc/self/fd/{dir_fd}')}/{name}"
    except OSError:
        return name


# ---- parsing ---------------------------------------------------------------------------------------------------------


def parse_words(data: bytes) -> tuple[str, ...]:
    """Of files such as cgroup.controllers.

    Kernel: cgroup-v2.rst, "space separated".
    Affects: nothing.
    Raises: nothing.
    """
    return tuple(data.decode().split())


def parse_numbers(data: bytes) -> tuple[int, ...]:
    """Of files such as cgroup.procs. A process of another PID namespace is 0.

    Kernel: cgroup-v2.rst, "new-line separated values".
    Affects: nothing.
    Raises: ValueError for a text that is no such file.
    """
    return tuple([int(word) for word in data.split()])


def parse_limit(data: bytes) -> int | None:
    """Of files with one number, such as memory.max; None for ``max``.

    Kernel: cgroup-v2.rst, "single value".
    Affects: nothing.
    Units: those of the file.
    Raises: ValueError for a text that is no such file.
    """
    word = data.strip()
    return None if word == b"max" else int(word)


def parse_cpu_max(data: bytes) -> tuple[int | None, int]:
    """Of cpu.max: the quota, None for ``max``, and the period.

    Kernel: cgroup-v2.rst, cpu.max.
    Affects: nothing.
    Units: microseconds.
    Raises: ValueError for a text that is no such file.
    """
    quota, period = data.split()
    return parse_limit(quota), int(period)


def parse_flat(data: bytes) -> dict[str, int]:
    """Of files with lines ``key value``, such as memory.stat, cpu.stat, memory.events and cgroup.events.

    Kernel: cgroup-v2.rst, "flat keyed".
    Affects: nothing.
    Units: those of the file.
    Raises: ValueError for a text that is no such file.
    """
    return {key.decode(): int(value) for key, value in [line.split() for line in data.splitlines() if line]}


def parse_nested(data: bytes) -> dict[str, dict[str, int | None]]:
    """Of files with lines ``key sub=value ...``, such as io.stat, io.max and memory.numa_stat; None for ``max``.

    What is no number (io.cost.* of the root group) is left out, and a line without values is an empty one.

    Kernel: cgroup-v2.rst, "nested keyed".
    Affects: nothing.
    Units: those of the file.
    Raises: nothing.
    """
    lines: dict[str, dict[str, int | None]] = {}
    for line in data.decode().splitlines():
        key, *pairs = line.split() or [""]
        values = [pair.partition("=") for pair in pairs]
        if key:
            numbers = [(name, value) for name, _, value in values if value == "max" or value.isdigit()]
            lines[key] = {name: None if value == "max" else int(value) for name, value in numbers}
    return lines


def parse_pressure(data: bytes) -> Pressure:
    """Of cpu.pressure, io.pressure, memory.pressure and irq.pressure.

    Kernel: Documentation/accounting/psi.rst; cpu has ``full`` since Linux 5.13, irq has no ``some``.
    Affects: nothing.
    Units: per cent and microseconds.
    Raises: KeyError or ValueError for a text that is no such file.
    """
    lines: dict[str, PressureLine] = {}
    for line in data.decode().splitlines():
        key, *pairs = line.split()
        values = dict([pair.split("=") for pair in pairs])
        averages = [float(values[name]) for name in ("avg10", "avg60", "avg300")]
        lines[key] = PressureLine(averages[0], averages[1], averages[2], int(values["total"]))
    return Pressure(lines.get("some"), lines.get("full"))


def parse_ranges(data: bytes) -> tuple[int, ...]:
    """Of cpuset.cpus and the like: ``0-2,5`` is 0, 1, 2, 5.

    Kernel: cgroups(7), "List format" of cpuset(7).
    Affects: nothing.
    Raises: ValueError for a text that is no such list.
    """
    numbers: list[int] = []
    for part in data.decode().strip().split(","):
        first, _, last = part.partition("-")
        if part:
            numbers += range(int(first), int(last or first) + 1)
    return tuple(numbers)


def parse_known_controllers(data: bytes) -> tuple[KnownController, ...]:
    """Of /proc/cgroups.

    Kernel: cgroups(7).
    Affects: nothing.
    Raises: ValueError for a text that is no such file.
    """
    lines = [line.split() for line in data.decode().splitlines() if line and not line.startswith("#")]
    return tuple([KnownController(name, int(hierarchy), enabled == "1") for name, hierarchy, _, enabled in lines])
