"""Resources of the manifest: as files of cgroup v2, by Kubernetes' formulas, and what the kernel then makes of them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from fixtures.machine import has_complete_cgroup2, patience
from fixtures.pods import FOREVER, created, mount, pod_spec, python, run_pod, running, shell
from pyrun.container.resources import milli_cpu_to_shares, oom_score_adj, shares_to_weight
from pyrun.container.security import available_capabilities, capability_mask
from pyrun.errors import Unsupported, describe_error
from pyrun.pod.machine import read_machine

pytestmark = pytest.mark.root

MIB = 1 << 20


def resources(requests: dict[str, str] | None = None, limits: dict[str, str] | None = None) -> dict[str, Any]:
    return {"resources": {"requests": requests or {}, "limits": limits or {}}}


def read(cgroup: str, *names: str) -> list[str]:
    return [Path(cgroup, name).read_text().strip() for name in names]


FILES = ("cpu.weight", "cpu.max", "memory.max", "memory.oom.group")


# ---- where there are controllers -------------------------------------------------------------------------------------


@pytest.mark.cgroup2
def test_files_of_pod_and_containers(tmp_path: Path) -> None:
    one = shell(FOREVER, "one", **resources({"cpu": "250m", "memory": "32Mi"}, {"cpu": "500m", "memory": "64Mi"}))
    two = shell(FOREVER, "two", **resources({}, {"cpu": "1", "memory": "128Mi"}))
    with running(pod_spec(one, two), tmp_path) as it:
        pod = it.pod.cgroup.path
        assert read(f"{pod}/one", *FILES) == ["35", "50000 100000", str(64 * MIB), "1"]
        assert read(f"{pod}/two", *FILES) == ["100", "100000 100000", str(128 * MIB), "1"]
        weight = str(shares_to_weight(milli_cpu_to_shares(1250)))
        assert read(pod, *FILES) == [weight, "150000 100000", str(192 * MIB), "0"]
        assert read(f"{pod}/_pause", "memory.max", "cgroup.procs") == ["max", str(it.pod.sandbox.pause.process.pid)]
        assert read(pod, "cgroup.procs") == [""]  # it has controllers for its children, so no process itself


@pytest.mark.cgroup2
def test_a_pod_has_a_maximum_only_if_each_container_has_one(tmp_path: Path) -> None:
    one = shell(FOREVER, "one", **resources({}, {"cpu": "500m", "memory": "64Mi"}))
    with running(pod_spec(one, shell(FOREVER, "two")), tmp_path) as it:
        pod = it.pod.cgroup.path
        assert read(pod, *FILES) == [str(shares_to_weight(512)), "max 100000", "max", "0"]
        assert read(f"{pod}/two", *FILES) == ["1", "max 100000", "max", "1"]
        assert read(f"{pod}/_pause", *FILES) == ["1", "max 100000", "max", "0"]


@pytest.mark.cgroup2
def test_a_pod_that_asks_for_nothing_has_the_least_share(tmp_path: Path) -> None:
    with running(pod_spec(shell(FOREVER)), tmp_path) as it:
        pod = it.pod.cgroup.path
        assert read(pod, *FILES) == ["1", "max 100000", "max", "0"]
        assert read(f"{pod}/main", *FILES) == ["1", "max 100000", "max", "1"]


@pytest.mark.cgroup2
def test_a_small_cpu_limit_is_raised_to_the_least_quota(tmp_path: Path) -> None:
    with running(pod_spec(shell(FOREVER, **resources({}, {"cpu": "1m"}))), tmp_path) as it:
        assert read(f"{it.pod.cgroup.path}/main", "cpu.max") == ["1000 100000"]


HUNGRY = "import sys\nkept = []\nwhile True:\n    kept.append(bytearray(1 << 20))"


@pytest.mark.cgroup2
def test_too_much_memory_ends_the_container_and_says_so(tmp_path: Path) -> None:
    """All of the container (memory.oom.group), none of the others."""
    hungry = shell(f"sleep 1000 & exec python3 -ISc '{HUNGRY}'", "hungry", **resources({}, {"memory": "48Mi"}))
    other = shell("until [ -e /dev/shm/go ]; do sleep 0.01; done; echo alive", "other")
    with running(pod_spec(hungry, other, hostPID=True), tmp_path) as it:
        it["hungry"].process.wait(patience(60))
        it.pod.poll()
        status = it["hungry"].status
        assert status is not None
        assert (status.reason, status.exit.signal) == ("OOMKilled", 9)
        assert status.memory_peak_bytes is not None
        assert 40 * MIB < status.memory_peak_bytes <= 48 * MIB
        assert it["hungry"].cgroup.wait_empty(patience(10))
        assert it["other"].state == "running"
        (it.proc("other") / "root/dev/shm/go").write_text("")
        assert it.wait()["other"].reason == "Completed"


@pytest.mark.cgroup2
def test_a_kill_from_outside_is_no_oom(tmp_path: Path) -> None:
    with running(pod_spec(shell(FOREVER, **resources({}, {"memory": "64Mi"}))), tmp_path) as it:
        it["main"].process.kill()
        assert it.wait()["main"].reason == "Error"


@pytest.mark.cgroup2
def test_a_child_that_is_killed_for_memory_takes_the_container_along(tmp_path: Path) -> None:
    script = f"python3 -ISc '{HUNGRY}' || echo child died; sleep 1000"
    with running(pod_spec(shell(script, **resources({}, {"memory": "48Mi"}))), tmp_path) as it:
        status = it.wait(60)["main"]
        assert status.reason == "OOMKilled"
        assert "child died" not in it.read()


@pytest.mark.cgroup2
def test_what_is_written_into_the_layer_is_the_containers_memory(tmp_path: Path) -> None:
    spec = pod_spec(shell("head -c 100M /dev/zero >/big; echo done", **resources({}, {"memory": "48Mi"})))
    with running(spec, tmp_path) as it:
        assert it.wait(60)["main"].exit.code != 0
        assert "done" not in it.read()


@pytest.mark.cgroup2
def test_peak_is_told_without_a_limit_too(tmp_path: Path) -> None:
    with running(pod_spec(python("kept = bytearray(30 << 20)")), tmp_path) as it:
        peak = it.wait(60)["main"].memory_peak_bytes
        assert peak is not None
        assert 30 * MIB < peak < 200 * MIB


@pytest.mark.cgroup2
def test_an_empty_dir_in_memory_belongs_to_who_writes_it(tmp_path: Path) -> None:
    data = [mount("data", "/data")]
    writer = shell(f"head -c 20M /dev/zero >/data/file; echo written; {FOREVER}", "writer", volumeMounts=data)
    reader = shell(FOREVER, "reader", volumeMounts=data)
    volume = {"name": "data", "emptyDir": {"medium": "Memory", "sizeLimit": "32Mi"}}
    with running(pod_spec(writer, reader, volumes=[volume]), tmp_path) as it:
        it.wait_for("written", "writer", 60)
        shared = {}
        for name in ("writer", "reader"):
            stat = Path(it[name].cgroup.path, "memory.stat").read_text()
            found = re.search(r"^shmem (\d+)$", stat, re.M)
            assert found is not None
            shared[name] = int(found[1])
        assert shared["writer"] >= 20 * MIB
        assert shared["reader"] < MIB


@pytest.mark.cgroup2
def test_cpu_limit_is_kept(tmp_path: Path) -> None:
    script = "import time\nend = time.monotonic() + 2\nwhile time.monotonic() < end: pass"
    with running(pod_spec(python(script, **resources({}, {"cpu": "100m"}))), tmp_path) as it:
        status = it.wait(120)["main"]
        assert status.exit.cpu_s < status.run_time_s * 0.4


@pytest.mark.cgroup2
def test_oom_scores(tmp_path: Path) -> None:
    """With every capability: also lower than the launcher's."""
    guaranteed = resources({}, {"cpu": "100m", "memory": "64Mi"})
    for fields, kind in ((guaranteed, "Guaranteed"), (resources({"memory": "64Mi"}), "Burstable"), ({}, "BestEffort")):
        with running(pod_spec(shell(FOREVER, **fields)), tmp_path) as it:
            wanted = oom_score_adj(kind, 64 * MIB, read_machine().memory_bytes)
            assert int((it.proc() / "oom_score_adj").read_text()) == wanted
            assert int((it.pause_proc() / "oom_score_adj").read_text()) == -998
            assert it.pod.warnings == []


# ---- where there are none --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "file"),
    [
        (resources({}, {"memory": "64Mi"}), "memory.max"),
        (resources({}, {"cpu": "1"}), "cpu.weight"),  # a limit is a request, too
        (resources({"cpu": "1"}), "cpu.weight"),
    ],
)
def test_a_limit_without_its_controller_is_refused_in_one_line(
    tmp_path: Path, asked: dict[str, Any], file: str
) -> None:
    if has_complete_cgroup2():
        assert run_pod(pod_spec(shell("true", **asked)), tmp_path) == {"main": ""}
        return
    with (
        pytest.raises(Unsupported) as caught,
        created(pod_spec(shell("true", "first"), shell("true", "second", **asked)), tmp_path),
    ):
        pass
    text = describe_error(caught.value)
    controller = file.partition(".")[0]
    assert f"{file} is not available here: {controller} controller is not available in cgroup v2 here" in text
    assert "\n" not in text
    # The pod's own group has a limit only if every container has one; the share is the sum.
    assert text.startswith("pod test: " if file == "cpu.weight" else "container second: ")


def test_a_memory_request_alone_runs_everywhere(tmp_path: Path) -> None:
    """It is no limit: it decides who is killed first."""
    with running(pod_spec(shell(FOREVER, **resources({"memory": "1Mi"}))), tmp_path) as it:
        own = int(Path("/proc/self/oom_score_adj").read_text())
        wanted = oom_score_adj("Burstable", MIB, read_machine().memory_bytes)
        assert wanted == 999
        may_lower = available_capabilities() & capability_mask(("CAP_SYS_RESOURCE",))
        assert int((it.proc() / "oom_score_adj").read_text()) == (wanted if may_lower or wanted >= own else own)


def test_a_pod_without_limits_runs_everywhere(tmp_path: Path) -> None:
    with running(pod_spec(shell("true")), tmp_path) as it:
        status = it.wait()["main"]
        assert (status.memory_peak_bytes is None) == (not has_complete_cgroup2())
        assert os.path.isdir(it.pod.cgroup.path)
