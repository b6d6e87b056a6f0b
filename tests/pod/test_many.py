"""Many pods: at once from threads, and one after the other, with nothing that grows."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from fixtures.pods import FOREVER, created, mount, pod_spec, run_pod, running, shell

pytestmark = pytest.mark.root


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def resident_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def test_fifty_at_once_from_threads(tmp_path: Path) -> None:
    def one(number: int) -> str:
        spec = pod_spec(
            shell(f"hostname; echo {number} >/dev/shm/number; : >/data/done", "a", volumeMounts=[mount("it", "/data")]),
            shell(
                "until [ -e /data/done ]; do sleep 0.01; done; cat /dev/shm/number",
                "b",
                volumeMounts=[mount("it", "/data")],
            ),
            hostname=f"pod-{number}",
            volumes=[{"name": "it", "emptyDir": {"medium": "Memory"}}],
            shareProcessNamespace=number % 2 == 0,
        )
        seen = run_pod(spec, tmp_path)
        return seen["a"] + seen["b"]

    with ThreadPoolExecutor(10) as threads:
        results = list(threads.map(one, range(50)))
    assert results == [f"pod-{number}\n{number}\n" for number in range(50)]


def test_twenty_alive_at_a_time(tmp_path: Path) -> None:
    with ExitStack() as stack:
        pods = [stack.enter_context(running(pod_spec(shell(FOREVER)), tmp_path)) for _ in range(20)]
        namespaces = {it.namespace("net") for it in pods}
        assert len(namespaces) == 20
        assert len({it.pod.uid for it in pods}) == 20


def test_a_hundred_one_after_the_other(tmp_path: Path) -> None:
    spec = pod_spec(shell("true"))
    for _ in range(5):
        run_pod(spec, tmp_path)
    count, memory = descriptors(), resident_kib()
    for _ in range(100):
        with running(spec, tmp_path) as it:
            it.wait()
        assert descriptors() == count
    assert resident_kib() - memory < 4096


def test_a_pod_of_many_containers(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(25)]
    seen = run_pod(pod_spec(*[shell(f"echo {name}", name) for name in names]), tmp_path)
    assert seen == {name: f"{name}\n" for name in names}


def test_failures_in_a_row_leave_no_descriptor(tmp_path: Path) -> None:
    bad = pod_spec({"name": "main", "image": "host:", "command": ["none"]})

    def fail() -> None:
        with pytest.raises(Exception, match="command not found"), created(bad, tmp_path):
            pass

    fail()
    count = descriptors()
    for _ in range(50):
        fail()
    assert descriptors() == count
