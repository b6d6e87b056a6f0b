"""References of a pod to ConfigMaps, Secrets, containers and volumes: each leads somewhere, or is optional."""

from __future__ import annotations

from pyrun.errors import SpecError
from pyrun.spec.environment import find_object
from pyrun.spec.parse import did_you_mean, quote
from pyrun.spec.source import (
    ConfigObject,
    DownwardVolume,
    EmptyDir,
    FileKeyRef,
    KeyRef,
    ObjectVolume,
    ProjectedVolume,
    ResourceFieldRef,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.pod import Container, EnvVar, PodSpec
    from pyrun.spec.source import ObjectKind

_KEY_FIELDS = {"ConfigMap": "configMapKeyRef", "Secret": "secretKeyRef"}
_FROM_FIELDS = {"ConfigMap": "configMapRef", "Secret": "secretRef"}


def check_container_references(pod: PodSpec, container: Container, pointer: str) -> None:
    """Raises SpecError at the first that leads nowhere."""
    for index, source in enumerate(container.env_from):
        place = f"{pointer}/envFrom/{index}/{_FROM_FIELDS[source.kind]}"
        _need_object(pod, source.kind, source.name, source.optional, place + "/name")
    for index, variable in enumerate(container.env):
        if variable.source is not None:
            _check_variable(pod, variable, f"{pointer}/env/{index}/valueFrom")


def _check_variable(pod: PodSpec, variable: EnvVar, pointer: str) -> None:
    source = variable.source
    if isinstance(source, KeyRef):
        place = f"{pointer}/{_KEY_FIELDS[source.kind]}"
        found = _need_object(pod, source.kind, source.name, source.optional, place + "/name")
        _need_key(found, source.key, source.optional, place + "/key")
        if found is not None and source.key in found.binary and not source.optional:
            raise SpecError(f"{place}/key", f"{quote(source.key)} is in binaryData, which variables do not have")
    elif isinstance(source, ResourceFieldRef):
        _need_container(pod, source, f"{pointer}/resourceFieldRef")
    elif isinstance(source, FileKeyRef):
        volumes = {each.name: each.source for each in pod.volumes}
        if source.volume_name not in volumes:
            message = f"there is no volume {quote(source.volume_name)}{did_you_mean(source.volume_name, volumes)}"
            raise SpecError(f"{pointer}/fileKeyRef/volumeName", message)
        volume = volumes[source.volume_name]
        if not isinstance(volume, EmptyDir) or volume.medium.startswith("HugePages"):
            raise SpecError(f"{pointer}/fileKeyRef/volumeName", "must be an emptyDir")


def check_volume_references(pod: PodSpec) -> None:
    """Likewise, of all volumes; and no two files of one volume have one path."""
    for index, volume in enumerate(pod.volumes):
        source, pointer = volume.source, f"/spec/volumes/{index}"
        if isinstance(source, ObjectVolume):
            name = "configMap" if source.kind == "ConfigMap" else "secret"
            named = "name" if source.kind == "ConfigMap" else "secretName"
            _check_object_volume(pod, source, f"{pointer}/{name}", named)
        elif isinstance(source, DownwardVolume):
            _check_downward(pod, source, f"{pointer}/downwardAPI")
        elif isinstance(source, ProjectedVolume):
            for number, each in enumerate(source.sources):
                place = f"{pointer}/projected/sources/{number}"
                if isinstance(each, DownwardVolume):
                    _check_downward(pod, each, f"{place}/downwardAPI")
                else:
                    name = "configMap" if each.kind == "ConfigMap" else "secret"
                    _check_object_volume(pod, each, f"{place}/{name}", "name")


def _check_object_volume(pod: PodSpec, source: ObjectVolume, pointer: str, named: str) -> None:
    found = _need_object(pod, source.kind, source.name, source.optional, f"{pointer}/{named}")
    _check_paths([item.path for item in source.items or ()], f"{pointer}/items")
    for index, item in enumerate(source.items or ()):
        _need_key(found, item.key, source.optional, f"{pointer}/items/{index}/key")


def _check_downward(pod: PodSpec, source: DownwardVolume, pointer: str) -> None:
    _check_paths([item.path for item in source.items], f"{pointer}/items")
    for index, item in enumerate(source.items):
        if isinstance(item.ref, ResourceFieldRef):
            _need_container(pod, item.ref, f"{pointer}/items/{index}/resourceFieldRef")


def _check_paths(paths: list[str], pointer: str) -> None:
    """Each may have as many as a manifest can: what is there already is looked up, not searched for."""
    taken: dict[str, str] = {}  # each path, and each directory above one, with a path that has it
    files: set[str] = set()
    for index, path in enumerate(paths):
        parts = path.split("/")
        above = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
        other = taken.get(path) or next((directory for directory in above if directory in files), None)
        if other is not None:
            raise SpecError(f"{pointer}/{index}/path", f"{path!r} cannot be beside {other!r}, which is there already")
        files.add(path)
        for each in (path, *above):
            taken.setdefault(each, path)


def _need_object(pod: PodSpec, kind: ObjectKind, name: str, optional: bool, pointer: str) -> ConfigObject | None:
    found = find_object(pod, kind, name)
    if found is None and not optional:
        known = [each.name for each in pod.objects if each.kind == kind]
        hint = did_you_mean(name, known) or "; put it into the same file, or give it with --configmap"
        raise SpecError(pointer, f"there is no {kind} {quote(name)} in namespace {pod.metadata.namespace}{hint}")
    return found


def _need_key(found: ConfigObject | None, key: str, optional: bool, pointer: str) -> None:
    if found is not None and not optional and key not in dict(found.data):
        hint = did_you_mean(key, [name for name, _value in found.data])
        raise SpecError(pointer, f"the {found.kind} {quote(found.name)} has no key {quote(key)}{hint}")


def _need_container(pod: PodSpec, ref: ResourceFieldRef, pointer: str) -> None:
    names = [each.name for each in (*pod.init_containers, *pod.containers)]
    if ref.container and ref.container not in names:
        message = f"there is no container {quote(ref.container)}{did_you_mean(ref.container, names)}"
        raise SpecError(f"{pointer}/containerName", message)
