"""What a tree takes of a disk, whatever is in it, and when a pod has to go for it."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from fixtures.pods import document, mount, shell
from pyrun.pod import disk_usage
from pyrun.pod.disk_usage import DiskUsage, TooMuch
from pyrun.pod.storage import StorageUsage, find_excess
from pyrun.spec.pod import PodSpec
from pyrun.spec.pod_parse import parse_pod
from pyrun.spec.qos import has_storage_limits
from pyrun.spec.quantity import format_bytes
from pyrun.spec.source import EmptyDir
from pyrun.value import replace

MIB = 1 << 20


def measure(path: Path) -> int:
    usage = DiskUsage(str(path))
    while not usage.step():
        pass
    return usage.used_bytes


def blocks(*paths: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in paths)


# ---- a tree ----------------------------------------------------------------------------------------------------------


def test_files_and_directories_count_with_their_blocks(tmp_path: Path) -> None:
    top, below = tmp_path / "top", tmp_path / "top" / "a" / "b"
    below.mkdir(parents=True)
    (below / "file").write_bytes(b"x" * MIB)
    (top / "sparse").touch()
    os.truncate(top / "sparse", 1 << 30)
    wanted = blocks(top, top / "a", below, below / "file", top / "sparse")
    assert MIB <= measure(top) == wanted < 2 * MIB


def test_links_lead_nowhere_and_names_do_not_multiply(tmp_path: Path) -> None:
    top, other = tmp_path / "top", tmp_path / "other"
    top.mkdir()
    other.mkdir()
    (other / "big").write_bytes(b"x" * MIB)
    (top / "link").symlink_to(other)
    (top / "loop").symlink_to(top)
    assert measure(top) < MIB
    (top / "file").write_bytes(b"x" * MIB)
    one = measure(top)
    for i in range(10):
        os.link(top / "file", top / f"name-{i}")
    assert measure(top) - one < MIB


def test_another_file_system_is_not_entered() -> None:
    usage = DiskUsage("/dev")  # /dev/shm and /dev/pts are others
    while not usage.step():
        pass
    assert usage.used_bytes < 1 << 30


def test_a_deep_tree_is_given_up_and_leaves_no_descriptor(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    for _ in range(disk_usage.MAX_DEPTH + 5):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(TooMuch, match="directories more than"):
        measure(tmp_path)
    assert os.listdir("/proc/self/fd") == before


def test_too_many_files_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_usage, "MAX_ENTRIES", 10)
    for i in range(11):
        (tmp_path / str(i)).touch()
    with pytest.raises(TooMuch, match="more than 10 files"):
        measure(tmp_path)


def test_a_large_tree_is_walked_in_pieces(tmp_path: Path) -> None:
    for i in range(2500):
        (tmp_path / str(i)).touch()
    usage = DiskUsage(str(tmp_path))
    assert [usage.step() for _ in range(3)] == [False, False, True]


def test_a_tree_that_changes_under_the_walk(tmp_path: Path) -> None:
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            for i in range(20):
                directory = tmp_path / f"d{i}"
                directory.mkdir()
                (directory / "file").touch()
                directory.rename(tmp_path / f"e{i}")
                (tmp_path / f"d{i}").symlink_to("/")
            for i in range(20):
                (tmp_path / f"e{i}" / "file").unlink()
                (tmp_path / f"e{i}").rmdir()
                (tmp_path / f"d{i}").unlink()

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        sizes = [measure(tmp_path) for _ in range(300)]
    finally:
        stop.set()
        thread.join()
    assert max(sizes) < MIB


def test_a_walk_may_be_given_up(tmp_path: Path) -> None:
    for i in range(1500):
        (tmp_path / str(i)).touch()
    before = os.listdir("/proc/self/fd")
    usage = DiskUsage(str(tmp_path))
    assert not usage.step()
    usage.close()
    usage.close()
    assert os.listdir("/proc/self/fd") == before


# ---- the decision ----------------------------------------------------------------------------------------------------


def pod(one: str = "", two: str = "", size: int | None = None) -> PodSpec:
    def container(name: str, limit: str) -> dict[str, Any]:
        limits = {"ephemeral-storage": limit} if limit else {}
        return shell("true", name, resources={"limits": limits}, volumeMounts=[mount("data", "/data")])

    volumes = [{"name": "data", "emptyDir": {}}, {"name": "memory", "emptyDir": {"medium": "Memory"}}]
    spec = parse_pod(document(container("one", one), container("two", two), volumes=volumes), "x")
    data = replace(spec.volumes[0], source=EmptyDir("", size))
    return replace(spec, volumes=(data, spec.volumes[1]))


def usage(data: int = 0, one: int = 0, two: int = 0) -> StorageUsage:
    return StorageUsage((("data", data),), (("one", one), ("two", two)))


def test_without_limits_there_is_nothing_to_look_at() -> None:
    assert not has_storage_limits(pod())
    assert has_storage_limits(pod(one="1Mi"))
    assert has_storage_limits(pod(size=MIB))
    assert find_excess(pod(), usage(1 << 50, 1 << 50)) is None


def test_a_volume_over_its_size() -> None:
    assert find_excess(pod(size=MIB), usage(MIB)) is None
    wanted = 'Usage of EmptyDir volume "data" exceeds the limit "1Mi".'
    assert find_excess(pod(size=MIB), usage(MIB + 1)) == wanted


def test_a_container_over_its_limit() -> None:
    limited = pod(one="1Mi", two="5Mi")
    assert find_excess(limited, usage(0, MIB, 5 * MIB)) is None
    wanted = 'Container one exceeded its local ephemeral storage limit "1Mi".'
    assert find_excess(limited, usage(0, MIB + 1, 0)) == wanted


def test_volumes_and_containers_together_over_the_sum() -> None:
    limited = pod(one="1Mi", two="1Mi")
    wanted = "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi."
    assert find_excess(limited, usage(2 * MIB + 1)) == wanted
    assert find_excess(limited, usage(MIB, MIB // 2, MIB // 2)) is None
    # As in Kubernetes a container without a limit adds nothing to the sum.
    assert find_excess(pod(one="1Mi"), usage(0, 0, MIB + 1)) is not None


def test_what_cannot_be_measured_cannot_stay() -> None:
    found = replace(usage(), unmeasured=(("data", "more than 10 files"),))
    assert (
        find_excess(pod(size=MIB), found) == 'Usage of EmptyDir volume "data" cannot be measured: more than 10 files.'
    )


def test_bytes_in_words() -> None:
    amounts = (0, 1, 1000, 1024, 3 * MIB, (1 << 30) + 1024, 5 << 40)
    assert [format_bytes(amount) for amount in amounts] == ["0", "1", "1000", "1Ki", "3Mi", "1048577Ki", "5Ti"]
