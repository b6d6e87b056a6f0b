"""Which fields of a manifest are read, and what is said about all others."""

from __future__ import annotations

from pyrun.spec.parse import did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from pyrun.errors import SpecError
    from pyrun.spec.parse import Fields, Reader

# Of annotations that are ours.
ANNOTATION_PREFIX = "pyrun.dev/"

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
            "initContainers",
            "ephemeralContainers",
            "activeDeadlineSeconds",
            "nodeName",
            "os",
            "serviceAccountName",
            "volumes",
            "hostname",
            "subdomain",
            "hostnameOverride",
            "setHostnameAsFQDN",
            "hostAliases",
            "dnsPolicy",
            "dnsConfig",
            "restartPolicy",
            "terminationGracePeriodSeconds",
            "shareProcessNamespace",
            "hostNetwork",
            "hostPID",
            "hostIPC",
            "hostUsers",
            "resources",
            "overhead",
            "securityContext",
            "securityContext",
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
            "envFrom",
            "workingDir",
            "volumeMounts",
            "resources",
            "resizePolicy",
            "ports",
            "restartPolicy",
            "restartPolicyRules",
            "stdin",
            "stdinOnce",
            "tty",
            "terminationMessagePath",
            "terminationMessagePolicy",
            "startupProbe",
            "livenessProbe",
            "readinessProbe",
            "lifecycle",
            "securityContext",
        )
    ),
    "PodSecurityContext": frozenset(
        (
            "runAsUser",
            "runAsGroup",
            "runAsNonRoot",
            "supplementalGroups",
            "supplementalGroupsPolicy",
            "fsGroup",
            "fsGroupChangePolicy",
            "seccompProfile",
            "appArmorProfile",
            "seLinuxOptions",
            "seLinuxChangePolicy",
            "sysctls",
        )
    ),
    "SecurityContext": frozenset(
        (
            "runAsUser",
            "runAsGroup",
            "runAsNonRoot",
            "readOnlyRootFilesystem",
            "allowPrivilegeEscalation",
            "capabilities",
            "privileged",
            "procMount",
            "seccompProfile",
            "appArmorProfile",
            "seLinuxOptions",
        )
    ),
    "Capabilities": frozenset(("add", "drop")),
    "SeccompProfile": frozenset(("type", "localhostProfile")),
    "AppArmorProfile": frozenset(("type", "localhostProfile")),
    "SELinuxOptions": frozenset(("user", "role", "type", "level")),
    "Sysctl": frozenset(("name", "value")),
    "HostAlias": frozenset(("ip", "hostnames")),
    "PodDNSConfig": frozenset(("nameservers", "searches", "options")),
    "PodDNSConfigOption": frozenset(("name", "value")),
    "PodOS": frozenset(("name",)),
    "Probe": frozenset(
        (
            "exec",
            "httpGet",
            "tcpSocket",
            "grpc",
            "initialDelaySeconds",
            "periodSeconds",
            "timeoutSeconds",
            "successThreshold",
            "failureThreshold",
            "terminationGracePeriodSeconds",
        )
    ),
    "Lifecycle": frozenset(("postStart", "preStop", "stopSignal")),
    "LifecycleHandler": frozenset(("exec", "httpGet", "tcpSocket", "sleep")),
    "ExecAction": frozenset(("command",)),
    "HTTPGetAction": frozenset(("port", "path", "host", "scheme", "httpHeaders")),
    "HTTPHeader": frozenset(("name", "value")),
    "TCPSocketAction": frozenset(("port", "host")),
    "GRPCAction": frozenset(("port", "service")),
    "SleepAction": frozenset(("seconds",)),
    "ContainerRestartRule": frozenset(("action", "exitCodes")),
    "ContainerRestartRuleOnExitCodes": frozenset(("operator", "values")),
    "EnvVar": frozenset(("name", "value", "valueFrom")),
    "EnvVarSource": frozenset(("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")),
    "EnvFromSource": frozenset(("prefix", "configMapRef", "secretRef")),
    "ConfigMapEnvSource": frozenset(("name", "optional")),
    "SecretEnvSource": frozenset(("name", "optional")),
    "ObjectFieldSelector": frozenset(("apiVersion", "fieldPath")),
    "ResourceFieldSelector": frozenset(("containerName", "resource", "divisor")),
    "ConfigMapKeySelector": frozenset(("name", "key", "optional")),
    "SecretKeySelector": frozenset(("name", "key", "optional")),
    "FileKeySelector": frozenset(("volumeName", "path", "key", "optional")),
    "ContainerPort": frozenset(("containerPort", "name", "protocol", "hostPort", "hostIP")),
    "ResourceRequirements": frozenset(("requests", "limits")),
    "ContainerResizePolicy": frozenset(("resourceName", "restartPolicy")),
    "VolumeMount": frozenset(
        ("name", "mountPath", "readOnly", "subPath", "subPathExpr", "recursiveReadOnly", "mountPropagation")
    ),
    "Volume": frozenset(
        (
            "name",
            "emptyDir",
            "hostPath",
            "configMap",
            "secret",
            "downwardAPI",
            "projected",
            "image",
            "persistentVolumeClaim",
        )
    ),
    "ConfigMapVolumeSource": frozenset(("name", "items", "defaultMode", "optional")),
    "SecretVolumeSource": frozenset(("secretName", "items", "defaultMode", "optional")),
    "KeyToPath": frozenset(("key", "path", "mode")),
    "DownwardAPIVolumeSource": frozenset(("items", "defaultMode")),
    "DownwardAPIVolumeFile": frozenset(("path", "fieldRef", "resourceFieldRef", "mode")),
    "ProjectedVolumeSource": frozenset(("sources", "defaultMode")),
    "VolumeProjection": frozenset(("configMap", "secret", "downwardAPI")),
    "ConfigMapProjection": frozenset(("name", "items", "optional")),
    "SecretProjection": frozenset(("name", "items", "optional")),
    "DownwardAPIProjection": frozenset(("items",)),
    "ImageVolumeSource": frozenset(("reference", "pullPolicy")),
    "PersistentVolumeClaimVolumeSource": frozenset(("claimName", "readOnly")),
    "EmptyDirVolumeSource": frozenset(("medium", "sizeLimit", "mode")),
    "HostPathVolumeSource": frozenset(("path", "type")),
}

BUILT["EphemeralContainer"] = BUILT["Container"] | {"targetContainerName"}

# What decides where in a cluster a pod runs, or what a cluster does for it: accepted whatever it says, and told once.
MEANINGLESS: Mapping[str, frozenset[str]] = {
    "PodSpec": frozenset(
        (
            "affinity",
            "automountServiceAccountToken",
            "enableServiceLinks",
            "evictionResponders",
            "imagePullSecrets",
            "nodeSelector",
            "preemptionPolicy",
            "priority",
            "priorityClassName",
            "readinessGates",
            "schedulerName",
            "schedulingGates",
            "schedulingGroup",
            "serviceAccount",
            "tolerations",
            "topologySpreadConstraints",
            "workloadRef",
        )
    ),
}

NO_CLUSTER_STORAGE = "there is no cluster to get this volume from; mount it on the machine, and write hostPath"
NO_WINDOWS = "this machine runs linux; leave it out"
NO_DEVICES = "devices of a cluster are not given out here; write a hostPath of type CharDevice or BlockDevice"

# What cannot be had on one node, and what to write instead.
REFUSED: Mapping[str, Mapping[str, str]] = {
    "ObjectMeta": {"generateName": "there is no server to make a name of it; write name"},
    "PodSpec": {
        "resourceClaims": NO_DEVICES,
        "runtimeClassName": "pyrun is the only runtime here; leave it out",
    },
    "Container": {"volumeDevices": NO_DEVICES},
    "EphemeralContainer": {"volumeDevices": NO_DEVICES},
    "VolumeMount": {"bindMountOptions": "it is new in Kubernetes and not settled; readOnly and recursiveReadOnly work"},
    "PodSecurityContext": {"windowsOptions": NO_WINDOWS},
    "SecurityContext": {"windowsOptions": NO_WINDOWS},
    "ResourceRequirements": {"claims": NO_DEVICES},
    "VolumeProjection": dict.fromkeys(
        ("serviceAccountToken", "clusterTrustBundle", "podCertificate"), "there is no cluster that would give one out"
    ),
    "Volume": {
        **dict.fromkeys(
            """
            awsElasticBlockStore azureDisk azureFile cephfs cinder csi ephemeral fc flexVolume flocker gcePersistentDisk glusterfs
            iscsi nfs photonPersistentDisk portworxVolume quobyte rbd scaleIO storageos vsphereVolume
            """.split(),
            NO_CLUSTER_STORAGE,
        ),
        "gitRepo": "Kubernetes has dropped it; clone into an emptyDir in an init container",
    },
}


def object_of(reader: Reader, kind: str, warnings: list[str] | None = None) -> Fields:
    """The fields of *reader*'s object, which is a *kind* of Kubernetes' API. Where something of that kind is
    :data:`MEANINGLESS`, *warnings* has to be given."""
    meaningless: list[str] = []

    def refuse(place: Reader, name: str, _built: Collection[str]) -> SpecError | None:
        if name in MEANINGLESS.get(kind, ()):
            if _value(place, name) is not None:
                meaningless.append(name)
            return None
        if name in REFUSED.get(kind, ()):
            return place.member_error(name, REFUSED[kind][name])
        from pyrun.spec.kubernetes import FIELDS

        return place.member_error(name, "no such field" + did_you_mean(name, FIELDS[kind]))

    fields = reader.object(BUILT[kind], refuse)
    if meaningless and warnings is not None:
        warnings.append(f"{reader.pointer}: {', '.join(meaningless)}: accepted, and without meaning on one node")
    return fields


def _value(place: Reader, name: str) -> object:
    return place.value.get(name) if isinstance(place.value, dict) else None


def checked(reader: Reader, check: Callable[[str], str | None]) -> str:
    """The string at *reader*'s place, if *check* has nothing against it."""
    text = reader.string()
    complaint = check(text)
    if complaint is not None:
        raise reader.error(complaint)
    return text
