"""A control group (cgroup v2), which owns the processes that are born in it.

Processes enter by being born there (``spawn(..., cgroup=group)``). Tear-down is :meth:`Cgroup.kill`, the wait until nobody is
left, :meth:`Cgroup.remove`; nothing walks pids. All of it works again after a crash from the group's name alone::

    with Cgroup.create("pyrun/job1", limits=Limits(memory_max_bytes=64 << 20)) as group:
        process = spawn(plan, cgroup=group)
        ...
        print(group.read_cpu_stats(), group.read_memory_events())
"""

from __future__ import annotations

import errno
import time

from pyrun.errors import AlreadyExists, KernelError, NotFound, StateError, Unsupported
from pyrun.kernel import cgroup_stats as stats
from pyrun.kernel import cgroup_tree as tree
from pyrun.kernel.cgroup_limits import NO_LIMIT, CpuMax, IoMax, Limits
from pyrun.kernel.fd import Fd
from pyrun.linux import cgroupfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from pyrun.kernel.cgroup_watch import CgroupWatch

__all__ = ["NO_LIMIT", "Cgroup", "CpuMax", "IoMax", "Limits", "find_cgroup_root"]

# How long the last process of a killed group may take to be gone: it is the kernel's work by then, nobody else's.
REMOVE_TIMEOUT_S = 10.0
FREEZE_TIMEOUT_S = 10.0


class Cgroup:
    """One group. ``fileno()`` is its directory, ``name`` its path below ``root``, ``path`` both.

    Made by :meth:`create`, :meth:`open` and :meth:`child`. As a context manager, a group that was created is destroyed with all
    that lives in it, and one that was opened is only closed.
    """

    def __init__(self, root: str, name: str, fd: Fd, *, created: bool, shared: bool, optional: frozenset[str]) -> None:
        self.root = root
        self.name = name
        self.path = f"{root}/{name}"
        self._fd = fd
        self._created = created
        self._shared = shared  # the groups between root and this one go with it when they are empty
        self._optional = optional
        self._available: frozenset[str] | None = None
        self._given: set[str] = set()  # controllers that this group's children have had
        self._optional_given = False

    def __repr__(self) -> str:
        return f"<Cgroup {self.path}{' closed' if self._fd.closed else ''}>"

    # ---- making and opening ----

    @classmethod
    def create(
        cls,
        name: str,
        *,
        root: str | None = None,
        controllers: Iterable[str] = (),
        optional_controllers: Iterable[str] = (),
        limits: Limits | None = None,
    ) -> Cgroup:
        """Make the group *name* below *root*, which is where cgroup v2 is mounted unless said otherwise.

        It gets *controllers* and those that its limits need, or it is not made; *optional_controllers* where they can be had, as
        its children will (for accounting: memory.peak without a limit). Groups between root and it are made as needed, and are
        removed with it when they are empty: whoever has a parent that must stay, such as the kubelet's, gives that as *root*.

        Raises :class:`AlreadyExists`; :class:`Unsupported` for a machine without cgroup v2, or a controller that is not to be
        had; :class:`StateError` for a parent that has processes of its own.
        """
        root, parts = root.rstrip("/") if root else find_cgroup_root(), tree.split_name(name)
        optional = frozenset(optional_controllers)
        needed = _needed(controllers, limits)
        with _translated(f"{root}/{'/'.join(parts)}"):
            fd = tree.make_leaf(root, parts, needed, optional)
        return cls(root, "/".join(parts), fd, created=True, shared=True, optional=optional)._limited(limits)

    @classmethod
    def open(cls, name: str, *, root: str | None = None) -> Cgroup:
        """The group *name*, which must exist. Raises :class:`NotFound`."""
        root, parts = root.rstrip("/") if root else find_cgroup_root(), tree.split_name(name)
        with _translated(f"{root}/{'/'.join(parts)}"):
            fd = Fd.adopt(cgroupfs.open_cgroup("/".join([root, *parts])))
        return cls(root, "/".join(parts), fd, created=False, shared=True, optional=frozenset())

    def child(self, name: str, *, controllers: Iterable[str] = (), limits: Limits | None = None) -> Cgroup:
        """Make a group directly below this one. Arguments and errors as for :meth:`create`."""
        (part,) = tree.split_name(name)
        needed = _needed(controllers, limits)
        # What children before this one got, or could not get, is not asked for again.
        optional = frozenset() if self._optional_given else self._optional
        needed = {controller: why for controller, why in needed.items() if controller not in self._given}
        self._ensure(needed, optional)
        with _translated(f"{self.path}/{part}"):
            fd = tree.make_below(self._fd, part, self.root, needed, optional)
        self._given.update(needed)
        self._optional_given = True
        child = Cgroup(self.root, f"{self.name}/{part}", fd, created=True, shared=False, optional=self._optional)
        child._available = self._available
        return child._limited(limits)

    def fileno(self) -> int:
        """The directory's descriptor; a group is where a child is born if it is given to spawn."""
        return self._fd.fileno()

    def close(self) -> None:
        """Let go of the descriptor; the group stays. Idempotent."""
        self._fd.close()

    def __enter__(self) -> Cgroup:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._created:
            self.destroy()
        self.close()

    # ---- controllers and limits ----

    def read_available_controllers(self) -> frozenset[str]:
        """The controllers that limits of this group may use: its own, and those that can be enabled from the root down."""
        if self._available is None:
            with Fd.adopt(cgroupfs.open_cgroup(self.root)) as root:
                words = cgroupfs.parse_words(cgroupfs.read_file(root.fileno(), "cgroup.controllers"))
            self._available = frozenset(words)
        return self._available

    def ensure_controllers(self, controllers: Iterable[str]) -> None:
        """Let this group's children have *controllers*; the group must then have no process of its own."""
        needed = _needed(controllers, None)
        self._ensure(needed, frozenset())
        tree.enable(self._fd, self.root, needed)

    def apply_limits(self, limits: Limits) -> None:
        """Write *limits* into the group's files, each controller enabled from the root down where it is not yet.

        Raises :class:`Unsupported` for a limit whose controller, or file, is not to be had: then nothing is written if it is the
        controller; :class:`KernelError` for a value that the kernel does not take.
        """
        self._ensure(_needed((), limits), frozenset())
        writes = limits.writes()
        files = [file for file, _ in writes]
        for file, text in writes:
            try:
                self._write_limit(file, text)
            except KernelError as error:
                if file != "cpu.max" or error.errno != errno.EINVAL or "cpu.max.burst" not in files:
                    raise
                # The old burst is above the new quota, so the burst has to go first (it may not exceed the quota).
                self._write_limit("cpu.max.burst", dict(writes)["cpu.max.burst"])
                self._write_limit(file, text)

    def has_limit(self, file: str) -> bool:
        """Whether the group has this file, once it has the controller. Raises :class:`Unsupported` for a missing controller."""
        controller = cgroupfs.controller_of(file)
        self._ensure({controller: file} if controller is not None else {}, frozenset())
        return self._read(file) is not None

    def _limited(self, limits: Limits | None) -> Cgroup:
        try:
            if limits is not None:
                self.apply_limits(limits)
        except BaseException:
            self.remove()
            raise
        return self

    def _ensure(self, needed: dict[str, str], optional: frozenset[str]) -> None:
        """Let this group itself have controllers. Optional ones that the root does not have are nowhere to be had."""
        optional = optional and optional & self.read_available_controllers()
        wanted = optional.union(needed)
        if wanted and not wanted <= set(self._words("cgroup.controllers")):
            tree.walk(self.root, self.name.split("/"), needed, optional, make=False).close()

    def _write_limit(self, file: str, text: str) -> None:
        try:
            cgroupfs.write_file(self.fileno(), file, text)
        except KernelError as error:
            error.add_note(f"{text!r} for {self.path}/{file}")
            if error.errno != errno.ENOENT or self._gone():
                raise
            # Without swap accounting there is no swap to be had, which is what 0 asks for and "max" allows.
            if file != "memory.swap.max" or text not in ("0", "max"):
                raise Unsupported(file, "this kernel has no such cgroup file") from None

    # ---- files by name ----

    def read_file(self, name: str) -> str:
        """A file of the group as it stands. Raises :class:`KernelError` (ENOENT if there is no such file)."""
        return cgroupfs.read_file(self.fileno(), name).decode()

    def write_file(self, name: str, text: str) -> None:
        """Write to a file of the group. Raises :class:`KernelError`."""
        cgroupfs.write_file(self.fileno(), name, text)

    def _read(self, name: str) -> bytes | None:
        """None for a file that the group does not have. A group that is gone is an error."""
        try:
            return cgroupfs.read_file(self.fileno(), name)
        except KernelError as error:
            if error.errno != errno.ENOENT or self._gone():
                raise
            return None

    def _words(self, name: str) -> tuple[str, ...]:
        return cgroupfs.parse_words(cgroupfs.read_file(self.fileno(), name))

    def _number(self, name: str) -> int | None:
        data = self._read(name)
        return None if data is None else cgroupfs.parse_limit(data)

    def _gone(self) -> bool:
        return tree.is_gone(self._fd)

    # ---- what it uses; None where the controller is missing ----

    def read_events(self) -> stats.CgroupEvents:
        """Whether anybody lives in the group, and whether it is frozen."""
        fields = cgroupfs.parse_flat(cgroupfs.read_file(self.fileno(), "cgroup.events"))
        return stats.CgroupEvents(bool(fields["populated"]), bool(fields["frozen"]))

    def read_procs(self) -> tuple[int, ...]:
        """The pids of the group itself, for display: a pid may be another process's by the time it is used."""
        return cgroupfs.parse_numbers(cgroupfs.read_file(self.fileno(), "cgroup.procs"))

    def read_all_procs(self) -> tuple[int, ...]:
        """The pids of the group and of those below it, for display."""
        pids = list(self.read_procs())
        groups = [self.path]
        for group in groups:  # which grows meanwhile
            for name in tree.names_below(group):
                groups.append(f"{group}/{name}")
                pids += _procs_of(groups[-1])
        return tuple(sorted(pids))

    def watch(self, *files: str) -> CgroupWatch:
        """Wait for changes of *files* that tell of them, such as cgroup.events and memory.events. The caller closes it."""
        from pyrun.kernel.cgroup_watch import CgroupWatch

        return CgroupWatch(self, files)

    def read_cpu_stats(self) -> stats.CpuStats:
        """Processor time; every group has that."""
        return stats.cpu_stats(cgroupfs.parse_flat(cgroupfs.read_file(self.fileno(), "cpu.stat")))

    def read_memory_stats(self) -> stats.MemoryStats | None:
        """Memory in use, by kind, and its peak."""
        current, fields = self._number("memory.current"), self.read_memory_stat()
        if current is None or fields is None:
            return None
        peak, swap = self.read_memory_peak_bytes(), self._number("memory.swap.current")
        kinds = [fields.get(name, 0) for name in ("anon", "file", "kernel", "shmem")]
        return stats.MemoryStats(current, peak, swap, *kinds)

    def read_memory_stat(self) -> dict[str, int] | None:
        """``memory.stat`` by the kernel's names."""
        data = self._read("memory.stat")
        return None if data is None else cgroupfs.parse_flat(data)

    def read_memory_peak_bytes(self) -> int | None:
        """The most that was in use at a time; None also before Linux 5.19."""
        return self._number("memory.peak")

    def read_memory_events(self, *, local: bool = False) -> stats.MemoryEvents | None:
        """How often limits were met and processes killed for it, with the groups below or (*local*) without."""
        data = self._read("memory.events.local" if local else "memory.events")
        return None if data is None else stats.memory_events(cgroupfs.parse_flat(data))

    def read_pids_stats(self) -> stats.PidsStats | None:
        """How many processes and threads there are."""
        current, events = self._number("pids.current"), self._read("pids.events")
        if current is None or events is None:
            return None
        return stats.PidsStats(current, self._number("pids.peak"), cgroupfs.parse_flat(events)["max"])

    def read_io_stats(self) -> tuple[stats.IoStats, ...] | None:
        """Input and output by device."""
        data = self._read("io.stat")
        return None if data is None else stats.io_stats(cgroupfs.parse_nested(data))

    def read_pressure(self, resource: str) -> cgroupfs.Pressure | None:
        """Time lost waiting for *resource*: cpu, memory, io or irq. None where the kernel does not measure it."""
        try:
            data = self._read(f"{resource}.pressure")
        except KernelError as error:
            if error.errno != errno.EOPNOTSUPP:  # built in, but off (psi=0)
                raise
            return None
        return None if data is None else cgroupfs.parse_pressure(data)

    # ---- the processes ----

    def attach(self, pid: int) -> None:
        """Move a process here. Slow: it waits for an RCU grace period, some 8 ms, where being born in a group costs 0.04 ms.

        For a process that is not ours to start. Memory that it uses already stays charged to its old group.
        """
        self.write_file("cgroup.procs", str(pid))

    def freeze(self, timeout_s: float = FREEZE_TIMEOUT_S) -> None:
        """Stop every process of the group and below, and wait until all have stopped.

        Raises :class:`StateError` after *timeout_s*, with the group thawed again: who sleeps uninterruptibly stops late.
        """
        self._freeze(1, timeout_s)

    def thaw(self, timeout_s: float = FREEZE_TIMEOUT_S) -> None:
        """Let them run again. Raises :class:`StateError` after *timeout_s*: a group above may be frozen."""
        self._freeze(0, timeout_s)

    def _freeze(self, wanted: int, timeout_s: float) -> None:
        self.write_file("cgroup.freeze", str(wanted))
        if not tree.wait_event(self._fd, "frozen", wanted, timeout_s):
            self.write_file("cgroup.freeze", "0")
            states = ("frozen", "thawed") if not wanted else ("running", "frozen")
            raise StateError(f"cgroup {self.path}", f"still {states[0]} after {timeout_s:g} s", states[1])

    def kill(self) -> None:
        """SIGKILL to every process of the group and below, to those just being forked as well. Idempotent.

        Returns before they are gone: see :meth:`wait_empty`. A frozen group is killed too; one that does not exist has nobody.

        Nothing can be born in the group after this on some kernels: 6.18 kills at once what clone3(2) puts into a group that
        was ever killed. For another process make the group anew.
        """
        try:
            if self._fd.closed:
                with self._reopen() as fd:
                    self._kill(fd)
            else:
                self._kill(self._fd)
        except KernelError as error:
            if error.errno not in tree.GONE:
                raise

    @staticmethod
    def _kill(fd: Fd) -> None:
        try:
            cgroupfs.write_file(fd.fileno(), "cgroup.kill", "1")
        except KernelError as error:
            if error.errno == errno.ENOENT and not tree.is_gone(fd):
                raise Unsupported("cgroup.kill", "Linux 5.14") from None
            raise

    def wait_empty(self, timeout_s: float | None = None) -> bool:
        """Wait until no process lives in the group or below. False when *timeout_s* has run out first."""
        try:
            if not self._fd.closed:
                return tree.wait_event(self._fd, "populated", 0, timeout_s)
            with self._reopen() as fd:
                return tree.wait_event(fd, "populated", 0, timeout_s)
        except KernelError as error:
            if error.errno not in tree.GONE:
                raise
            return True

    def exists(self) -> bool:
        """Whether there is a group of this name now."""
        try:
            self._reopen().close()
        except KernelError:
            return False
        return True

    def remove(self, timeout_s: float = REMOVE_TIMEOUT_S) -> None:
        """Remove the group and those below it, and close. Idempotent; works from the name alone.

        A process that was killed may need a moment to be gone, hence *timeout_s*. Raises :class:`StateError` if one lives on.
        """
        # What has the name now is another's, if ours is gone.
        ours_is_gone = not self._fd.closed and self._gone()
        self._fd.close()
        deadline = time.monotonic() + timeout_s
        while not ours_is_gone and not tree.remove_tree(self.path):
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not self.wait_empty(left_s):
                raise StateError(f"cgroup {self.path}", "populated", "without processes: kill it first")
        if self._shared:
            tree.prune(self.root, self.name.split("/")[:-1])

    def destroy(self, timeout_s: float = REMOVE_TIMEOUT_S) -> None:
        """Kill what lives in the group and remove it. Idempotent."""
        self.kill()
        self.remove(timeout_s)

    def _reopen(self) -> Fd:
        """A descriptor for a moment, when ours is closed."""
        return Fd.adopt(cgroupfs.open_cgroup(self.path))


def _procs_of(path: str) -> tuple[int, ...]:
    """None for a group that has just gone, or for one of threads, whose processes are told in the group above."""
    try:
        with Fd.adopt(cgroupfs.open_cgroup(path)) as fd:
            return cgroupfs.parse_numbers(cgroupfs.read_file(fd.fileno(), "cgroup.procs"))
    except KernelError as error:
        if error.errno not in (*tree.GONE, errno.EOPNOTSUPP):
            raise
        return ()


def find_cgroup_root() -> str:
    """Where cgroup v2 is mounted. Raises :class:`Unsupported` on a machine without."""
    root = cgroupfs.find_root()
    if root is None:
        raise tree.no_cgroup2()
    return root


def _needed(controllers: Iterable[str], limits: Limits | None) -> dict[str, str]:
    """Controllers, each with what it is needed for."""
    needed = {controller: tree.controller_feature(controller) for controller in controllers}
    for file, _ in reversed(limits.writes() if limits is not None else []):
        controller = cgroupfs.controller_of(file)
        if controller is not None:
            needed[controller] = file
    return needed


class _translated:
    """Says AlreadyExists and NotFound for what the kernel says about a group."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, KernelError) and error.errno == errno.EEXIST:
            raise AlreadyExists(f"cgroup {self._path} exists already") from None
        if isinstance(error, KernelError) and error.errno == errno.ENOENT:
            raise NotFound(f"there is no cgroup {self._path}") from None
