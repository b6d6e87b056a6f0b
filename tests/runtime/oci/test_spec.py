"""``pyrun-oci spec``: the configuration to begin with."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

import pyrun
from fixtures.held import PYRUN_OCI, Held
from fixtures.machine import patience
from pyrun_runtime.oci.spec import default_config, rootless_config, write_config


def test_the_library_accepts_it() -> None:
    spec = pyrun.parse_oci(default_config(), "config.json")
    assert spec.process is not None
    assert spec.process.args == ("sh",)
    assert spec.process.terminal
    assert spec.root.readonly
    assert {namespace.type for namespace in spec.linux.namespaces} == {
        *("pid", "network", "ipc", "uts", "mount", "cgroup")
    }


def test_it_asks_for_what_crun_asks_for(tmp_path: Path) -> None:
    """Beyond crun's: paths that are masked by now, and a cgroup namespace. Left out: capabilities that outlive an exec."""
    subprocess.run(["crun", "spec", "--bundle", str(tmp_path)], check=True)
    theirs = json.loads((tmp_path / "config.json").read_text())
    ours = default_config()
    assert set(ours["linux"].pop("maskedPaths")) >= set(theirs["linux"].pop("maskedPaths"))
    for config in (ours, theirs):
        del config["ociVersion"]
        del config["hostname"]
        config["linux"]["namespaces"] = [row for row in config["linux"]["namespaces"] if row["type"] != "cgroup"]
        for kind in ("inheritable", "ambient"):
            config["process"]["capabilities"].pop(kind, None)
    assert ours == theirs


def test_rootless_maps_one_user_and_keeps_the_network() -> None:
    config = rootless_config(1000, 100)
    linux = config["linux"]
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": 1000, "size": 1}]
    assert linux["gidMappings"] == [{"containerID": 0, "hostID": 100, "size": 1}]
    kinds = [row["type"] for row in linux["namespaces"]]
    assert "user" in kinds
    assert "network" not in kinds
    assert "resources" not in linux
    assert not [
        option for mount in config["mounts"] for option in mount.get("options", []) if option.startswith("gid=")
    ]
    (sys_mount,) = [mount for mount in config["mounts"] if mount["destination"] == "/sys"]
    assert sys_mount["source"] == "/sys"
    assert "rbind" in sys_mount["options"]


def test_rootless_leaves_the_default_as_it_was() -> None:
    before = default_config()
    rootless_config(1, 1)
    assert default_config() == before


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        write_config(str(path), default_config())
    assert path.read_text() == "mine"


def test_the_file_is_json_that_can_be_edited(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    write_config(str(path), default_config())
    text = path.read_text()
    assert json.loads(text) == default_config()
    assert text.count("\n") > 100
    assert os.stat(path).st_mode & 0o111 == 0


@pytest.mark.root
def test_its_bundle_runs_as_it_is(tmp_path: Path) -> None:
    """A shell on a terminal, which script(1) has for us."""
    bundle = Held(tmp_path).bundle
    (bundle / "config.json").unlink()
    subprocess.run([*PYRUN_OCI, "spec", "--bundle", str(bundle)], check=True)
    runtime = shlex.join([*PYRUN_OCI, "--root", str(tmp_path / "state"), "run", "--bundle", str(bundle), "as-it-is"])
    done = subprocess.run(
        ["script", "--quiet", "--return", "--command", runtime, "/dev/null"],
        input="echo $((6 * 7)) on $(readlink /proc/self/fd/0); exit 3\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=patience(30),
    )
    assert done.returncode == 3, done.stdout
    assert "42 on /dev/pts/0" in done.stdout or "42 on /dev/console" in done.stdout
    assert not (tmp_path / "state/as-it-is").exists()
