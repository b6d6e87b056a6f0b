"""ConfigMaps and Secrets: read from beside the pod or from files of their own, and what refers to them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from pyrun.errors import SpecError
from pyrun.spec.environment import Facts, resolve_environment
from pyrun.spec.object_parse import MAX_OBJECT_BYTES, load_objects
from pyrun.spec.pod import PodSpec
from pyrun.spec.pod_parse import load_pod, parse_pod
from pyrun.spec.source import ConfigObject

CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf"}, "data": {"a": "1", "b": "2"}}


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def pod(**spec: Any) -> dict[str, Any]:
    body = {"name": "main", "image": "host:", "command": ["x"], **spec.pop("container", {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [body], **spec}}


def parse(*beside: dict[str, Any], **spec: Any) -> PodSpec:
    return parse_pod({"apiVersion": "v1", "kind": "List", "items": [*beside, pod(**spec)]}, "x.yaml")


def error_of(*beside: dict[str, Any], **spec: Any) -> str:
    with pytest.raises(SpecError) as caught:
        parse(*beside, **spec)
    return str(caught.value)


def test_documents_and_lists_are_the_same() -> None:
    text = "\n---\n".join([json.dumps(CONFIG), json.dumps(pod())])
    whole = load_pod(text.encode(), "x")
    assert whole == parse(CONFIG)
    assert whole.objects == (ConfigObject("ConfigMap", "conf", (("a", b"1"), ("b", b"2"))),)


def test_a_secret_is_decoded_and_its_text_wins() -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {"name": "s", "namespace": "other"},
        "data": {"a": encoded(b"\0\xff"), "b": encoded(b"old")},
        "stringData": {"b": "new"},
    }
    made = load_objects(json.dumps(secret).encode(), "s.json")
    assert made == (ConfigObject("Secret", "s", (("a", b"\0\xff"), ("b", b"new")), "other"),)


def test_binary_data() -> None:
    made = load_objects(json.dumps({**CONFIG, "binaryData": {"c": encoded(b"\xfe")}}).encode(), "c.json")
    assert dict(made[0].data)["c"] == b"\xfe"


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"kind": "Service"}, "/kind: 'Service' is none of 'ConfigMap', 'Secret'"),
        ({"apiVersion": "v2"}, "/apiVersion: expected 'v1', found 'v2'"),
        ({"metadata": {}}, "/metadata/name: required, but missing"),
        ({"data": {"..x": "1"}}, "/data/..x: '..x' must be letters, digits, '-', '_' or '.', and not begin with '..'"),
        ({"data": {"a/b": "1"}}, "/data/a~1b: 'a/b' must be letters"),
        ({"data": {"a": 1}}, "/data/a: expected a string, found the number 1"),
        ({"binaryData": {"a": "%"}}, "/binaryData/a: is not base64"),
        ({"stringData": {"a": "x"}}, "/stringData: no such field"),
        ({"data": {"a": "x" * (MAX_OBJECT_BYTES + 1)}}, f"more than {MAX_OBJECT_BYTES} bytes of data"),
    ],
)
def test_objects_that_are_wrong(change: dict[str, Any], wanted: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_objects(json.dumps({**CONFIG, **change}).encode(), "c.json")
    assert str(caught.value).startswith("c.json: " + wanted)


def test_where_in_the_file_it_is_wrong() -> None:
    assert error_of({**CONFIG, "data": []}).startswith("x.yaml (document 1): /data: ")
    assert error_of(CONFIG, hostname="-").startswith("x.yaml (document 2): /spec/hostname: ")
    assert error_of(CONFIG, CONFIG) == "x.yaml (document 2): /metadata/name: there is another ConfigMap 'conf'"


def test_one_pod_at_a_time() -> None:
    told = "x.yaml: one Pod at a time, with ConfigMaps and Secrets beside it; found 2: document 1, document 2"
    assert error_of(pod()) == told
    assert error_of({"kind": "Service"}) == told


REFERENCES = [
    (
        {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "%", "key": "a"}}}]},
        "env/0/valueFrom/configMapKeyRef",
    ),
    ({"envFrom": [{"configMapRef": {"name": "%"}}]}, "envFrom/0/configMapRef"),
]


@pytest.mark.parametrize(("container", "place"), REFERENCES)
def test_references_lead_somewhere_or_are_optional(container: dict[str, Any], place: str) -> None:
    there = json.loads(json.dumps(container).replace("%", "conf"))
    assert parse(CONFIG, container=there)
    missing = json.loads(json.dumps(container).replace("%", "cnof"))
    told = error_of(CONFIG, container=missing)
    assert told.endswith(
        f"/spec/containers/0/{place}/name: there is no ConfigMap 'cnof' in namespace default; did you mean 'conf'?"
    )
    optional = json.loads(json.dumps(missing).replace('"cnof"', '"cnof", "optional": true'))
    assert parse(CONFIG, container=optional)


def test_a_key_that_is_not_there() -> None:
    ref = {"name": "conf", "key": "aa"}
    told = error_of(CONFIG, container={"env": [{"name": "A", "valueFrom": {"configMapKeyRef": ref}}]})
    assert told.endswith("/configMapKeyRef/key: the ConfigMap 'conf' has no key 'aa'; did you mean 'a'?")


def test_an_object_of_another_namespace_is_none() -> None:
    elsewhere = {**CONFIG, "metadata": {"name": "conf", "namespace": "other"}}
    told = error_of(elsewhere, container={"envFrom": [{"configMapRef": {"name": "conf"}}]})
    assert "there is no ConfigMap 'conf' in namespace default" in told


@pytest.mark.parametrize(
    ("volume", "wanted"),
    [
        ({"configMap": {"name": "no"}}, "/configMap/name: there is no ConfigMap 'no'"),
        ({"secret": {"secretName": "conf"}}, "/secret/secretName: there is no Secret 'conf'"),
        (
            {"configMap": {"name": "conf", "items": [{"key": "z", "path": "p"}]}},
            "/configMap/items/0/key: the ConfigMap",
        ),
        (
            {"configMap": {"name": "conf", "items": [{"key": "a", "path": "../p"}]}},
            "/configMap/items/0/path: '../p' must",
        ),
        (
            {"configMap": {"name": "conf", "items": [{"key": "a", "path": "..p"}]}},
            "/configMap/items/0/path: '..p' must",
        ),
        (
            {"configMap": {"name": "conf", "items": [{"key": "a", "path": "p"}, {"key": "b", "path": "p/q"}]}},
            "/configMap/items/1/path: 'p/q' cannot be beside 'p', which is there already",
        ),
        ({"configMap": {"name": "conf", "defaultMode": 512}}, "/configMap/defaultMode: must be between 0 and 511"),
        ({"downwardAPI": {"items": [{"path": "p"}]}}, "/downwardAPI/items/0: needs one of fieldRef, resourceFieldRef"),
        (
            {"downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "status.podIP"}}]}},
            "/downwardAPI/items/0/fieldRef/fieldPath: 'status.podIP' is none of metadata.name",
        ),
        (
            {"downwardAPI": {"items": [{"path": "p", "resourceFieldRef": {"resource": "limits.cpu"}}]}},
            "/downwardAPI/items/0/resourceFieldRef/containerName: required, but missing",
        ),
        (
            {"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
            "/projected/sources/0/serviceAccountToken: there is no cluster that would give one out",
        ),
        (
            {"emptyDir": {}, "secret": {"secretName": "s"}},
            ": a volume has one source; this one has emptyDir and secret",
        ),
    ],
)
def test_volumes_that_are_wrong(volume: dict[str, Any], wanted: str) -> None:
    told = error_of(CONFIG, volumes=[{"name": "v", **volume}]).partition("/spec/volumes/0")[2]
    assert told.startswith(wanted)


def test_binary_data_is_for_files_and_not_for_variables() -> None:
    binary = {**CONFIG, "binaryData": {"c": encoded(b"\xfe")}}
    container = {"name": "main", "image": "host:", "command": ["true"]}
    ref = {"configMapKeyRef": {"name": "conf", "key": "c"}}
    told = error_of(binary, containers=[{**container, "env": [{"name": "A", "valueFrom": ref}]}])
    assert "/spec/containers/0/env/0/valueFrom/configMapKeyRef/key: 'c' is in binaryData" in told
    whole = parse(binary, containers=[{**container, "envFrom": [{"configMapRef": {"name": "conf"}}]}])
    found = resolve_environment(whole, whole.containers[0], Facts())
    assert [variable.name for variable in found.env] == ["a", "b"]


def test_a_variable_cannot_hold_a_nul() -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": encoded(b"a\0b")}}
    ref = {"secretKeyRef": {"name": "s", "key": "k"}}
    env = [{"name": "A", "valueFrom": ref}]
    whole = parse(secret, containers=[{"name": "main", "image": "host:", "command": ["true"], "env": env}])
    with pytest.raises(SpecError, match="'k' of Secret 's' has a NUL character"):
        resolve_environment(whole, whole.containers[0], Facts())


def test_as_many_files_as_a_manifest_can_name() -> None:
    """Not each compared with each: that took minutes."""
    items = [{"key": "k", "path": f"d/{number}"} for number in range(60_000)]
    volume = {"name": "v", "configMap": {"name": "none", "optional": True, "items": items}}
    assert parse(volumes=[volume])
    items[-1] = {"key": "k", "path": "d"}
    assert "/configMap/items/59999/path: 'd' cannot be beside 'd/0'" in error_of(volumes=[volume])
    items[-1] = {"key": "k", "path": "d/5/x"}
    assert "/configMap/items/59999/path: 'd/5/x' cannot be beside 'd/5'" in error_of(volumes=[volume])
