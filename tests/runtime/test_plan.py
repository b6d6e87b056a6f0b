"""``pyrun plan``: the steps with their reasons, or the OCI specification; no root, nothing touched."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fixtures.command import AS_NOBODY, PYRUN, pyrun
from fixtures.pods import document, mount, shell
from pyrun import BEFORE, load_oci, parse_pod, plan_pod, read_machine

STEP = re.compile(r" *(?P<number>\d+)  (?P<text>.*?)(?:  +# (?P<why>.*))?")
NIL = "00000000-0000-0000-0000-000000000000"
VOLUMES: list[dict[str, Any]] = [
    {"name": "disk", "emptyDir": {}},
    {"name": "ram", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
    {"name": "etc", "hostPath": {"path": "/etc"}},
]
MOUNTS = [mount("disk", "/disk", subPath="a/b"), mount("ram", "/ram", readOnly=True), mount("etc", "/host-etc")]


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "pod.json"
    path.write_text(
        json.dumps(document(shell("true", "web", volumeMounts=MOUNTS), shell("true", "log"), volumes=VOLUMES))
    )
    return path


def sections(text: str) -> dict[str, list[re.Match[str]]]:
    """The title of each process, and its steps."""
    found: dict[str, list[re.Match[str]]] = {}
    for block in text.strip().split("\n\n"):
        title, *lines = block.splitlines()
        steps = [STEP.fullmatch(line) for line in lines]
        assert all(steps)
        found[title] = [step for step in steps if step]
    return found


def test_pause_comes_first_then_the_containers(spec: Path) -> None:
    done = pyrun("plan", spec)
    assert (done.status, done.err) == (0, "")
    titles = list(sections(done.out))
    assert [title.split(":")[0] for title in titles] == ["pause", "container web", "container log"]
    assert titles[1].endswith(f"born in cgroup pyrun/besteffort/pod{NIL}/web, with a new pid namespace")


def test_steps_are_those_that_run_would_do(spec: Path) -> None:
    pod = parse_pod(json.loads(spec.read_text()), "pod.json")
    plan = plan_pod(pod, NIL, f"/var/lib/pyrun/pods/{NIL}/data", read_machine(), death_signal=9)
    printed = sections(pyrun("plan", spec, env={k: v for k, v in os.environ.items() if k != "PYRUN_STATE"}).out)
    for process, steps in zip([plan.pause, *plan.containers], printed.values(), strict=True):
        assert [step["text"] for step in steps] == [step.describe() for step in process.steps]
        assert [int(step["number"]) for step in steps] == list(range(len(process.steps)))


def test_every_reason_is_told_once_per_process(spec: Path) -> None:
    for steps in sections(pyrun("plan", spec).out).values():
        told = [reason for step in steps for reason in (step["why"] or "").split("; ") if reason]
        assert any("before seccomp: " in each for each in told) or "pause" in steps[-1]["text"]
        whys = [step["why"] for step in steps if step["why"]]
        assert len(whys) == len(set(whys))
    web = list(sections(pyrun("plan", spec).out).values())[1]
    text = " ".join([step["why"] or "" for step in web])
    kinds = {step["text"].split()[0] for step in web}
    assert {"join", "unshare", "clone", "attach", "mask", "pivot", "seccomp", "exec"} <= kinds
    assert BEFORE[-1].reason in text


def test_one_container(spec: Path) -> None:
    (title,) = sections(pyrun("plan", spec, "--container", "log").out)
    assert title.startswith("container log: ")


def test_container_that_is_not_there(spec: Path) -> None:
    done = pyrun("plan", spec, "--container", "wob")
    assert (done.status, done.error) == (
        2,
        "the pod has no container 'wob'; did you mean 'web'?; see 'pyrun plan --help'",
    )
    assert "; there is web, log" in pyrun("plan", spec, "--container", "pause").error


def test_bad_manifest_names_the_place(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(document({"name": "a", "image": "nginx"})))
    done = pyrun("plan", path)
    assert done.status == 2
    assert done.error.startswith(f"{path}: /spec/containers/0/image: 'nginx': ")


def test_container_without_a_command(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(document({"name": "a", "image": "host:"})))
    done = pyrun("plan", path)
    assert done.status == 2
    assert f"{path}: /spec/containers/0" in done.error


@pytest.mark.root
def test_needs_no_root_and_touches_nothing() -> None:
    """As nobody, where the root file system cannot be written to."""
    manifest = json.dumps(document(shell("true", volumeMounts=MOUNTS), volumes=VOLUMES)).encode()
    script = 'mount -o remount,bind,ro / && exec "$@"'
    command = ["unshare", "-m", "/bin/sh", "-c", script, "sh", *AS_NOBODY, *PYRUN, "plan", "-"]
    done = subprocess.run(command, input=manifest, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"container main: " in done.stdout


# ---- OCI -------------------------------------------------------------------------------------------------------------


def oci(spec: Path, container: str = "web") -> dict[str, Any]:
    done = pyrun("plan", "--oci", "--container", container, spec)
    assert (done.status, done.err) == (0, "")
    document = json.loads(done.out)
    assert isinstance(document, dict)
    return document


def test_oci_of_several_containers_needs_a_choice(spec: Path) -> None:
    done = pyrun("plan", "--oci", spec)
    assert (done.status, done.out) == (2, "")
    assert done.error.startswith("--oci shows one container, and the pod has 2: add --container web")


def test_oci_of_a_single_container_needs_none(tmp_path: Path) -> None:
    path = tmp_path / "pod.json"
    path.write_text(json.dumps(document(shell("true"))))
    assert json.loads(pyrun("plan", "--oci", path).out)["process"]["args"] == ["/bin/sh", "-ec", "true"]


def test_oci_is_read_back_by_our_own_parser(spec: Path) -> None:
    load_oci(json.dumps(oci(spec)).encode(), "config.json")


def test_oci_stands_alone(spec: Path) -> None:
    """Nothing in it is of the pod: no path that is not there, no image that would be written to."""
    config = oci(spec)
    mounts = {each["destination"]: each for each in config["mounts"]}
    assert "/var/lib/pyrun" not in json.dumps(config)
    assert config["root"] == {"path": "/", "readonly": True}
    assert mounts["/dev/shm"]["type"] == "tmpfs"
    assert "size=67108864" in mounts["/dev/shm"]["options"]
    assert mounts["/disk"]["type"] == "tmpfs"
    assert {"size=16777216", "ro"} <= set(mounts["/ram"]["options"])
    assert mounts["/host-etc"]["source"] == "/etc"
    assert mounts["/etc/hosts"]["source"] == "/etc/hosts"
    assert "ro" in mounts["/etc/hosts"]["options"]


def test_oci_without_offsets_is_one_that_old_runtimes_take(spec: Path, tmp_path: Path) -> None:
    config = oci(spec)
    assert config["ociVersion"] == "1.0.2"
    assert "time" not in {each["type"] for each in config["linux"]["namespaces"]}
    path = tmp_path / "time.json"
    path.write_text(json.dumps(document(shell("true"), annotations={"pyrun.dev/time-offset-boottime": "7"})))
    config = json.loads(pyrun("plan", "--oci", path).out)
    assert config["linux"]["timeOffsets"]["boottime"]["secs"] == 7
    assert "time" in {each["type"] for each in config["linux"]["namespaces"]}


def test_oci_refuses_a_part_of_the_machine_that_links_can_lead_out_of(tmp_path: Path) -> None:
    """And no other container's: each is looked at for itself."""
    mounts = [mount("disk", "/disk", subPath="a"), mount("etc", "/part", subPath="a/b")]
    path = tmp_path / "pod.json"
    bad, good = shell("true", "bad", volumeMounts=mounts), shell("true", "good", volumeMounts=[mount("etc", "/etc2")])
    path.write_text(json.dumps(document(good, bad, volumes=VOLUMES)))
    done = pyrun("plan", "--oci", "--container", "bad", path)
    assert (done.status, done.out) == (2, "")
    assert done.error == (
        f"{path}: /spec/containers/1/volumeMounts/1/subPath: "
        "of a hostPath has no counterpart in OCI: another runtime would follow links out of it"
    )
    assert {each["destination"] for each in oci(path, "good")["mounts"]} >= {"/etc2"}
    assert pyrun("plan", path).status == 0


@pytest.mark.cgroup2
def test_crun_runs_it(tmp_path: Path) -> None:
    """Another runtime as the judge; crun 1.8 takes no machine with both cgroup versions, hence the mark."""
    rootfs = tmp_path / "rootfs"
    (rootfs / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", rootfs / "bin/sh")
    (rootfs / "etc").mkdir()
    container = {"name": "a", "image": f"rootfs:{rootfs}", "command": ["/bin/sh", "-c", "echo hello from $HOSTNAME"]}
    spec = tmp_path / "pod.json"
    spec.write_text(json.dumps(document(container, hostname="alone")))
    config = json.loads(pyrun("plan", "--oci", spec).out)
    config["linux"]["cgroupsPath"] = "/pyrun-plan-test"  # crun removes the last part only
    (tmp_path / "config.json").write_text(json.dumps(config))
    command = ["crun", "--root", tmp_path / "state", "run", "--bundle", tmp_path, "pyrun-plan-test"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, "hello from alone\n"), done.stderr
