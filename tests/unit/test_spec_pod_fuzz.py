"""Hostile manifests: valid ones with changes that nobody means well with, and their text garbled. Each is taken, or refused
in one line with its place, never with a traceback.

What is done with one that is taken is all that is done before a kernel object is made: it is planned, encoded for the stage, its
limits are counted, its volumes' files made, and its life begun.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.every_field import document
from fixtures.hostile import change, places
from pyrun.container.plan import PAUSE, PAUSE_READY
from pyrun.container.process import CONSOLE, INIT, STDIO
from pyrun.container.root_plan import USER_NAMESPACE
from pyrun.errors import SpecError, Unsupported
from pyrun.kernel.encode import gates_of
from pyrun.pod.facts import facts_of
from pyrun.pod.lifecycle.event import SandboxReady
from pyrun.pod.lifecycle.pod_life import PodLife
from pyrun.pod.limits import container_limits, pod_limits
from pyrun.pod.machine import Machine
from pyrun.pod.node import pod_need
from pyrun.pod.plan import opened_paths, plan_pod
from pyrun.pod.sandbox_plan import BARE, LAUNCHER
from pyrun.pod.volume import bind_claims
from pyrun.pod.volume_files import files_of
from pyrun.spec.pod import PodSpec
from pyrun.spec.pod_parse import load_pod
from pyrun.value import replace

MACHINE = Machine(memory_bytes=1 << 34)
CONTROLLERS = ("cpu", "memory", "pids", "io", "hugetlb")
GIVEN = (PAUSE, PAUSE_READY, USER_NAMESPACE, INIT, CONSOLE, *STDIO, "null", "ready", "gate", "program", LAUNCHER, BARE)
# Words that mean something in a manifest, and almost do: fixtures.hostile has what means nothing anywhere.
WORDS = (
    *("1e3", "1Ei", "-1", "1.0e-400", "NaN", "1e999999999", "9" * 400, "0", "1n", "0.0000000001", "1m", "1Gi"),
    *("$(A)", "$(A", "$$", "$(A)$(A)" * 999, "..data", "a/b", "a" * 254, "a" * 253, "\udcff", "\ud800\udfff"),
    *("hugepages-2Mi", "hugepages-0", "hugepages--1", "limits.cpu", "requests.memory", "status.podIP"),
    *(
        "metadata.labels['a']",
        "metadata.labels['']",
        "metadata.annotations['x",
        "host:",
        "rootfs:/",
        "rootfs:",
        "rootfs:..",
    ),
    *(
        "SIGRTMIN+99",
        "SIGKILL",
        "net.core.x",
        "In",
        "Always",
        "Never",
        "None",
        "127.0.0.1",
        "::1",
        "999.1.1.1",
        "fe80::1%eth0",
    ),
)
SPLICES = (
    b"[" * 100,
    b'{"a":' * 70,
    b"\xff",
    b"1" * 5000,
    b"NaN",
    b"1e999",
    b"\\ud800",
    b"\xef\xbb\xbf",
    b"&a [*a]",
    b"*a",
    b"\0",
)


def rich() -> dict[str, Any]:
    """A pod with one of every object, most numbers filled in, and what it refers to beside it."""
    pod = json.loads(json.dumps(document()))
    pod["metadata"]["annotations"] = {"pyrun.dev/time-offset-monotonic": "5"}
    pod["spec"] |= {
        "hostname": "h",
        "subdomain": "s",
        "setHostnameAsFQDN": True,
        "activeDeadlineSeconds": 100,
        "overhead": {"cpu": "1m"},
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
    }
    pod["spec"]["securityContext"] |= {"runAsUser": 1000, "fsGroup": 5, "supplementalGroups": [1]}
    pod["spec"]["containers"][0] |= {
        "resources": {
            "requests": {"cpu": "100m", "memory": "1Mi"},
            "limits": {"cpu": "1", "memory": "64Mi", "ephemeral-storage": "1Gi", "hugepages-2Mi": "2Mi"},
        },
        "terminationMessagePath": "/x/y",
        "stdin": True,
        "tty": True,
        "workingDir": "/w",
        "ports": [{"containerPort": 80, "name": "http", "protocol": "TCP"}],
    }
    conf = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "x"},
        "data": {"k": "v"},
        "binaryData": {"b": "AAAA"},
    }
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "x"},
        "data": {"k": "dg=="},
        "stringData": {"s": "v"},
    }
    return {"apiVersion": "v1", "kind": "List", "items": [pod, conf, secret]}


def mutate(whole: Any, dice: Random) -> Any:
    for _ in range(dice.choice([1, 1, 1, 2, 4])):
        where = places(whole)
        if where and dice.random() < 0.4:
            node, key = dice.choice(where)
            node[key] = dice.choice(WORDS)
        else:
            whole = change(whole, dice)
    return whole


def garble(text: bytes, dice: Random) -> bytes:
    data = bytearray(text)
    for _ in range(dice.choice([1, 1, 2, 5])):
        at = dice.randrange(len(data) + 1)
        kind = dice.randrange(4)
        if kind == 0:
            data[at : at + 1] = bytes([dice.randrange(256)])
        elif kind == 1:
            del data[at : at + dice.choice([1, 1, 2, 30])]
        elif kind == 2:
            data[at:at] = data[at : at + dice.choice([1, 5, 100])]
        else:
            data[at:at] = dice.choice(SPLICES)
    return bytes(data)


def prepare(pod: PodSpec) -> None:
    """All that is done with a manifest that was taken. Raises SpecError or Unsupported for what cannot be."""
    pod = bind_claims(pod, "/claims")
    pod = pod if pod.host_users else replace(pod, user_range=65536)
    plan = plan_pod(pod, "0-0", "/d", MACHINE)
    slots = (*GIVEN, *opened_paths(pod, plan.paths).values())
    for process in (plan.pause, *plan.containers):
        gates_of(process.steps, slots)
        assert all(step.describe() for step in process.steps)
    pod_limits(pod, CONTROLLERS)
    for container in pod.containers:
        container_limits(pod, container, CONTROLLERS)
    assert pod_need(pod)
    for volume in pod.volumes:
        files_of(pod, volume, facts_of(MACHINE, "0-0"))
    PodLife(pod).handle(SandboxReady(), 0.0)


def check(data: bytes) -> None:
    text, pointer = complaint(data)
    assert text.isprintable(), ascii(text)  # one line, and nothing that a terminal obeys
    assert pointer == "" or pointer.startswith("/"), pointer


def complaint(data: bytes) -> tuple[str, str]:
    """What is said against a manifest, and the place; empty for one that is taken. Whatever else is raised is the failure."""
    try:
        prepare(load_pod(data, "pod.json"))
    except SpecError as error:
        return str(error), error.pointer
    except Unsupported as error:
        return str(error), ""
    return "", ""


dice = st.integers(0, 2**32).map(Random)


@given(dice)
@settings(max_examples=3000)
def test_a_changed_manifest_is_taken_or_refused_in_one_line(dice: Random) -> None:
    check(json.dumps(mutate(rich(), dice)).encode())


@given(dice, st.booleans())
@settings(max_examples=1500)
def test_a_garbled_text_is_taken_or_refused_in_one_line(dice: Random, as_yaml: bool) -> None:
    text = yaml.safe_dump_all(rich()["items"]) if as_yaml else json.dumps(rich())
    check(garble(text.encode(), dice))


def test_the_manifest_that_is_changed_is_a_good_one() -> None:
    prepare(load_pod(json.dumps(rich()).encode(), "pod.json"))
