"""The rules between the parts of a pod: names used twice, references to nothing, settings that exclude each other."""

from __future__ import annotations

from pyrun.errors import SpecError
from pyrun.spec.environment import has_sources
from pyrun.spec.expand import expanded_bytes
from pyrun.spec.handler import SleepAction
from pyrun.spec.parse import did_you_mean, quote
from pyrun.spec.quantity import parse_quantity, to_units
from pyrun.spec.source import EmptyDir, HostPath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.pod import Container, PodSpec

# Arguments and environment of all containers, variables put in: of a document of 3 MiB, more is no pod but an attempt on
# the memory of whoever plans it.
MAX_POD_STRINGS_BYTES = 16 * 1024 * 1024


def check_pod(pod: PodSpec) -> None:
    """Raises SpecError at the first rule that *pod* breaks."""
    _check_names(pod)
    _check_unique("/spec/volumes", "volume", [each.name for each in pod.volumes])
    if pod.share_process_namespace and pod.host_pid:
        raise SpecError("/spec/shareProcessNamespace", "cannot be true together with hostPID")
    _check_users(pod)
    volumes = [each.name for each in pod.volumes]
    for pointer, container in placed_containers(pod):
        _check_mounts(f"{pointer}/volumeMounts", container, volumes)
        _check_ports(f"{pointer}/ports", container, pod.host_network)
        _check_security(pointer, container, pod.host_users)
        _check_sleep(pointer, container, pod.termination_grace_period_s)
        _check_references(pod, container, pointer)
    _check_volumes(pod)
    _check_targets(pod)
    if pod.security.sysctls:
        from pyrun.spec.sysctl_parse import check_host_namespaces

        check_host_namespaces(pod)
    _check_strings(pod)
    _check_conflicts(pod)


def placed_containers(pod: PodSpec) -> list[tuple[str, Container]]:
    """Every container of the pod, with its JSON pointer."""
    lists = (("initContainers", pod.init_containers), ("containers", pod.containers))
    placed = [(f"/spec/{name}/{i}", each) for name, containers in lists for i, each in enumerate(containers)]
    return placed + [(f"/spec/ephemeralContainers/{i}", each) for i, each in enumerate(pod.ephemeral_containers)]


def _check_names(pod: PodSpec) -> None:
    seen: dict[str, str] = {}
    for pointer, container in placed_containers(pod):
        first = seen.setdefault(container.name, pointer)
        if first != pointer:
            raise SpecError(f"{pointer}/name", f"{container.name!r} is the name of {_told(first, pointer)} already")


def _told(first: str, pointer: str) -> str:
    """The earlier of two containers: by its number where both are in one list."""
    here, there = first.rpartition("/"), pointer.rpartition("/")
    return f"container {here[2]}" if here[0] == there[0] else first


def _check_sleep(pointer: str, container: Container, grace_s: int) -> None:
    """core validation, validateSleepAction."""
    for name, hook in (("postStart", container.lifecycle.post_start), ("preStop", container.lifecycle.pre_stop)):
        if isinstance(hook, SleepAction) and hook.seconds > grace_s:
            place = f"{pointer}/lifecycle/{name}/sleep/seconds"
            raise SpecError(place, f"{hook.seconds} is more than terminationGracePeriodSeconds, which is {grace_s}")


def _check_references(pod: PodSpec, container: Container, pointer: str) -> None:
    if has_sources(container):
        from pyrun.spec.reference_check import check_container_references

        check_container_references(pod, container, pointer)
    for index, mount in enumerate(container.volume_mounts):
        if mount.mount_propagation == "Bidirectional" and not container.security.privileged:
            place = f"{pointer}/volumeMounts/{index}/mountPropagation"
            raise SpecError(place, "Bidirectional is for privileged containers only")


def _check_volumes(pod: PodSpec) -> None:
    for index, volume in enumerate(pod.volumes):
        pages = {size for each in (*pod.init_containers, *pod.containers) for size, _amount in each.resources.hugepages}
        pages |= {size for size, _amount in pod.resources.hugepages}
        if isinstance(volume.source, EmptyDir) and volume.source.medium.startswith("HugePages"):
            _check_huge_pages(f"/spec/volumes/{index}/emptyDir/medium", volume.source.medium, pages)
    if any([not isinstance(volume.source, EmptyDir | HostPath) for volume in pod.volumes]):
        from pyrun.spec.reference_check import check_volume_references

        check_volume_references(pod)


def _check_huge_pages(pointer: str, medium: str, pages: set[int]) -> None:
    """A volume of huge pages is made of those that the pod's containers may have."""
    if medium == "HugePages" and len(pages) != 1:
        found = "none" if not pages else f"{len(pages)} sizes"
        raise SpecError(pointer, f"needs containers with hugepages of one size, found {found}; or write HugePages-2Mi")
    if medium != "HugePages" and to_units(parse_quantity(medium.removeprefix("HugePages-"))) not in pages:
        size = medium.removeprefix("HugePages-")
        raise SpecError(pointer, f"no container asks for hugepages-{size}")


def _check_targets(pod: PodSpec) -> None:
    names = [each.name for each in (*pod.init_containers, *pod.containers)]
    for index, container in enumerate(pod.ephemeral_containers):
        target = container.target_container_name
        if target and target not in names:
            place = f"/spec/ephemeralContainers/{index}/targetContainerName"
            raise SpecError(place, f"there is no container {quote(target)}{did_you_mean(target, names)}")


def _check_users(pod: PodSpec) -> None:
    """core validation, validateHostUsers: what the machine's users own is out of reach of the pod's."""
    taken = (("hostNetwork", pod.host_network), ("hostPID", pod.host_pid), ("hostIPC", pod.host_ipc))
    for name, is_set in taken:
        if is_set and not pod.host_users:
            raise SpecError(f"/spec/{name}", "cannot be true while hostUsers is false")


def _check_unique(pointer: str, what: str, names: list[str]) -> None:
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        first = seen.setdefault(name, index)
        if first != index:
            raise SpecError(f"{pointer}/{index}/name", f"{name!r} is the name of {what} {first} already")


def _check_mounts(pointer: str, container: Container, volumes: list[str]) -> None:
    seen: dict[str, int] = {}
    for index, mount in enumerate(container.volume_mounts):
        if mount.name not in volumes:
            hint = did_you_mean(mount.name, volumes) or ("" if volumes else "; the pod has no volumes")
            raise SpecError(f"{pointer}/{index}/name", f"there is no volume {quote(mount.name)}{hint}")
        if mount.mount_path in seen:
            first = f"{pointer}/{seen[mount.mount_path]}"
            raise SpecError(f"{pointer}/{index}/mountPath", f"{mount.mount_path!r} is mounted already, by {first}")
        seen[mount.mount_path] = index


def _check_security(pointer: str, container: Container, host_users: bool) -> None:
    """What a securityContext says that cannot be, given the image and the pod."""
    security = container.security
    if security.run_as_non_root and not security.run_as_user:
        what = (
            "runAsUser is 0" if security.run_as_user is not None else "the image runs as root and runAsUser is not set"
        )
        raise SpecError(f"{pointer}/securityContext/runAsNonRoot", f"the container must not run as root, but {what}")
    if security.proc_mount == "Unmasked" and host_users:
        raise SpecError(f"{pointer}/securityContext/procMount", "'Unmasked' needs hostUsers: false")


def _check_strings(pod: PodSpec) -> None:
    total_bytes = 0
    for pointer, container in placed_containers(pod):
        total_bytes += expanded_bytes(container, pointer)
        if total_bytes > MAX_POD_STRINGS_BYTES:
            what = "bytes of arguments and environment in one pod, variables put in"
            raise SpecError(pointer, f"more than {MAX_POD_STRINGS_BYTES} {what}")


def _check_ports(pointer: str, container: Container, host_network: bool) -> None:
    names: set[str] = set()
    for index, port in enumerate(container.ports):
        if port.name and port.name in names:
            raise SpecError(f"{pointer}/{index}/name", f"{port.name!r} is the name of another port already")
        names.add(port.name)
        if port.host_port is not None and not host_network:
            raise SpecError(
                f"{pointer}/{index}/hostPort", "needs hostNetwork: a network of the pod's own has no way in"
            )
        if port.host_port not in (None, port.container_port):
            raise SpecError(f"{pointer}/{index}/hostPort", "must be the containerPort where hostNetwork is true")


def _check_conflicts(pod: PodSpec) -> None:
    """Containers of a pod share one network: two cannot listen on the same port. Init containers are gone by then."""
    owners: dict[tuple[int, str], str] = {}
    for pointer, container in placed_containers(pod):
        if pointer.startswith("/spec/initContainers") and container.restart_policy != "Always":
            continue
        for number, port in enumerate(container.ports):
            place = f"{pointer}/ports/{number}/containerPort"
            first = owners.setdefault((port.container_port, port.protocol), place)
            if first.rpartition("/ports/")[0] != pointer:
                told = (
                    f"{port.container_port}/{port.protocol} is taken by {first}; containers of a pod share one network"
                )
                raise SpecError(place, told)
