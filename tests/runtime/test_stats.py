"""``pyrun stats``, ``top`` and ``metrics``: what pods use."""

from __future__ import annotations

import json
import os
import pty
import select
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fixtures.command import PYRUN, Store, emptied_store
from fixtures.machine import patience
from fixtures.pods import FOREVER, document, shell
from pyrun.pod.sample import PodSample, Sample
from pyrun_runtime.usage_rows import Pod, bytes_word, document_of, rows_of

root = pytest.mark.root
BUSY = "while :; do :; done"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    yield from emptied_store(tmp_path)


@contextmanager
def two_pods(store: Store) -> Iterator[tuple[str, str]]:
    """One whose container computes all the time, and one that sleeps."""
    one, two = document(shell(BUSY, "busy")), document(shell(FOREVER), terminationGracePeriodSeconds=1)
    one["spec"]["terminationGracePeriodSeconds"] = 1
    one["metadata"]["name"], two["metadata"]["name"] = "one", "two"
    with store.detached(store.write(one, "one.json")) as first, store.detached(store.write(two, "two.json")) as second:
        yield first, second


# ---- rows ----


def test_what_is_not_known_is_not_zero() -> None:
    pod = Pod({"name": "p", "namespace": "n"}, PodSample("u", Sample(1.0, 5), ()), None)
    assert rows_of(pod) == [("p", "", "-", "-", "-", "-", "-", "-", "-")]
    assert document_of(pod) == {"name": "p", "namespace": "n", "uid": "u", "cpuMicroseconds": 5, "containers": []}


def test_processors_are_told_from_two_looks_at_the_same_run() -> None:
    def pod(before_us: int, now_us: int) -> Pod:
        return Pod({}, PodSample("u", Sample(3.0, now_us), ()), PodSample("u", Sample(1.0, before_us), ()))

    assert rows_of(pod(0, 3_000_000))[0][2] == "1500m"
    assert rows_of(pod(500, 100))[0][2] == "-"  # it was started again meanwhile


@pytest.mark.parametrize(
    ("count", "word"),
    [(0, "0B"), (1023, "1023B"), (1536, "1.5KiB"), (150 << 20, "150MiB"), (5 << 40, "5.0TiB"), (None, "-")],
)
def test_bytes(count: int | None, word: str) -> None:
    assert bytes_word(count) == word


# ---- stats ----


@root
def test_of_all_and_of_one(store: Store) -> None:
    with two_pods(store) as (first, second):
        done = store.command("stats")
        rows = [line.split() for line in done.out.splitlines()]
        assert rows[0][:3] == ["POD", "CONTAINER", "CPU"]
        assert [row[0] for row in rows[1:]] == ["one", "one", "two", "two"]
        listed = json.loads(store.command("stats", "-o", "json", "--interval=500ms", "one").out)["items"]
        assert [pod["uid"] for pod in listed] == [first]
        (busy,) = listed[0]["containers"]
        assert busy["name"] == "busy"
        assert 0 < busy["cpuCores"] < 1.5
        assert store.command("stats", "-o", "name", second).out == "pod/two\n"
        assert store.command("stats", "-n", "other", "--no-headers").out == ""
        wide = store.command("stats", "-o", "wide").out
        assert first in wide
    assert store.command("stats", "--no-headers").out == ""
    assert "no pod" in store.command("stats", "one").error


@root
def test_a_stream_of_json(store: Store) -> None:
    with two_pods(store):
        command = [*PYRUN, "stats", "--stream", "--interval=50ms", "-o", "json"]
        with subprocess.Popen(
            command, env=store.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            looks = [json.loads(process.stdout.readline()) for _ in range(6)]
            assert [look["name"] for look in looks] == ["one", "two"] * 3
            process.stdout.close()
            assert process.wait(patience(20)) == 141


@pytest.mark.cgroup2
def test_all_that_a_complete_machine_measures(store: Store) -> None:
    resources = {"limits": {"memory": "64Mi", "cpu": "500m"}}
    script = "x=$(head -c 8000000 /dev/zero | tr '\\0' x); echo ready; while :; do :; done"
    with store.detached(store.manifest(shell(script, resources=resources), terminationGracePeriodSeconds=1)) as uid:
        deadline = time.monotonic() + patience(30)
        while True:
            (pod,) = json.loads(store.command("stats", "-o", "json", uid).out)["items"]
            (main,) = pod["containers"]
            if main["workingSetBytes"] > 8_000_000:
                break
            assert time.monotonic() < deadline, main
        assert main["memoryLimitBytes"] == 64 << 20
        assert main["memoryPeakBytes"] >= main["workingSetBytes"]
        assert main["pids"] >= 1
        assert main["oomKills"] == 0
        assert main["cpuCores"] < 0.9
        families = metrics(store.command("metrics").out)
        assert families["pyrun_memory_limit_bytes"][("main",)] == 64 << 20
        assert families["pyrun_cpu_throttled_seconds_total"][("main",)] >= 0


# ---- top ----


@root
def test_a_screen_until_q(store: Store) -> None:
    with two_pods(store):
        ours, theirs = pty.openpty()
        environment = {**store.environment, "TERM": "xterm", "COLUMNS": "120", "LINES": "30"}
        command = [*PYRUN, "top", "--interval=50ms"]
        with subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as process:
            seen = b""

            def read_until(text: bytes) -> None:
                nonlocal seen
                deadline = time.monotonic() + patience(20)
                while text not in seen:
                    assert time.monotonic() < deadline, seen
                    if select.select([ours], [], [], 0.1)[0]:
                        seen += os.read(ours, 65536)

            read_until(b"2 pods, by name")
            assert b"busy" in seen
            os.write(ours, b"c")
            read_until(b"2 pods, by cpu")
            os.write(ours, b"q")
            while process.poll() is None:
                if select.select([ours], [], [], 0.1)[0]:
                    seen += os.read(ours, 65536)
            assert process.returncode == 0
        assert b"\x1b[?1049h" in seen  # the other screen, and back
        assert b"\x1b[?1049l" in seen
        os.close(ours)
        os.close(theirs)


@root
def test_without_a_terminal_it_is_printed_once(store: Store) -> None:
    with two_pods(store):
        done = store.command("top")
        assert done.status == 0
        assert "no terminal" in done.error
        assert "busy" in done.out


# ---- metrics ----


def metrics(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    """By name of the sample: by container, or no label at all, the value."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = tuple(value for name, value in sample.labels.items() if name in ("container", "phase", "le"))
            found.setdefault(sample.name, {})[key] = sample.value
    return found


@root
def test_the_text_that_prometheus_reads(store: Store) -> None:
    with store.detached(store.manifest(shell(BUSY, "busy"), terminationGracePeriodSeconds=1)) as uid:
        store.command("restart", uid)
        done = store.command("metrics")
        assert (done.status, done.err) == (0, "")
        found = metrics(done.out)
        assert found["pyrun_cpu_usage_seconds_total"][("busy",)] > 0
        assert found["pyrun_container_restarts_total"] == {("busy",): 1.0}
        assert found["pyrun_pod_phase"] == {("Running",): 1.0}
        assert "pyrun_pod_start_seconds_bucket" in found


@root
def test_over_http(store: Store) -> None:
    with two_pods(store):
        command = [*PYRUN, "metrics", "--listen", "127.0.0.1:0"]
        with subprocess.Popen(command, env=store.environment, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            port = int(process.stdout.readline().split()[-1])
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=patience(20)) as answer:
                assert metrics(answer.read().decode())["pyrun_cpu_usage_seconds_total"][("busy",)] > 0
            done = store.command("metrics", "--listen", f"127.0.0.1:{port}")
            assert done.status == 1
            assert f"port {port}: Address already in use" in done.error
            process.terminate()
            assert process.wait(patience(20)) == 0
        with socket.socket() as again:
            assert again.connect_ex(("127.0.0.1", port)) != 0
            with pytest.raises(urllib.error.URLError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=1)


@pytest.mark.parametrize(
    "arguments",
    [
        ("stats", "-o", "x"),
        ("stats", "--stream", "-o", "yaml"),
        ("stats", "--interval=x"),
        ("top", "--sort=x"),
        ("metrics", "--listen=x"),
        ("metrics", "--listen=127.0.0.1:99999"),
        ("metrics", "pod"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = Store(tmp_path).command(*arguments)
    assert done.status == 2
    assert done.error
