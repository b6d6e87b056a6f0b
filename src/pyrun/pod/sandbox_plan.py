"""The plan of pause: the namespaces that a pod shares, and what is mounted in them. Pure.

pause lives in a mount namespace whose only root is a small read-only tmpfs. What all containers of the pod share as mounts is in
there: /dev/shm, the emptyDirs in memory, the files for /etc. Each container copies that namespace instead of the host's, so a
start costs the same however many mounts the host and other pods have, and nothing of a pod is ever mounted in the host's.
"""

from __future__ import annotations

from pyrun.container.layout import ETC_FILES, SCRATCH, SHARED_MEMORY
from pyrun.container.resources import PAUSE_OOM_SCORE_ADJ, memory_volume_size_bytes
from pyrun.kernel.step import (
    Attach,
    ChangeDirectory,
    Duplicate,
    JoinNamespaces,
    LimitBoundingSet,
    LoopbackUp,
    MakeDirectory,
    NewMount,
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
    SetUser,
    Unshare,
    WriteFile,
)
from pyrun.spec.pod import EmptyDir
from pyrun.spec.qos import pod_resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pyrun.kernel.step import Plan, Step
    from pyrun.pod.machine import Machine
    from pyrun.spec.pod import PodSpec

SANDBOX = "sandbox"
BARE = "bare mount namespace"
LAUNCHER = "launcher"
PAUSE_UID = 65535  # Kubernetes' pause image
SHARED_MEMORY_BYTES = 64 * 1024 * 1024  # containerd, defaultShmSize
HOSTS = b"""\
# Made by pyrun for this pod.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
"""
SAFE = ("nosuid", "nodev", "noexec")


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
    return (
        *([SetOomScoreAdj(PAUSE_OOM_SCORE_ADJ)] if protect else []),
        NewSession(),
        *_namespaces(pod, shared, bare),
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
    if bare:
        steps.append(JoinNamespaces(BARE, ("mount",)))
    steps.append(Unshare(("mount", *[kind for kind in shared if kind not in ("time", "pid")])))
    if "network" in shared:
        steps.append(LoopbackUp())
    return [*steps, SetHostname(pod.hostname), SetPropagation("/", "private")]


def _mounts(pod: PodSpec, etc_files: Mapping[str, bytes], node_memory_bytes: int) -> list[Step]:
    steps: list[Step] = [
        NewMount("tmpfs", SANDBOX, ("mode=0755",), ("nosuid", "nodev"), source="pyrun-sandbox"),
        Attach(SANDBOX, "/"),
        MakeDirectory(SCRATCH, at=SANDBOX),
        MakeDirectory("etc", at=SANDBOX),
        *[WriteFile(f"etc/{name}", etc_files[name], at=SANDBOX, create_mode=0o644) for name in ETC_FILES],
    ]
    if not pod.host_ipc:
        options = ("mode=1777", f"size={SHARED_MEMORY_BYTES}")
        steps += _tmpfs(SHARED_MEMORY, options, SAFE)
    limit = pod_resources(pod).memory_limit_bytes
    for volume in pod.volumes:
        source = volume.source
        if isinstance(source, EmptyDir) and source.medium == "Memory":
            size = memory_volume_size_bytes(source.size_limit_bytes, limit, node_memory_bytes)
            bounded = (f"size={size}",) if size else ()
            steps += _tmpfs(f"volumes/{volume.name}", ("mode=0777", *bounded), ("nosuid", "nodev"))
    return steps


def _tmpfs(path: str, options: tuple[str, ...], attributes: tuple[str, ...]) -> list[Step]:
    tree = f"tmpfs {path}"
    return [NewMount("tmpfs", tree, options, attributes, source="tmpfs"), Attach(tree, path, at=SANDBOX, create=True)]


def etc_files(pod: PodSpec, machine: Machine) -> dict[str, bytes]:
    """What /etc/hosts, /etc/hostname and /etc/resolv.conf of the pod say.

    A pod on the machine's network uses the machine's /etc/hosts, as in Kubernetes, and in it finds a name of its own, too; any
    other one knows itself and localhost.
    """
    hostname = (pod.hostname or machine.hostname).encode(errors="surrogateescape")
    hosts = machine.hosts if pod.host_network else HOSTS
    return {
        "hosts": _whole_lines(hosts) + b"127.0.0.1\t%s\n" % hostname if pod.hostname else hosts,
        "hostname": hostname + b"\n",
        "resolv.conf": machine.resolv_conf,
    }


def _whole_lines(text: bytes) -> bytes:
    """*text*, so that a line can be put behind it."""
    return text if not text or text.endswith(b"\n") else text + b"\n"
