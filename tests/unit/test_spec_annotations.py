"""Annotations under pyrun.dev/: what they say, for whom, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.pods import document, shell
from pyrun.errors import SpecError
from pyrun.spec.pod import Container, IoLimit, PodSpec, Rlimit
from pyrun.spec.pod_parse import parse_pod

INFINITY = 2**64 - 1


def parse(annotations: dict[str, str], **spec: Any) -> PodSpec:
    named = {f"pyrun.dev/{name}": value for name, value in annotations.items()}
    return parse_pod(document(shell("true", "one"), shell("true", "two"), annotations=named, **spec), "x")


def containers(annotations: dict[str, str], **spec: Any) -> tuple[Container, ...]:
    return parse(annotations, **spec).containers


def error_of(annotations: dict[str, str], **spec: Any) -> str:
    with pytest.raises(SpecError) as caught:
        parse(annotations, **spec)
    assert caught.value.pointer.startswith("/metadata/annotations/pyrun.dev~1")
    return f"{caught.value.pointer.removeprefix('/metadata/annotations/pyrun.dev~1')}: {caught.value.message}"


def test_without_annotations_nothing_is_limited() -> None:
    pod = parse({})
    assert (pod.pids_limit, pod.io_weight, pod.io_max, pod.loopback) == (None, None, (), True)
    assert all(not each.rlimits and each.oom_group and not each.init for each in pod.containers)


def test_ulimits_of_the_pod_are_defaults_of_its_containers() -> None:
    one, two = containers({"ulimits": "nofile=10:20, core=0", "ulimits.two": "nofile=5 stack=unlimited"})
    assert one.rlimits == (Rlimit("RLIMIT_NOFILE", 10, 20), Rlimit("RLIMIT_CORE", 0, 0))
    assert two.rlimits == (
        Rlimit("RLIMIT_NOFILE", 5, 5),
        Rlimit("RLIMIT_CORE", 0, 0),
        Rlimit("RLIMIT_STACK", INFINITY, INFINITY),
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("nofiles=1", "'nofiles=1': expected NAME=SOFT[:HARD] with a name such as nofile; did you mean 'nofile'?"),
        ("nofile", "'nofile': expected NAME=SOFT[:HARD] with a name such as nofile"),
        ("nofile=2:1", "'nofile=2:1': the soft limit is above the hard one"),
        ("nofile=unlimited:1", "'nofile=unlimited:1': the soft limit is above the hard one"),
        ("nofile=-2", f"'-2': expected a whole number from 0 to {INFINITY}"),
        ("nofile=1:", f"'': expected a whole number from 0 to {INFINITY}"),
        ("nofile=1,nofile=1", "nofile is there twice"),
        (f"core={2**64}", f"'{2**64}': expected a whole number from 0 to {INFINITY}"),
    ],
)
def test_ulimits_that_cannot_be(text: str, wanted: str) -> None:
    assert error_of({"ulimits.one": text}).startswith(f"ulimits.one: {wanted}")


def test_io() -> None:
    text = "/dev/vda rbps=10M wbps=1Mi riops=100 wiops=5; /data wbps=1k;"
    pod = parse({"io-max": text, "io-weight": "200", "io-weight.one": "1", "io-max.two": "/d riops=1"})
    assert pod.io_max == (IoLimit("/dev/vda", 10**7, 2**20, 100, 5), IoLimit("/data", None, 1000))
    assert pod.io_weight == 200
    assert [each.io_weight for each in pod.containers] == [1, None]
    assert [each.io_max for each in pod.containers] == [(), (IoLimit("/d", read_operations_per_s=1),)]


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("io-max", "vda rbps=1", "'vda rbps=1': expected a path and what is limited"),
        ("io-max", "/dev/vda", "'/dev/vda': expected a path and what is limited"),
        ("io-max", "/dev/vda rbp=1", "'rbp=1': expected one of rbps, wbps, riops, wiops; did you mean 'rbps'?"),
        ("io-max", "/dev/vda rbps=1 rbps=1", "rbps is there twice for /dev/vda"),
        ("io-max", "/dev/vda rbps=0", "'0': nothing would be read or written at all"),
        ("io-max", "/dev/vda rbps=x", "'x' is not a quantity"),
        ("io-max", "/d rbps=1; /d wbps=1", "'/d' is there twice"),
        ("io-weight", "0", "'0': expected a whole number from 1 to 10000"),
        ("io-weight.one", "10001", "'10001': expected a whole number from 1 to 10000"),
        ("pids-limit", "0", "'0': expected a whole number from 1 to 4194304"),
        ("pids-limit", "many", "'many': expected a whole number from 1 to 4194304"),
        ("init", "yes", "'yes' is none of 'true', 'false'"),
        ("oom-group", "1", "'1' is none of 'true', 'false'"),
        ("network", "host", "'host' is what hostNetwork: true says"),
        ("network", "bridge", "'bridge' is none of 'loopback', 'none'"),
        ("network.one", "none", "network is of the pod, not of one container"),
        ("init.three", "true", "there is no container 'three'"),
        ("ulimit", "nofile=1", "no such annotation; did you mean 'pyrun.dev/ulimits'?"),
    ],
)
def test_what_cannot_be(name: str, text: str, wanted: str) -> None:
    assert error_of({name: text}).startswith(f"{name}: {wanted}")


def test_pids_of_the_pod_and_of_a_container_are_two_limits() -> None:
    pod = parse({"pids-limit": "100", "pids-limit.two": "20"})
    assert pod.pids_limit == 100
    assert [each.pids_limit for each in pod.containers] == [None, 20]


def test_one_container_may_differ() -> None:
    one, two = containers({"init": "true", "init.two": "false", "oom-group.one": "false"})
    assert [(each.init, each.oom_group) for each in (one, two)] == [(True, False), (False, True)]


def test_init_in_a_shared_pid_namespace_is_told() -> None:
    wanted = "/metadata/annotations: pyrun.dev/init: pause is the first process of the shared PID namespace"
    assert wanted in parse({"init": "true"}, shareProcessNamespace=True).warnings
    assert wanted not in parse({"init": "true"}).warnings


def test_no_network_at_all() -> None:
    assert not parse({"network": "none"}).loopback
    assert error_of({"network": "none"}, hostNetwork=True) == "network: cannot be 'none' together with hostNetwork"
