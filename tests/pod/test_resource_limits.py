"""Limits of a pod as a whole, of processes, huge pages and devices, and memory QoS: the files, and what comes of them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.machine import patience
from fixtures.pods import FOREVER, created, host_path, mount, pod_spec, python, run_pod, running, shell
from pyrun.errors import StateError
from pyrun.pod.driver import Driver
from pyrun.pod.limits import LimitPolicy

pytestmark = [pytest.mark.root, pytest.mark.cgroup2]

MIB = 1 << 20
NODE = 8 << 30


def resources(requests: dict[str, str] | None = None, limits: dict[str, str] | None = None) -> dict[str, Any]:
    return {"resources": {"requests": requests or {}, "limits": limits or {}}}


def read(cgroup: str, *names: str) -> list[str]:
    return [Path(cgroup, name).read_text().strip() for name in names]


# ---- the pod's own ---------------------------------------------------------------------------------------------------


def test_limits_of_the_pod_are_those_of_a_container_without(tmp_path: Path) -> None:
    one = shell(FOREVER, "one", **resources({}, {"cpu": "250m", "memory": "16Mi"}))
    own = {"limits": {"cpu": "500m", "memory": "64Mi"}}
    with running(pod_spec(one, shell(FOREVER, "two"), resources=own, overhead={"memory": "1Mi"}), tmp_path) as it:
        pod = it.pod.cgroup.path
        assert read(pod, "cpu.max", "memory.max") == ["50000 100000", str(65 * MIB)]
        assert read(f"{pod}/one", "cpu.max", "memory.max") == ["25000 100000", str(16 * MIB)]
        assert read(f"{pod}/two", "cpu.max", "memory.max") == ["50000 100000", str(64 * MIB)]


HUNGRY = "kept = []\nwhile True: kept.append(bytearray(1 << 20))"


def test_the_pods_own_limit_of_memory_is_kept(tmp_path: Path) -> None:
    spec = pod_spec(python(HUNGRY), resources={"limits": {"memory": "48Mi"}})
    with running(spec, tmp_path) as it:
        assert it.wait(60)["main"].reason == "OOMKilled"


def test_without_an_oom_group_the_others_live_on(tmp_path: Path) -> None:
    script = f"python3 -ISc '{HUNGRY}' || echo child died"
    spec = pod_spec(shell(script, **resources({}, {"memory": "48Mi"})), annotations={"pyrun.dev/oom-group": "false"})
    with running(spec, tmp_path) as it:
        assert it.wait(60)["main"].exit.code == 0
        assert "child died" in it.read()


# ---- processes -------------------------------------------------------------------------------------------------------

BOMB = """
import os, time
count = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(1000)
        count += 1
except BlockingIOError:
    print("forked", count, flush=True)
"""


def test_a_fork_bomb_is_stopped_and_the_others_go_on(tmp_path: Path) -> None:
    other = shell("until [ -e /dev/shm/go ]; do sleep 0.05; done; echo alive", "other")
    limits = {"pyrun.dev/pids-limit": "100", "pyrun.dev/pids-limit.bomb": "20"}
    with running(pod_spec(python(BOMB, "bomb"), other, annotations=limits), tmp_path) as it:
        assert it.wait_for("forked", "bomb", 60) == "forked 19\n"
        assert read(it.pod.cgroup.path, "pids.max") == ["100"]
        (it.proc("other") / "root/dev/shm/go").write_text("")
        assert it.wait(60)["other"].reason == "Completed"
        assert it.read("other") == "alive\n"


def test_the_nodes_limit_of_processes_is_for_pods_without_one(tmp_path: Path) -> None:
    policy = LimitPolicy(pids_max=77)
    with running(pod_spec(shell(FOREVER)), tmp_path, policy=policy) as it:
        assert read(it.pod.cgroup.path, "pids.max") == ["77"]
    own = pod_spec(shell(FOREVER), annotations={"pyrun.dev/pids-limit": "5"})
    with running(own, tmp_path, policy=policy) as it:
        assert read(it.pod.cgroup.path, "pids.max") == ["5"]


# ---- memory QoS ------------------------------------------------------------------------------------------------------

QOS_FILES = ("memory.min", "memory.low", "memory.high")


def test_memory_qos(tmp_path: Path) -> None:
    policy = LimitPolicy(memory_throttling_factor=0.5, reserve_memory=True, memory_bytes=NODE)
    burstable = shell(FOREVER, "main", **resources({"memory": "32Mi"}, {"memory": "64Mi"}))
    with running(pod_spec(burstable), tmp_path, policy=policy) as it:
        assert read(it.pod.cgroup.path, *QOS_FILES) == ["0", str(32 * MIB), "max"]
        assert read(f"{it.pod.cgroup.path}/main", *QOS_FILES) == ["0", str(32 * MIB), str(48 * MIB)]
    guaranteed = shell(FOREVER, "main", **resources({}, {"cpu": "1", "memory": "64Mi"}))
    with running(pod_spec(guaranteed), tmp_path, policy=policy) as it:
        assert read(it.pod.cgroup.path, *QOS_FILES) == [str(64 * MIB), "0", "max"]
        assert read(f"{it.pod.cgroup.path}/main", *QOS_FILES) == [str(64 * MIB), "0", "max"]
    with running(pod_spec(shell(FOREVER)), tmp_path, policy=policy) as it:
        assert read(f"{it.pod.cgroup.path}/main", *QOS_FILES) == ["0", "0", str(NODE // 2)]


# ---- huge pages ------------------------------------------------------------------------------------------------------

POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
MAP = """
import mmap, sys
size = int(sys.argv[1]) * 2 << 20
try:
    pages = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)
    pages[size - 1] = 1
    print("mapped")
except OSError as error:
    print(error.strerror)
"""


@pytest.fixture
def page_pool() -> Iterator[None]:
    before = POOL.read_text()
    POOL.write_text("8")
    assert POOL.read_text() == "8\n"
    yield
    POOL.write_text(before)


@pytest.mark.usefixtures("page_pool")
def test_huge_pages_up_to_the_limit_and_none_without(tmp_path: Path) -> None:
    asked = resources({"memory": "64Mi"}, {"hugepages-2Mi": "4Mi"})
    two, three, none = [
        python(MAP, name, count, **fields)
        for name, count, fields in (("two", "2", asked), ("three", "3", asked), ("none", "1", {}))
    ]
    printed = run_pod(pod_spec(two, three, none), tmp_path)
    assert printed == {"two": "mapped\n", "three": "Cannot allocate memory\n", "none": "Cannot allocate memory\n"}


@pytest.mark.usefixtures("page_pool")
def test_a_volume_of_huge_pages(tmp_path: Path) -> None:
    """As on Kubernetes' page "Manage HugePages"."""
    script = """
import mmap, os
fd = os.open("/hugepages/file", os.O_CREAT | os.O_RDWR)
os.ftruncate(fd, 4 << 20)
pages = mmap.mmap(fd, 4 << 20)
pages[0] = pages[(4 << 20) - 1] = 1
with open("/proc/meminfo") as file:
    print([line.split()[1] for line in file if line.startswith("HugePages_Free")])
"""
    container = python(
        script,
        volumeMounts=[mount("hugepage", "/hugepages")],
        **resources({"memory": "100Mi"}, {"hugepages-2Mi": "4Mi"}),
    )
    volume = {"name": "hugepage", "emptyDir": {"medium": "HugePages-2Mi"}}
    assert run_pod(pod_spec(container, volumes=[volume]), tmp_path) == {"main": "['6']\n"}


@pytest.mark.usefixtures("page_pool")
def test_files_of_huge_pages(tmp_path: Path) -> None:
    asked = shell(FOREVER, "asked", **resources({"memory": "64Mi"}, {"hugepages-2Mi": "4Mi"}))
    with running(pod_spec(asked, shell(FOREVER, "none")), tmp_path) as it:
        pod = it.pod.cgroup.path
        files = ("hugetlb.2MB.max", "hugetlb.2MB.rsvd.max")
        assert read(pod, *files) == [str(4 * MIB)] * 2
        assert read(f"{pod}/asked", *files) == [str(4 * MIB)] * 2
        assert read(f"{pod}/none", *files) == ["0"] * 2


# ---- devices ---------------------------------------------------------------------------------------------------------


def block_device() -> tuple[str, str]:
    """A block device and its numbers; the virtual machine has none until there is a module for one."""
    subprocess.run(["modprobe", "loop"], check=False)
    for device in sorted(Path("/sys/block").iterdir()):
        if Path("/dev", device.name).exists():
            return f"/dev/{device.name}", (device / "dev").read_text().strip()
    pytest.skip("no block device")


def test_io_limits_of_pod_and_container(tmp_path: Path) -> None:
    path, number = block_device()
    annotations = {
        "pyrun.dev/io-max": f"{path} rbps=10Mi",
        "pyrun.dev/io-max.main": f"{path} wbps=1Mi riops=100",
        "pyrun.dev/io-weight.main": "250",
    }
    with running(pod_spec(shell(FOREVER), annotations=annotations), tmp_path) as it:
        pod = it.pod.cgroup.path
        assert read(pod, "io.max") == [f"{number} rbps={10 * MIB} wbps=max riops=max wiops=max"]
        assert read(f"{pod}/main", "io.max") == [f"{number} rbps=max wbps={MIB} riops=100 wiops=max"]
        assert read(f"{pod}/main", "io.weight")[0].startswith("default 250")


@pytest.fixture
def loop_device(tmp_path: Path) -> Iterator[str]:
    """A disk of 8 MiB."""
    subprocess.run(["modprobe", "loop"], check=True)
    (tmp_path / "disk").write_bytes(bytes(8 * MIB))
    made = subprocess.run(
        ["losetup", "--find", "--show", tmp_path / "disk"], check=True, capture_output=True, text=True
    )
    yield made.stdout.strip()
    subprocess.run(["losetup", "--detach", made.stdout.strip()], check=True)


def test_a_writer_gets_no_more_bytes_a_second(tmp_path: Path, loop_device: str) -> None:
    """A MiB at 256 KiB a second: the kernel may give some of it at once, and no more than half."""
    script = "dd if=/dev/zero of=/disk bs=64k count=16 oflag=direct 2>&1"
    spec = pod_spec(
        shell(script, volumeMounts=[mount("disk", "/disk")]),
        volumes=[host_path("disk", loop_device, "BlockDevice")],
        annotations={"pyrun.dev/io-max.main": f"{loop_device} wbps=256Ki"},
    )
    with running(spec, tmp_path) as it:
        status = it.wait(120)["main"]
        assert status.exit.code == 0, it.read()
        assert status.run_time_s > 2


def test_over_its_share_of_the_processor_a_container_is_slowed_down(tmp_path: Path) -> None:
    busy = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
    with running(pod_spec(python(busy, **resources({}, {"cpu": "100m"}))), tmp_path) as it:
        status = it.wait(patience(60))["main"]
        assert status.exit.code == 0
        stats = dict(line.split() for line in Path(f"{it.pod.cgroup.path}/main/cpu.stat").read_text().splitlines())
        assert int(stats["nr_throttled"]) > 0


# ---- classes ---------------------------------------------------------------------------------------------------------


def test_best_effort_pods_have_the_least_share_together(tmp_path: Path) -> None:
    with running(pod_spec(shell(FOREVER)), tmp_path) as it:
        assert it.pod.cgroup.name.startswith("pyrun/besteffort/pod")
        assert read(f"{it.pod.cgroup.root}/pyrun/besteffort", "cpu.weight") == ["1"]


def test_burstable_pods_have_what_they_have_requested(tmp_path: Path) -> None:
    spec = pod_spec(shell(FOREVER, **resources({"cpu": "100m"})))
    with running(spec, tmp_path, policy=LimitPolicy(burstable_cpu_milli=2000)) as it:
        assert it.pod.cgroup.name.startswith("pyrun/burstable/pod")
        assert read(f"{it.pod.cgroup.root}/pyrun/burstable", "cpu.weight") == ["174"]


# ---- resize ----------------------------------------------------------------------------------------------------------

FILES = ("cpu.weight", "cpu.max", "memory.max")


def test_resize_while_it_runs(tmp_path: Path) -> None:
    asked = resources({"cpu": "250m", "memory": "16Mi"}, {"cpu": "500m", "memory": "64Mi"})
    spec = pod_spec(shell(f"echo ready; {FOREVER}", **asked))
    with running(spec, tmp_path) as it:
        it.wait_for("ready")
        pod, main, pid = it.pod.cgroup.path, it["main"].cgroup.path, it["main"].process.pid
        assert it.pod.resize("main", {"cpu": "500m"}, {"cpu": "1", "memory": "128Mi"}) == ()
        assert read(main, *FILES) == read(pod, *FILES) == ["59", "100000 100000", str(128 * MIB)]
        assert it.pod.resize("main", {"cpu": "250m"}, {"cpu": "300m", "memory": "32Mi"}) == ()
        assert read(main, *FILES) == read(pod, *FILES) == ["35", "30000 100000", str(32 * MIB)]
        assert it["main"].process.pid == pid
        assert it.pod.spec.containers[0].resources.memory_limit_bytes == 32 * MIB


def test_a_limit_below_what_is_in_use_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    asked = resources({"memory": "1Mi"}, {"memory": "128Mi"})
    spec = pod_spec(
        python("kept = bytearray(60 << 20)\nprint('full', flush=True)\nimport time; time.sleep(1000)", **asked)
    )
    with running(spec, tmp_path) as it:
        it.wait_for("full", limit_s=60)
        with pytest.raises(StateError, match=r"container main is using .* bytes of memory"):
            it.pod.resize("main", limits={"memory": "32Mi"})
        assert read(it["main"].cgroup.path, "memory.max") == read(it.pod.cgroup.path, "memory.max") == [str(128 * MIB)]
        assert it.pod.spec.containers[0].resources == spec.containers[0].resources
        assert it["main"].poll() is None


def test_a_resize_that_wants_a_restart_is_there_after_it(tmp_path: Path) -> None:
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    asked = resources({"memory": "1Mi"}, {"memory": "128Mi"})
    script = "kept = bytearray(60 << 20)\nprint('full', flush=True)\nimport time; time.sleep(1000)"
    spec = pod_spec(
        python(script, **asked, resizePolicy=policy), restartPolicy="Always", terminationGracePeriodSeconds=0
    )
    with created(spec, tmp_path) as it:
        driver = Driver(it.pod)
        driver.begin()
        it.wait_for("full", limit_s=60)
        first = it["main"].process.pid
        driver.resize("main", limits={"memory": "96Mi"})
        deadline = time.monotonic() + patience(60)
        while driver.life.restarts()["main"] == 0 or it["main"].process.pid == first:
            assert not driver.run(0.05)
            assert time.monotonic() < deadline
        assert read(it["main"].cgroup.path, "memory.max") == read(it.pod.cgroup.path, "memory.max") == [str(96 * MIB)]
        driver.stop(0)
        assert driver.run(patience(30))
