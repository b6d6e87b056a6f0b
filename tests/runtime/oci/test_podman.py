"""Debian's podman with pyrun-oci as its runtime: what people do with it, over conmon, from an image that is imported.

Each command takes seconds in the virtual machine, so a container is looked at from as many sides as it can be.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.bundles import LOOK
from fixtures.engines import IMAGE, Podman, podman, wait_until
from fixtures.machine import cgroup2_root
from pyrun.kernel.cgroup import Cgroup
from pyrun.kernel.device_access import clear_device_filter

pytestmark = [
    pytest.mark.cgroup2,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("podman") is None, reason="needs podman"),
]

STATUS_OF_TERM = "7"  # look.c


@pytest.fixture(scope="module")
def engine() -> Iterator[Podman]:
    with podman() as it:
        yield it


def test_a_life(engine: Podman) -> None:
    """run, exec, kill, logs, pause, unpause, stop, restart, rm."""

    def state(what: str) -> str:
        return engine("inspect", "--format", f"{{{{.State.{what}}}}}", "one").strip()

    engine("run", "--detach", "--name", "one", IMAGE)
    assert engine("exec", "--user", "1000:1000", "one", "/bin/id").startswith("uid=1000(user) gid=1000(user)")
    engine("exec", "one", LOOK, "exit", "5", status=5)
    engine("kill", "--signal", "USR1", "one")
    wait_until(lambda: "signal 10" in engine("logs", "one"), "the signal has not come")
    engine("pause", "one")
    assert state("Status") == "paused"
    engine("unpause", "one")
    engine("stop", "--time", "60", "one")
    assert state("ExitCode") == STATUS_OF_TERM
    engine("restart", "--time", "60", "one")
    assert state("Status") == "running"
    engine("rm", "--force", "--time", "0", "one")
    assert engine("ps", "--all", "--quiet") == ""


def test_what_a_container_is_given(engine: Podman, tmp_path: Path) -> None:
    """Limits, a user, volumes, a root that cannot be written, variables, standard input."""
    script = """
    cd /sys/fs/cgroup; cat memory.max pids.max cpu.max; id -u; id -g; hostname; echo $WHO; cd /
    touch /x 2>/dev/null || echo no; touch /read/x 2>/dev/null || echo no; echo text >/write/x; cat
    """
    (tmp_path / "read").mkdir()
    (tmp_path / "write").mkdir(mode=0o777)
    (tmp_path / "write").chmod(0o777)
    options = "--rm --interactive --memory 64m --pids-limit 30 --cpus 0.5 --user 1000:1000 --read-only --hostname named".split()
    volumes = ("--volume", f"{tmp_path}/read:/read:ro", "--volume", f"{tmp_path}/write:/write")
    said = engine("run", *options, *volumes, "--env", "WHO=me", IMAGE, "/bin/sh", "-ec", script, stdin="said\n")
    assert said.split("\n")[:-1] == [
        str(64 << 20),
        "30",
        "50000 100000",
        "1000",
        "1000",
        "named",
        "me",
        "no",
        "no",
        "said",
    ]
    assert (tmp_path / "write/x").read_text() == "text\n"


def test_a_terminal(engine: Podman) -> None:
    assert engine("run", "--rm", "--tty", IMAGE, "/bin/tty").strip() == "/dev/pts/0"


def test_a_pod_of_two(engine: Podman) -> None:
    """Without a cgroup of its own: podman 4.3 gives that a device filter that refuses all, and with crun and runc as well nothing
    starts in it."""
    engine("pod", "create", "--name", "two", "--share", "ipc,uts,net", "--share-parent=false")
    engine("run", "--detach", "--pod", "two", "--name", "first", IMAGE)
    namespaces = "cd /proc/self/ns; for each in ipc uts net pid; do ls -l $each; done; hostname"
    seen = [engine("exec", "first", "/bin/sh", "-c", namespaces), ""]
    seen[1] = engine("run", "--rm", "--pod", "two", IMAGE, "/bin/sh", "-c", namespaces)
    first, second = ([line.rpartition("-> ")[2] for line in text.splitlines()] for text in seen)
    assert first[:3] == second[:3]
    assert first[3] != second[3]
    assert first[4] == second[4] == "two"
    engine("pod", "rm", "--force", "--time", "0", "two")


KUBE = f"""\
apiVersion: v1
kind: Pod
metadata: {{name: kube}}
spec:
  restartPolicy: Never
  containers:
  - name: one
    image: {IMAGE}
    imagePullPolicy: Never
    command: [/bin/sh, -c, "cat /sys/fs/cgroup/memory.max; hostname"]
    resources: {{limits: {{memory: 32Mi}}}}
  - {{name: two, image: {IMAGE}, imagePullPolicy: Never}}
"""


def allow_devices(engine: Podman) -> None:
    """In the pod's own cgroup: see above."""
    pod = engine("pod", "inspect", "--format", "{{.ID}}", "kube").strip()
    with Cgroup.open(f"libpod_parent/{pod}", root=str(cgroup2_root())) as group:
        clear_device_filter(group)


def test_kube_play(engine: Podman, tmp_path: Path) -> None:
    (tmp_path / "kube.yaml").write_text(KUBE)
    engine("kube", "play", "--network", "none", "--start=false", tmp_path / "kube.yaml")
    allow_devices(engine)
    engine("pod", "start", "kube")
    wait_until(lambda: engine("logs", "kube-one").split() == [str(32 << 20), "kube"], "the first has not printed")
    assert "Up" in engine("ps", "--all", "--filter", "name=kube-two", "--format", "{{.Status}}")
    engine("kube", "down", tmp_path / "kube.yaml")
    assert engine("ps", "--all", "--quiet") == ""
