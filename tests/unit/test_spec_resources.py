"""Resources of containers and of the pod itself: what is read, what is refused, and what the pod needs in the end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrun.errors import SpecError
from pyrun.spec.image import ImageReference
from pyrun.spec.pod import Container, Metadata, PodSpec, Resources
from pyrun.spec.pod_fields import NO_DEVICES
from pyrun.spec.pod_parse import parse_pod
from pyrun.spec.qos import effective_request, oom_request_bytes, pod_resources, qos_class
from pyrun.spec.resources_document import resources_document
from pyrun.value import replace

MIB = 1 << 20


def manifest(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    bodies = [{"name": f"c{i}", "image": "host:", "command": ["x"], **each} for i, each in enumerate(containers)]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"restartPolicy": "Never", "containers": bodies, **spec},
    }


def asking(requests: dict[str, Any] | None = None, limits: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"resources": {"requests": requests or {}, "limits": limits or {}}}


def parse(*containers: dict[str, Any], **spec: Any) -> PodSpec:
    return parse_pod(manifest(*containers, **spec), "x")


def error_of(*containers: dict[str, Any], **spec: Any) -> str:
    with pytest.raises(SpecError) as caught:
        parse(*containers, **spec)
    return f"{caught.value.pointer}: {caught.value.message}"


def test_resources_are_written_as_they_were_read() -> None:
    requests = {"cpu": "250m", "memory": "64Mi", "ephemeral-storage": "1Gi", "hugepages-2Mi": "4Mi"}
    limits = {"cpu": "2", "memory": "1000", "ephemeral-storage": "1Gi", "hugepages-2Mi": "4Mi"}
    requests["memory"] = "1000"
    (one,) = parse(asking(requests, limits)).containers
    assert resources_document(one.resources) == {"requests": requests, "limits": limits}
    assert resources_document(Resources()) == {}


# ---- huge pages ------------------------------------------------------------------------------------------------------


def test_huge_pages() -> None:
    pages = {"hugepages-1Gi": "1Gi", "hugepages-2Mi": "4Mi"}
    pod = parse(asking({"cpu": 1, "hugepages-2Mi": "4Mi"}, pages))
    assert pod.containers[0].resources.hugepages == ((2 * MIB, 4 * MIB), (1 << 30, 1 << 30))
    assert pod_resources(pod).hugepages == pod.containers[0].resources.hugepages


@pytest.mark.parametrize(
    ("requests", "limits", "wanted"),
    [
        (
            {"hugepages-2Mi": "2Mi", "cpu": 1},
            {"hugepages-2Mi": "4Mi"},
            "/requests/hugepages-2Mi: the request 2Mi must be equal to the limit 4Mi",
        ),
        (
            {"hugepages-2Mi": "2Mi", "cpu": 1},
            {},
            "/requests/hugepages-2Mi: pages that are reserved for it cannot be overcommitted: set the limit too",
        ),
        ({}, {"hugepages-2Mi": "2Mi"}, ": hugepages-2Mi needs a cpu or memory request beside it"),
        (
            {},
            {"cpu": 1, "hugepages-2Mi": "3Mi"},
            "/limits/hugepages-2Mi: '3Mi' is no whole number of pages of 2097152 bytes",
        ),
        ({}, {"cpu": 1, "hugepages-3Mi": "3Mi"}, "/limits/hugepages-3Mi: 'hugepages-3Mi': no size of a page"),
    ],
)
def test_huge_pages_that_cannot_be(requests: dict[str, Any], limits: dict[str, Any], wanted: str) -> None:
    assert error_of(asking(requests, limits)) == "/spec/containers/0/resources" + wanted


def test_a_page_size_has_to_be_a_quantity() -> None:
    text = error_of(asking({}, {"cpu": 1, "hugepages-big": "3Mi"}))
    assert text.startswith("/spec/containers/0/resources/limits/hugepages-big: hugepages-SIZE, as in hugepages-2Mi: ")


# ---- the pod's own ---------------------------------------------------------------------------------------------------


def test_the_pods_own_resources_decide_its_class() -> None:
    pod = parse({}, {}, resources={"limits": {"cpu": 1, "memory": "64Mi"}})
    assert pod.resources == Resources(1000, 1000, 64 * MIB, 64 * MIB)
    assert qos_class(pod) == "Guaranteed"
    assert effective_request(pod) == Resources(cpu_request_milli=1000, memory_request_bytes=64 * MIB)
    assert pod_resources(pod) == Resources(1000, 1000, 64 * MIB, 64 * MIB)


def test_a_request_of_the_containers_is_the_pods_where_it_has_a_limit() -> None:
    pod = parse(asking({"cpu": "100m"}), asking({"cpu": "200m"}), resources={"limits": {"cpu": 1}})
    assert pod.resources == Resources(300, 1000)
    assert qos_class(pod) == "Burstable"


def test_requests_of_its_own_without_limits_are_burstable() -> None:
    pod = parse(asking({}, {"cpu": 1, "memory": 1}), resources={"requests": {"cpu": 2, "memory": "1Mi"}})
    assert qos_class(pod) == "Burstable"


@pytest.mark.parametrize(
    ("container", "own", "wanted"),
    [
        (
            asking({"cpu": 2}),
            {"requests": {"cpu": 1}},
            "/spec/resources/requests/cpu: must be at least what the containers request together, 2000m",
        ),
        (
            asking({"memory": 1}, {"memory": "2Mi"}),
            {"limits": {"memory": "1Mi"}},
            "/spec/containers/0/resources/limits/memory: is more than the limit of the pod in /spec/resources",
        ),
        (
            {},
            {"limits": {"ephemeral-storage": 1}},
            "/spec/resources/limits/ephemeral-storage: ",
        ),
        ({}, {"limits": {"example.com/x": 1}}, "/spec/resources/limits/example.com~1x: an extended resource"),
        (
            {},
            {"claims": []},
            "/spec/resources/claims: " + NO_DEVICES,
        ),
    ],
)
def test_own_resources_that_do_not_suffice(container: dict[str, Any], own: dict[str, Any], wanted: str) -> None:
    assert error_of(container, resources=own).startswith(wanted)


def test_overhead_comes_on_top() -> None:
    pod = parse(asking({"cpu": 1}, {"cpu": 1, "memory": "1Mi"}), overhead={"cpu": "250m", "memory": "1Mi"})
    assert effective_request(pod) == Resources(cpu_request_milli=1250, memory_request_bytes=2 * MIB)
    assert pod_resources(pod) == Resources(1250, 1250, 2 * MIB, 2 * MIB)
    assert qos_class(pod) == "Guaranteed"


# ---- what a pod needs ------------------------------------------------------------------------------------------------


def container(name: str, milli: int, *, sidecar: bool = False) -> Container:
    resources = Resources(cpu_request_milli=milli, memory_request_bytes=milli * MIB)
    policy = "Always" if sidecar else None
    return Container(name, ImageReference("host", "/"), ("x",), resources=resources, restart_policy=policy)  # type: ignore[arg-type]


def cpu_of(inits: list[Container], *containers: Container) -> int | None:
    return effective_request(PodSpec(Metadata("p"), containers, tuple(inits))).cpu_request_milli


def test_init_containers_and_sidecars_as_in_the_enhancement_proposal() -> None:
    main = container("main", 100)
    assert cpu_of([], main, container("b", 50)) == 150
    assert cpu_of([container("i", 500)], main) == 500
    assert cpu_of([container("i", 50)], main) == 100
    assert cpu_of([container("s", 200, sidecar=True)], main) == 300
    # The init container runs beside the sidecar that was started before it, and not beside one after it.
    assert cpu_of([container("s", 200, sidecar=True), container("i", 500)], main) == 700
    assert cpu_of([container("i", 500), container("s", 200, sidecar=True)], main) == 500
    many = [container("s", 200, sidecar=True), container("i", 150), container("t", 900, sidecar=True)]
    assert cpu_of(many, main) == 1200


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 1000)), max_size=6), st.lists(st.integers(0, 1000), min_size=1))
def test_no_moment_of_the_pods_life_needs_more_than_its_request(
    inits: list[tuple[bool, int]], mains: list[int]
) -> None:
    made = [container(f"i{n}", milli, sidecar=sidecar) for n, (sidecar, milli) in enumerate(inits)]
    needed = cpu_of(made, *[container(f"c{n}", milli) for n, milli in enumerate(mains)])
    moments, sidecars = [], 0
    for sidecar, milli in inits:
        moments.append(sidecars + milli)
        sidecars += milli if sidecar else 0
    assert needed == max([*moments, sidecars + sum(mains)])


def test_a_sidecar_is_killed_no_sooner_than_any_container() -> None:
    side, main = container("s", 10, sidecar=True), container("main", 300)
    pod = PodSpec(Metadata("p"), (main,), (side,))
    assert oom_request_bytes(pod, side) == oom_request_bytes(pod, main) == 300 * MIB
    once = replace(pod, init_containers=(container("i", 10),))
    assert oom_request_bytes(once, once.init_containers[0]) == 10 * MIB


def test_what_only_the_pod_requests_is_shared_out() -> None:
    pod = parse({}, asking({"memory": "16Mi"}), resources={"requests": {"memory": "64Mi"}})
    assert [oom_request_bytes(pod, each) for each in pod.containers] == [24 * MIB, 40 * MIB]


# ---- resizePolicy ----------------------------------------------------------------------------------------------------


def test_resize_policy() -> None:
    policies = [
        {"resourceName": "cpu", "restartPolicy": "NotRequired"},
        {"resourceName": "memory", "restartPolicy": "RestartContainer"},
    ]
    pod = parse({"resizePolicy": policies}, restartPolicy="Always")
    assert pod.containers[0].resize_policy == (("cpu", "NotRequired"), ("memory", "RestartContainer"))
    place = "/spec/containers/0/resizePolicy"
    never = f"{place}/1/restartPolicy: must be NotRequired where restartPolicy is Never"
    assert error_of({"resizePolicy": policies}) == never
    twice = {"resizePolicy": [policies[0], policies[0]]}
    assert error_of(twice) == f"{place}/1/resourceName: 'cpu' has a policy already"
    wrong = {"resizePolicy": [{"resourceName": "disk", "restartPolicy": "NotRequired"}]}
    assert error_of(wrong) == f"{place}/0/resourceName: 'disk' is none of 'cpu', 'memory'"
