"""Which fields of a manifest are read, and what is said about all others."""

from __future__ import annotations

from pyrun.spec.parse import did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

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


# What the API server fills in (core/v1 SetDefaults_PodSpec, SetDefaults_Container; admission of priorities, service accounts and
# tolerations), or kubectl run writes, and what changes nothing on a machine without a cluster: ignored with a warning. The
# fields are not built; with any other value they are refused.
DEFAULTS: Mapping[str, Mapping[str, tuple[object, ...]]] = {
    "PodSpec": {
        "dnsPolicy": ("ClusterFirst", "Default"),
        "enableServiceLinks": (True,),
        "preemptionPolicy": ("PreemptLowerPriority",),
        "priority": (0,),
        "schedulerName": ("default-scheduler",),
        "securityContext": ({},),
        "serviceAccount": ("default",),
        "serviceAccountName": ("default",),
        "tolerations": (
            [
                {
                    "effect": "NoExecute",
                    "key": f"node.kubernetes.io/{state}",
                    "operator": "Exists",
                    "tolerationSeconds": 300,
                }
                for state in ("not-ready", "unreachable")
            ],
        ),
    },
    "Container": {
        "securityContext": ({},),
        "terminationMessagePath": ("/dev/termination-log",),
        "terminationMessagePolicy": ("File",),
    },
}


def object_of(reader: Reader, kind: str, warnings: list[str] | None = None) -> Fields:
    """The fields of *reader*'s object, which is a *kind* of Kubernetes' API. Where there are :data:`DEFAULTS` of that kind,
    *warnings* has to be given."""
    ignored: list[str] = []

    def refuse(place: Reader, name: str, _built: Collection[str]) -> SpecError | None:
        if _is_default(kind, name, place.value):
            ignored.append(name)
            return None
        from pyrun.spec.kubernetes import FIELDS

        if name in FIELDS[kind]:
            return place.member_error(name, "known to Kubernetes but not built yet")
        return place.member_error(name, "no such field" + did_you_mean(name, FIELDS[kind]))

    fields = reader.object(BUILT[kind], refuse)
    if ignored and warnings is not None:
        what = "a default of Kubernetes, and nothing here depends on it"
        warnings.append(f"{reader.pointer}: {', '.join(ignored)}: ignored; {what}")
    return fields


def _is_default(kind: str, name: str, members: object) -> bool:
    value = members.get(name) if isinstance(members, dict) else None
    # The type as well: to Python 0 is False and 1 is True.
    return any([type(value) is type(known) and value == known for known in DEFAULTS.get(kind, {}).get(name, ())])


def checked(reader: Reader, check: Callable[[str], str | None]) -> str:
    """The string at *reader*'s place, if *check* has nothing against it."""
    text = reader.string()
    complaint = check(text)
    if complaint is not None:
        raise reader.error(complaint)
    return text
