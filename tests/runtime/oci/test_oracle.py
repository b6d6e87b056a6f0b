"""pyrun-oci and crun run the same bundles; what the program inside sees must be the same.

The configurations are in fixtures/oracle, by subject. What differs, and why, is in :data:`DIFFERENCES` and :data:`HIDDEN` where
it is so in every container, and beside the case where it is the case's own. crun is Debian 12's, 1.8.1.
"""

from __future__ import annotations

import shutil
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from fixtures.bundles import Bundle, Runtime, crun, default_config, merged, pyrun_oci
from fixtures.oracle import isolation, mounting, process
from fixtures.oracle.case import USUAL, Case, linux, mount, mounts, namespaces
from fixtures.oracle.seen import Facts, facts_of

pytestmark = [pytest.mark.root, pytest.mark.skipif(shutil.which("crun") is None, reason="needs crun")]

CASES = (*process.CASES, *mounting.CASES, *isolation.CASES)

# Facts that differ in every container, as patterns of fnmatch.
DIFFERENCES = {
    "keyring": "_ses. and the container's id, as with runc; crun has the id alone",
    "mount /sys/fs/cgroup source": "the source that the configuration names, as with runc; crun says cgroup2",
}
# Facts of each mount that hides something.
HIDDEN = {
    "type": "over a file: the null device of the container, as with runc; crun's is the host's",
    "root": "as type",
    "source": "as type; over a directory: an empty tmpfs is named none",
    "super": "as type; an empty tmpfs that cannot be written needs no size",
    "options": "over a directory: also nosuid, nodev and noexec; over a file: the null device may be written, as with runc",
}


def expected_differences(case: Case) -> dict[str, str]:
    masked = merged(default_config(), case.patch)["linux"]["maskedPaths"]
    return {f"mount {path} {fact}": why for path in masked for fact, why in HIDDEN.items()} | DIFFERENCES | case.differs


def make_bundle(top: Path, case: Case) -> Bundle:
    bundle = Bundle(top / "bundle", case.config)
    host = bundle.path / "host"
    (host / "sub").mkdir(parents=True)
    (host / "file").write_text("text")
    (bundle.rootfs / "link").symlink_to("/home/user")
    (bundle.rootfs / "outside").symlink_to("../../..")
    return bundle


def look_inside(runtime: Runtime, top: Path, case: Case) -> Facts:
    """Each runtime has a bundle of its own, because mount points are made in it; the container has the same name."""
    bundle = make_bundle(top, case)
    said = runtime("run", *case.flags, "--bundle", bundle.path, "seen", prepare=case.prepare, bundle=bundle)
    return facts_of(said.ok().out, bundle)


def allowed(name: str, patterns: dict[str, str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def differences(ours: Facts, theirs: Facts) -> dict[str, str]:
    names = [*ours, *(name for name in theirs if name not in ours)]
    return {
        name: f"pyrun-oci {ours.get(name)!r}, crun {theirs.get(name)!r}"
        for name in names
        if ours.get(name) != theirs.get(name)
    }


def check_expected(seen: Facts, case: Case, who: str) -> None:
    wrong = {
        name: f"{seen.get(name)!r}, expected {value!r}"
        for name, value in case.expect.items()
        if seen.get(name) != value
    }
    assert not wrong, who


def test_there_are_enough_cases() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert len(CASES) >= 60


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_the_same_is_seen(case: Case, tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    ours = look_inside(pyrun_oci(tmp_path / "ours/state"), tmp_path / "ours", case)
    check_expected(ours, case, "pyrun-oci")
    if case.alone:
        return
    (tmp_path / "theirs").mkdir()
    theirs = look_inside(crun(tmp_path / "theirs/state"), tmp_path / "theirs", case)
    check_expected(theirs, case, "crun")
    found = differences(ours, theirs)
    listed = expected_differences(case)
    assert not {name: both for name, both in found.items() if not allowed(name, listed)}
    stale = [pattern for pattern in case.differs if not any(fnmatchcase(name, pattern) for name in found)]
    assert not stale, "no such difference any more"


RESOURCES = {
    "cpu": {"quota": 50000, "period": 100000},
    "memory": {"limit": 64 << 20, "reservation": 32 << 20, "swap": 96 << 20},
    "pids": {"limit": 33},
    "unified": {"memory.high": str(48 << 20)},
}
GROUP_FILES = "cpu.max memory.max memory.low memory.high memory.swap.max pids.max cgroup.type".split()


@pytest.mark.cgroup2
def test_the_same_limits(tmp_path: Path) -> None:
    """But for cpu.weight, for which crun has the quadratic formula only since 1.23."""
    group = mount("/sys/fs/cgroup", "cgroup", "ro", source="cgroup")
    limits = linux(namespaces=namespaces(*USUAL, "cgroup"), resources=RESOURCES, cgroupsPath="/pyrun-test-oracle")
    paths = tuple(f"/sys/fs/cgroup/{name}" for name in GROUP_FILES)
    case = Case("limits", mounts(group) | limits, {"/sys/fs/cgroup/pids.max content": "33\n"}, paths)
    seen = []
    for runtime in (pyrun_oci, crun):
        (tmp_path / runtime.__name__).mkdir()
        seen.append(look_inside(runtime(tmp_path / runtime.__name__ / "state"), tmp_path / runtime.__name__, case))
        check_expected(seen[-1], case, runtime.__name__)
    found = differences(*seen)
    assert {name: both for name, both in found.items() if name.startswith("/sys/fs/cgroup")} == {}
    assert seen[0]["/sys/fs/cgroup/cpu.max content"] == "50000 100000\n"
