"""What the containers of a pod share, what each has of its own, and what both take from the host when they are told to."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from fixtures.machine import patience
from fixtures.pods import FOREVER, created, mount, pod_spec, probe, python, run_pod, running, shell

pytestmark = pytest.mark.root

SHARED = ("uts", "ipc", "net", "time")
OWN = ("mnt", "pid", "cgroup")
FILES = ("uts", "ipc", "net", "time", "pid")


def own_namespace(kind: str) -> str:
    return os.readlink(f"/proc/self/ns/{kind}")


# ---- namespaces ------------------------------------------------------------------------------------------------------


def test_what_is_shared_and_what_is_not(tmp_path: Path) -> None:
    with running(pod_spec(shell(FOREVER, "a"), shell(FOREVER, "b")), tmp_path) as it:
        for kind in (*SHARED, *OWN):
            a, b = it.namespace(kind, "a"), it.namespace(kind, "b")
            assert (a == b) == (kind in SHARED), kind
            assert own_namespace(kind) not in (a, b), kind
        assert it.namespace("user", "a") == it.namespace("user", "b") == own_namespace("user")


@pytest.mark.parametrize(
    ("field", "taken"),
    [("hostNetwork", {"net"}), ("hostIPC", {"ipc"}), ("hostPID", {"pid"}), ("shareProcessNamespace", set())],
)
def test_what_is_taken_from_the_host(tmp_path: Path, field: str, taken: set[str]) -> None:
    with running(pod_spec(shell(FOREVER, "a"), shell(FOREVER, "b"), **{field: True}), tmp_path) as it:
        assert {kind for kind in FILES if it.namespace(kind, "a") == own_namespace(kind)} == taken
        same = {kind for kind in FILES if it.namespace(kind, "a") == it.namespace(kind, "b")}
        assert same == {*SHARED, *taken} | ({"pid"} if field == "shareProcessNamespace" else set())


def test_everything_is_taken_from_the_host_at_once(tmp_path: Path) -> None:
    spec = pod_spec(probe(), hostNetwork=True, hostPID=True, hostIPC=True)
    with running(spec, tmp_path) as it:
        seen = it.json()
    assert {kind for kind in FILES if seen["namespaces"][kind] == own_namespace(kind)} == {"net", "pid", "ipc"}
    assert seen["hostname"] == socket.gethostname()
    assert sorted(seen["interfaces"]) == sorted(name for _, name in socket.if_nameindex())
    assert os.getpid() in seen["processes"]
    assert seen["etc"]["hosts"] == Path("/etc/hosts").read_text()


def test_namespaces_are_gone_with_the_pod(tmp_path: Path) -> None:
    with running(pod_spec(shell(FOREVER)), tmp_path) as it:
        held = {it.namespace(kind) for kind in (*SHARED, *OWN)}
    left = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for kind in (*SHARED, *OWN):
            try:
                left.add(os.readlink(f"/proc/{pid}/ns/{kind}"))
            except OSError:
                pass
    assert not held & left


# ---- UTS and network -------------------------------------------------------------------------------------------------


def test_hostname_is_the_pods(tmp_path: Path) -> None:
    before = socket.gethostname()
    seen = run_pod(pod_spec(shell("hostname; cat /etc/hostname; echo $HOSTNAME"), hostname="web-0"), tmp_path)
    assert seen["main"].split() == ["web-0"] * 3
    assert socket.gethostname() == before


NAMES = "hostname; cat /etc/hostname; echo $HOSTNAME"


def test_on_the_machines_network_a_pod_has_the_machines_name(tmp_path: Path) -> None:
    """As in Kubernetes; but in a UTS namespace of its own, so that it cannot change it."""
    script = f"{NAMES}; hostname other"
    seen = run_pod(pod_spec(shell(f"{script} || true"), hostNetwork=True), tmp_path)
    assert seen["main"].split()[:3] == [socket.gethostname()] * 3
    assert socket.gethostname() != "other"


def test_on_the_machines_network_a_name_of_its_own_resolves(tmp_path: Path) -> None:
    spec = pod_spec(shell(f"{NAMES}; getent hosts web-0; cat /etc/hosts"), hostNetwork=True, hostname="web-0")
    *names, resolved = run_pod(spec, tmp_path)["main"].splitlines()[:4]
    assert names == ["web-0"] * 3
    assert resolved.split() == ["127.0.0.1", "web-0"]
    assert run_pod(spec, tmp_path)["main"].endswith(Path("/etc/hosts").read_text() + "127.0.0.1\tweb-0\n")


def test_loopback_is_up_and_alone(tmp_path: Path) -> None:
    with running(pod_spec(probe()), tmp_path) as it:
        seen = it.json()
    assert seen["interfaces"] == ["lo"]
    assert seen["lo_up"]


SERVER = """
import socket
server = socket.create_server(("127.0.0.1", 8080))
print("ready", flush=True)
connection, _ = server.accept()
print(connection.recv(100).decode())
"""
CLIENT = """
import socket, time
for attempt in range(1000):
    try:
        connection = socket.create_connection(("localhost", 8080))
        break
    except ConnectionRefusedError:
        time.sleep(0.01)
connection.sendall(b"hello")
"""


def test_containers_find_each_other_on_the_loopback(tmp_path: Path) -> None:
    assert run_pod(pod_spec(python(SERVER, "server"), python(CLIENT, "client")), tmp_path)["server"] == "ready\nhello\n"


def test_a_port_is_taken_for_the_whole_pod_and_for_no_other(tmp_path: Path) -> None:
    with running(pod_spec(python(SERVER, "server")), tmp_path) as first:
        first.wait_for("ready", "server")
        with running(pod_spec(python(SERVER, "server"), python(CLIENT, "client")), tmp_path) as second:
            assert "hello" in second.output("server")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", 8080), timeout=5)
    second_server = python("import time; time.sleep(0.3)\n" + SERVER, "late")
    with running(pod_spec(python(SERVER, "early"), second_server), tmp_path) as it:
        it.wait_for("Address already in use", "late")


def test_the_hosts_loopback_is_not_the_pods(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        script = f"import socket; print(socket.socket().connect_ex(('127.0.0.1', {port})))"
        assert run_pod(pod_spec(python(script)), tmp_path)["main"] == "111\n"  # ECONNREFUSED
        assert run_pod(pod_spec(python(script), hostNetwork=True), tmp_path)["main"] == "0\n"


# ---- IPC -------------------------------------------------------------------------------------------------------------

MEET = "until [ -e /dev/shm/done ]; do sleep 0.01; done"


def test_shared_memory_queues_and_semaphores_are_the_pods(tmp_path: Path) -> None:
    one = shell(
        f"echo text >/dev/shm/text; : >/dev/mqueue/queue; ipcmk -S 1 >/dev/null; : >/dev/shm/done; {FOREVER}", "one"
    )
    two = shell(
        f"{MEET}; cat /dev/shm/text; ls /dev/mqueue; ipcs -s | grep -c ^0x; stat -c %d /dev/shm; stat -c %d /dev/mqueue",
        "two",
    )
    look = shell(f"{MEET}; stat -c %d /dev/shm; stat -c %d /dev/mqueue", "three")
    with running(pod_spec(one, two, look), tmp_path) as it:
        it["two"].process.wait(20)
        it["three"].process.wait(20)
        text, queue, semaphores, *devices = it.read("two").split()
        assert (text, queue, semaphores) == ("text", "queue", "1")
        assert it.read("three").split() == devices
        host = subprocess.run(["ipcs", "-s"], capture_output=True, text=True, check=True).stdout
        assert sum(line.startswith("0x") for line in host.splitlines()) == 0
        assert not Path("/dev/shm/text").exists()
        assert int(devices[0]) != os.stat("/dev/shm").st_dev


def test_two_pods_share_none_of_it(tmp_path: Path) -> None:
    with running(pod_spec(shell(f"echo text >/dev/shm/text; echo written; {FOREVER}")), tmp_path) as it:
        it.wait_for("written")
        assert run_pod(pod_spec(shell("ls /dev/shm /dev/mqueue | grep -v : | wc -w")), tmp_path)["main"] == "0\n"


def test_shared_memory_has_its_size(tmp_path: Path) -> None:
    fill = "head -c 64M /dev/zero >/dev/shm/full && ! head -c 1 /dev/zero 2>&1 >/dev/shm/more || echo both"
    script = f"{fill}; stat -c %s /dev/shm/full"
    assert run_pod(pod_spec(shell(script)), tmp_path)["main"].split()[-1] == str(64 << 20)
    too_much = "head -c 65M /dev/zero >/dev/shm/full || stat -c %s /dev/shm/full"
    assert run_pod(pod_spec(shell(too_much)), tmp_path)["main"].split()[-1] == str(64 << 20)


def test_host_ipc_has_the_hosts_shared_memory(tmp_path: Path) -> None:
    name = f"pyrun-test-{os.getpid()}"
    try:
        run_pod(pod_spec(shell(f"echo text >/dev/shm/{name}"), hostIPC=True), tmp_path)
        assert Path("/dev/shm", name).read_text() == "text\n"
    finally:
        Path("/dev/shm", name).unlink(missing_ok=True)


# ---- time ------------------------------------------------------------------------------------------------------------

MONOTONIC, BOOTTIME = "pyrun.dev/time-offset-monotonic", "pyrun.dev/time-offset-boottime"


def clocks(seen: dict[str, Any]) -> tuple[float, float, float]:
    """How far a probe's clocks were ahead of ours, about a moment ago."""
    monotonic = seen["monotonic_ns"] / 1e9 - time.clock_gettime(time.CLOCK_MONOTONIC)
    boottime = seen["boottime_ns"] / 1e9 - time.clock_gettime(time.CLOCK_BOOTTIME)
    return monotonic, boottime, seen["uptime_s"] - time.clock_gettime(time.CLOCK_BOOTTIME)


@pytest.mark.parametrize(
    ("annotations", "monotonic_s", "boottime_s"),
    [
        ({}, 0, 0),
        ({MONOTONIC: "86400", BOOTTIME: "172800.5"}, 86400, 172800.5),
        ({MONOTONIC: "-1.5"}, -1.5, 0),
        ({BOOTTIME: "-1.25"}, 0, -1.25),
    ],
)
def test_clocks_of_the_pod(tmp_path: Path, annotations: dict[str, str], monotonic_s: float, boottime_s: float) -> None:
    begin = time.monotonic()
    with running(pod_spec(probe("a"), probe("b"), annotations=annotations), tmp_path) as it:
        for name in ("a", "b"):
            monotonic, boottime, uptime = clocks(it.json(name))
            slack = time.monotonic() - begin + 0.05
            assert monotonic_s - slack <= monotonic <= monotonic_s + 0.05
            assert boottime_s - slack <= boottime <= boottime_s + 0.05
            assert boottime_s - slack <= uptime <= boottime_s + 0.05


def test_the_time_namespace_is_one(tmp_path: Path) -> None:
    with running(pod_spec(probe("a"), probe("b"), annotations={MONOTONIC: "5"}), tmp_path) as it:
        a, b = it.json("a")["namespaces"], it.json("b")["namespaces"]
    assert a["time"] == a["time_for_children"] == b["time"] == b["time_for_children"] != own_namespace("time")


# ---- PID -------------------------------------------------------------------------------------------------------------


def test_own_process_namespace(tmp_path: Path) -> None:
    with running(pod_spec(probe("a"), probe("b")), tmp_path) as it:
        for name in ("a", "b"):
            assert (it.json(name)["pid"], it.json(name)["processes"]) == (1, [1])


def test_shared_process_namespace(tmp_path: Path) -> None:
    """pause is its PID 1, each container sees the others' processes, and may signal them."""
    victim = shell("echo $$; trap 'echo got; exit 3' USR1; while :; do sleep 0.01; done", "victim")
    script = "until p=$(pgrep -f [g]ot); do sleep 0.01; done; tr '\\0' ' ' </proc/1/cmdline; sleep 0.2; kill -USR1 $p; echo $$ $p"
    with running(pod_spec(victim, shell(script, "killer"), shareProcessNamespace=True), tmp_path) as it:
        assert it.wait()["victim"].exit.code == 3
        own_pid, got = it.read("victim").split()
        first, _ready_fd, killers_pid, *seen_pid = it.output("killer").split()
    assert got == "got"
    assert first == "pause"
    assert killers_pid != "1"
    assert own_pid in seen_pid


def test_pause_reaps_the_orphans_of_a_shared_process_namespace(tmp_path: Path) -> None:
    script = """
import os, time
for _ in range(20):
    if os.fork() == 0:
        if os.fork() == 0:
            time.sleep(0.05)
        os._exit(0)
    os.wait()
def others():
    return [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) not in (1, os.getpid())]
deadline = time.monotonic() + 10
while others() and time.monotonic() < deadline:
    time.sleep(0.01)
print(len(others()))
"""
    assert run_pod(pod_spec(python(script), shareProcessNamespace=True), tmp_path)["main"] == "0\n"


def test_pause_has_nothing_for_who_shares_its_process_namespace(tmp_path: Path) -> None:
    script = """
import os
def attempt(what, *arguments):
    try:
        return repr(what(*arguments))
    except OSError as error:
        return error.strerror
for name in ("root", "cwd", "exe"):
    print(name, attempt(os.readlink, f"/proc/1/{name}"))
for number in os.listdir("/proc/1/fd"):
    print("fd", attempt(os.readlink, f"/proc/1/fd/{number}"))
    print("fd open", attempt(os.open, f"/proc/1/fd/{number}", os.O_RDONLY))
for name in ("mem", "environ", "maps"):
    print(name, attempt(os.open, f"/proc/1/{name}", os.O_RDONLY))
print("root/", attempt(os.listdir, "/proc/1/root/"))
"""
    output = run_pod(pod_spec(python(script), shareProcessNamespace=True), tmp_path)["main"]
    assert len(output.splitlines()) == 7 + 2 * 3
    assert {line.rpartition("Permission denied")[1] for line in output.splitlines()} == {"Permission denied"}, output


def test_what_pause_is(tmp_path: Path) -> None:
    with running(pod_spec(shell(FOREVER)), tmp_path) as it:
        proc = it.pause_proc()
        status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines())
        assert os.readlink(proc / "exe").startswith("/memfd:pyrun-pause")
        assert status["Uid"].split() == status["Gid"].split() == ["65535"] * 4
        assert {int(status[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
        assert status["NoNewPrivs"] == "1"
        mounts = [line.split() for line in (proc / "mountinfo").read_text().splitlines()]
        assert [(line[4], line[5].split(",")[0]) for line in mounts] == [("/", "ro"), ("/shm", "rw")]
        assert {os.readlink(link) for link in (proc / "fd").iterdir()} == {"/dev/null"}


def test_a_container_that_waits_at_its_gate_is_the_stage_and_nobodys_file(tmp_path: Path) -> None:
    with created(pod_spec(shell(FOREVER)), tmp_path) as it:
        assert os.readlink(it.proc() / "exe").startswith("/memfd:pyrun-stage")
        assert it["main"].state == "created"
        it.pod.start()
        assert it["main"].state == "running"
        assert "memfd" not in os.readlink(it.proc() / "exe")


def test_nobody_gets_out_of_his_root_by_chroot(tmp_path: Path) -> None:
    """The way out that chroot(2) warns of: containers may call it, and must not come to what the sandbox holds for others."""
    script = """
import os
os.mkdir("/below")
os.chroot("/below")
for _ in range(20):
    os.chdir("..")
os.chroot(".")
print(os.path.exists("/proc/1"), os.path.exists("/volumes"), os.path.exists("/shm"))
"""
    volumes = [{"name": "secret", "emptyDir": {"medium": "Memory"}}]
    other = shell(FOREVER, "other", volumeMounts=[mount("secret", "/secret")])
    for _ in range(2):  # the first pod of a process is made otherwise than those after it
        with running(pod_spec(python(script, "main"), other, volumes=volumes), tmp_path) as it:
            it["main"].process.wait(patience(20))
            assert it.read("main") == "True False False\n"
