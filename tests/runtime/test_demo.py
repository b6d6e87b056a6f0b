"""`./dev demo`, the part behind the set-up: what it shows is true, and it fails when something is wrong or left."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from fixtures.machine import ROOT, patience

DEMO = ROOT / "examples" / "demo.py"


def run_demo(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(DEMO)],
        capture_output=True,
        text=True,
        check=False,
        timeout=patience(60),
        env={**os.environ, **environment},
    )


@pytest.fixture
def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo", DEMO)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.root
@pytest.mark.smoke
def test_demo_shows_what_a_pod_is() -> None:
    done = run_demo()
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    out = done.stdout
    assert "GET http://localhost/ -> 200 OK from nginx/" in out
    assert re.search(r'│ shipper \| access-log: 127\.0\.0\.1 .* 200 \d+ "-" "pyrun-demo/\d+"', out)
    rows = re.findall(r"^    (UTS|network|IPC|time|PID|mount) +(\d+) +(\d+) +(\d+)   (.*)  ✓$", out, re.MULTILINE)
    expected = ["UTS", "network", "IPC", *(["time"] if os.path.exists("/proc/self/ns/time") else []), "PID", "mount"]
    assert [row[0] for row in rows] == expected
    for name, nginx, shipper, machine, verdict in rows:
        shared = name not in ("PID", "mount")
        assert (nginx == shipper, verdict) == ((True, "the same") if shared else (False, "each its own"))
        assert machine not in (nginx, shipper)
    assert re.search(r"^    processes +[1-9]\d* +0$", out, re.MULTILINE)
    assert re.search(r"^    mounts on the machine +0 +0$", out, re.MULTILINE)
    assert out.rstrip().endswith("nothing is left  ✓")


@pytest.mark.root
def test_demo_fails_with_pyrun_and_shows_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run_demo(PYRUN_STATE=f"{tmp_path}/file/state")
    assert done.returncode == 1
    assert f"│ pyrun: {tmp_path}/file" in done.stdout
    assert done.stdout.endswith("failed: pyrun ended with status 1\n")


@pytest.mark.root
def test_demo_sees_what_is_left(demo: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo, "SETTLE_S", 0.1)
    monkeypatch.setattr(demo, "FILES", (str(tmp_path),))
    before = demo.observe()
    pod = demo.Pod(Path("/sys/fs/cgroup/pyrun/pod1234-5678"), 0)
    (tmp_path / "1234-5678").mkdir()
    (tmp_path / "of-another-pod").mkdir()
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        pod.processes.add(demo.identity(str(sleeper.pid)))
        had = demo.new_things(before, pod)
        with pytest.raises(
            demo.DemoError, match=rf"^processes: {sleeper.pid} .*; files and directories: {tmp_path}/1234-5678$"
        ):
            demo.show_what_is_left(before, had, pod)
        sleeper.kill()
    (tmp_path / "1234-5678").rmdir()
    demo.show_what_is_left(before, had, pod)


def test_namespaces_are_seen_as_long_as_anything_holds_them(demo: ModuleType) -> None:
    fd = os.open("/proc/self/ns/uts", os.O_RDONLY)
    try:
        assert os.readlink(f"/proc/self/fd/{fd}") in set(demo.links("/proc/self/fd"))
    finally:
        os.close(fd)
    mounted = "36 35 0:4 net:[4026532201] /run/netns/other rw - nsfs nsfs rw"
    assert list(demo.held_namespaces([], [mounted])) == ["net:[4026532201]"]
