"""``--systemd-cgroup`` with systemd itself, whom nobody can imitate in everything."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from fixtures.held import Held
from fixtures.machine import ROOT, patience

WITH_SYSTEMD = ROOT / "tests/fixtures/with_systemd.sh"
UNIT = "libpod-held.scope"
PLACE = "machine.slice:libpod:held"
# What is said of the container while it runs, and of its unit when it has been deleted.
LIFE = """
"$@" create --bundle "$BUNDLE" held </dev/null >/dev/null
"$@" start held
cat /proc/$("$@" ps --format json held | tr -d '[]')/cgroup
systemctl --user show UNIT -p ActiveState -p Slice -p Delegate -p CollectMode -p CPUAccounting -p Description
"$@" update held
"$@" pause held
"$@" resume held
! "$@" create --bundle "$BUNDLE" other </dev/null >/dev/null 2>"$BUNDLE/said"
"$@" ps --format json held
"$@" delete --force held
systemctl --user show UNIT -p LoadState
"""


UPDATE = """
"$@" create --bundle "$BUNDLE" held </dev/null >/dev/null
group=/sys/fs/cgroup$(sed -n s/0:://p /proc/$("$@" ps --format json held | tr -d '[]')/cgroup)
"$@" update --memory 64m --pids-limit 20 --cpu-quota 33333 --cpuset-cpus 0 held
systemctl --user show UNIT -p MemoryMax -p TasksMax -p CPUQuotaPerSecUSec -p AllowedCPUs
cat $group/cpu.max
systemctl --user daemon-reload
cat $group/memory.max $group/pids.max
"$@" delete --force held
"""

pytestmark = pytest.mark.skipif(not Path("/lib/systemd/systemd").exists(), reason="systemd is not installed")


def run_with_systemd(held: Held, script: str) -> list[str]:
    """The lines that *script* prints with pyrun-oci as its arguments; nothing may fail or complain."""
    runtime = held.bundle.parent / "runtime"
    runtime.mkdir(0o700)
    text = f"BUNDLE={held.bundle}; {script.replace('UNIT', UNIT)}"
    inside = ["sh", str(WITH_SYSTEMD), str(runtime), "sh", "-euc", text, "sh", *held.command]
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", *inside],
        capture_output=True,
        text=True,
        check=False,
        timeout=patience(60),
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout.splitlines()


@pytest.mark.root
def test_a_life_in_a_scope(tmp_path: Path) -> None:
    pages = [{"pageSize": "2MB", "limit": 4 << 20}]
    held = Held(tmp_path, manager="systemd", cgroupsPath=PLACE, resources={"hugepageLimits": pages})
    held.config["annotations"] = {"org.systemd.property.CollectMode": "'inactive-or-failed'"}
    (held.bundle / "config.json").write_text(json.dumps(held.config))
    lines = run_with_systemd(held, LIFE)
    assert any(line.startswith("0::") and line.endswith(f"/machine.slice/{UNIT}") for line in lines)
    assert {"ActiveState=active", "Slice=machine.slice", "Delegate=yes", "CollectMode=inactive-or-failed"} <= set(lines)
    assert {"CPUAccounting=yes", "Description=pyrun container held"} <= set(lines)
    assert lines[-1] == "LoadState=not-found"
    assert "in use by other processes" in (held.bundle / "said").read_text()
    assert json.loads(lines[-2]), "who lives in the scope has survived the other's create"


@pytest.mark.cgroup2
def test_systemd_is_told_of_limits_and_the_files_are_exact(tmp_path: Path) -> None:
    """Also after it has read everything anew, when it puts back what it does not know of."""
    lines = run_with_systemd(Held(tmp_path, manager="systemd", cgroupsPath=PLACE), UPDATE)
    told = {"MemoryMax=67108864", "TasksMax=20", "CPUQuotaPerSecUSec=340ms", "AllowedCPUs=0"}
    assert told <= set(lines)
    assert lines[-3:] == ["33333 100000", str(64 << 20), "20"]
