"""The rules between the parts of a pod: names used twice, references to nothing, settings that exclude each other."""

from __future__ import annotations

from pyrun.errors import SpecError
from pyrun.spec.expand import expanded_bytes
from pyrun.spec.parse import did_you_mean, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.pod import Container, PodSpec

# Arguments and environment of all containers, variables put in: of a document of 3 MiB, more is no pod but an attempt on
# the memory of whoever plans it.
MAX_POD_STRINGS_BYTES = 16 * 1024 * 1024


def check_pod(pod: PodSpec, warnings: list[str]) -> None:
    """Raises SpecError at the first rule that *pod* breaks; adds to *warnings* what is odd but allowed."""
    _check_unique("/spec/containers", "container", [each.name for each in pod.containers])
    _check_unique("/spec/volumes", "volume", [each.name for each in pod.volumes])
    if pod.share_process_namespace and pod.host_pid:
        raise SpecError("/spec/shareProcessNamespace", "cannot be true together with hostPID")
    volumes = [each.name for each in pod.volumes]
    for index, container in enumerate(pod.containers):
        _check_mounts(f"/spec/containers/{index}/volumeMounts", container, volumes)
        _check_ports(f"/spec/containers/{index}/ports", container, pod.host_network)
    _check_strings(pod)
    _warn_of_shared_ports(pod, warnings)


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


def _check_strings(pod: PodSpec) -> None:
    total_bytes = 0
    for index, container in enumerate(pod.containers):
        total_bytes += expanded_bytes(container, f"/spec/containers/{index}")
        if total_bytes > MAX_POD_STRINGS_BYTES:
            what = "bytes of arguments and environment in one pod, variables put in"
            raise SpecError(f"/spec/containers/{index}", f"more than {MAX_POD_STRINGS_BYTES} {what}")


def _check_ports(pointer: str, container: Container, host_network: bool) -> None:
    names: set[str] = set()
    for index, port in enumerate(container.ports):
        if port.name and port.name in names:
            raise SpecError(f"{pointer}/{index}/name", f"{port.name!r} is the name of another port already")
        names.add(port.name)
        if port.host_port is not None and not host_network:
            raise SpecError(f"{pointer}/{index}/hostPort", "known to Kubernetes but not built yet without hostNetwork")
        if port.host_port not in (None, port.container_port):
            raise SpecError(f"{pointer}/{index}/hostPort", "must be the containerPort where hostNetwork is true")


def _warn_of_shared_ports(pod: PodSpec, warnings: list[str]) -> None:
    owners: dict[tuple[int, str], str] = {}
    for index, container in enumerate(pod.containers):
        for number, port in enumerate(container.ports):
            key = (port.container_port, port.protocol)
            owner = owners.setdefault(key, container.name)
            if owner != container.name:
                place = f"/spec/containers/{index}/ports/{number}/containerPort"
                warnings.append(f"{place}: container {owner!r} has {key[0]}/{key[1]} too, and they share one network")
