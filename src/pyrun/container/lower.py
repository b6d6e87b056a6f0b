"""A container of a Pod as an OCI runtime specification. Pure: reads nothing but its arguments.

The OCI specification is the intermediate form on purpose: any OCI runtime takes it, so a second runtime can be asked
whether pyrun does what it says. Three things it has no words for are kept in its own vocabulary:

- the pod's shared namespaces are listed without a path; the planner knows which of them to join;
- what lives in the sandbox's mount namespace has a source below :attr:`PodPaths.sandbox`;
- a subPath is the part of a bind's source behind ``/./`` (as rsync(1) marks it): what is before is trusted, what is behind is
  resolved inside.
"""

from __future__ import annotations

from pyrun.container.layout import ETC_FILES, OVERLAY_ANNOTATION, SUB_PATH_MARK, PodPaths
from pyrun.container.resources import PERIOD_US, milli_cpu_to_quota_us, milli_cpu_to_shares, oom_score_adj
from pyrun.container.seccomp import DefaultProfile
from pyrun.container.security import (
    ALL_CAPABILITIES_MASK,
    DEFAULT_CAPABILITIES,
    MASKED_PATHS,
    READONLY_PATHS,
    capability_mask,
    capability_names,
)
from pyrun.spec.expand import expand_argv, expand_env
from pyrun.spec.oci import (
    OciCapabilities,
    OciCpu,
    OciLinux,
    OciMemory,
    OciMount,
    OciNamespace,
    OciProcess,
    OciResources,
    OciRoot,
    OciSpec,
    OciTimeOffset,
    OciUser,
)
from pyrun.spec.pod import EmptyDir
from pyrun.spec.qos import qos_class

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.oci import Pairs
    from pyrun.spec.pod import Container, PodSpec, Volume, VolumeMount

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PARENT_CGROUP = "pyrun"

PROC_MOUNT = OciMount("/proc", "proc", "proc", ("nosuid", "noexec", "nodev"))
DEV_MOUNT = OciMount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k"))
PTS_OPTIONS = ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")
PTS_MOUNT = OciMount("/dev/pts", "devpts", "devpts", PTS_OPTIONS)
MQUEUE_MOUNT = OciMount("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev"))
SYS_MOUNT = OciMount("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "ro"))
CGROUP_MOUNT = OciMount("/sys/fs/cgroup", "cgroup", "cgroup", ("nosuid", "noexec", "nodev", "relatime", "ro"))


def shared_namespaces(pod: PodSpec) -> tuple[str, ...]:
    """What the pod's containers share and pause holds, in OCI's words; what the pod takes from the host is not among them."""
    kinds = ["uts"]
    if not pod.host_network:
        kinds.append("network")
    if not pod.host_ipc:
        kinds.append("ipc")
    kinds.append("time")
    if pod.share_process_namespace:
        kinds.append("pid")
    return tuple(kinds)


def lower_container(
    pod: PodSpec,
    container: Container,
    uid: str,
    paths: PodPaths,
    node_memory_bytes: int,
    available_capabilities: int = ALL_CAPABILITIES_MASK,
    parent: str = PARENT_CGROUP,
) -> OciSpec:
    """The OCI specification of one container.

    *uid* is the pod's; its cgroup is below *parent*. *node_memory_bytes* is what oom_score_adj is measured against;
    *available_capabilities* what the launcher can hand on at most.
    """
    names = capability_names(capability_mask(DEFAULT_CAPABILITIES) & available_capabilities)
    return OciSpec(
        root=OciRoot(container.image.path),
        process=_lower_process(pod, container, names, node_memory_bytes),
        hostname=pod.hostname,
        mounts=_lower_mounts(pod, container, paths),
        linux=OciLinux(
            namespaces=_lower_namespaces(pod),
            time_offsets=_lower_time_offsets(pod),
            cgroups_path=f"/{cgroup_name(uid, parent)}/{container.name}",
            resources=_lower_resources(container),
            seccomp=DefaultProfile(names),
            masked_paths=MASKED_PATHS,
            readonly_paths=READONLY_PATHS,
        ),
        annotations=((OVERLAY_ANNOTATION, "overlay"), *pod.metadata.annotations),
    )


def cgroup_name(uid: str, parent: str = PARENT_CGROUP) -> str:
    """The pod's cgroup below the root of the hierarchy."""
    return f"{parent}/pod{uid}"


def _lower_process(pod: PodSpec, container: Container, names: tuple[str, ...], node_memory_bytes: int) -> OciProcess:
    request = container.resources.memory_request_bytes or 0
    return OciProcess(
        cwd=container.working_dir,
        args=expand_argv(container),
        user=OciUser(0, 0, umask=0o022),
        env=tuple([f"{name}={value}" for name, value in environment(pod, container)]),
        capabilities=OciCapabilities(bounding=names, effective=names, permitted=names),
        no_new_privileges=True,
        oom_score_adj=oom_score_adj(qos_class(pod), request, node_memory_bytes),
    )


def environment(pod: PodSpec, container: Container) -> Pairs:
    """PATH, HOSTNAME and HOME as every runtime sets them, then what the manifest says."""
    variables = {"PATH": DEFAULT_PATH, "HOSTNAME": pod.hostname, "HOME": "/root"}
    variables.update(expand_env(container))
    return tuple(variables.items())


def _lower_namespaces(pod: PodSpec) -> tuple[OciNamespace, ...]:
    kinds = ["mount", "cgroup", *shared_namespaces(pod)]
    if not pod.share_process_namespace and not pod.host_pid:
        kinds.append("pid")
    return tuple([OciNamespace(kind) for kind in kinds])  # type: ignore[arg-type]


def _lower_time_offsets(pod: PodSpec) -> tuple[OciTimeOffset, ...]:
    offsets = (("monotonic", pod.time_offsets.monotonic_ns), ("boottime", pod.time_offsets.boottime_ns))
    return tuple([OciTimeOffset(clock, *divmod(offset, 10**9)) for clock, offset in offsets if offset])


def _lower_resources(container: Container) -> OciResources:
    asked = container.resources
    limit = asked.cpu_limit_milli
    cpu = OciCpu(
        shares=milli_cpu_to_shares(asked.cpu_request_milli or 0),
        quota=milli_cpu_to_quota_us(limit) if limit else None,
        period=PERIOD_US if limit else None,
    )
    if asked.memory_limit_bytes is None:
        return OciResources(cpu=cpu)
    # One process killed for memory takes the container with it, as the kubelet has it on cgroup v2 (kubernetes#117793).
    return OciResources(cpu=cpu, memory=OciMemory(limit=asked.memory_limit_bytes), unified=(("memory.oom.group", "1"),))


# ---- mounts ----


def _lower_mounts(pod: PodSpec, container: Container, paths: PodPaths) -> tuple[OciMount, ...]:
    own = _volume_mounts(pod, container, paths)
    taken = {mount.destination for mount in own}
    shared_memory = "/dev/shm" if pod.host_ipc else paths.shared_memory()
    standard = [
        PROC_MOUNT,
        DEV_MOUNT,
        PTS_MOUNT,
        OciMount("/dev/shm", "bind", shared_memory, ("rbind", "rprivate", "nosuid", "noexec", "nodev")),
        MQUEUE_MOUNT,
        SYS_MOUNT,
        CGROUP_MOUNT,
        *[OciMount(f"/etc/{name}", "bind", paths.etc_file(name), ("bind", "rprivate", "rw")) for name in ETC_FILES],
    ]
    mounts = [*[mount for mount in standard if mount.destination not in taken], *own]
    # A mount below another one has to come after it, whatever the order in the manifest: a volume at /etc does not hide
    # /etc/hosts.
    return tuple(sorted(mounts, key=lambda mount: mount.destination.count("/")))


def _volume_mounts(pod: PodSpec, container: Container, paths: PodPaths) -> tuple[OciMount, ...]:
    volumes = {volume.name: volume for volume in pod.volumes}
    return tuple([_volume_mount(mount, volumes[mount.name], paths) for mount in container.volume_mounts])


def _volume_mount(mount: VolumeMount, volume: Volume, paths: PodPaths) -> OciMount:
    source = volume_source(volume, paths)
    path = f"{source}{SUB_PATH_MARK}{mount.sub_path}" if mount.sub_path else source
    # Without "rw" and "dev": what the host has mounted read-only, or without devices, stays so.
    options = (
        "rbind",
        "rprivate",
        *(("ro",) if mount.read_only else ()),
        *(() if _may_be_device(volume) else ("nodev",)),
    )
    return OciMount(mount.mount_path, "bind", path, options)


def _may_be_device(volume: Volume) -> bool:
    return not isinstance(volume.source, EmptyDir) and volume.source.type in ("", "CharDevice", "BlockDevice")


def volume_source(volume: Volume, paths: PodPaths) -> str:
    """Where the volume's content is: a path of the host, or a name in the sandbox."""
    if not isinstance(volume.source, EmptyDir):
        return volume.source.path
    return paths.memory_volume(volume.name) if volume.source.medium == "Memory" else paths.disk_volume(volume.name)
