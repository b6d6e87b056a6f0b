"""Resizing a pod that runs: what may change, and what stays."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.pods import document, shell
from pyrun.errors import NotFound, SpecError
from pyrun.spec.pod import PodSpec, Resources
from pyrun.spec.pod_parse import parse_pod
from pyrun.spec.resize import needs_restart, resize_container

MIB = 1 << 20


def pod(requests: dict[str, str], limits: dict[str, str], **fields: Any) -> PodSpec:
    resources = {"requests": requests, "limits": limits}
    container = shell("true", "one", resources=resources, **fields)
    return parse_pod(document(container, shell("true", "two"), restartPolicy="Always"), "x")


BURSTABLE = pod({"cpu": "100m", "memory": "32Mi"}, {"cpu": "200m", "memory": "64Mi"})


def test_what_is_not_named_stays() -> None:
    new = resize_container(BURSTABLE, "one", limits={"memory": "128Mi"})
    assert new.containers[0].resources == Resources(100, 200, 32 * MIB, 128 * MIB)
    assert new.containers[1] == BURSTABLE.containers[1]
    new = resize_container(new, "one", {"cpu": "0.5", "memory": "1Mi"}, {"cpu": "1"})
    assert new.containers[0].resources == Resources(500, 1000, MIB, 128 * MIB)


def test_no_change_is_no_change() -> None:
    assert resize_container(BURSTABLE, "one") == BURSTABLE


@pytest.mark.parametrize(
    ("requests", "limits", "wanted"),
    [
        ({"cpu": "300m"}, {}, "/requests/cpu: the request is more than the limit"),
        ({}, {"memory": "1Mi"}, "/requests/memory: the request is more than the limit"),
        ({"ephemeral-storage": "1"}, {}, "/requests: 'ephemeral-storage' cannot be resized: only cpu and memory can"),
        ({}, {"memory": "lots"}, "/limits/memory: 'lots' is not a quantity"),
        ({}, {"memory": "-1"}, "/limits/memory: '-1': must not be negative"),
    ],
)
def test_what_cannot_be(requests: dict[str, str], limits: dict[str, str], wanted: str) -> None:
    with pytest.raises(SpecError) as caught:
        resize_container(BURSTABLE, "one", requests, limits)
    text = f"{caught.value.pointer}: {caught.value.message}"
    assert text.startswith("/spec/containers/0/resources" + wanted)


def test_the_class_may_not_change() -> None:
    guaranteed = parse_pod(document(shell("true", resources={"limits": {"cpu": "1", "memory": "1Mi"}})), "x")
    with pytest.raises(SpecError, match="the QoS class Guaranteed may not change, and this would make it Burstable"):
        resize_container(guaranteed, "main", limits={"cpu": "2"})
    assert (
        resize_container(guaranteed, "main", {"cpu": "2"}, {"cpu": "2"}).containers[0].resources.cpu_limit_milli == 2000
    )
    with pytest.raises(SpecError, match="BestEffort may not change"):
        resize_container(parse_pod(document(shell("true")), "x"), "main", limits={"cpu": "2"})


def test_only_containers_that_are_there() -> None:
    with pytest.raises(NotFound, match="pod test has no container three"):
        resize_container(BURSTABLE, "three")


def test_a_restart_is_needed_where_the_policy_says_so_and_something_changes() -> None:
    policies = [
        {"resourceName": "memory", "restartPolicy": "RestartContainer"},
        {"resourceName": "cpu", "restartPolicy": "NotRequired"},
    ]
    old = pod({"cpu": "100m", "memory": "1Mi"}, {"cpu": "200m", "memory": "2Mi"}, resizePolicy=policies)
    assert needs_restart(old, resize_container(old, "one", limits={"memory": "3Mi"}), "one") == ("memory",)
    assert needs_restart(old, resize_container(old, "one", limits={"memory": "2Mi"}), "one") == ()
    assert needs_restart(old, resize_container(old, "one", limits={"cpu": "3"}), "one") == ()
