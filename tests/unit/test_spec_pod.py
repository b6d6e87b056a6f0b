"""Manifest → PodSpec: what is read, what Kubernetes would fill in, what is only warned about."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pyrun.errors import SpecError
from pyrun.spec import kubernetes
from pyrun.spec.image import ImageReference
from pyrun.spec.pod import (
    Container,
    ContainerPort,
    EnvVar,
    PodSpec,
    Resources,
    TimeOffsets,
    Volume,
    VolumeMount,
)
from pyrun.spec.pod_fields import BUILT, MEANINGLESS
from pyrun.spec.pod_parse import load_pod, parse_pod
from pyrun.spec.source import EmptyDir, HostPath
from pyrun.spec.volume_parse import HOST_PATH_TYPES
from pyrun.value import replace


def manifest(**spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "host:", "command": ["true"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web"},
        "spec": {"restartPolicy": "Never", "containers": [container]} | spec,
    }


def container(**fields: Any) -> dict[str, Any]:
    return manifest(containers=[{"name": "main", "image": "host:", "command": ["true"]} | fields])


FULL = """
apiVersion: v1
kind: Pod
metadata:
  name: nginx-logs
  namespace: prod
  uid: 0b9a3a1e-6c1b-4d9f-9a53-0c0a5ad0f001
  labels: {app: nginx, example.com/tier: front}
  annotations:
    note: "anything: at all"
    pyrun.dev/time-offset-monotonic: "-1.5"
    pyrun.dev/time-offset-boottime: "86400"
spec:
  hostname: www
  restartPolicy: Never
  terminationGracePeriodSeconds: 5
  shareProcessNamespace: true
  hostNetwork: true
  hostIPC: true
  containers:
  - name: nginx
    image: "host:"
    imagePullPolicy: Never
    command: [nginx]
    args: [-g, daemon off;]
    workingDir: /srv
    env:
    - {name: A, value: "1"}
    - {name: EMPTY}
    ports:
    - {containerPort: 80, name: http, hostPort: 80}
    - {containerPort: 53, protocol: UDP}
    volumeMounts:
    - {name: logs, mountPath: /var//log/nginx/, subPath: ./a//b}
    - {name: conf, mountPath: /etc/nginx, readOnly: true}
    resources:
      requests: {cpu: 100m, memory: 64Mi}
      limits: {cpu: 0.5, memory: 128Mi}
  - name: shipper
    image: rootfs:/srv/shipper/
    args: [rsyslogd, -n]
    volumeMounts:
    - {name: mem, mountPath: /dev/shm/x}
  volumes:
  - {name: logs, emptyDir: {}}
  - {name: mem, emptyDir: {medium: Memory, sizeLimit: 64Mi}}
  - {name: conf, hostPath: {path: /etc//nginx, type: Directory}}
  - {name: bare}
"""


def test_a_whole_manifest() -> None:
    pod = load_pod(FULL.encode(), "pod.yaml")
    assert (pod.metadata.name, pod.metadata.namespace) == ("nginx-logs", "prod")
    assert pod.metadata.uid == "0b9a3a1e-6c1b-4d9f-9a53-0c0a5ad0f001"
    assert pod.metadata.labels == (("app", "nginx"), ("example.com/tier", "front"))
    assert dict(pod.metadata.annotations)["note"] == "anything: at all"
    assert pod.time_offsets == TimeOffsets(-1_500_000_000, 86_400_000_000_000)
    assert (pod.hostname, pod.restart_policy, pod.termination_grace_period_s) == ("www", "Never", 5)
    assert (pod.share_process_namespace, pod.host_network, pod.host_pid, pod.host_ipc) == (True, True, False, True)
    assert pod.warnings == ()
    assert pod.containers[0] == Container(
        name="nginx",
        image=ImageReference("host", "/"),
        command=("nginx",),
        args=("-g", "daemon off;"),
        env=(EnvVar("A", "1"), EnvVar("EMPTY", "")),
        working_dir="/srv",
        volume_mounts=(VolumeMount("logs", "/var/log/nginx", False, "a/b"), VolumeMount("conf", "/etc/nginx", True)),
        resources=Resources(100, 500, 64 * 2**20, 128 * 2**20),
        ports=(ContainerPort(80, "http", "TCP", 80), ContainerPort(53, "", "UDP")),
        image_pull_policy="Never",
    )
    assert pod.containers[1].image == ImageReference("rootfs", "/srv/shipper")
    assert pod.containers[1].command + pod.containers[1].args == ("rsyslogd", "-n")
    assert pod.volumes == (
        Volume("logs", EmptyDir()),
        Volume("mem", EmptyDir("Memory", 64 * 2**20)),
        Volume("conf", HostPath("/etc/nginx", "Directory")),
        Volume("bare", EmptyDir()),
    )
    assert hash(pod) == hash(load_pod(FULL.encode(), "again"))


def test_yaml_and_json_make_the_same_pod() -> None:
    assert load_pod(json.dumps(yaml.safe_load(FULL)).encode(), "x") == load_pod(FULL.encode(), "x")


def test_defaults() -> None:
    document = manifest()
    del document["spec"]["restartPolicy"]
    pod = parse_pod(document, "x")
    assert pod == PodSpec(
        metadata=pod.metadata,
        containers=(Container("main", ImageReference("host", "/"), ("true",)),),
        hostname="web",
    )
    assert (pod.metadata.namespace, pod.metadata.uid, pod.restart_policy) == ("default", None, "Always")
    assert pod.termination_grace_period_s == 30


def test_null_is_the_default_everywhere() -> None:
    nulls = {
        "hostname": None,
        "volumes": None,
        "hostPID": None,
        "terminationGracePeriodSeconds": None,
        "tolerations": None,
    }
    document = manifest(**nulls)
    document["metadata"] |= {"creationTimestamp": None, "labels": None, "uid": None, "namespace": None}
    document["spec"]["containers"][0] |= {
        "args": None,
        "env": None,
        "resources": {"limits": None},
        "livenessProbe": None,
    }
    assert parse_pod(document, "x") == parse_pod(manifest(), "x")


# What kubectl get pod -o yaml shows of a pod that is `image: host:` and a command, in its spec.
FROM_SERVER = {
    "dnsPolicy": "ClusterFirst",
    "enableServiceLinks": True,
    "preemptionPolicy": "PreemptLowerPriority",
    "priority": 0,
    "restartPolicy": "Never",
    "schedulerName": "default-scheduler",
    "serviceAccount": "default",
    "serviceAccountName": "default",
    "terminationGracePeriodSeconds": 30,
    "tolerations": [
        {"effect": "NoExecute", "key": f"node.kubernetes.io/{key}", "operator": "Exists", "tolerationSeconds": 300}
        for key in ("not-ready", "unreachable")
    ],
}
OF_CONTAINER = {
    "imagePullPolicy": "IfNotPresent",
    "resources": {},
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}


def test_defaults_of_a_server_are_ignored_with_a_warning() -> None:
    document = manifest(**FROM_SERVER)
    document["spec"]["containers"][0] |= OF_CONTAINER
    pod = parse_pod(document, "x")
    meaningless = [name for name in FROM_SERVER if name in MEANINGLESS["PodSpec"]]
    assert pod.warnings == (
        f"/spec: {', '.join(meaningless)}: accepted, and without meaning on one node",
        "/spec/dnsPolicy: ClusterFirst: there is no DNS of a cluster here: the machine's resolv.conf holds, as with 'Default'",
    )
    assert pod.ignored == tuple(meaningless)
    assert replace(pod, warnings=(), ignored=()) == replace(parse_pod(manifest(), "x"), warnings=())


def test_what_kubectl_run_writes_is_taken() -> None:
    document = manifest(dnsPolicy="ClusterFirst", restartPolicy="Always") | {"status": {}}
    document["metadata"] |= {"creationTimestamp": None, "labels": {"run": "web"}}
    document["spec"]["containers"][0]["resources"] = {}
    assert [warning.partition(":")[0] for warning in parse_pod(document, "x").warnings] == ["/spec/dnsPolicy"]


def test_a_request_that_is_not_written_is_the_limit() -> None:
    resources = {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "250m"}}
    assert parse_pod(container(resources=resources), "x").containers[0].resources == Resources(250, 1000, 2**30, 2**30)


def test_the_hostname_comes_from_a_long_name() -> None:
    document = manifest()
    document["metadata"]["name"] = "a" * 62 + ".b"
    assert parse_pod(document, "x").hostname == "a" * 62


@pytest.mark.parametrize("policy", ["Always", "OnFailure", "Never"])
def test_restart_policies(policy: str) -> None:
    pod = parse_pod(manifest(restartPolicy=policy), "x")
    assert (pod.restart_policy, pod.warnings) == (policy, ())


def test_what_a_server_wrote_is_ignored_with_a_warning() -> None:
    document = manifest()
    document["status"] = {"phase": "Running"}
    document["metadata"] |= {"resourceVersion": "1", "creationTimestamp": "2024-01-01T00:00:00Z"}
    assert parse_pod(document, "x").warnings == (
        "/status: ignored; it tells what a server saw, not what is asked for",
        "/metadata: creationTimestamp, resourceVersion: ignored; a server wrote it",
    )
    document = manifest()
    document["status"] = {}
    assert parse_pod(document, "x").warnings == ()


def test_other_warnings() -> None:
    document = container(resources={"limits": {"memory": "1500m"}})
    warning = "/spec/containers/0/resources/limits/memory: '1500m' is no whole number of bytes, rounded up"
    assert parse_pod(document, "x").warnings == (warning,)


@pytest.mark.parametrize("kind", HOST_PATH_TYPES)
def test_every_host_path_type(kind: str) -> None:
    document = manifest(volumes=[{"name": "v", "hostPath": {"path": "/x", "type": kind}}])
    assert parse_pod(document, "x").volumes[0].source == HostPath("/x", kind)  # type: ignore[arg-type]


def test_a_size_limit_of_zero_is_none() -> None:
    document = manifest(volumes=[{"name": "v", "emptyDir": {"sizeLimit": "0"}}])
    assert parse_pod(document, "x").volumes[0].source == EmptyDir()


def test_everything_that_is_built_is_a_field_of_kubernetes() -> None:
    for kind, names in BUILT.items():
        assert names <= kubernetes.FIELDS[kind], kind


@pytest.mark.parametrize(
    ("seconds", "nanoseconds"),
    [
        ("0", 0),
        ("-0", 0),
        ("1", 10**9),
        ("0.5", 5 * 10**8),
        ("-1.000000001", -1_000_000_001),
        ("4611686017", 4_611_686_017 * 10**9),
    ],
)
def test_time_offsets(seconds: str, nanoseconds: int) -> None:
    document = manifest()
    document["metadata"]["annotations"] = {"pyrun.dev/time-offset-boottime": seconds}
    assert parse_pod(document, "x").time_offsets == TimeOffsets(0, nanoseconds)


# Arbitrary input

NAMES = sorted(frozenset().union(*kubernetes.FIELDS.values()) | {"cpu", "memory", "requests", "pyrun.dev/x", "a b"})
WORDS = st.sampled_from(
    ["v1", "Pod", "", "a", "host:", "rootfs:/x", "/x", "..", "1Gi", "Always", "Never", "Memory", "\0", "é\n"]
)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 70000) | st.floats(allow_nan=False) | WORDS | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] + [place for key, child in children for place in places(child, (*path, key))]


def changed(document: Any, place: tuple[Any, ...], value: Any) -> Any:
    """A copy of *document* with another value at *place*."""
    if not place:
        return value
    copy = document.copy()
    copy[place[0]] = changed(document[place[0]], place[1:], value)
    return copy


def assert_resolves(pointer: str, document: Any) -> None:
    """*pointer* leads to a place in *document*, or to a missing member of one."""
    tokens = [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]
    for index, token in enumerate(tokens):
        if isinstance(document, list):
            document = document[int(token)]
        else:
            assert isinstance(document, dict), pointer
            if token not in document:
                assert index == len(tokens) - 1, pointer
                return
            document = document[token]


FULL_DOCUMENT = yaml.safe_load(FULL)


def complaints(document: Any) -> list[tuple[str, str]]:
    """(pointer, message) of the error, or of each warning."""
    try:
        pod = parse_pod(document, "x")
    except SpecError as error:
        return [(error.pointer, str(error))]
    return [(warning.partition(":")[0], warning) for warning in pod.warnings]


def check(document: Any) -> None:
    for pointer, message in complaints(document):
        assert "\n" not in message
        assert_resolves(pointer, document)


@given(ANY)
def test_any_document_gives_a_pod_or_a_spec_error(document: Any) -> None:
    check(document)


@given(st.sampled_from(places(FULL_DOCUMENT)), ANY)
def test_any_change_of_a_good_manifest_gives_a_pod_or_a_spec_error(place: tuple[Any, ...], value: Any) -> None:
    check(changed(FULL_DOCUMENT, place, value))


@given(st.sampled_from(places(FULL_DOCUMENT)), st.sampled_from(NAMES) | st.text(max_size=5), ANY)
def test_any_additional_field_gives_a_pod_or_a_spec_error(place: tuple[Any, ...], name: str, value: Any) -> None:
    target = FULL_DOCUMENT
    for token in place:
        target = target[token]
    if isinstance(target, dict):
        check(changed(FULL_DOCUMENT, place, target | {name: value}))


def test_a_typical_pod_is_parsed_in_well_under_a_millisecond() -> None:
    data = json.dumps(FULL_DOCUMENT).encode()
    best = 1.0
    for _ in range(200):
        start = time.perf_counter()
        load_pod(data, "x")
        best = min(best, time.perf_counter() - start)
    assert best < 0.001


def test_a_huge_manifest_takes_linear_time() -> None:
    containers = [{"name": f"c{i}", "image": "host:", "command": ["x"]} for i in range(30_000)]
    start = time.monotonic()
    assert len(parse_pod(manifest(containers=containers), "x").containers) == 30_000
    assert time.monotonic() - start < 10
