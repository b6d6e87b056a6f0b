"""Ephemeral storage: what a pod's disk volumes and its containers' own layers take, against their limits.

Looked at every :data:`INTERVAL_S`, as the kubelet does, for pods alone that have such a limit. A container's own layer is a tmpfs
of its own, so its size is one statfs(2) away; a disk emptyDir is walked.
"""

from __future__ import annotations

import os

from pyrun.pod.disk_usage import DiskUsage, TooMuch
from pyrun.pod.lifecycle.event import StopAsked
from pyrun.spec.qos import limits_of_storage, volume_limits
from pyrun.spec.quantity import format_bytes
from pyrun.spec.source import EmptyDir
from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.container.layout import PodPaths
    from pyrun.kernel.process import Process
    from pyrun.spec.pod import PodSpec

INTERVAL_S = 10.0
GRACE_S = 1.0  # the kubelet's immediateEvictionGracePeriodSeconds
REASON = "Evicted"


class StorageUsage(Value):
    """Bytes by the names of volumes and of containers. ``unmeasured`` are volumes that are too much to be looked at, and why."""

    volumes: tuple[tuple[str, int], ...] = ()
    layers: tuple[tuple[str, int], ...] = ()
    unmeasured: tuple[tuple[str, str], ...] = ()


def find_excess(pod: PodSpec, usage: StorageUsage) -> str | None:
    """Why the pod has to go, in the kubelet's words; None if it may stay. Pure."""
    limits, volumes = volume_limits(pod), dict(usage.volumes)
    for name, why in usage.unmeasured:
        return f'Usage of EmptyDir volume "{name}" cannot be measured: {why}.'
    for name, limit in limits.items():
        if volumes.get(name, 0) > limit:
            return f'Usage of EmptyDir volume "{name}" exceeds the limit "{format_bytes(limit)}".'
    total = limits_of_storage(pod)
    if total is not None and sum(volumes.values()) + sum([size for _, size in usage.layers]) > total:
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {format_bytes(total)}."
    layers = dict(usage.layers)
    for container in (*pod.init_containers, *pod.containers):
        own = container.resources.ephemeral_storage_limit_bytes
        if own is not None and layers.get(container.name, 0) > own:
            what = f"Container {container.name} exceeded its local ephemeral storage limit"
            return f'{what} "{format_bytes(own)}".'
    return None


def _disk_volumes(pod: PodSpec) -> list[str]:
    """Those that count: all on disk, if the pod has a limit as a whole, else those with a limit."""
    if limits_of_storage(pod) is None:
        return list(volume_limits(pod))
    sources = [(volume.name, volume.source) for volume in pod.volumes]
    return [name for name, source in sources if isinstance(source, EmptyDir) and not source.medium]


class StorageWatch:
    """Looks at a pod's storage, in pieces::

        watch = StorageWatch(spec, paths)
        while ...:
            wait until watch.due_s at most
            stop = watch.look(now_s, {name: process})
            if stop is not None: tell the machine

    :meth:`close` when the pod is over.
    """

    def __init__(self, pod: PodSpec, paths: PodPaths, now_s: float) -> None:
        self.due_s = now_s + INTERVAL_S
        self._pod = pod
        self._paths = paths
        self._roots: dict[str, tuple[Process, int]] = {}
        self._walk: DiskUsage | None = None
        self._left: list[str] = []
        self._volumes: dict[str, int] = {}
        self._unmeasured: dict[str, str] = {}
        self._began_s = now_s

    def keep_root(self, name: str, process: Process) -> None:
        """Hold on to the root of a container that starts: later its program may have changed its own (chroot(2))."""
        held = self._roots.pop(name, None)
        if held is not None:
            os.close(held[1])
        try:
            fd = os.open(f"/proc/{process.pid}/root", os.O_PATH | os.O_CLOEXEC)
        except OSError:  # it has ended already
            return
        self._roots[name] = (process, fd)

    def look(self, now_s: float) -> StopAsked | None:
        """Go on looking, if it is time. What to tell the machine if the pod has to go."""
        if now_s < self.due_s:
            return None
        if self._walk is None and not self._left:
            self._begin(now_s)
        if not self._walk_on():
            self.due_s = now_s
            return None
        self.due_s = self._began_s + INTERVAL_S if self._began_s + INTERVAL_S > now_s else now_s + INTERVAL_S
        usage = StorageUsage(
            tuple(self._volumes.items()), tuple(self._read_layers().items()), tuple(self._unmeasured.items())
        )
        message = find_excess(self._pod, usage)
        return None if message is None else StopAsked(GRACE_S, REASON, message)

    def close(self) -> None:
        """Idempotent."""
        if self._walk is not None:
            self._walk.close()
            self._walk = None
        for _, fd in self._roots.values():
            os.close(fd)
        self._roots.clear()

    def _begin(self, now_s: float) -> None:
        self._began_s = now_s
        self._left = _disk_volumes(self._pod)
        self._volumes.clear()
        self._unmeasured.clear()

    def _walk_on(self) -> bool:
        """One piece. True when all volumes have been looked at."""
        if self._walk is None:
            if not self._left:
                return True
            self._walk = DiskUsage(self._paths.disk_volume(self._left[0]))
        try:
            if not self._walk.step():
                return False
        except TooMuch as error:
            self._unmeasured[self._left[0]] = str(error)
        except FileNotFoundError:
            pass  # the pod is on its way out
        self._volumes[self._left.pop(0)] = self._walk.used_bytes
        self._walk.close()
        self._walk = None
        return not self._left

    def _read_layers(self) -> dict[str, int]:
        """What lies in the layers of containers above their images: overlayfs tells what the upper one has."""
        sizes = {}
        for name, (process, fd) in list(self._roots.items()):
            if process.status is not None:
                continue
            found = os.statvfs(fd)
            sizes[name] = (found.f_blocks - found.f_bfree) * found.f_frsize
        return sizes
