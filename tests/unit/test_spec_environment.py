"""What references tell: the downward API, keys of objects, and files of variables."""

from __future__ import annotations

from typing import Any

import pytest

from pyrun.pod.env_file import parse_env_file
from pyrun.pod.volume_files import File, files_of
from pyrun.spec.environment import Facts, resolve_environment
from pyrun.spec.expand import expand_env
from pyrun.spec.pod import PodSpec
from pyrun.spec.pod_parse import parse_pod

FACTS = Facts("uid-1", "node-1", "10.0.0.1", "127.0.0.1", 4000, 8 * 2**30, 100 * 2**30)
OBJECTS = [
    {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "conf"},
        "data": {"a": "one $(B)", "b.txt": "two"},
    },
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sec"}, "stringData": {"key": "p$$w"}},
]


def pod(volumes: list[dict[str, Any]] | None = None, **fields: Any) -> PodSpec:
    body = {"name": "main", "image": "host:", "command": ["x"], **fields}
    metadata = {"name": "web", "namespace": "prod", "labels": {"app": "nginx"}, "annotations": {"note": 'say "hi"\n'}}
    objects = [{**each, "metadata": {**each["metadata"], "namespace": "prod"}} for each in OBJECTS]  # type: ignore[dict-item]
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [body]}}
    document["spec"]["volumes"] = volumes or []  # type: ignore[index]
    return parse_pod({"kind": "List", "items": [*objects, document]}, "x")


def environment(**fields: Any) -> dict[str, str]:
    spec = pod(**fields)
    return dict(expand_env(resolve_environment(spec, spec.containers[0], FACTS)))


def field(path: str) -> dict[str, Any]:
    return {"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "web"),
        ("metadata.namespace", "prod"),
        ("metadata.uid", "uid-1"),
        ("metadata.labels['app']", "nginx"),
        ("metadata.labels['none']", ""),
        ("metadata.annotations['note']", 'say "hi"\n'),
        ("spec.nodeName", "node-1"),
        ("spec.serviceAccountName", "default"),
        ("status.hostIP", "10.0.0.1"),
        ("status.hostIPs", "10.0.0.1"),
        ("status.podIP", "127.0.0.1"),
        ("status.podIPs", "127.0.0.1"),
    ],
)
def test_every_field_of_the_downward_api(path: str, value: str) -> None:
    assert environment(env=[field(path)]) == {"X": value}


@pytest.mark.parametrize(
    ("resource", "divisor", "value"),
    [
        ("limits.cpu", None, "2"),
        ("limits.cpu", "1m", "1500"),
        ("requests.cpu", "1m", "250"),
        ("limits.memory", None, "67108864"),
        ("limits.memory", "1Mi", "64"),
        ("limits.memory", "1Gi", "1"),
        ("requests.memory", "1M", "68"),
        ("limits.ephemeral-storage", "1Gi", "100"),
        ("requests.ephemeral-storage", None, "0"),
    ],
)
def test_resources_are_rounded_up(resource: str, divisor: str | None, value: str) -> None:
    ref = {"resource": resource, **({"divisor": divisor} if divisor else {})}
    resources = {"limits": {"cpu": "1500m", "memory": "64Mi"}, "requests": {"cpu": "250m"}}
    assert environment(env=[{"name": "X", "valueFrom": {"resourceFieldRef": ref}}], resources=resources) == {"X": value}


def test_without_a_limit_it_is_the_nodes() -> None:
    refs = [
        {"name": name, "valueFrom": {"resourceFieldRef": {"resource": f"limits.{name}"}}} for name in ("cpu", "memory")
    ]
    assert environment(env=refs) == {"cpu": "4", "memory": str(8 * 2**30)}


def test_keys_are_put_in_as_they_are_and_can_be_referred_to() -> None:
    refs = [
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "a"}}},
        {"name": "S", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "key"}}},
        {"name": "N", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "no", "optional": True}}},
        {"name": "B", "value": "$(A)-$(S)-$(N)"},
    ]
    assert environment(env=refs) == {"A": "one $(B)", "S": "p$$w", "B": "one $(B)-p$$w-$(N)"}


def test_env_comes_after_env_from() -> None:
    sources = [{"prefix": "P_", "configMapRef": {"name": "conf"}}, {"secretRef": {"name": "sec"}}]
    found = environment(envFrom=sources, env=[{"name": "P_a", "value": "mine, not $(key)"}])
    assert found == {"P_a": "mine, not p$$w", "P_b.txt": "two", "key": "p$$w"}


def test_files_of_a_projected_volume() -> None:
    sources = [
        {"configMap": {"name": "conf", "items": [{"key": "a", "path": "d/a", "mode": 0o400}]}},
        {"secret": {"name": "sec"}},
        {
            "downwardAPI": {
                "items": [
                    {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                    {"path": "notes", "fieldRef": {"fieldPath": "metadata.annotations"}},
                    {"path": "cpu", "resourceFieldRef": {"containerName": "main", "resource": "limits.cpu"}},
                ]
            }
        },
    ]
    spec = pod([{"name": "v", "projected": {"sources": sources, "defaultMode": 0o440}}])
    assert files_of(spec, spec.volumes[0], FACTS) == {
        "d/a": File(b"one $(B)", 0o400),
        "key": File(b"p$$w", 0o440),
        "labels": File(b'app="nginx"', 0o440),
        "notes": File(b'note="say \\"hi\\"\\n"', 0o440),
        "cpu": File(b"4", 0o440),
    }


def test_an_env_file() -> None:
    text = b"# comment\n\nA=1\n B='two words'\nC='three\nlines\n'\nD=\nE=a=b\n"
    assert parse_env_file(text) == {"A": "1", "B": "two words", "C": "three\nlines\n", "D": "", "E": "a=b"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (b"A", "line 1: expected NAME=value"),
        (b"\n=x", "line 2: must not be empty"),
        (b"A = x", "line 1: a blank before the equals sign"),
        (b"A='x\ny", "line 1: a quote is not closed"),
        (b"A='x' y", "line 1: something stands behind the closing quote"),
        (b"\xff", "not UTF-8 text"),
    ],
)
def test_env_files_that_are_none(text: bytes, wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted):
        parse_env_file(text)
