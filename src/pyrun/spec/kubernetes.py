"""The names of every field that Kubernetes' v1 API has in the objects that pyrun reads, as of Kubernetes 1.37.

Data only, and loaded only when a manifest has a field that pyrun does not read, for the nearest name that exists; a test walks
it, and sees the fate of each. Names that Kubernetes has dropped stay, so that an old manifest gets the better message.
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
    "HostAlias": _names("hostnames ip"),
    "PodDNSConfig": _names("nameservers options searches"),
    "PodDNSConfigOption": _names("name value"),
    "PodOS": _names("name"),
    "Probe": _names("""
        exec failureThreshold grpc httpGet initialDelaySeconds periodSeconds successThreshold tcpSocket
        terminationGracePeriodSeconds timeoutSeconds
    """),
    "Lifecycle": _names("postStart preStop stopSignal"),
    "LifecycleHandler": _names("exec httpGet sleep tcpSocket"),
    "ExecAction": _names("command"),
    "HTTPGetAction": _names("host httpHeaders path port scheme"),
    "HTTPHeader": _names("name value"),
    "TCPSocketAction": _names("host port"),
    "GRPCAction": _names("port service"),
    "SleepAction": _names("seconds"),
    "ContainerRestartRule": _names("action exitCodes"),
    "ContainerRestartRuleOnExitCodes": _names("operator values"),
    "EnvVar": _names("name value valueFrom"),
    "EnvVarSource": _names("configMapKeyRef fieldRef fileKeyRef resourceFieldRef secretKeyRef"),
    "EnvFromSource": _names("configMapRef prefix secretRef"),
    "ConfigMapEnvSource": _names("name optional"),
    "SecretEnvSource": _names("name optional"),
    "ObjectFieldSelector": _names("apiVersion fieldPath"),
    "ResourceFieldSelector": _names("containerName divisor resource"),
    "ConfigMapKeySelector": _names("key name optional"),
    "SecretKeySelector": _names("key name optional"),
    "FileKeySelector": _names("key optional path volumeName"),
    "ConfigMapVolumeSource": _names("defaultMode items name optional"),
    "SecretVolumeSource": _names("defaultMode items optional secretName"),
    "KeyToPath": _names("key mode path"),
    "DownwardAPIVolumeSource": _names("defaultMode items"),
    "DownwardAPIVolumeFile": _names("fieldRef mode path resourceFieldRef"),
    "ProjectedVolumeSource": _names("defaultMode sources"),
    "VolumeProjection": _names("clusterTrustBundle configMap downwardAPI podCertificate secret serviceAccountToken"),
    "ConfigMapProjection": _names("items name optional"),
    "SecretProjection": _names("items name optional"),
    "DownwardAPIProjection": _names("items"),
    "ImageVolumeSource": _names("pullPolicy reference"),
    "PersistentVolumeClaimVolumeSource": _names("claimName readOnly"),
    "ContainerPort": _names("containerPort hostIP hostPort name protocol"),
    "ResourceRequirements": _names("claims limits requests"),
    "ContainerResizePolicy": _names("resourceName restartPolicy"),
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
    "PodSecurityContext": _names("""
        appArmorProfile fsGroup fsGroupChangePolicy runAsGroup runAsNonRoot runAsUser seLinuxChangePolicy seLinuxOptions
        seccompProfile supplementalGroups supplementalGroupsPolicy sysctls windowsOptions
    """),
    "SecurityContext": _names("""
        allowPrivilegeEscalation appArmorProfile capabilities privileged procMount readOnlyRootFilesystem runAsGroup
        runAsNonRoot runAsUser seLinuxOptions seccompProfile windowsOptions
    """),
    "Capabilities": _names("add drop"),
    "SeccompProfile": _names("localhostProfile type"),
    "AppArmorProfile": _names("localhostProfile type"),
    "SELinuxOptions": _names("level role type user"),
    "Sysctl": _names("name value"),
}

# Resource names of the core API besides cpu and memory (hugepages-<size> and example.com/thing are recognised by form).
RESOURCES = _names("ephemeral-storage storage pods")
