"""Which fields of a manifest are read, and what is said about all others."""

from __future__ import annotations

from pyrun.spec.parse import did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from pyrun.errors import SpecError
    from pyrun.spec.parse import Fields, Reader

# What a server writes into metadata: ignored with a warning (kubectl apply drops it likewise).
SERVER_METADATA = (
    "creationTimestamp",
    "resourceVersion",
    "generation",
    "managedFields",
    "ownerReferences",
    "finalizers",
    "selfLink",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "clusterName",
)

# Object of Kubernetes' API → the fields that pyrun reads. pyrun.spec.kubernetes has the names of all the others.
BUILT: dict[str, frozenset[str]] = {
    "Pod": frozenset(("apiVersion", "kind", "metadata", "spec", "status")),
    "ObjectMeta": frozenset(("name", "namespace", "uid", "labels", "annotations", *SERVER_METADATA)),
    "PodSpec": frozenset(
        (
            "containers",
            "volumes",
            "hostname",
            "restartPolicy",
            "terminationGracePeriodSeconds",
            "shareProcessNamespace",
            "hostNetwork",
            "hostPID",
            "hostIPC",
        )
    ),
    "Container": frozenset(
        (
            "name",
            "image",
            "imagePullPolicy",
            "command",
            "args",
            "env",
            "workingDir",
            "volumeMounts",
            "resources",
            "ports",
        )
    ),
    "EnvVar": frozenset(("name", "value")),
    "ContainerPort": frozenset(("containerPort", "name", "protocol", "hostPort")),
    "ResourceRequirements": frozenset(("requests", "limits")),
    "VolumeMount": frozenset(("name", "mountPath", "readOnly", "subPath")),
    "Volume": frozenset(("name", "emptyDir", "hostPath")),
    "EmptyDirVolumeSource": frozenset(("medium", "sizeLimit")),
    "HostPathVolumeSource": frozenset(("path", "type")),
}


def object_of(reader: Reader, kind: str) -> Fields:
    """The fields of *reader*'s object, which is a *kind* of Kubernetes' API."""

    def refuse(place: Reader, name: str, _built: Collection[str]) -> SpecError:
        from pyrun.spec.kubernetes import FIELDS

        if name in FIELDS[kind]:
            return place.member_error(name, "known to Kubernetes but not built yet")
        return place.member_error(name, "no such field" + did_you_mean(name, FIELDS[kind]))

    return reader.object(BUILT[kind], refuse)


def checked(reader: Reader, check: Callable[[str], str | None]) -> str:
    """The string at *reader*'s place, if *check* has nothing against it."""
    text = reader.string()
    complaint = check(text)
    if complaint is not None:
        raise reader.error(complaint)
    return text
