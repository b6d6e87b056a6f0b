"""A container's OCI specification without the pod around it, for any other OCI runtime. Pure."""

from __future__ import annotations

from pyrun.container.layout import OVERLAY_ANNOTATION, SUB_PATH_MARK
from pyrun.errors import SpecError
from pyrun.pod.sandbox_plan import SHARED_MEMORY_BYTES
from pyrun.spec.oci import OciMount
from pyrun.spec.source import EmptyDir
from pyrun.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.container.layout import PodPaths
    from pyrun.spec.oci import OciSpec
    from pyrun.spec.pod import PodSpec

OLDEST_VERSION = "1.0.2"  # has all that lowering writes but time namespaces; crun 1.8 takes no 1.1 and later
TMPFS_OPTIONS = ("nosuid", "nodev")


def standalone_oci(pod: PodSpec, oci: OciSpec, paths: PodPaths) -> OciSpec:
    """*oci* as a runtime can take it that knows nothing of *pod*.

    What lives in the pod's sandbox has no path that another process could use, and a disk emptyDir no directory before
    the pod runs: they become mounts of the container's own. The namespaces that pause would hold are listed without a
    path, so the runtime makes new ones. The overlay over the image is pyrun's, so the root is read-only here: another
    runtime would write into the image itself.

    Raises :class:`SpecError` for a part of the host's that only pyrun can be trusted to find.
    """
    _refuse_sub_paths(pod, oci)
    oci = _without_time(oci)
    own = dict(
        [_own_mount(volume.name, volume.source, paths) for volume in pod.volumes if isinstance(volume.source, EmptyDir)]
    )
    options = ("nosuid", "noexec", "nodev", "mode=1777", f"size={SHARED_MEMORY_BYTES}")
    own[paths.shared_memory()] = ("tmpfs", "shm", options)
    mounts = [_detach(mount, own, paths) for mount in oci.mounts]
    return replace(oci, root=replace(oci.root, readonly=_has_overlay(oci) or oci.root.readonly), mounts=tuple(mounts))


def _refuse_sub_paths(pod: PodSpec, oci: OciSpec) -> None:
    """A bind has one path, which a runtime follows wherever its links lead; that a subPath stays inside of its volume it
    cannot be told (kubernetes, CVE-2017-1002101)."""
    on_host = {volume.name for volume in pod.volumes if not isinstance(volume.source, EmptyDir)}
    name = oci.linux.cgroups_path.rpartition("/")[2]
    for i, container in enumerate(pod.containers):
        for j, mount in enumerate(container.volume_mounts):
            if container.name == name and mount.sub_path and mount.name in on_host:
                place = f"/spec/containers/{i}/volumeMounts/{j}/subPath"
                raise SpecError(
                    place, "of a hostPath has no counterpart in OCI: another runtime would follow links out of it"
                )


def _without_time(oci: OciSpec) -> OciSpec:
    """Without offsets a time namespace changes nothing, and older runtimes know neither it nor a later version of the
    specification (crun before 1.14.2, runc before 1.2)."""
    if oci.linux.time_offsets:
        return oci
    kept = tuple([namespace for namespace in oci.linux.namespaces if namespace.type != "time"])
    return replace(oci, oci_version=OLDEST_VERSION, linux=replace(oci.linux, namespaces=kept))


def _own_mount(name: str, source: EmptyDir, paths: PodPaths) -> tuple[str, tuple[str, str, tuple[str, ...]]]:
    place = paths.memory_volume(name) if source.medium == "Memory" else paths.disk_volume(name)
    size = () if source.size_limit_bytes is None else (f"size={source.size_limit_bytes}",)
    return place, ("tmpfs", "tmpfs", (*TMPFS_OPTIONS, "mode=0777", *size))


def _detach(mount: OciMount, own: dict[str, tuple[str, str, tuple[str, ...]]], paths: PodPaths) -> OciMount:
    source = mount.source.partition(SUB_PATH_MARK)[0]
    if source in own:
        kind, name, options = own[source]
        return OciMount(mount.destination, kind, name, (*options, "ro") if "ro" in mount.options else options)
    if source.startswith(f"{paths.sandbox}/etc/"):
        return replace(mount, source=mount.destination, options=("bind", "rprivate", "ro"))
    return mount


def _has_overlay(oci: OciSpec) -> bool:
    return (OVERLAY_ANNOTATION, "overlay") in oci.annotations
