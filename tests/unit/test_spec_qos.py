"""QoS classes (resources of Kubernetes' own examples) and the pod's sums."""

from __future__ import annotations

import pytest

from pyrun.spec.defaults import apply_defaults, default_hostname
from pyrun.spec.image import ImageReference
from pyrun.spec.pod import Container, Metadata, PodSpec, Resources
from pyrun.spec.qos import pod_resources, qos_class


def pod(*resources: Resources) -> PodSpec:
    containers = [Container(f"c{i}", ImageReference("host", "/"), ("x",), resources=r) for i, r in enumerate(resources)]
    return apply_defaults(PodSpec(Metadata("p"), tuple(containers)))


NOTHING = Resources()
BOTH_LIMITS = Resources(cpu_limit_milli=100, memory_limit_bytes=2**20)


@pytest.mark.parametrize(
    ("resources", "wanted"),
    [
        ([NOTHING], "BestEffort"),
        ([NOTHING, NOTHING], "BestEffort"),
        ([Resources(cpu_request_milli=0, memory_limit_bytes=0)], "BestEffort"),
        ([BOTH_LIMITS], "Guaranteed"),
        ([BOTH_LIMITS, BOTH_LIMITS], "Guaranteed"),
        ([Resources(100, 100, 5, 5)], "Guaranteed"),
        ([BOTH_LIMITS, NOTHING], "Burstable"),
        ([Resources(cpu_request_milli=1)], "Burstable"),
        ([Resources(cpu_limit_milli=100)], "Burstable"),
        ([Resources(50, 100, 5, 5)], "Burstable"),
        ([Resources(100, 100, 0, 5)], "Burstable"),
    ],
)
def test_class(resources: list[Resources], wanted: str) -> None:
    assert qos_class(pod(*resources)) == wanted


def test_sums() -> None:
    assert pod_resources(pod(NOTHING)) == NOTHING
    assert pod_resources(pod(BOTH_LIMITS, BOTH_LIMITS)) == Resources(200, 200, 2**21, 2**21)
    assert pod_resources(pod(BOTH_LIMITS, Resources(cpu_request_milli=50))) == Resources(150, None, 2**20, None)
    assert pod_resources(pod(BOTH_LIMITS, Resources(100, 0, 5, 10))) == Resources(200, None, 2**20 + 5, 2**20 + 10)


def test_the_hostname_is_cut_to_63_characters() -> None:
    assert default_hostname("web") == "web"
    assert default_hostname("a" * 63 + "b") == "a" * 63
    assert default_hostname("a" * 61 + "-.b" + "c") == "a" * 61
