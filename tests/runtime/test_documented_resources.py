"""The pods of Kubernetes' pages about resources, with this machine's own files as their image: they end as the pages say.

"Assign Memory Resources to Containers and Pods", "Assign CPU Resources to Containers and Pods", "Configure Quality of Service for
Pods", "Assign Pod-level CPU and memory resources", "Resize CPU and Memory Resources assigned to Containers".
"""

from __future__ import annotations

import json
import os
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from fixtures.command import Store, pyrun
from fixtures.machine import cgroup2_root, patience
from fixtures.pods import PYTHON

MIB = 1 << 20

# What polinux/stress does there: take so much memory, or so much of the processors, for a moment.
STRESS = f"""\
{PYTHON} -ISc '
import sys, time
kept = bytearray(int(sys.argv[1]) << 20)
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end: pass
print("held")' """


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def pod(name: str, command: str, resources: str, more: str = "") -> str:
    indented = textwrap.indent(textwrap.dedent(resources).strip(), " " * 8)
    script = json.dumps(command)
    return f"""\
apiVersion: v1
kind: Pod
metadata:
  name: {name}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
{more}  containers:
    - name: {name}-ctr
      image: "host:"
      command: [sh, -c, {script}]
      resources:
{indented}
"""


def run(store: Store, manifest: str, *options: str) -> tuple[int, dict[str, Any]]:
    done = store.run("--output", "json", *options, store.write(manifest, "pod.yaml"))
    return done.status, json.loads(done.out)["status"]


def terminated(status: dict[str, Any]) -> dict[str, Any]:
    (container,) = status["containerStatuses"]
    return dict(container["state"]["terminated"])


# ---- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.cgroup2
def test_memory_demo_may_use_more_than_it_requested(store: Store) -> None:
    manifest = pod("memory-demo", f"{STRESS} 150 0", "requests: {memory: 100Mi}\nlimits: {memory: 200Mi}")
    exit_status, status = run(store, manifest)
    assert (exit_status, status["phase"], terminated(status)["reason"]) == (0, "Succeeded", "Completed")
    assert status["containerStatuses"][0]["usage"]["memoryPeakBytes"] > 150 * MIB


@pytest.mark.cgroup2
def test_memory_demo_2_exceeds_its_limit(store: Store) -> None:
    manifest = pod("memory-demo-2", f"{STRESS} 250 0", "requests: {memory: 50Mi}\nlimits: {memory: 100Mi}")
    exit_status, status = run(store, manifest)
    ended = terminated(status)
    assert (exit_status, status["phase"], ended["reason"], ended["exitCode"]) == (137, "Failed", "OOMKilled", 137)


@pytest.mark.root
def test_memory_demo_3_is_too_big_for_the_node(store: Store) -> None:
    manifest = pod("memory-demo-3", "true", "requests: {memory: 1000Gi}\nlimits: {memory: 1000Gi}")
    exit_status, status = run(store, manifest)
    assert (exit_status, status["phase"], status["reason"]) == (1, "Failed", "OutOfmemory")


# ---- processors ------------------------------------------------------------------------------------------------------


@pytest.mark.cgroup2
def test_cpu_demo_gets_no_more_than_its_limit(store: Store) -> None:
    manifest = pod("cpu-demo", f"{STRESS} 1 2", 'requests: {cpu: "0.1"}\nlimits: {cpu: "0.2"}')
    exit_status, status = run(store, manifest)
    assert exit_status == 0
    assert status["containerStatuses"][0]["usage"]["throttledMicroseconds"] > 0


@pytest.mark.root
def test_cpu_demo_2_is_too_big_for_the_node(store: Store) -> None:
    manifest = pod("cpu-demo-2", "true", 'requests: {cpu: "1000"}\nlimits: {cpu: "1000"}')
    exit_status, status = run(store, manifest)
    assert (exit_status, status["phase"], status["reason"]) == (1, "Failed", "OutOfcpu")
    capacity = os.sysconf("SC_NPROCESSORS_ONLN") * 1000
    assert status["message"].endswith(f"cpu, requested: 1000000, used: 0, capacity: {capacity}")


# ---- classes ---------------------------------------------------------------------------------------------------------


@pytest.mark.cgroup2
@pytest.mark.parametrize(
    ("name", "resources", "more", "wanted"),
    [
        ("qos-demo", "limits: {memory: 200Mi, cpu: 700m}\nrequests: {memory: 200Mi, cpu: 700m}", "", "Guaranteed"),
        ("qos-demo-2", "limits: {memory: 200Mi}\nrequests: {memory: 100Mi}", "", "Burstable"),
        ("qos-demo-3", "{}", "", "BestEffort"),
        ("pod-resources-demo", "{}", "  resources: {limits: {cpu: 1, memory: 200Mi}}\n", "Guaranteed"),
    ],
)
def test_quality_of_service(store: Store, name: str, resources: str, more: str, wanted: str) -> None:
    exit_status, status = run(store, pod(name, "true", resources, more))
    assert (exit_status, status["qosClass"]) == (0, wanted)


# ---- resize ----------------------------------------------------------------------------------------------------------


@pytest.mark.cgroup2
def test_resize_demo(store: Store) -> None:
    """700m to 800m without a restart, then 200Mi to 300Mi with one, which is what memory's policy asks for."""
    manifest = """\
apiVersion: v1
kind: Pod
metadata:
  name: resize-demo
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: pause
      image: "host:"
      command: [sh, -c, echo ready; exec sleep 1000]
      resizePolicy:
        - {resourceName: cpu, restartPolicy: NotRequired}
        - {resourceName: memory, restartPolicy: RestartContainer}
      resources:
        limits: {memory: 200Mi, cpu: 700m}
        requests: {memory: 200Mi, cpu: 700m}
"""
    with store.running("--output", "json", "--events", store.write(manifest, "pod.yaml")) as it:
        it.wait_for("ready")
        (uid,) = store.uids()
        group = cgroup2_root()
        assert group is not None
        files = group / "pyrun" / f"pod{uid}" / "pause"
        command = ("resize", "resize-demo", "--container", "pause")
        done = pyrun(*command, "--requests", "cpu=800m", "--limits", "cpu=800m", env=store.environment)
        assert (done.status, done.err) == (0, "")
        assert (files / "cpu.max").read_text() == "80000 100000\n"
        assert "Killing" not in it.err
        done = pyrun(*command, "--requests", "memory=300Mi", "--limits", "memory=300Mi", env=store.environment)
        assert (done.status, done.err) == (0, "")
        it.wait_for("its memory was resized, will be restarted")
        deadline = time.monotonic() + patience(30)
        while it.err.count("  Started  ") < 2:
            assert time.monotonic() < deadline, it.err
            time.sleep(0.01)
        assert (files / "memory.max").read_text() == f"{300 * MIB}\n"
        refused = pyrun(*command, "--limits", "memory=400Mi", env=store.environment)
        assert refused.status == 2
        assert "the QoS class Guaranteed may not change" in refused.error
        it.signal(15)
        (container,) = json.loads(it.finish().out)["status"]["containerStatuses"]
    assert container["restartCount"] == 1
    assert container["resources"]["limits"] == {"cpu": "800m", "memory": "300Mi"}
