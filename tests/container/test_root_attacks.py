"""Known attacks on runtimes that set up a root: by the image, by a volume that others write to, by what the names in it lead to.

Each attack is tried twice. The naive runtime puts names together (`rootfs + path`) and lets the kernel follow what it finds, as
those did that had the bug: it must do the harm, or the test would show nothing. pyrun must not.
"""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from fixtures.oci_container import MOUNTS, created, make_root, oci_spec, run_oci
from pyrun.container.device_plan import LINKS
from pyrun.errors import StepError
from pyrun.kernel.step import Attach
from pyrun.spec.oci import OciSpec

pytestmark = pytest.mark.root

DEV = {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}
UP = "../" * 30


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path / "root")


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A directory of the host that the attacker is after."""
    path = tmp_path / "host"
    (path / "target").mkdir(parents=True)
    (path / "file").write_text("host\n")
    (path / "ptmx").write_text("host\n")
    return path


def contents(path: Path) -> dict[str, str]:
    """Everything below *path*: what files hold, what links say."""
    return {
        str(each.relative_to(path)): os.readlink(each)
        if each.is_symlink()
        else ""
        if each.is_dir()
        else each.read_text()
        for each in sorted(path.rglob("*"))
    }


def naively(script: str, *arguments: object) -> str:
    """What a naive runtime does in a mount namespace of its own, before it pivots."""
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "naive", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def spec_with(root: Path, script: str, *mounts: dict[str, Any], **fields: Any) -> OciSpec:
    return oci_spec(root, script, "pid", "network", "uts", "ipc", mounts=list(mounts), **fields)


def bind(destination: str, source: Path, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": "bind", "source": str(source), "options": ["bind", *options]}


# ---- a destination that becomes a link (CVE-2021-30465) --------------------------------------------------------------

SWAPPER = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
directory = os.open(sys.argv[1], os.O_RDONLY)
print("ready", flush=True)
while os.getppid() != 1:
    libc.renameat2(directory, b"target", directory, b"link", 2)
"""
MARK = {"destination": "/volume/target", "type": "tmpfs", "source": "mark", "options": ["mode=755"]}


@pytest.fixture
def volume(tmp_path: Path, host: Path) -> Path:
    """Another container has it, too, and can put a link in the place of the directory that is about to be a mount point."""
    path = tmp_path / "volume"
    (path / "target").mkdir(parents=True)
    (path / "link").symlink_to(UP + str(host / "target"))
    return path


@contextmanager
def swapping(volume: Path) -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", SWAPPER, volume], stdout=subprocess.PIPE) as swapper:
        try:
            assert swapper.stdout
            assert swapper.stdout.readline()
            yield
            assert swapper.poll() is None
        finally:
            swapper.kill()


def test_the_naive_runtime_mounts_where_the_link_leads(volume: Path, host: Path) -> None:
    swap = 'mv "$1/target" "$1/aside"; mv "$1/link" "$1/target"'
    mount = 'mount -t tmpfs mark "$1/target"; grep mark /proc/self/mountinfo'
    script = f'[ "$(realpath "$1/target")" = "$1/target" ]; {swap}; {mount}'
    assert str(host / "target") in naively(script, volume)


def test_a_destination_that_becomes_a_link(root: Path, volume: Path, host: Path) -> None:
    """What is mounted is where the container can see it, every time: nothing got out."""
    spec = spec_with(root, "grep -c mark /proc/self/mountinfo", MOUNTS[0], bind("/volume", volume), MARK)
    outcomes = set()
    with swapping(volume):
        for _ in range(40):
            try:
                outcomes.add(run_oci(spec))
            except StepError as error:
                outcomes.add("refused" if isinstance(error.step, Attach) else str(error))
    assert "1\n" in outcomes
    assert outcomes <= {"1\n", "refused"}
    assert contents(host) == {"file": "host\n", "ptmx": "host\n", "target": ""}


# ---- /dev/null and what it hides (CVE-2025-31133) --------------------------------------------------------------------


def test_the_naive_runtime_binds_what_dev_null_leads_to(root: Path, host: Path) -> None:
    (root / "dev/null").symlink_to(host / "file")
    (root / "secret").write_text("secret")
    naively('mount --bind "$1/dev/null" "$1/secret"; echo written > "$1/secret"', root)
    assert (host / "file").read_text() == "written\n"


@pytest.mark.parametrize("how", ["link", "link out", "file", "missing", "another device"])
def test_a_null_device_that_is_none_hides_as_well(root: Path, host: Path, tmp_path: Path, how: str) -> None:
    """In a /dev that comes from a volume, where the runtime makes nothing."""
    dev = tmp_path / "dev"
    dev.mkdir()
    if how == "file":
        (dev / "null").write_text("trap")
    elif how == "another device":
        os.mknod(dev / "null", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    elif how != "missing":
        (dev / "null").symlink_to("/secret" if how == "link" else UP + str(host / "file"))
    (root / "secret").write_text("secret")
    script = "stat -c %t:%T /secret; cat /secret; echo written > /secret"
    spec = spec_with(root, script, MOUNTS[0], bind("/dev", dev), maskedPaths=["/secret"])
    assert run_oci(spec) == "1:3\n"
    assert (root / "secret").read_text() == "secret"
    assert (host / "file").read_text() == "host\n"


@pytest.mark.parametrize("target", ["/secret", "host"])
def test_a_null_device_of_the_image_that_is_a_link_is_refused(root: Path, host: Path, target: str) -> None:
    (root / "dev/null").symlink_to(host / "file" if target == "host" else target)
    with pytest.raises(StepError, match="/dev/null"):
        run_oci(spec_with(root, "true", MOUNTS[0]))


# ---- /dev/console (CVE-2025-52565) -----------------------------------------------------------------------------------


def test_the_naive_runtime_binds_another_thing_over_the_console(root: Path, host: Path) -> None:
    (root / "dev/pts").mkdir()
    (root / "dev/pts/0").symlink_to(host / "file")
    (root / "dev/console").touch()
    naively('mount --bind "$1/dev/pts/0" "$1/dev/console"; echo written > "$1/dev/console"', root)
    assert (host / "file").read_text() == "written\n"


def test_a_console_and_a_terminal_that_lead_elsewhere(root: Path, host: Path, tmp_path: Path) -> None:
    """Both names are in a volume; the terminal is what its descriptor is, and a link as console leads below the root."""
    dev = tmp_path / "dev"
    (dev / "pts").mkdir(parents=True)
    (dev / "console").symlink_to(UP + str(host / "file"))
    script = "tty; echo text > /dev/console"
    spec = spec_with(root, script, MOUNTS[0], bind("/dev", dev), MOUNTS[1], process={"terminal": True})
    ours, theirs = socket.socketpair()
    with ours, theirs, created(spec, {"console": theirs}) as (it, _), it.start() as process:
        master = socket.recv_fds(ours, 100, 1)[1][0]
        with os.fdopen(master, "rb", buffering=0) as terminal:
            assert process.wait_status().code == 0
            assert terminal.read(1000) == b"/dev/pts/0\r\ntext\r\n"
    assert contents(host) == {"file": "host\n", "ptmx": "host\n", "target": ""}


# ---- writes to a /proc that is none (CVE-2025-52881) -----------------------------------------------------------------

SETTING = "net/ipv4/ip_forward"


@pytest.fixture
def fake(tmp_path: Path, host: Path) -> Path:
    """Another container's volume, mounted as /proc: what the runtime writes there goes wherever the volume says."""
    path = tmp_path / "fake"
    for directory in (f"sys/{os.path.dirname(SETTING)}", "self/attr", "thread-self/attr"):
        (path / directory).mkdir(parents=True)
    for name in (f"sys/{SETTING}", "self/attr/exec", "thread-self/attr/exec", "self/oom_score_adj"):
        (path / name).symlink_to(host / "file")
    return path


def test_the_naive_runtime_writes_where_the_volume_says(fake: Path, host: Path) -> None:
    for name in (f"sys/{SETTING}", "self/attr/exec"):
        naively('echo "$2" > "$1"', fake / name, name)
        assert (host / "file").read_text() == f"{name}\n"


def test_a_setting_goes_to_the_kernel_whatever_proc_is(root: Path, fake: Path, host: Path) -> None:
    real = {"destination": "/real", "type": "proc", "source": "proc"}
    fields = {"sysctl": {"net.ipv4.ip_forward": "1"}, "process": {"oomScoreAdj": 500}}
    script = f"cat /real/sys/{SETTING} /real/self/oom_score_adj"
    spec = spec_with(root, script, bind("/proc", fake), real, **fields)
    assert run_oci(spec) == "1\n500\n"
    assert (host / "file").read_text() == "host\n"


def test_a_label_goes_to_the_kernel_whatever_proc_is(root: Path, fake: Path, host: Path) -> None:
    """The kernel takes it or refuses it; the volume never learns of it."""
    for name in ("apparmorProfile", "selinuxLabel"):
        with suppress(StepError):
            run_oci(spec_with(root, "true", bind("/proc", fake), process={name: "nonesuch"}))
        assert (host / "file").read_text() == "host\n"


# ---- an image whose /dev is a link (CVE-2026-41579) ------------------------------------------------------------------


def test_the_naive_runtime_makes_links_where_dev_leads(root: Path, host: Path) -> None:
    (root / "dev/tty").unlink()
    (root / "dev").rmdir()
    (root / "dev").symlink_to(host)
    for name, target in LINKS:
        if os.path.lexists(f"{root}/dev/{name}"):
            os.remove(f"{root}/dev/{name}")
        os.symlink(target, f"{root}/dev/{name}")
    assert (contents(host)["ptmx"], contents(host)["fd"]) == ("pts/ptmx", "/proc/self/fd")


@pytest.mark.parametrize("with_dev", [False, True])
@pytest.mark.parametrize("relative", [False, True])
def test_an_image_whose_dev_is_a_link(root: Path, host: Path, with_dev: bool, relative: bool) -> None:
    """A /dev that is to be mounted there is refused; without one, names are made below the root, wherever the link would lead."""
    (root / "dev/tty").unlink()
    (root / "dev").rmdir()
    (root / "dev").symlink_to(UP + str(host) if relative else host)
    spec = spec_with(root, "readlink /dev/fd", MOUNTS[0], *([DEV] if with_dev else []))
    if with_dev:
        with pytest.raises(StepError, match="must be a plain directory in the image"):
            run_oci(spec)
    else:
        assert run_oci(spec) == "/proc/self/fd\n"
        assert (root / str(host).lstrip("/") / "fd").is_symlink()
    assert contents(host) == {"file": "host\n", "ptmx": "host\n", "target": ""}


# ---- links in the place of /proc and /sys (CVE-2019-16884, CVE-2019-19921) -------------------------------------------


@pytest.mark.parametrize(("name", "kind"), [("proc", "proc"), ("sys", "sysfs"), ("dev", "tmpfs")])
def test_what_others_rely_on_is_mounted_on_plain_directories_only(root: Path, name: str, kind: str) -> None:
    """Else the masks would hide names of the place that the link leads to, and leave the real one open."""
    place = root / name
    for each in place.iterdir():
        each.unlink()
    place.rmdir()
    (root / "elsewhere").mkdir()
    place.symlink_to("elsewhere")
    with pytest.raises(StepError, match="must be a plain directory in the image"):
        run_oci(spec_with(root, "true", {"destination": f"/{name}", "type": kind, "source": kind}))


def test_a_mask_is_looked_for_in_the_mount_and_not_by_its_name(root: Path, host: Path) -> None:
    """A volume below /proc's parent that brings a link of that name changes nothing."""
    (root / "secret").symlink_to(host / "file")
    script = "stat -c %t:%T /proc/keys; ls -l /secret | grep -c host"
    spec = spec_with(root, script, MOUNTS[0], maskedPaths=["/proc/keys", "/secret"])
    assert run_oci(spec).splitlines()[0] == "1:3"
    assert (host / "file").read_text() == "host\n"
