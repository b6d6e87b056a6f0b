"""Whose a container's cgroup is."""

from __future__ import annotations

from typing import Any

import pytest

from pyrun.container.oci_delegation import cgroup_owner
from pyrun.spec.oci_parse import parse_oci

CGROUP = {"type": "cgroup"}
WRITABLE = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid"]}
READ_ONLY = WRITABLE | {"options": ["nosuid", "ro"]}
MAPPINGS = [{"containerID": 0, "hostID": 100_000, "size": 10}, {"containerID": 50, "hostID": 7000, "size": 5}]


def owner(uid: int, namespaces: list[dict[str, str]], mount: dict[str, Any], **linux: Any) -> int | None:
    document = {
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "process": {"cwd": "/", "args": ["sh"], "user": {"uid": uid, "gid": 0}},
        "mounts": [mount],
        "linux": {"namespaces": namespaces, **linux},
    }
    return cgroup_owner(parse_oci(document, "x"))


def test_a_user_owns_the_cgroup_that_he_may_write_to() -> None:
    assert owner(1000, [CGROUP], WRITABLE) == 1000


def test_root_owns_it_already() -> None:
    assert owner(0, [CGROUP], WRITABLE) is None


@pytest.mark.parametrize(
    ("namespaces", "mount"),
    [
        ([CGROUP], READ_ONLY),
        ([], WRITABLE),
        ([CGROUP | {"path": "/proc/1/ns/cgroup"}], WRITABLE),
        ([CGROUP], WRITABLE | {"destination": "/x"}),
        ([CGROUP], WRITABLE | {"source": "/sys/fs/cgroup"}),
    ],
)
def test_otherwise_it_stays_as_it_is(namespaces: list[dict[str, str]], mount: dict[str, Any]) -> None:
    assert owner(1000, namespaces, mount) is None


@pytest.mark.parametrize(("uid", "host"), [(0, 100_000), (9, 100_009), (10, None), (49, None), (54, 7004), (55, None)])
def test_it_is_the_user_of_the_host_whose_id_is_mapped(uid: int, host: int | None) -> None:
    namespaces = [CGROUP, {"type": "user"}]
    assert owner(uid, namespaces, WRITABLE, uidMappings=MAPPINGS, gidMappings=MAPPINGS) == host


def test_a_user_namespace_of_somebody_else_says_nothing() -> None:
    assert owner(0, [CGROUP, {"type": "user", "path": "/proc/1/ns/user"}], WRITABLE) is None
