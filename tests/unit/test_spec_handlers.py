"""Init containers, sidecars, ephemeral containers, probes, hooks and restart rules of a manifest: read, or refused."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from pyrun.errors import SpecError
from pyrun.spec.handler import (
    ExecAction,
    GrpcAction,
    HttpGetAction,
    Lifecycle,
    Probe,
    SleepAction,
    TcpSocketAction,
)
from pyrun.spec.pod import PodSpec, RestartRule
from pyrun.spec.pod_parse import parse_pod

TRUE = {"exec": {"command": ["true"]}}


def body(name: str = "a", **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "host:", "command": ["x"], **fields}


def parse(*containers: dict[str, Any], **spec: Any) -> PodSpec:
    spec = {"containers": list(containers) or [body("main")], **spec}
    return parse_pod({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}, "x")


def error_of(*containers: dict[str, Any], **spec: Any) -> str:
    with pytest.raises(SpecError) as caught:
        parse(*containers, **spec)
    return str(caught.value).removeprefix("x: /spec/")


def test_a_probe_with_all_its_numbers() -> None:
    probe = {
        **TRUE,
        "initialDelaySeconds": 1,
        "periodSeconds": 2,
        "timeoutSeconds": 3,
        "failureThreshold": 4,
        "terminationGracePeriodSeconds": 5,
    }
    pod = parse(body(livenessProbe=probe))
    assert pod.containers[0].liveness_probe == Probe(ExecAction(("true",)), 1, 2, 3, 1, 4, 5)


def test_zero_is_the_default() -> None:
    names = ("periodSeconds", "timeoutSeconds", "successThreshold", "failureThreshold")
    pod = parse(body(startupProbe=TRUE | dict.fromkeys(names, 0), readinessProbe=TRUE | {"successThreshold": 3}))
    assert pod.containers[0].startup_probe == Probe(ExecAction(("true",)), 0, 10, 1, 1, 3, None)
    assert pod.containers[0].readiness_probe == Probe(ExecAction(("true",)), success_threshold=3)


@pytest.mark.parametrize(
    ("written", "action"),
    [
        ({"httpGet": {"port": 80}}, HttpGetAction(80)),
        ({"httpGet": {"port": "web", "path": ""}}, HttpGetAction(8080)),
        (
            {"httpGet": {"port": 1, "path": "x?y", "host": "h", "scheme": "HTTPS", "httpHeaders": [{"name": "A"}]}},
            HttpGetAction(1, "x?y", "h", "HTTPS", (("A", ""),)),
        ),
        ({"tcpSocket": {"port": "web", "host": "::1"}}, TcpSocketAction(8080, "::1")),
        ({"grpc": {"port": 1}}, GrpcAction(1)),
        ({"grpc": {"port": 1, "service": "s"}}, GrpcAction(1, "s")),
    ],
)
def test_actions(written: dict[str, Any], action: object) -> None:
    pod = parse(body(livenessProbe=written, ports=[{"containerPort": 8080, "name": "web"}]))
    assert pod.containers[0].liveness_probe == Probe(action)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("probe", "wanted"),
    [
        ({}, ": needs one of exec, httpGet, tcpSocket, grpc; found none"),
        ({**TRUE, "grpc": {"port": 1}}, ": needs one of exec, httpGet, tcpSocket, grpc; found exec, grpc"),
        ({"exec": {}}, "/exec/command: required: the program and its arguments"),
        ({"httpGet": {}}, "/httpGet/port: required, but missing"),
        ({"httpGet": {"port": 0}}, "/httpGet/port: must be between 1 and 65535"),
        ({"httpGet": {"port": "wbe"}}, "/httpGet/port: the container has no port 'wbe'; did you mean 'web'?"),
        ({"httpGet": {"port": 1, "scheme": "http"}}, "/httpGet/scheme: 'http' is none of 'HTTP', 'HTTPS'; did you"),
        ({"httpGet": {"port": 1, "path": "a b"}}, "/httpGet/path: 'a b' has a blank or control character"),
        ({"httpGet": {"port": 1, "httpHeaders": [{"name": "a:"}]}}, "/httpGet/httpHeaders/0/name: 'a:' is not"),
        (
            {"httpGet": {"port": 1, "httpHeaders": [{"name": "a", "value": "b\r\nc"}]}},
            "/httpGet/httpHeaders/0/value: must be one line",
        ),
        ({"grpc": {"port": "web"}}, "/grpc/port: expected an integer"),
        ({**TRUE, "successThreshold": 2}, "/successThreshold: must be 1: only a readiness probe may ask for more"),
        ({**TRUE, "periodSeconds": -1}, "/periodSeconds: must be between 0 and"),
        ({**TRUE, "terminationGracePeriodSeconds": 0}, "/terminationGracePeriodSeconds: must be between 1 and"),
        ({**TRUE, "sleep": {"seconds": 1}}, "/sleep: no such field"),
    ],
)
def test_probes_that_are_wrong(probe: dict[str, Any], wanted: str) -> None:
    told = error_of(body(livenessProbe=probe, ports=[{"containerPort": 1, "name": "web"}]))
    assert told.startswith("containers/0/livenessProbe" + wanted)


def test_a_readiness_probe_has_no_grace_period() -> None:
    told = error_of(body(readinessProbe=TRUE | {"terminationGracePeriodSeconds": 3}))
    assert told.startswith("containers/0/readinessProbe/terminationGracePeriodSeconds: a readiness probe ends nothing")


def test_hooks() -> None:
    hooks = {"postStart": TRUE, "preStop": {"sleep": {"seconds": 3}}, "stopSignal": "SIGUSR1"}
    pod = parse(body(lifecycle=hooks))
    assert pod.containers[0].lifecycle == Lifecycle(ExecAction(("true",)), SleepAction(3), signal.SIGUSR1)


@pytest.mark.parametrize(
    ("name", "number"),
    [("SIGTERM", 15), ("SIGRTMIN", 34), ("SIGRTMIN+3", 37), ("SIGRTMAX", 64)],
)
def test_stop_signals(name: str, number: int) -> None:
    assert parse(body(lifecycle={"stopSignal": name})).containers[0].lifecycle.stop_signal == number


@pytest.mark.parametrize("name", ["TERM", "SIGTERMX", "SIG_DFL", "SIGTERM+1", "SIGRTMIN+31", "SIGRTMIN+", "9", ""])
def test_stop_signals_that_are_none(name: str) -> None:
    assert error_of(body(lifecycle={"stopSignal": name})).startswith(
        f"containers/0/lifecycle/stopSignal: {name!r} is not a signal"
    )


def test_a_sleep_must_fit_into_the_grace_period() -> None:
    told = error_of(body(lifecycle={"preStop": {"sleep": {"seconds": 31}}}))
    assert told == (
        "containers/0/lifecycle/preStop/sleep/seconds: 31 is more than terminationGracePeriodSeconds, which is 30"
    )
    assert error_of(body(lifecycle={"preStop": {"grpc": {"port": 1}}})).startswith(
        "containers/0/lifecycle/preStop/grpc: no such field"
    )


def test_init_containers_and_sidecars() -> None:
    pod = parse(initContainers=[body("i"), body("s", restartPolicy="Always", startupProbe=TRUE)])
    assert [each.restart_policy for each in pod.init_containers] == [None, "Always"]
    told = error_of(initContainers=[body("i", livenessProbe=TRUE)])
    assert told.startswith("initContainers/0/livenessProbe: only a sidecar")
    assert (
        error_of(initContainers=[body("main")])
        == "containers/0/name: 'main' is the name of /spec/initContainers/0 already"
    )


def test_ephemeral_containers() -> None:
    pod = parse(ephemeralContainers=[body("e", targetContainerName="main")])
    assert pod.ephemeral_containers[0].target_container_name == "main"
    told = error_of(ephemeralContainers=[body("e", targetContainerName="mian")])
    assert told == "ephemeralContainers/0/targetContainerName: there is no container 'mian'; did you mean 'main'?"
    for name, value in (("ports", []), ("resources", {}), ("livenessProbe", TRUE), ("restartPolicy", "Never")):
        told = error_of(ephemeralContainers=[body("e", **{name: value})])
        assert told == f"ephemeralContainers/0/{name}: an ephemeral container may not have it"
    assert error_of(body(targetContainerName="a")).startswith("containers/0/targetContainerName: no such field")


def test_restart_rules() -> None:
    rules = [
        {"action": "Restart", "exitCodes": {"operator": "In", "values": [42, 43]}},
        {"action": "RestartAllContainers", "exitCodes": {"operator": "NotIn", "values": [0]}},
    ]
    pod = parse(body(restartPolicy="Never", restartPolicyRules=rules))
    assert pod.containers[0].restart_rules == (
        RestartRule("Restart", (42, 43)),
        RestartRule("RestartAllContainers", (0,), negated=True),
    )


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"restartPolicyRules": [{}]}, "restartPolicyRules: needs a restartPolicy of the container"),
        ({"restartPolicy": "Never", "restartPolicyRules": [{}]}, "restartPolicyRules/0/action: required, but missing"),
        (
            {"restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart"}]},
            "restartPolicyRules/0/exitCodes: required, but missing",
        ),
        (
            {
                "restartPolicy": "Never",
                "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": []}}],
            },
            "restartPolicyRules/0/exitCodes/values: at least one exit code is needed",
        ),
        ({"restartPolicy": "Never", "restartPolicyRules": [{}] * 21}, "restartPolicyRules: 21 rules; at most 20"),
    ],
)
def test_restart_rules_that_are_wrong(fields: dict[str, Any], wanted: str) -> None:
    assert error_of(body(**fields)).startswith("containers/0/" + wanted)


def test_one_port_in_two_containers_is_a_conflict() -> None:
    port = [{"containerPort": 80}]
    told = error_of(body("a", ports=port), body("b", ports=port))
    assert told == (
        "containers/1/ports/0/containerPort: 80/TCP is taken by /spec/containers/0/ports/0/containerPort; "
        "containers of a pod share one network"
    )
    assert parse(body("a", ports=port), body("b", ports=[{"containerPort": 80, "protocol": "UDP"}]))
    assert parse(body("a", ports=port), initContainers=[body("i", ports=port)])
    assert "is taken by" in error_of(
        body("a", ports=port), initContainers=[body("s", ports=port, restartPolicy="Always")]
    )


@pytest.mark.parametrize("seconds", [0, -1, 2**31, "1"])
def test_an_active_deadline_that_is_none(seconds: object) -> None:
    assert parse(activeDeadlineSeconds=1).active_deadline_s == 1
    assert error_of(activeDeadlineSeconds=seconds).startswith("activeDeadlineSeconds: ")


def test_another_system_is_refused() -> None:
    assert error_of(os={"name": "windows"}) == "os/name: this machine runs linux"
