"""A container of a Pod as an OCI runtime specification. Pure: reads nothing but its arguments.

The OCI specification is the intermediate form on purpose: any OCI runtime takes it, so a second runtime can be asked
whether pyrun does what it says. Three things it has no words for are kept in its own vocabulary:

- the pod's shared namespaces are listed without a path; the planner knows which of them to join;
- what lives in the sandbox's mount namespace has a source below :attr:`PodPaths.sandbox`;
- a subPath is the part of a bind's source behind ``/./`` (as rsync(1) marks it): what is before is trusted, what is behind is
  resolved inside.
"""

from __future__ import annotations

from pyrun.container.layout import ETC_FILES, MESSAGE_PATH, OVERLAY_ANNOTATION, SUB_PATH_MARK, PodPaths
from pyrun.container.lower_security import (
    app_armor_of,
    capabilities_of,
    devices_of,
    home_of,
    lower_user,
    masked_paths_of,
    readonly_paths_of,
    se_linux_of,
    seccomp_of,
)
from pyrun.container.resources import (
    PERIOD_US,
    milli_cpu_to_quota_us,
    milli_cpu_to_shares,
    oom_score_adj,
    page_size_name,
)
from pyrun.container.security import ALL_CAPABILITIES_MASK
from pyrun.errors import SpecError
from pyrun.spec.expand import expand, expand_argv, expand_env, references
from pyrun.spec.oci import (
    OciCapabilities,
    OciCpu,
    OciHugepageLimit,
    OciIdMapping,
    OciLinux,
    OciMemory,
    OciMount,
    OciNamespace,
    OciPids,
    OciProcess,
    OciResources,
    OciRlimit,
    OciRoot,
    OciSpec,
    OciTimeOffset,
)
from pyrun.spec.parse import did_you_mean, quote
from pyrun.spec.qos import oom_request_bytes, qos_class
from pyrun.spec.source import DownwardVolume, EmptyDir, HostPath, ImageVolume, ObjectVolume, ProjectedVolume
from pyrun.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.oci import Pairs
    from pyrun.spec.pod import Container, PodSpec, Volume, VolumeMount

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PARENT_CGROUP = "pyrun"
USER_RANGE_IDS = 65536  # Kubernetes' (KEP-127): as many as the ids that images use
# Below it a group for each class but Guaranteed, as the kubelet has it: BestEffort pods together get the least share.
CLASS_CGROUPS = {
    "Guaranteed": PARENT_CGROUP,
    "Burstable": f"{PARENT_CGROUP}/burstable",
    "BestEffort": f"{PARENT_CGROUP}/besteffort",
}

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
    parent: str | None = None,
) -> OciSpec:
    """The OCI specification of one container.

    *uid* is the pod's; its cgroup is below *parent*, or where pods of its class are. *node_memory_bytes* is what oom_score_adj is
    measured against; *available_capabilities* what the launcher can hand on at most.
    """
    names = capabilities_of(container, available_capabilities)
    return OciSpec(
        root=OciRoot(container.image.path, container.security.read_only_root),
        process=_lower_process(pod, container, names, node_memory_bytes),
        hostname=pod.hostname,
        mounts=_lower_mounts(pod, container, paths),
        linux=OciLinux(
            namespaces=_lower_namespaces(pod, container),
            uid_mappings=id_mappings(pod),
            gid_mappings=id_mappings(pod),
            time_offsets=_lower_time_offsets(pod),
            cgroups_path=f"/{cgroup_name(uid, parent or class_cgroup(pod))}/{container.name}",
            resources=_lower_resources(pod, container),
            devices=devices_of(container),
            seccomp=seccomp_of(container, names),
            masked_paths=masked_paths_of(container),
            readonly_paths=readonly_paths_of(container),
        ),
        annotations=((OVERLAY_ANNOTATION, "overlay"), *pod.metadata.annotations),
    )


def class_cgroup(pod: PodSpec) -> str:
    """Where pods of this one's QoS class are."""
    return CLASS_CGROUPS[qos_class(pod)]


def cgroup_name(uid: str, parent: str) -> str:
    """The pod's cgroup below the root of the hierarchy."""
    return f"{parent}/pod{uid}"


def _lower_process(pod: PodSpec, container: Container, names: tuple[str, ...], node_memory_bytes: int) -> OciProcess:
    request = oom_request_bytes(pod, container)
    return OciProcess(
        cwd=container.working_dir,
        args=expand_argv(container),
        user=lower_user(pod, container),
        env=tuple([f"{name}={value}" for name, value in environment(pod, container)]),
        capabilities=OciCapabilities(bounding=names, effective=names, permitted=names),
        no_new_privileges=not container.security.allow_privilege_escalation,
        apparmor_profile=app_armor_of(container),
        selinux_label=se_linux_of(container),
        rlimits=tuple([OciRlimit(each.resource, each.soft, each.hard) for each in container.rlimits]),
        oom_score_adj=oom_score_adj(qos_class(pod), request, node_memory_bytes),
        terminal=container.tty,
    )


def environment(pod: PodSpec, container: Container) -> Pairs:
    """PATH, HOSTNAME and HOME as every runtime sets them, then what the manifest says."""
    variables = {"PATH": DEFAULT_PATH, "HOSTNAME": pod.hostname, "HOME": home_of(container)}
    variables.update(expand_env(container))
    return tuple(variables.items())


def _lower_namespaces(pod: PodSpec, container: Container) -> tuple[OciNamespace, ...]:
    """An ephemeral container with a target is born in that one's PID namespace, and has none of its own."""
    kinds = ["mount", "cgroup", *shared_namespaces(pod)]
    if not pod.host_users:
        kinds.append("user")
    if not pod.share_process_namespace and not pod.host_pid and not container.target_container_name:
        kinds.append("pid")
    return tuple([OciNamespace(kind) for kind in kinds])  # type: ignore[arg-type]


def id_mappings(pod: PodSpec) -> tuple[OciIdMapping, ...]:
    """Of a pod with users of its own: its range, or one that stands for it in a plan that nobody performs."""
    return () if pod.host_users else (OciIdMapping(0, pod.user_range or USER_RANGE_IDS, USER_RANGE_IDS),)


def _lower_time_offsets(pod: PodSpec) -> tuple[OciTimeOffset, ...]:
    offsets = (("monotonic", pod.time_offsets.monotonic_ns), ("boottime", pod.time_offsets.boottime_ns))
    return tuple([OciTimeOffset(clock, *divmod(offset, 10**9)) for clock, offset in offsets if offset])


def _lower_resources(pod: PodSpec, container: Container) -> OciResources:
    """For another runtime; pyrun writes :func:`pyrun.pod.limits.container_limits`, which knows the node as well."""
    asked = container.resources
    limit = asked.cpu_limit_milli or pod.resources.cpu_limit_milli
    memory = asked.memory_limit_bytes or pod.resources.memory_limit_bytes
    cpu = OciCpu(
        shares=milli_cpu_to_shares(asked.cpu_request_milli or 0),
        quota=milli_cpu_to_quota_us(limit) if limit else None,
        period=PERIOD_US if limit else None,
    )
    # One process killed for memory takes the container with it, as the kubelet has it on cgroup v2 (kubernetes#117793).
    grouped = (("memory.oom.group", "1"),) if memory and container.oom_group else ()
    weight = (("io.weight", str(container.io_weight)),) if container.io_weight else ()
    pages = asked.hugepages or pod.resources.hugepages
    return OciResources(
        cpu=cpu,
        memory=OciMemory(limit=memory) if memory is not None else None,
        pids=OciPids(container.pids_limit) if container.pids_limit else None,
        hugepage_limits=tuple([OciHugepageLimit(page_size_name(size), amount) for size, amount in pages]),
        unified=grouped + weight,
    )


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
        *[_writable(mount) if container.security.privileged else mount for mount in (SYS_MOUNT, CGROUP_MOUNT)],
        *[OciMount(f"/etc/{name}", "bind", paths.etc_file(name), ("bind", "rprivate", "rw")) for name in ETC_FILES],
        *_message_mount(container, paths),
    ]
    mounts = [*[mount for mount in standard if mount.destination not in taken], *own]
    # A mount below another one has to come after it, whatever the order in the manifest: a volume at /etc does not hide
    # /etc/hosts.
    return tuple(sorted(mounts, key=lambda mount: mount.destination.count("/")))


def _writable(mount: OciMount) -> OciMount:
    return replace(mount, options=tuple([option for option in mount.options if option != "ro"]))


def _message_mount(container: Container, paths: PodPaths) -> list[OciMount]:
    """At the default path the plan makes a file in /dev, which is the container's alone; anywhere else it is mounted."""
    path = container.termination_message_path
    if path == MESSAGE_PATH:
        return []
    return [OciMount(path, "bind", paths.message_file(container.name), ("bind", "rprivate", "rw"))]


_PROPAGATION = {"None": "rprivate", "HostToContainer": "rslave", "Bidirectional": "rshared"}


def _volume_mounts(pod: PodSpec, container: Container, paths: PodPaths) -> tuple[OciMount, ...]:
    volumes = {volume.name: volume for volume in pod.volumes}
    mounts = [_volume_mount(pod, container, mount, volumes[mount.name], paths) for mount in container.volume_mounts]
    return tuple(mounts if pod.host_users else [_mapped(mount, paths) for mount in mounts])


def _mapped(mount: OciMount, paths: PodPaths) -> OciMount:
    """What is the host's has its owners mapped to the pod's; what pause has mounted has them by itself."""
    inside = mount.source.startswith(paths.sandbox + "/")
    return mount if inside else replace(mount, options=(*mount.options, "ridmap"))


def _volume_mount(pod: PodSpec, container: Container, mount: VolumeMount, volume: Volume, paths: PodPaths) -> OciMount:
    source = volume_source(volume, paths)
    sub_path = mount.sub_path or (_expanded_sub_path(pod, container, mount) if mount.sub_path_expr else "")
    path = f"{source}{SUB_PATH_MARK}{sub_path}" if sub_path else source
    read_only = mount.read_only or has_files(volume) or isinstance(volume.source, ImageVolume)
    # Without "rw" and "dev": what the host has mounted read-only, or without devices, stays so.
    options = (
        "rbind",
        _PROPAGATION[mount.mount_propagation],
        *(("rro" if mount.recursive_read_only != "Disabled" else "ro",) if read_only else ()),
        *(() if _may_be_device(volume) else ("nodev",)),
    )
    return OciMount(mount.mount_path, "bind", path, options)


def _expanded_sub_path(pod: PodSpec, container: Container, mount: VolumeMount) -> str:
    """``subPathExpr`` with the container's variables in it. Raises SpecError for one that is none, or leaves the volume."""
    pointer = f"container {container.name}, mount {mount.mount_path}: subPathExpr"
    variables = dict(environment(pod, container))
    unknown = [name for name in references(mount.sub_path_expr) if name not in variables]
    if unknown:
        raise SpecError("", f"{pointer}: there is no variable {quote(unknown[0])}{did_you_mean(unknown[0], variables)}")
    text = expand(mount.sub_path_expr, variables)
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if text.startswith("/") or ".." in parts or not parts or "\0" in text:
        raise SpecError("", f"{pointer}: {quote(text)} must be a relative path without '..'")
    return "/".join(parts)


def _may_be_device(volume: Volume) -> bool:
    return isinstance(volume.source, HostPath) and volume.source.type in ("", "CharDevice", "BlockDevice")


def volume_source(volume: Volume, paths: PodPaths) -> str:
    """Where the volume's content is: a path of the host, or a name in the sandbox."""
    source = volume.source
    if isinstance(source, HostPath):
        return source.path
    if isinstance(source, ImageVolume):
        return source.reference.path
    return paths.memory_volume(volume.name) if is_in_sandbox(volume) else paths.disk_volume(volume.name)


def is_in_sandbox(volume: Volume) -> bool:
    """Whether its content is in the sandbox's mount namespace: in memory, huge pages, or files that pyrun writes."""
    source = volume.source
    return bool(source.medium) if isinstance(source, EmptyDir) else has_files(volume)


def has_files(volume: Volume) -> bool:
    """Whether pyrun writes its files: they are no container's to change."""
    return isinstance(volume.source, ObjectVolume | DownwardVolume | ProjectedVolume)
