"""The plan of pause: the namespaces that a pod shares, and what is mounted in them. Pure.

pause lives in a mount namespace whose only root is a small read-only tmpfs. What all containers of the pod share as mounts is in
there: /dev/shm, the emptyDirs in memory, the files for /etc. Each container copies that namespace instead of the host's, so a
start costs the same however many mounts the host and other pods have, and nothing of a pod is ever mounted in the host's.
"""

from __future__ import annotations

import stat

from pyrun.container.layout import ETC_FILES, MESSAGE_PATH, MESSAGES, SCRATCH, SHARED_MEMORY
from pyrun.container.lower import is_in_sandbox
from pyrun.container.resources import PAUSE_OOM_SCORE_ADJ, memory_volume_size_bytes
from pyrun.container.root_plan import USER_NAMESPACE
from pyrun.kernel.step import (
    Attach,
    BecomeNamespaceRoot,
    ChangeDirectory,
    Duplicate,
    JoinNamespaces,
    JoinUserNamespace,
    LimitBoundingSet,
    LoopbackUp,
    MakeDirectory,
    MakeNode,
    NewMount,
    NewPidNamespace,
    NewSession,
    NewTimeNamespace,
    NoNewPrivileges,
    ParentDeathSignal,
    PivotRoot,
    SetCapabilities,
    SetHostname,
    SetMountAttributes,
    SetOomScoreAdj,
    SetPropagation,
    SetSysctl,
    SetUser,
    Unshare,
    WriteFile,
)
from pyrun.spec.qos import pod_resources
from pyrun.spec.quantity import parse_quantity, to_units
from pyrun.spec.source import EmptyDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pyrun.kernel.step import Plan, Step
    from pyrun.spec.pod import PodSpec, Volume

SANDBOX = "sandbox"
BARE = "bare mount namespace"
LAUNCHER = "launcher"
PAUSE_UID = 65535  # Kubernetes' pause image
SHARED_MEMORY_BYTES = 64 * 1024 * 1024  # containerd, defaultShmSize
SAFE = ("nosuid", "nodev", "noexec")
FILES_BYTES = 64 * 1024 * 1024  # twice as much as all objects of a manifest together, and what replaces them


def plan_sandbox(
    pod: PodSpec,
    shared: Collection[str],
    etc_files: Mapping[str, bytes],
    death_signal: int = 0,
    protect: bool = True,
    node_memory_bytes: int = 0,
    bare: bool = False,
) -> Plan:
    """The steps before the exec of pause.

    *shared* are the namespaces it is to hold (:func:`pyrun.container.lower.shared_namespaces`); *etc_files* has a
    content for each of :data:`ETC_FILES`. *protect* keeps the OOM killer from pause, which takes CAP_SYS_RESOURCE.
    *node_memory_bytes* is the most that an emptyDir in memory may have. With *bare* the mount namespace starts from the one in
    slot :data:`BARE` (:mod:`pyrun.kernel.bare`).
    """
    born = "pid" in shared and not pod.host_users  # the PID namespace is to belong to the pod's users
    return (
        *([SetOomScoreAdj(PAUSE_OOM_SCORE_ADJ)] if protect else []),
        *([] if born else [NewSession()]),
        *_namespaces(pod, shared, bare and pod.host_users),
        *([NewPidNamespace(), NewSession()] if born else []),
        SetHostname(pod.hostname),
        SetPropagation("/", "private"),
        *_mounts(pod, etc_files, node_memory_bytes),
        PivotRoot(SANDBOX),
        SetMountAttributes("/", attributes=("ro",)),
        ChangeDirectory("/"),
        LimitBoundingSet(0),
        SetUser(PAUSE_UID, PAUSE_UID),
        SetCapabilities(0, 0, 0, 0),
        NoNewPrivileges(),
        *([ParentDeathSignal(death_signal, LAUNCHER)] if death_signal else []),
        *[Duplicate("null", number) for number in range(3)],
    )


def _namespaces(pod: PodSpec, shared: Collection[str], bare: bool) -> list[Step]:
    steps: list[Step] = []
    if "time" in shared:
        steps.append(NewTimeNamespace(pod.time_offsets.monotonic_ns, pod.time_offsets.boottime_ns))
    if not pod.host_users:
        steps += [JoinUserNamespace(USER_NAMESPACE, ("user",)), BecomeNamespaceRoot()]
    made = tuple([kind for kind in shared if kind not in ("time", "pid")])
    if pod.security.sysctls:  # while there is a /proc to write them in
        steps += [Unshare(made), *[SetSysctl(_slashed(name), value) for name, value in pod.security.sysctls]]
        made = ()
    if bare:
        steps.append(JoinNamespaces(BARE, ("mount",)))
    steps.append(Unshare(("mount", *made)))
    if "network" in shared and pod.loopback:
        steps.append(LoopbackUp())
    return steps


def _slashed(name: str) -> str:
    """A name with dots between its parts, as a path."""
    return name.translate(str.maketrans("./", "/."))


def _mounts(pod: PodSpec, etc_files: Mapping[str, bytes], node_memory_bytes: int) -> list[Step]:
    steps: list[Step] = [
        NewMount("tmpfs", SANDBOX, ("mode=0755",), ("nosuid", "nodev"), source="pyrun-sandbox"),
        Attach(SANDBOX, "/"),
        MakeDirectory(SCRATCH, at=SANDBOX),
        MakeDirectory("etc", at=SANDBOX),
        *[WriteFile(f"etc/{name}", etc_files[name], at=SANDBOX, create_mode=0o644) for name in ETC_FILES],
    ]
    steps += _messages(pod)
    if not pod.host_ipc:
        options = ("mode=1777", f"size={SHARED_MEMORY_BYTES}")
        steps += _tmpfs(SHARED_MEMORY, options, SAFE)
    for volume in pod.volumes:
        if is_in_sandbox(volume):
            steps += _volume(pod, volume, node_memory_bytes)
    return steps


def _messages(pod: PodSpec) -> list[Step]:
    """The files for termination messages that are to be elsewhere than in the containers' own /dev."""
    every = (*pod.init_containers, *pod.containers, *pod.ephemeral_containers)
    names = [each.name for each in every if each.termination_message_path != MESSAGE_PATH]
    files = [MakeNode(f"{MESSAGES}/{name}", stat.S_IFREG | 0o666, 0, 0, at=SANDBOX) for name in names]
    return [MakeDirectory(MESSAGES, at=SANDBOX), *files] if files else []


def _volume(pod: PodSpec, volume: Volume, node_memory_bytes: int) -> list[Step]:
    source, path = volume.source, f"volumes/{volume.name}"
    if not isinstance(source, EmptyDir):
        return _tmpfs(path, ("mode=0755", f"size={FILES_BYTES}"), SAFE)  # pyrun writes into it, and nobody else
    if source.medium != "Memory":
        size = (f"size={source.size_limit_bytes}",) if source.size_limit_bytes else ()
        options = (*_owner(pod, source), f"pagesize={_page_bytes(pod, source.medium)}", *size)
        return _mounted("hugetlbfs", path, options, ("nosuid", "nodev"))
    limit = pod_resources(pod).memory_limit_bytes
    size_bytes = memory_volume_size_bytes(source.size_limit_bytes, limit, node_memory_bytes)
    bounded = (f"size={size_bytes}",) if size_bytes else ()
    return _tmpfs(path, (*_owner(pod, source), *bounded), ("nosuid", "nodev"))


def _owner(pod: PodSpec, source: EmptyDir) -> tuple[str, ...]:
    """Of an emptyDir: its mode, and with fsGroup what is written into it belongs to the group."""
    group = pod.security.fs_group
    if group is None:
        return (f"mode={source.mode:04o}",)
    return (f"mode={source.mode | 0o2070:04o}", f"gid={group}")


def _page_bytes(pod: PodSpec, medium: str) -> int:
    """The size of page of *medium*, or the one that the pod asks for: the check of the manifest has found one."""
    if medium != "HugePages":
        return to_units(parse_quantity(medium.removeprefix("HugePages-")))
    return pod_resources(pod).hugepages[0][0]


def _tmpfs(path: str, options: tuple[str, ...], attributes: tuple[str, ...]) -> list[Step]:
    return _mounted("tmpfs", path, options, attributes)


def _mounted(kind: str, path: str, options: tuple[str, ...], attributes: tuple[str, ...]) -> list[Step]:
    tree = f"{kind} {path}"
    return [NewMount(kind, tree, options, attributes, source=kind), Attach(tree, path, at=SANDBOX, create=True)]
