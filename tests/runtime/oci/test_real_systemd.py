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


@pytest.mark.root
@pytest.mark.skipif(not Path("/lib/systemd/systemd").exists(), reason="systemd is not installed")
def test_a_life_in_a_scope(tmp_path: Path) -> None:
    pages = [{"pageSize": "2MB", "limit": 4 << 20}]
    held = Held(
        tmp_path, manager="systemd", cgroupsPath="machine.slice:libpod:held", resources={"hugepageLimits": pages}
    )
    held.config["annotations"] = {"org.systemd.property.CollectMode": "'inactive-or-failed'"}
    (held.bundle / "config.json").write_text(json.dumps(held.config))
    runtime = tmp_path / "runtime"
    runtime.mkdir(0o700)
    script = f"BUNDLE={held.bundle}; {LIFE.replace('UNIT', UNIT)}"
    inside = ["sh", str(WITH_SYSTEMD), str(runtime), "sh", "-euc", script, "sh", *held.command]
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", *inside],
        capture_output=True,
        text=True,
        check=False,
        timeout=patience(60),
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    lines = done.stdout.splitlines()
    assert any(line.startswith("0::") and line.endswith(f"/machine.slice/{UNIT}") for line in lines)
    assert {"ActiveState=active", "Slice=machine.slice", "Delegate=yes", "CollectMode=inactive-or-failed"} <= set(lines)
    assert {"CPUAccounting=yes", "Description=pyrun container held"} <= set(lines)
    assert lines[-1] == "LoadState=not-found"
    assert "in use by other processes" in (held.bundle / "said").read_text()
    assert json.loads(lines[-2]), "who lives in the scope has survived the other's create"
