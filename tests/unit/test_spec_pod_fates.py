"""Every field that Kubernetes has, seen with its own fate: it is read, or told once, or refused with its place and the reason."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.every_field import document
from pyrun.errors import SpecError
from pyrun.spec import kubernetes
from pyrun.spec.pod_fields import BUILT, MEANINGLESS, REFUSED
from pyrun.spec.pod_parse import parse_pod

# Object → where one of it stands in the document below.
PLACES = {
    "Pod": "",
    "ObjectMeta": "/metadata",
    "PodSpec": "/spec",
    "PodOS": "/spec/os",
    "Container": "/spec/containers/0",
    "EphemeralContainer": "/spec/ephemeralContainers/0",
    "EnvVar": "/spec/containers/0/env/0",
    "EnvVarSource": "/spec/containers/0/env/1/valueFrom",
    "ObjectFieldSelector": "/spec/containers/0/env/1/valueFrom/fieldRef",
    "ResourceFieldSelector": "/spec/containers/0/env/2/valueFrom/resourceFieldRef",
    "ConfigMapKeySelector": "/spec/containers/0/env/3/valueFrom/configMapKeyRef",
    "SecretKeySelector": "/spec/containers/0/env/4/valueFrom/secretKeyRef",
    "FileKeySelector": "/spec/containers/0/env/5/valueFrom/fileKeyRef",
    "EnvFromSource": "/spec/containers/0/envFrom/0",
    "ConfigMapEnvSource": "/spec/containers/0/envFrom/0/configMapRef",
    "SecretEnvSource": "/spec/containers/0/envFrom/1/secretRef",
    "SecurityContext": "/spec/containers/0/securityContext",
    "Capabilities": "/spec/containers/0/securityContext/capabilities",
    "SeccompProfile": "/spec/containers/0/securityContext/seccompProfile",
    "AppArmorProfile": "/spec/containers/0/securityContext/appArmorProfile",
    "SELinuxOptions": "/spec/containers/0/securityContext/seLinuxOptions",
    "PodSecurityContext": "/spec/securityContext",
    "HostAlias": "/spec/hostAliases/0",
    "PodDNSConfig": "/spec/dnsConfig",
    "PodDNSConfigOption": "/spec/dnsConfig/options/0",
    "Sysctl": "/spec/securityContext/sysctls/0",
    "ContainerPort": "/spec/containers/0/ports/0",
    "ResourceRequirements": "/spec/containers/0/resources",
    "ContainerResizePolicy": "/spec/containers/0/resizePolicy/0",
    "VolumeMount": "/spec/containers/0/volumeMounts/0",
    "Probe": "/spec/containers/0/livenessProbe",
    "HTTPGetAction": "/spec/containers/0/livenessProbe/httpGet",
    "HTTPHeader": "/spec/containers/0/livenessProbe/httpGet/httpHeaders/0",
    "GRPCAction": "/spec/containers/0/readinessProbe/grpc",
    "TCPSocketAction": "/spec/containers/0/startupProbe/tcpSocket",
    "Lifecycle": "/spec/containers/0/lifecycle",
    "LifecycleHandler": "/spec/containers/0/lifecycle/postStart",
    "ExecAction": "/spec/containers/0/lifecycle/postStart/exec",
    "SleepAction": "/spec/containers/0/lifecycle/preStop/sleep",
    "ContainerRestartRule": "/spec/containers/0/restartPolicyRules/0",
    "ContainerRestartRuleOnExitCodes": "/spec/containers/0/restartPolicyRules/0/exitCodes",
    "Volume": "/spec/volumes/0",
    "EmptyDirVolumeSource": "/spec/volumes/0/emptyDir",
    "HostPathVolumeSource": "/spec/volumes/1/hostPath",
    "ConfigMapVolumeSource": "/spec/volumes/2/configMap",
    "KeyToPath": "/spec/volumes/2/configMap/items/0",
    "SecretVolumeSource": "/spec/volumes/3/secret",
    "DownwardAPIVolumeSource": "/spec/volumes/4/downwardAPI",
    "DownwardAPIVolumeFile": "/spec/volumes/4/downwardAPI/items/0",
    "ProjectedVolumeSource": "/spec/volumes/5/projected",
    "VolumeProjection": "/spec/volumes/5/projected/sources/0",
    "ConfigMapProjection": "/spec/volumes/5/projected/sources/0/configMap",
    "SecretProjection": "/spec/volumes/5/projected/sources/1/secret",
    "DownwardAPIProjection": "/spec/volumes/5/projected/sources/2/downwardAPI",
    "ImageVolumeSource": "/spec/volumes/6/image",
    "PersistentVolumeClaimVolumeSource": "/spec/volumes/7/persistentVolumeClaim",
}


def with_field(kind: str, name: str, value: Any) -> dict[str, Any]:
    import copy

    whole = copy.deepcopy(document())
    target: Any = whole
    for token in PLACES[kind].split("/")[1:]:
        target = target[int(token)] if isinstance(target, list) else target[token]
    target[name] = value
    return whole


def error_of(whole: dict[str, Any]) -> str:
    with pytest.raises(SpecError) as caught:
        parse_pod(whole, "x")
    return str(caught.value).removeprefix("x: ")


def fields(among: Any) -> list[tuple[str, str]]:
    return [(kind, name) for kind in BUILT for name in sorted(kubernetes.FIELDS[kind]) if among(kind, name)]


def is_built(kind: str, name: str) -> bool:
    return name in BUILT[kind]


def is_meaningless(kind: str, name: str) -> bool:
    return name in MEANINGLESS.get(kind, ())


def is_refused(kind: str, name: str) -> bool:
    return name in REFUSED.get(kind, {})


def is_left(kind: str, name: str) -> bool:
    return not (is_built(kind, name) or is_meaningless(kind, name) or is_refused(kind, name))


def test_the_document_has_one_of_every_object() -> None:
    assert set(PLACES) == set(BUILT)
    assert parse_pod(document(), "x").warnings == ()


@pytest.mark.parametrize(("kind", "name"), fields(lambda *_: True))
def test_a_field_has_one_fate(kind: str, name: str) -> None:
    fates = [is_built(kind, name), is_meaningless(kind, name), is_refused(kind, name), is_left(kind, name)]
    assert fates.count(True) == 1


@pytest.mark.parametrize(("kind", "name"), fields(is_meaningless))
@pytest.mark.parametrize("value", [{"a": "b"}, "text", 7, [1]])
def test_what_has_no_meaning_is_taken_and_told_once(kind: str, name: str, value: Any) -> None:
    pod = parse_pod(with_field(kind, name, value), "x")
    assert pod.warnings == (f"{PLACES[kind]}: {name}: accepted, and without meaning on one node",)
    assert pod.ignored == (name,)


@pytest.mark.parametrize(("kind", "name"), fields(is_refused))
def test_what_cannot_be_is_refused_with_the_reason(kind: str, name: str) -> None:
    assert error_of(with_field(kind, name, {"x": 1})) == f"{PLACES[kind]}/{name}: {REFUSED[kind][name]}"


def test_no_field_is_left() -> None:
    assert fields(is_left) == []


@pytest.mark.parametrize(("kind", "name"), fields(is_built))
def test_what_is_built_is_read(kind: str, name: str) -> None:
    """A value that no field takes is complained about by whoever reads it, and not as an unknown field."""
    if (kind, name) in {("Pod", "status"), ("ObjectMeta", name)}:
        return  # what a server writes
    told = error_of(with_field(kind, name, "x" if name in ("sizeLimit", "divisor") else 1.5))
    assert told.startswith(PLACES[kind])
    assert "no such field" not in told


@pytest.mark.parametrize("kind", sorted(BUILT))
def test_what_kubernetes_does_not_know_is_no_field(kind: str) -> None:
    assert error_of(with_field(kind, "noSuchThing", 1)).startswith(f"{PLACES[kind]}/noSuchThing: no such field")
