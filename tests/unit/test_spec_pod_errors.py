"""Every sentence that a bad manifest gets, word for word, because a user reads it."""

from __future__ import annotations

from typing import Any

import pytest

from pyrun.errors import SpecError
from pyrun.spec.pod_fields import NO_DEVICES
from pyrun.spec.pod_parse import load_pod, parse_pod

WHAT_WORKS = "what works now is host: (this machine's own files, read-only below) and rootfs:/path/to/a/directory"
DNS = "must be lower-case letters, digits and '-', and begin and end with a letter or digit"


def error_of(document: Any) -> str:
    with pytest.raises(SpecError) as caught:
        parse_pod(document, "pod.json")
    text = str(caught.value)
    assert text.startswith("pod.json: ")
    assert "\n" not in text
    return text.removeprefix("pod.json: ")


def pod(spec: dict[str, Any] | None = None, metadata: dict[str, Any] | None = None, **top: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "host:", "command": ["true"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web"} | (metadata or {}),
        "spec": {"containers": [container]} | (spec or {}),
    } | top


def container(**fields: Any) -> dict[str, Any]:
    fields = {"name": "main", "image": "host:", "command": ["true"]} | fields
    return pod({"containers": [fields], "volumes": [{"name": "data"}]})


def volume(**fields: Any) -> dict[str, Any]:
    return pod({"volumes": [{"name": "data"} | fields]})


@pytest.mark.parametrize(
    ("document", "wanted"),
    [
        ("nonsense", "expected a Pod, which is an object, found the string 'nonsense'"),
        ([], "expected a Pod, which is an object, found a list"),
        ({}, "/kind: required, but missing"),
        ({"kind": "Pod"}, "/apiVersion: required, but missing"),
        ({"kind": "Pod", "apiVersion": "v2"}, "/apiVersion: expected 'v1', found 'v2'"),
        ({"kind": 1}, "/kind: expected a string, found the number 1"),
        ({"kind": "pod"}, "/kind: expected 'Pod', found 'pod'; did you mean 'Pod'?"),
        ({"kind": "Service"}, "/kind: expected 'Pod', found 'Service'"),
        ({"kind": "List"}, "one Pod at a time, with ConfigMaps and Secrets beside it; found none"),
        (
            {"kind": "Deployment", "apiVersion": "apps/v1"},
            "/kind: pyrun runs Pods: take /spec/template out of this Deployment, add apiVersion v1 and kind Pod",
        ),
        (
            {"kind": "CronJob"},
            "/kind: pyrun runs Pods: take /spec/jobTemplate/spec/template out of this CronJob, add apiVersion v1 and "
            "kind Pod",
        ),
        ({"kind": "Pod", "apiVersion": "v1"}, "/metadata: required, but missing"),
        ({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}}, "/spec: required, but missing"),
        (pod(spce={}), "/spce: no such field; did you mean 'spec'?"),
    ],
)
def test_the_document(document: Any, wanted: str) -> None:
    assert error_of(document) == wanted


@pytest.mark.parametrize(
    ("metadata", "wanted"),
    [
        ({"name": None}, "/metadata/name: required, but missing"),
        ({"name": ""}, f"/metadata/name: '' {DNS}; several such parts may be joined by '.'"),
        ({"name": "Web_1"}, f"/metadata/name: 'Web_1' {DNS}; several such parts may be joined by '.'"),
        ({"name": "a" * 254}, f"/metadata/name: '{'a' * 57}...' has 254 characters; at most 253 are allowed"),
        ({"namespace": "a.b"}, f"/metadata/namespace: 'a.b' {DNS}"),
        ({"uid": "../x"}, "/metadata/uid: '../x' must be 1 to 64 letters, digits and '-', as a UUID is"),
        ({"labels": {"app": 1}}, "/metadata/labels/app: expected a string, found the number 1"),
        (
            {"labels": {"app": "a b"}},
            "/metadata/labels/app: 'a b' must be up to 63 letters, digits, '-', '_' or '.', beginning and ending with a "
            "letter or digit",
        ),
        (
            {"labels": {"-a": ""}},
            "/metadata/labels/-a: '-a': must be 1 to 63 letters, digits, '-', '_' or '.', beginning and ending with a "
            "letter or digit",
        ),
        (
            {"labels": {"E/x/y": ""}},
            "/metadata/labels/E~1x~1y: 'E/x/y': what stands before the '/' must be a domain name in lower case",
        ),
        ({"annotations": {"a": True}}, "/metadata/annotations/a: expected a string, found true"),
        (
            {"annotations": {"a": "x" * 262144}},
            "/metadata/annotations: 262145 bytes of annotations; at most 262144 are allowed",
        ),
        (
            {"annotations": {"pyrun.dev/time-offset-monotnic": "1"}},
            "/metadata/annotations/pyrun.dev~1time-offset-monotnic: no such annotation; did you mean "
            "'pyrun.dev/time-offset-monotonic'?",
        ),
        (
            {"annotations": {"pyrun.dev/time-offset-monotonic": "1 day"}},
            "/metadata/annotations/pyrun.dev~1time-offset-monotonic: expected seconds such as '86400' or '-1.5', with at "
            "most 9 decimals, found '1 day'",
        ),
        (
            {"annotations": {"pyrun.dev/time-offset-boottime": "4611686018"}},
            "/metadata/annotations/pyrun.dev~1time-offset-boottime: must be less than 4611686018 seconds either way",
        ),
        ({"generateName": "x-"}, "/metadata/generateName: there is no server to make a name of it; write name"),
        ({"lables": {}}, "/metadata/lables: no such field; did you mean 'labels'?"),
    ],
)
def test_metadata(metadata: dict[str, Any], wanted: str) -> None:
    assert error_of(pod(metadata=metadata)) == wanted


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"containers": None}, "/spec/containers: required, but missing"),
        ({"containers": []}, "/spec/containers: a pod has at least one container"),
        ({"containers": [None]}, "/spec/containers/0: expected an object, found null"),
        ({"hostname": "a.b"}, f"/spec/hostname: 'a.b' {DNS}"),
        ({"hostname": "a" * 64}, f"/spec/hostname: '{'a' * 57}...' has 64 characters; at most 63 are allowed"),
        (
            {"restartPolicy": "never"},
            "/spec/restartPolicy: 'never' is none of 'Always', 'OnFailure', 'Never'; did you mean 'Never'?",
        ),
        (
            {"terminationGracePeriodSeconds": -1},
            "/spec/terminationGracePeriodSeconds: must be between 0 and 2147483647, found -1",
        ),
        ({"hostNetwork": "yes"}, "/spec/hostNetwork: expected true or false, found the string 'yes'"),
        (
            {"hostPID": True, "shareProcessNamespace": True},
            "/spec/shareProcessNamespace: cannot be true together with hostPID",
        ),
        ({"initContainers": {}}, "/spec/initContainers: expected a list, found an object"),
        ({"container": []}, "/spec/container: no such field; did you mean 'containers'?"),
        ({"volumes": [{"name": "a"}, {"name": "a"}]}, "/spec/volumes/1/name: 'a' is the name of volume 0 already"),
    ],
)
def test_spec(spec: dict[str, Any], wanted: str) -> None:
    assert error_of(pod(spec)) == wanted


def test_two_containers_of_one_name() -> None:
    one = {"name": "a", "image": "host:", "command": ["x"]}
    wanted = "/spec/containers/2/name: 'a' is the name of container 0 already"
    assert error_of(pod({"containers": [one, one | {"name": "b"}, one]})) == wanted


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"name": None}, "name: required, but missing"),
        ({"name": "A"}, f"name: 'A' {DNS}"),
        ({"image": None}, "image: required, but missing"),
        ({"image": 5}, "image: expected a string, found the number 5"),
        ({"image": ""}, f"image: an image is required; {WHAT_WORKS}"),
        ({"image": "nginx"}, f"image: 'nginx': images cannot be pulled from a registry yet; {WHAT_WORKS}"),
        ({"image": "nginx:1.27"}, f"image: 'nginx:1.27': images cannot be pulled from a registry yet; {WHAT_WORKS}"),
        ({"image": "host"}, f"image: 'host': images cannot be pulled from a registry yet; {WHAT_WORKS}"),
        ({"image": "host:/srv"}, "image: 'host:/srv': nothing may follow 'host:'; for a directory write rootfs:/path"),
        ({"image": "rootfs:srv"}, "image: 'rootfs:srv': the directory after 'rootfs:' must be an absolute path"),
        ({"image": "rootfs:/a/../b"}, "image: 'rootfs:/a/../b': the path must not contain '..'"),
        ({"image": "rootfs:/"}, "image: 'rootfs:/': for the machine's own root file system write host:"),
        ({"image": "rootfs:"}, "image: 'rootfs:': the directory after 'rootfs:' must be an absolute path"),
        ({"image": "dir:/x"}, f"image: 'dir:/x': the transport 'dir:' is not built yet; {WHAT_WORKS}"),
        ({"image": "oci:/x"}, f"image: 'oci:/x': the transport 'oci:' is not built yet; {WHAT_WORKS}"),
        (
            {"image": "oci-archive:/x"},
            f"image: 'oci-archive:/x': the transport 'oci-archive:' is not built yet; {WHAT_WORKS}",
        ),
        (
            {"image": "docker://nginx"},
            f"image: 'docker://nginx': the transport 'docker:' is not built yet; {WHAT_WORKS}",
        ),
        (
            {"image": "docker-archive:/x"},
            f"image: 'docker-archive:/x': the transport 'docker-archive:' is not built yet; {WHAT_WORKS}",
        ),
        (
            {"image": "containers-storage:x"},
            f"image: 'containers-storage:x': the transport 'containers-storage:' is not built yet; {WHAT_WORKS}",
        ),
        (
            {"imagePullPolicy": "Always"},
            "imagePullPolicy: 'Always' cannot be kept: nothing is pulled from a registry yet; write IfNotPresent or Never",
        ),
        ({"imagePullPolicy": "Sometimes"}, "imagePullPolicy: 'Sometimes' is none of 'IfNotPresent', 'Never'"),
        ({"command": []}, "command: required: the image host: has no command of its own"),
        ({"command": [""]}, "command: the first word, which is the program, must not be empty"),
        ({"command": [], "args": [""]}, "args: the first word, which is the program, must not be empty"),
        ({"command": "nginx"}, "command: expected a list, found the string 'nginx'"),
        ({"args": ["-c", 5]}, "args/1: expected a string, found the number 5"),
        ({"args": ["a\0b"]}, "args/0: must not contain a NUL character"),
        ({"workingDir": "srv"}, "workingDir: 'srv' must be an absolute path"),
        ({"env": [{"name": "A=B"}]}, "env/0/name: 'A=B' must be printable ASCII characters other than '='"),
        ({"env": [{"name": ""}]}, "env/0/name: must not be empty"),
        ({"env": [{"name": "A", "value": 5}]}, "env/0/value: expected a string, found the number 5"),
        ({"env": [{"name": "A", "valueFrom": {}}]}, "env/0/valueFrom: needs one source; found none"),
        ({"ports": [{}]}, "ports/0/containerPort: required, but missing"),
        ({"ports": [{"containerPort": 0}]}, "ports/0/containerPort: must be between 1 and 65535, found 0"),
        (
            {"ports": [{"containerPort": 1, "name": "http_"}]},
            "ports/0/name: 'http_' must be at most 15 lower-case letters, digits and single '-', with a letter among them",
        ),
        (
            {"ports": [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]},
            "ports/1/name: 'a' is the name of another port already",
        ),
        (
            {"ports": [{"containerPort": 1, "protocol": "tcp"}]},
            "ports/0/protocol: 'tcp' is none of 'TCP', 'UDP', 'SCTP'; did you mean 'TCP'?",
        ),
        (
            {"ports": [{"containerPort": 1, "hostPort": 1}]},
            "ports/0/hostPort: needs hostNetwork: a network of the pod's own has no way in",
        ),
        ({"volumeMounts": [{"name": "data"}]}, "volumeMounts/0/mountPath: required, but missing"),
        ({"volumeMounts": [{"name": "data", "mountPath": ""}]}, "volumeMounts/0/mountPath: must not be empty"),
        (
            {"volumeMounts": [{"name": "data", "mountPath": "a"}]},
            "volumeMounts/0/mountPath: 'a' must be an absolute path",
        ),
        (
            {"volumeMounts": [{"name": "data", "mountPath": "//"}]},
            "volumeMounts/0/mountPath: a volume cannot be mounted on the container's root",
        ),
        (
            {"volumeMounts": [{"name": "data", "mountPath": "/a/../b"}]},
            "volumeMounts/0/mountPath: '/a/../b' must not contain '..'",
        ),
        (
            {"volumeMounts": [{"name": "data", "mountPath": "/a:ro"}]},
            "volumeMounts/0/mountPath: '/a:ro' must not contain ':'",
        ),
        (
            {"volumeMounts": [{"name": "data", "mountPath": "/a"}, {"name": "data", "mountPath": "/a/"}]},
            "volumeMounts/1/mountPath: '/a' is mounted already, by /spec/containers/0/volumeMounts/0",
        ),
        (
            {"volumeMounts": [{"name": "dta", "mountPath": "/a"}]},
            "volumeMounts/0/name: there is no volume 'dta'; did you mean 'data'?",
        ),
        (
            {"volumeMounts": [{"name": "data", "mountPath": "/a", "subPath": "/x"}]},
            "volumeMounts/0/subPath: '/x' must be a relative path",
        ),
        (
            {"volumeMounts": [{"name": "data", "mountPath": "/a", "subPath": "x/.."}]},
            "volumeMounts/0/subPath: 'x/..' must not contain '..'",
        ),
        (
            {"volumeMounts": [{"name": "data", "mountPath": "/a", "subPath": "x", "subPathExpr": "x"}]},
            "volumeMounts/0/subPathExpr: not together with subPath",
        ),
        (
            {"volumeMounts": [{"name": "data", "mountPath": "/a", "recursiveReadOnly": "Enabled"}]},
            "volumeMounts/0/recursiveReadOnly: only together with readOnly: true",
        ),
        (
            {"volumeMounts": [{"name": "data", "mountPath": "/a", "mountPropagation": "Bidirectional"}]},
            "volumeMounts/0/mountPropagation: Bidirectional is for privileged containers only",
        ),
        (
            {"resources": {"requests": {"cpu": 2}, "limits": {"cpu": "1500m"}}},
            "resources/requests/cpu: the request 2 is more than the limit 1500m",
        ),
        (
            {"resources": {"limits": {"memory": "128MB"}}},
            "resources/limits/memory: '128MB' is not a quantity: for the suffix 'MB' write M or Mi",
        ),
        ({"resources": {"limits": {"cpu": -1}}}, "resources/limits/cpu: '-1': must not be negative"),
        ({"resources": {"limits": {"cpus": 1}}}, "resources/limits/cpus: no such resource; did you mean 'cpu'?"),
        (
            {"resources": {"limits": {"storage": 1}}},
            "resources/limits/storage: no resource of a container",
        ),
        (
            {"resources": {"limits": {"hugepages-2Mi": 1}}},
            "resources/limits/hugepages-2Mi: '1' is no whole number of pages of 2097152 bytes",
        ),
        (
            {"resources": {"limits": {"nvidia.com/gpu": 1}}},
            "resources/limits/nvidia.com~1gpu: an extended resource, and this machine offers none",
        ),
        (
            {"resources": {"claims": []}},
            "resources/claims: " + NO_DEVICES,
        ),
        ({"livenessProbe": {}}, "livenessProbe: needs one of exec, httpGet, tcpSocket, grpc; found none"),
        ({"workingdir": "/"}, "workingdir: no such field; did you mean 'workingDir'?"),
        ({"livenesProbe": {}}, "livenesProbe: no such field; did you mean 'livenessProbe'?"),
    ],
)
def test_container(fields: dict[str, Any], wanted: str) -> None:
    assert error_of(container(**fields)) == "/spec/containers/0/" + wanted


def test_a_mount_in_a_pod_without_volumes() -> None:
    one = {"name": "a", "image": "host:", "command": ["x"], "volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    wanted = "/spec/containers/0/volumeMounts/0/name: there is no volume 'v'; the pod has no volumes"
    assert error_of(pod({"containers": [one]})) == wanted


def test_host_port_on_a_host_network() -> None:
    one = {"name": "a", "image": "host:", "command": ["x"], "ports": [{"containerPort": 80, "hostPort": 81}]}
    wanted = "/spec/containers/0/ports/0/hostPort: must be the containerPort where hostNetwork is true"
    assert error_of(pod({"containers": [one], "hostNetwork": True})) == wanted


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"name": "a.b"}, f"/name: 'a.b' {DNS}"),
        ({"emptyDir": {}, "hostPath": {"path": "/"}}, ": a volume has one source; this one has emptyDir and hostPath"),
        (
            {"emptyDir": {"medium": "HugePages-2Mi"}},
            "/emptyDir/medium: no container asks for hugepages-2Mi",
        ),
        (
            {"emptyDir": {"medium": "memory"}},
            "/emptyDir/medium: 'memory' is none of '', 'Memory', 'HugePages'; did you mean 'Memory'?",
        ),
        (
            {"emptyDir": {"sizeLimit": []}},
            "/emptyDir/sizeLimit: expected a quantity such as '500m' or '128Mi', found a list",
        ),
        ({"hostPath": {}}, "/hostPath/path: required, but missing"),
        ({"hostPath": {"path": "etc"}}, "/hostPath/path: 'etc' must be an absolute path"),
        ({"hostPath": {"path": "/etc/.."}}, "/hostPath/path: '/etc/..' must not contain '..'"),
        (
            {"hostPath": {"path": "/" + "a" * 256}},
            "/hostPath/path: is longer than a path can be: 4095 bytes, 255 for each part",
        ),
        (
            {"hostPath": {"path": "/etc", "type": "Dir"}},
            "/hostPath/type: 'Dir' is none of '', 'DirectoryOrCreate', 'Directory', 'FileOrCreate', 'File', 'Socket', "
            "'CharDevice', 'BlockDevice'",
        ),
        (
            {"configMap": {"name": "x"}},
            "/configMap/name: there is no ConfigMap 'x' in namespace default; put it into the same file, or give it with "
            "--configmap",
        ),
        ({"emptydir": {}}, "/emptydir: no such field; did you mean 'emptyDir'?"),
    ],
)
def test_volume(fields: dict[str, Any], wanted: str) -> None:
    assert error_of(volume(**fields)) == "/spec/volumes/0" + wanted


def test_a_syntax_error_names_the_file_and_the_place() -> None:
    with pytest.raises(SpecError) as caught:
        load_pod(b'{"kind": "Pod",]', "spec.json")
    assert str(caught.value).startswith("spec.json: line 1, column 16: not JSON: ")
