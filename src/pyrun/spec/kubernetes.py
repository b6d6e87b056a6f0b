"""The names of every field that Kubernetes' v1 API has in the objects that pyrun reads, as of Kubernetes 1.37.

Data only, and loaded only when a manifest has a field that pyrun does not read: the tables tell "known to Kubernetes,
but not built yet" from "no such field". When a field gets built, its name moves into the table of
:mod:`pyrun.spec.pod_parse`; here nothing changes. Names that Kubernetes has dropped stay, so that an old manifest
gets the better message.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

API_VERSION = "1.37"


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CONTAINER = """
    args command env envFrom image imagePullPolicy lifecycle livenessProbe name ports readinessProbe resizePolicy
    resources restartPolicy restartPolicyRules securityContext startupProbe stdin stdinOnce terminationMessagePath
    terminationMessagePolicy tty volumeDevices volumeMounts workingDir
"""

# Object → the names of its fields (API reference, "Pod v1 core" and what it refers to).
FIELDS: Mapping[str, frozenset[str]] = {
    "Pod": _names("apiVersion kind metadata spec status"),
    "ObjectMeta": _names("""
        annotations clusterName creationTimestamp deletionGracePeriodSeconds deletionTimestamp finalizers generateName
        generation labels managedFields name namespace ownerReferences resourceVersion selfLink uid
    """),
    "PodSpec": _names("""
        activeDeadlineSeconds affinity automountServiceAccountToken containers dnsConfig dnsPolicy enableServiceLinks
        ephemeralContainers evictionResponders hostAliases hostIPC hostNetwork hostPID hostUsers hostname
        hostnameOverride imagePullSecrets initContainers nodeName nodeSelector os overhead preemptionPolicy priority
        priorityClassName readinessGates resourceClaims resources restartPolicy runtimeClassName schedulerName
        schedulingGates schedulingGroup securityContext serviceAccount serviceAccountName setHostnameAsFQDN
        shareProcessNamespace subdomain terminationGracePeriodSeconds tolerations topologySpreadConstraints volumes
        workloadRef
    """),
    "Container": _names(_CONTAINER),
    "EphemeralContainer": _names(_CONTAINER + "targetContainerName"),
    "EnvVar": _names("name value valueFrom"),
    "ContainerPort": _names("containerPort hostIP hostPort name protocol"),
    "ResourceRequirements": _names("claims limits requests"),
    "VolumeMount": _names("""
        bindMountOptions mountPath mountPropagation name readOnly recursiveReadOnly subPath subPathExpr
    """),
    "Volume": _names("""
        awsElasticBlockStore azureDisk azureFile cephfs cinder configMap csi downwardAPI emptyDir ephemeral fc
        flexVolume flocker gcePersistentDisk gitRepo glusterfs hostPath image iscsi name nfs persistentVolumeClaim
        photonPersistentDisk portworxVolume projected quobyte rbd scaleIO secret storageos vsphereVolume
    """),
    "EmptyDirVolumeSource": _names("medium mode sizeLimit"),
    "HostPathVolumeSource": _names("path type"),
}

# Resource names of the core API besides cpu and memory (hugepages-<size> and example.com/thing are recognised by form).
RESOURCES = _names("ephemeral-storage storage pods")
