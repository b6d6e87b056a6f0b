"""Namespaces of an OCI container: a user namespace, new or joined, and every other kind joined by its path."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fixtures.interpreter import run_python
from fixtures.oci_container import IDS, NAMESPACES, created, exec_in, make_root, oci_spec, run_oci, run_to_the_end
from pyrun.container.exec import plan_exec
from pyrun.container.namespaces import JoinedNamespaces, make_user_namespace
from pyrun.container.plan import Setting, plan_container
from pyrun.errors import KernelError, SpecError, StepError
from pyrun.kernel.fd import Fd
from pyrun.kernel.process import Process
from pyrun.kernel.spawn import create, inject_fault
from pyrun.kernel.step import NewPidNamespace
from pyrun.spec.oci import OciIdMapping
from pyrun.value import replace

pytestmark = pytest.mark.root

OTHERS = tuple(kind for kind in NAMESPACES if kind != "mount")
LINKS = {"network": "net", "mount": "mnt"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path / "root", owner=100000)


def link(kind: str) -> str:
    return LINKS.get(kind, kind)


def mapped(**linux: object) -> dict[str, object]:
    return {"uidMappings": IDS, "gidMappings": IDS, **linux}


# ---- a new user namespace --------------------------------------------------------------------------------------------


def test_root_of_a_user_namespace_is_root_inside_and_somebody_else_outside(root: Path) -> None:
    script = "id -u; id -g; echo $$; cat /proc/self/uid_map; stat -c %u:%g /bin/busybox; echo x > /made"
    seen = run_oci(oci_spec(root, script, "user", *OTHERS, **mapped())).splitlines()
    assert seen[:3] == ["0", "0", "1"]
    assert seen[3].split() == ["0", "100000", "65536"]
    assert seen[4] == "0:0"
    assert (root / "made").stat().st_uid == 100000


def test_all_its_namespaces_are_new_and_belong_to_it(root: Path) -> None:
    script = "for kind in mnt pid uts ipc net cgroup user time; do readlink /proc/self/ns/$kind; done; hostname inside"
    seen = run_oci(oci_spec(root, script, "user", "time", *OTHERS, **mapped())).splitlines()
    for line in seen:
        assert line != os.readlink(f"/proc/self/ns/{line.partition(':')[0]}")
    assert len(seen) == 8


def test_time_offsets_and_settings_in_a_user_namespace(root: Path) -> None:
    """Each of them is written to a file in /proc that belongs to somebody."""
    settings = {"net.ipv4.ip_forward": "1", "kernel.shmmni": "77"}
    offsets = {"boottime": {"secs": 10**6, "nanosecs": 0}}
    script = "cat /proc/uptime /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni; hostname"
    spec = oci_spec(
        root, script, "user", "time", *OTHERS, hostname="name", **mapped(sysctl=settings, timeOffsets=offsets)
    )
    uptime, *rest = run_oci(spec).splitlines()
    assert float(uptime.split()[0]) > 10**6
    assert rest == ["1", "77", "name"]


def test_without_a_pid_namespace_of_its_own(root: Path) -> None:
    kinds = [kind for kind in OTHERS if kind != "pid"]
    mounts = [{"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]}]
    with created(oci_spec(root, "echo $$; readlink /proc/self/ns/pid", "user", *kinds, mounts=mounts, **mapped())) as (
        it,
        output,
    ):
        pid = it.process.pid
        assert run_to_the_end(it, output).splitlines() == [str(pid), os.readlink("/proc/self/ns/pid")]


def test_the_user_of_the_program_is_one_of_the_namespace(root: Path) -> None:
    user = {"user": {"uid": 5, "gid": 6, "additionalGids": [7, 8]}}
    seen = run_oci(oci_spec(root, "id -u; id -G; stat -L -c %u /proc/self", "user", *OTHERS, process=user, **mapped()))
    assert seen.splitlines() == ["5", "6 7 8", "5"]


def test_the_process_at_the_gate_is_the_one_that_will_be_the_program(root: Path) -> None:
    """And our child, so that its end is told to nobody else."""
    with created(oci_spec(root, "echo $$", "user", *OTHERS, **mapped())) as (it, output):
        before = it.process
        status = Path(f"/proc/{before.pid}/status").read_text()
        assert f"PPid:\t{os.getpid()}\n" in status
        assert f"NSpid:\t{before.pid}\t1\n" in status
        assert run_to_the_end(it, output) == "1\n"
        assert it.process is before


@pytest.mark.parametrize("end", ["abandon", "kill", "before"])
def test_nothing_is_left_of_one_that_never_starts(root: Path, end: str) -> None:
    """The leak check looks for both processes."""
    spec = oci_spec(root, "true", "user", *OTHERS, **mapped())
    if end == "before":
        with JoinedNamespaces.open(spec) as joined, Fd.open("/dev/null") as null:
            steps = plan_container(spec, Setting(namespaces=joined.kinds)).steps
            for _ in range(20):  # wherever it is by then
                create(steps, fds={**joined.fds(), "stdin": null, "stdout": null, "stderr": null}).abandon()
        return
    with created(spec) as (it, _):
        if end == "kill":
            it.process.kill()
            with pytest.raises(StepError, match="SIGKILL"):
                it.start()


def test_a_step_that_fails_after_the_birth_is_told_and_nothing_is_left(root: Path) -> None:
    spec = oci_spec(root, "true", "user", *OTHERS, **mapped())
    with JoinedNamespaces.open(spec) as joined, Fd.open("/dev/null") as null:
        steps = plan_container(spec, Setting(namespaces=joined.kinds)).steps
        fds = {**joined.fds(), "stdin": null, "stdout": null, "stderr": null}
        born = next(i for i, step in enumerate(steps) if isinstance(step, NewPidNamespace))
        for index in (born - 1, born, born + 1, len(steps) - 2):
            inject_fault(index)
            try:
                it = create(steps, fds=fds)
            finally:
                inject_fault(None)
            with pytest.raises(StepError) as caught:
                it.wait_created()
            assert caught.value.index == index


def test_another_process_in_a_container_with_a_user_namespace(root: Path) -> None:
    spec = oci_spec(root, "sleep 100", "user", *OTHERS, **mapped())
    with created(spec) as (it, _), it.start() as process:
        assert spec.process is not None
        other = replace(spec.process, args=("/bin/sh", "-c", "id -u; cat /proc/self/uid_map; echo x > /by-exec"))
        seen = exec_in(process, plan_exec(spec, other, ("user", *NAMESPACES)))
    assert seen.split() == ["0", "0", "100000", "65536"]
    assert (root / "by-exec").stat().st_uid == 100000


def test_a_network_device_of_the_host_with_its_addresses(root: Path) -> None:
    """In a process of its own, whose network namespace is the host's for the test."""
    run_python(MOVE_DEVICES, Path(__file__).parents[1], root)


MOVE_DEVICES = """
import sys
sys.path.insert(0, sys.argv[1])
from fixtures.oci_container import OTHERS, created, oci_spec, run_to_the_end
from pathlib import Path
from pyrun._core import lib
from pyrun.container.net_devices import move_net_devices
from pyrun.errors import KernelError
from pyrun.linux import namespace, netlink
namespace.unshare(lib.CLONE_NEWNET)
here = namespace.open_namespace("/proc/self", "network")
with netlink.open_netlink() as host:
    netlink.create_veth(host, "one", "two", here)
    netlink.add_address(host, "one", "10.9.0.1/24")
    netlink.add_address(host, "one", "fd00::5/64")
    netlink.set_link(host, "one", mtu=1400)
    before = netlink.find_link(host, "one")
    spec = oci_spec(
        Path(sys.argv[2]), "busybox ip address show inside", *OTHERS, netDevices={"one": {"name": "inside"}, "two": {}}
    )
    with created(spec) as (it, output):
        move_net_devices(spec.linux.net_devices, it.process)
        assert netlink.find_link(host, "one") is None and netlink.find_link(host, "two") is None
        seen = run_to_the_end(it, output)
    assert before.hardware_address in seen and "mtu 1400" in seen and "UP" in seen, seen
    assert "inet 10.9.0.1/24" in seen and "inet6 fd00::5/64" in seen, seen
    netlink.create_veth(host, "one", "two", here)
    for devices in ({"none": {}}, {"one": {"name": "lo"}}):
        spec = oci_spec(Path(sys.argv[2]), "true", *OTHERS, netDevices=devices)
        with created(spec) as (it, output):
            try:
                move_net_devices(spec.linux.net_devices, it.process)
            except KernelError as error:
                assert error.filename in ("none", "one", "lo"), error
            else:
                raise AssertionError(devices)
"""


# ---- joined by path --------------------------------------------------------------------------------------------------


@pytest.fixture
def holder(root: Path) -> Iterator[Process]:
    """A container whose namespaces others join."""
    with created(oci_spec(root, "sleep 100", "time", *OTHERS, hostname="holder")) as (it, _), it.start() as process:
        yield process


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "cgroup", "time"])
def test_joining_a_namespace_by_its_path(root: Path, holder: Process, kind: str) -> None:
    path = f"/proc/{holder.pid}/ns/{link(kind)}"
    others = [other for other in OTHERS if other != kind]
    spec = oci_spec(root, f"readlink /proc/self/ns/{link(kind)}", {"type": kind, "path": path}, *others)
    assert run_oci(spec).strip() == os.readlink(path)


def test_joining_a_user_namespace_and_what_belongs_to_it(root: Path) -> None:
    """As the containers of a pod do: all but the mount namespace is the first one's."""
    first = oci_spec(root, "sleep 100", "user", "time", *OTHERS, hostname="pod", **mapped())
    with created(first) as (it, _), it.start() as process:
        kinds = ("user", "ipc", "network", "uts", "pid", "time", "cgroup")
        rows = [{"type": kind, "path": f"/proc/{process.pid}/ns/{link(kind)}"} for kind in kinds]
        script = "hostname; id -u; " + "; ".join(f"readlink /proc/self/ns/{link(kind)}" for kind in kinds)
        name, uid, *seen = run_oci(oci_spec(root, script, *rows)).splitlines()
        assert (name, uid) == ("pod", "0")
        assert seen == [os.readlink(row["path"]) for row in rows]


def test_a_new_user_namespace_and_a_network_of_the_host(root: Path, holder: Process) -> None:
    """From inside the user namespace it could not be joined."""
    path = f"/proc/{holder.pid}/ns/net"
    others = [kind for kind in OTHERS if kind != "network"]
    spec = oci_spec(root, "readlink /proc/self/ns/net", "user", {"type": "network", "path": path}, *others, **mapped())
    with JoinedNamespaces.open(spec) as joined:
        assert joined.kinds == ("network", "user")
    assert run_oci(spec).strip() == os.readlink(path)
    spec = replace(spec, process=replace(spec.process, args=("/bin/sleep", "100")))  # and another process joins both
    with created(spec) as (it, _), it.start() as process:
        assert spec.process is not None
        other = replace(spec.process, args=("/bin/sh", "-c", "readlink /proc/self/ns/net; id -u"))
        assert exec_in(process, plan_exec(spec, other, ("user", *NAMESPACES))).split() == [os.readlink(path), "0"]


def test_a_user_namespace_that_allows_no_groups(root: Path) -> None:
    """As an unprivileged user makes them: to have none is not asked for, and to have some is an error."""
    with unprivileged_user_namespace() as path:
        rows = ({"type": "user", "path": path}, "pid")
        assert run_oci(oci_spec(root, "id -u; cat /proc/self/setgroups", *rows)) == "0\ndeny\n"
        spec = oci_spec(root, "true", *rows, process={"user": {"uid": 0, "gid": 0, "additionalGids": [5]}})
        with pytest.raises(StepError, match="user 0:0 groups 5: Operation not permitted"):
            run_oci(spec)


@contextmanager
def unprivileged_user_namespace() -> Iterator[str]:
    """A path to one that a process of uid 100000 has made for itself."""
    command = ["setpriv", "--reuid=100000", "--regid=100000", "--clear-groups", "unshare", "-r"]
    with subprocess.Popen([*command, "sh", "-c", "echo; exec sleep 100"], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        try:
            yield f"/proc/{holder.pid}/ns/user"
        finally:
            holder.kill()


def test_a_mount_namespace_by_its_path(root: Path) -> None:
    """The container is built in it, and who was in it before finds itself in the container's root: pivot_root(2)."""
    # Whoever is in it must load nothing any more: its root is about to be another.
    with subprocess.Popen(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", "echo; read held"], stdin=-1, stdout=-1
    ) as holder:
        assert holder.stdout
        holder.stdout.readline()
        path = f"/proc/{holder.pid}/ns/mnt"
        spec = oci_spec(root, "readlink /proc/self/ns/mnt; ls /", *OTHERS)
        namespaces = [replace(each, path=path if each.type == "mount" else each.path) for each in spec.linux.namespaces]
        seen = run_oci(replace(spec, linux=replace(spec.linux, namespaces=tuple(namespaces)))).split()
        assert seen == [os.readlink(path), "bin", "dev", "proc", "sys", "tmp"]
        assert sorted(os.listdir(f"/proc/{holder.pid}/root")) == seen[1:]
        holder.kill()


def test_our_own_user_namespace_by_path_is_not_entered_again(root: Path) -> None:
    spec = oci_spec(root, "readlink /proc/self/ns/user", {"type": "user", "path": "/proc/self/ns/user"}, *OTHERS)
    assert run_oci(spec).strip() == os.readlink("/proc/self/ns/user")


@pytest.mark.parametrize(
    ("kind", "path", "message"),
    [
        ("network", "/proc/self/ns/uts", "/proc/self/ns/uts is a uts namespace, but must be a network namespace"),
        ("network", "/etc/passwd", "/etc/passwd is no namespace, but must be a network namespace"),
        ("ipc", "/run/no-such-file", "/run/no-such-file: there is no such namespace"),
    ],
)
def test_a_path_that_is_no_such_namespace(root: Path, kind: str, path: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        JoinedNamespaces.open(oci_spec(root, "true", {"type": kind, "path": path}))
    assert str(caught.value) == f"/linux/namespaces/1/path: {message}"


def test_a_fifo_for_a_namespace_does_not_make_us_wait(root: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(SpecError, match="is no namespace"):
        JoinedNamespaces.open(oci_spec(root, "true", {"type": "network", "path": str(tmp_path / "fifo")}))


def test_settings_of_the_hosts_network_by_its_path_are_refused(root: Path) -> None:
    spec = oci_spec(root, "true", {"type": "network", "path": "/proc/self/ns/net"}, sysctl={"net.ipv4.ip_forward": "1"})
    with pytest.raises(SpecError, match=r"^/linux/sysctl/net\.ipv4\.ip_forward: .*host"):
        JoinedNamespaces.open(spec)


def test_maps_that_the_kernel_refuses_are_told() -> None:
    twice = (OciIdMapping(0, 1000, 10), OciIdMapping(5, 2000, 10))
    with pytest.raises(KernelError, match="id map"):
        make_user_namespace(twice, twice)
