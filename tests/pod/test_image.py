"""Root file systems: ``host:`` and ``rootfs:`` under a layer of the container's own. What is below is never changed."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.machine import ROOT
from fixtures.pods import FOREVER, created, mount, pod_spec, run_pod, running, shell
from pyrun.errors import PyrunError, StepError, describe_error

pytestmark = pytest.mark.root


def fingerprint(top: Path) -> dict[str, tuple[object, ...]]:
    """Every name below *top* with all that could change about it."""
    found = {}
    for directory, names, leaves in os.walk(top):
        for path in [Path(directory, name) for name in (*names, *leaves)]:
            info = path.lstat()
            content = path.read_bytes() if path.is_file() and not path.is_symlink() else os.fsencode(path)
            found[str(path)] = (info.st_mode, info.st_uid, info.st_gid, info.st_size, info.st_mtime_ns, hash(content))
    return found


@pytest.fixture(scope="session")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system of one static program; /bin/sh is the only name that it has from the start."""
    top = tmp_path_factory.mktemp("rootfs")
    for name in ("bin", "etc", "tmp"):
        (top / name).mkdir()
    shutil.copy(shutil.which("busybox") or "/bin/busybox", top / "bin/busybox")
    for name in ("sh", "ls", "cat", "rm", "mkdir", "sleep", "stat", "mount", "ln", "chmod", "touch"):
        (top / "bin" / name).symlink_to("busybox")
    (top / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    (top / "etc/resolv.conf").symlink_to("../run/service/resolv.conf")  # leads nowhere, as in many images
    return top


@pytest.fixture
def image(busybox: Path) -> str:
    return f"rootfs:{busybox}"


def test_a_root_file_system_is_all_there_is(tmp_path: Path, image: str) -> None:
    seen = run_pod(pod_spec(shell("ls /; ls /etc; cat /etc/passwd", image=image)), tmp_path)["main"]
    names, _, rest = seen.partition("hostname\n")
    assert set(names.split()) == {"bin", "etc", "tmp", "proc", "sys", "dev", "run"}
    assert rest.split() == ["hosts", "passwd", "resolv.conf", "root:x:0:0::/:/bin/sh"]


def test_standard_mounts_are_made_where_the_image_has_no_place_for_them(tmp_path: Path, image: str) -> None:
    script = "cat /proc/1/comm /etc/hostname /etc/resolv.conf; ls /dev/pts /sys/fs/cgroup/cgroup.procs /run/service"
    seen = run_pod(pod_spec(shell(script, image=image)), tmp_path)["main"].splitlines()
    assert seen[:2] == ["sh", "test"]
    assert (
        seen[2 : 2 + len(Path("/etc/resolv.conf").read_text().splitlines())]
        == Path("/etc/resolv.conf").read_text().splitlines()
    )
    assert seen[-1] == "resolv.conf"


CHANGES = """
echo new >/new; mkdir -p /deep/er; echo more >>/etc/passwd; rm -rf /tmp; chmod 700 /etc; touch /bin/busybox; ln -s x /link
ls / /etc; cat /etc/passwd
"""


def test_an_image_is_never_changed(tmp_path: Path, busybox: Path, image: str) -> None:
    before = fingerprint(busybox)
    spec = pod_spec(shell(CHANGES, "a", image=image), shell(CHANGES, "b", image=image))
    seen = run_pod(spec, tmp_path)
    assert "more" in seen["a"]
    assert seen["a"] == seen["b"]  # neither saw what the other did
    assert "tmp" not in seen["a"].split()
    assert fingerprint(busybox) == before


def test_the_hosts_root_is_never_changed(tmp_path: Path) -> None:
    name = f"/pyrun-written-{os.getpid()}"
    before = Path("/etc/passwd").stat()
    spec = pod_spec(
        shell(f"echo text >{name}; echo more >>/etc/passwd; rm /etc/fstab || true; cat {name}; tail -1 /etc/passwd")
    )
    assert run_pod(spec, tmp_path)["main"].split()[-2:] == ["text", "more"]
    assert not Path(name).exists()
    assert Path("/etc/passwd").stat().st_mtime_ns == before.st_mtime_ns
    assert "more" not in Path("/etc/passwd").read_text().splitlines()


def test_layers_of_containers_are_apart_from_each_other(tmp_path: Path) -> None:
    name = f"/pyrun-layer-{os.getpid()}"
    one = shell(f"echo one >{name}; : >/dev/shm/one; until [ -e /dev/shm/two ]; do sleep 0.01; done; cat {name}", "one")
    two = shell(f"until [ -e /dev/shm/one ]; do sleep 0.01; done; ls {name} || echo none; : >/dev/shm/two", "two")
    seen = run_pod(pod_spec(one, two), tmp_path)
    assert seen["one"] == "one\n"
    assert seen["two"].endswith("none\n")


def test_programs_of_the_host_run_in_the_hosts_image(tmp_path: Path) -> None:
    assert run_pod(pod_spec(shell("/usr/bin/python3 -c 'print(6 * 7)'")), tmp_path)["main"] == "42\n"


@pytest.mark.parametrize("name", ["with space", "co:lon", "back\\slash", "é", "quo'te\"", "new\nline", "com,ma"])
def test_a_directory_of_an_odd_name(tmp_path: Path, busybox: Path, name: str) -> None:
    """Colons and commas would separate if the name were an option of the overlay; it is not."""
    top = tmp_path / name
    shutil.copytree(busybox, top, symlinks=True)
    assert run_pod(pod_spec(shell("cat /etc/passwd", image=f"rootfs:{top}")), tmp_path)["main"].startswith("root:")


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_directory_that_cannot_be_a_root(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "file":
        path.write_text("")
    with pytest.raises(PyrunError) as caught, created(pod_spec(shell("true", image=f"rootfs:{path}")), tmp_path):
        pass
    text = describe_error(caught.value)
    assert str(path) in text
    assert "\n" not in text
    assert "containers/0" in text or "container main" in text


def test_a_link_to_the_root_file_system(tmp_path: Path, busybox: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(busybox)
    assert run_pod(pod_spec(shell("cat /etc/passwd", image=f"rootfs:{link}")), tmp_path)["main"].startswith("root:")


def test_mount_targets_that_the_image_turned_into_links(tmp_path: Path, busybox: Path) -> None:
    """Where a volume is to be is a link that leads out of the image: it lands inside (CVE-2021-30465)."""
    top = tmp_path / "evil"
    shutil.copytree(busybox, top, symlinks=True)
    outside = tmp_path / "outside"
    outside.mkdir()
    (top / "data").symlink_to("../../../../../../../.." + str(outside))
    (top / "etc/hosts").symlink_to("/elsewhere")
    before = fingerprint(tmp_path / "outside"), fingerprint(top)
    script = "ls /data; grep -c localhost /elsewhere; echo in >/data/file"
    spec = pod_spec(shell(script, image=f"rootfs:{top}", volumeMounts=[mount("it", "/data")]), volumes=[{"name": "it"}])
    assert run_pod(spec, tmp_path)["main"] == "2\n"
    assert (fingerprint(tmp_path / "outside"), fingerprint(top)) == before


@pytest.mark.parametrize(
    "links",
    [
        {"proc": "/real"},
        {"proc": "dev/p", "dev/p": "/real"},
        {"proc": "data/p", "data/p": "/real"},
        {"sys": "/real"},
        {"sys": "dev/p", "dev/p": "/real"},
        {"dev": "/real"},
        {"dev": "/nowhere"},
    ],
    ids=lambda links: ",".join(f"{name}={target}" for name, target in links.items()),
)
def test_proc_sys_and_dev_are_where_their_names_say(tmp_path: Path, busybox: Path, links: dict[str, str]) -> None:
    """A link to a place below /dev or a volume is there when proc is mounted, and hidden when /proc/sys is to be protected: the
    kernel's settings would be the container's to write."""
    top = tmp_path / "evil"
    shutil.copytree(busybox, top, symlinks=True)
    for name in ("real", *[name for name in ("dev", "data") if name not in links]):
        (top / name).mkdir()
    for name, target in links.items():
        (top / name).symlink_to(target)
    container = shell("true", image=f"rootfs:{top}", volumeMounts=[mount("it", "/data")])
    with pytest.raises(StepError, match="Too many levels of symbolic links") as caught:
        run_pod(pod_spec(container, volumes=[{"name": "it"}]), tmp_path)
    first = next(iter(links))
    assert caught.value.hint == f"/{first} must be a plain directory in the image, or be missing"


def test_a_device_that_the_image_brings_is_none(tmp_path: Path, busybox: Path) -> None:
    """Nobody has to make a node who can bring one."""
    top = tmp_path / "evil"
    shutil.copytree(busybox, top, symlinks=True)
    os.mknod(top / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    script = "head -c 1 /zero 2>&1 || true; head -c 2 /dev/zero | wc -c"
    seen = run_pod(pod_spec(shell(script, image=f"rootfs:{top}")), tmp_path)["main"]
    assert seen.splitlines()[-1] == "2"
    assert "Permission denied" in seen


def test_a_dev_null_of_the_image_is_not_what_hides_a_file(tmp_path: Path, busybox: Path) -> None:
    """/dev is a tmpfs of our own before anything is masked (CVE-2025-31133)."""
    top = tmp_path / "evil"
    shutil.copytree(busybox, top, symlinks=True)
    (top / "dev").mkdir()
    (top / "dev/null").symlink_to("/proc/sys/kernel/core_pattern")
    script = "stat -c '%F %t:%T' /dev/null; stat -c '%F %t:%T' /proc/timer_list /proc/keys || true"
    seen = run_pod(pod_spec(shell(script, image=f"rootfs:{top}")), tmp_path)["main"]
    assert {line for line in seen.splitlines() if "stat:" not in line} == {"character special file 1:3"}


# ---- nothing on the host ---------------------------------------------------------------------------------------------


def test_nothing_of_a_pod_is_mounted_on_the_host(tmp_path: Path, image: str) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    volumes = [{"name": "disk"}, {"name": "memory", "emptyDir": {"medium": "Memory"}}]
    mounts = [mount("disk", "/disk"), mount("memory", "/memory")]
    spec = pod_spec(
        shell(FOREVER, "a", volumeMounts=mounts), shell(FOREVER, "b", image=image, volumeMounts=mounts), volumes=volumes
    )
    with created(spec, tmp_path) as it:
        assert Path("/proc/self/mountinfo").read_text() == before
        it.pod.start()
        assert Path("/proc/self/mountinfo").read_text() == before
        assert Path("/proc/1/mountinfo").read_text() == before or os.readlink("/proc/1/ns/mnt") != os.readlink(
            "/proc/self/ns/mnt"
        )
    assert Path("/proc/self/mountinfo").read_text() == before


def test_a_mount_on_the_host_does_not_reach_a_running_container(tmp_path: Path) -> None:
    """In a mount namespace made for the occasion, shared as systemd makes it."""
    script = """
import subprocess, sys, time
sys.path[:0] = sys.argv[2:]
from pathlib import Path
from fixtures.pods import FOREVER, host_path, mount, pod_spec, running, shell
top = Path(sys.argv[1])
(top / "shared").mkdir()
spec = pod_spec(shell("until [ -e /data/go ]; do sleep 0.01; done; ls -A /data/below; " + FOREVER,
                volumeMounts=[mount("it", "/data")]), volumes=[host_path("it", top / "shared")])
(top / "shared/below").mkdir()
with running(spec, top) as it:
    subprocess.run(["mount", "-t", "tmpfs", "none", top / "shared/below"], check=True)
    (top / "shared/below/seen").write_text("")
    (top / "shared/go").write_text("")
    time.sleep(0.3)
    print(repr(it.read()))
    targets = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    print([target for target in targets if str(top) in target] == [str(top / "shared/below")])
"""
    paths = [str(ROOT / name) for name in ("tests", "src")]
    command = ["unshare", "-m", "--propagation", "shared", sys.executable, "-c", script, str(tmp_path), *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("''\nTrue\n", "")


def test_a_layer_is_given_back(tmp_path: Path) -> None:
    """What a container has written in its layer is memory; when the pod is gone, so is that."""

    def shared_kib() -> int:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Shmem:"))

    before = shared_kib()
    with running(pod_spec(shell(f"head -c 64M /dev/zero >/big; echo written; {FOREVER}")), tmp_path) as it:
        it.wait_for("written")
        assert shared_kib() - before > 60 << 10
    assert shared_kib() - before < 8 << 10
