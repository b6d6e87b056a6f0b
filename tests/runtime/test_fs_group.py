"""``fsGroup``: who owns a pod's volumes, and what its containers make in them; with and without users of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from fixtures.command import Store
from fixtures.pods import document, mount, shell
from pyrun import remove_tree

pytestmark = pytest.mark.root
DEPTH = 2500  # beyond the interpreter's recursion, the usual limit of descriptors, and the longest path

CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf"}, "data": {"a": "1"}}
VOLUMES = [
    {"name": "disk", "emptyDir": {}},
    {"name": "memory", "emptyDir": {"medium": "Memory"}},
    {"name": "claim", "persistentVolumeClaim": {"claimName": "data"}},
    {"name": "conf", "configMap": {"name": "conf"}},
]
MOUNTS = [mount(volume["name"], f"/{volume['name']}") for volume in VOLUMES]  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def run(store: Store, script: str, policy: str = "Always", **spec: Any) -> str:
    security = {"runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000, "fsGroupChangePolicy": policy}
    pod = document(shell(script, volumeMounts=MOUNTS), volumes=VOLUMES, securityContext=security, **spec)
    path = store.top / "pod.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [CONFIG, pod]}))
    done = store.run(path)
    assert done.status == 0, done.err
    return done.out


@pytest.mark.parametrize("host_users", [True, False])
def test_volumes_belong_to_the_group(store: Store, host_users: bool) -> None:
    script = """
        for volume in disk memory claim; do
            touch /$volume/file
            stat -c '%A %g %n' /$volume
            stat -c '%u %g %n' /$volume/file
        done
        stat -Lc '%A %u %g %n' /conf/a
    """
    assert run(store, script, hostUsers=host_users).splitlines() == [
        "main | drwxrwsrwx 2000 /disk",
        "main | 1000 2000 /disk/file",
        "main | drwxrwsrwx 2000 /memory",
        "main | 1000 2000 /memory/file",
        "main | drwxrwsr-x 2000 /claim",
        "main | 1000 2000 /claim/file",
        "main | -rw-r--r-- 0 2000 /conf/a",
    ]


@pytest.mark.parametrize(("policy", "group"), [("Always", 2000), ("OnRootMismatch", 0)])
def test_what_is_there_already(store: Store, policy: str, group: int) -> None:
    """A link in it is not followed: what it leads to stays as it is."""
    run(store, "true")
    claim = store.state_root / "claims/default/data"
    (claim / "old").write_text("")
    victim = store.top / "victim"
    victim.write_text("")
    (claim / "link").symlink_to(victim)
    os.chown(claim / "old", 0, 0)
    run(store, "true", policy)
    assert (claim / "old").stat().st_gid == group
    assert victim.stat().st_gid == 0


def test_a_tree_of_any_depth(store: Store) -> None:
    """A container may leave one that no path reaches and no recursion survives; its next pod must start all the same."""
    claim = store.state_root / "claims/default/data"
    claim.mkdir(parents=True)
    fd = os.open(claim, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(DEPTH):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.mknod("f", 0o600, dir_fd=fd)
    try:
        run(store, "true")
        found = [os.fstat(fd), os.stat("f", dir_fd=fd)]
    finally:
        os.close(fd)
        remove_tree(str(claim))
    assert [each.st_gid for each in found] == [2000, 2000]
    assert found[0].st_mode & 0o2070 == 0o2070
    assert found[1].st_mode & 0o060 == 0o060


def test_what_is_no_file_and_what_a_link_says_stay(store: Store) -> None:
    claim, outside = store.state_root / "claims/default/data", store.top / "outside"
    claim.mkdir(parents=True)
    outside.mkdir()
    (outside / "f").touch(0o600)
    (claim / "to-directory").symlink_to(outside)
    (claim / "to-file").symlink_to(outside / "f")
    os.mkfifo(claim / "pipe", 0o600)
    run(store, "true")
    assert [path.lstat().st_gid for path in sorted(claim.iterdir())] == [2000, 2000, 2000]
    assert (claim / "pipe").lstat().st_mode & 0o777 == 0o600
    assert [(path.stat().st_gid, path.stat().st_mode & 0o070) for path in (outside / "f",)] == [(0, 0)]
    assert outside.stat().st_gid == 0
