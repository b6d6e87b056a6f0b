"""What `sudo ./dev demo` shows: a real Pod from its start to the last thing it leaves, which is nothing.

Starts nginx-logs.json with `pyrun run`, as a user would, and looks at it from outside: with /proc, the cgroup file system, and
one process sent into the pod's network. Exit status 1 if anything is not as it should be.
"""

from __future__ import annotations

import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyrun

MANIFEST = Path(__file__).with_name("nginx-logs.json")
CONTAINERS = ("nginx", "shipper")
# Kinds of namespaces as /proc/PID/ns has them.
SHARED = {"uts": "UTS", "net": "network", "ipc": "IPC", "time": "time"}
OWN = {"pid": "PID", "mnt": "mount"}
# Where pyrun keeps a directory for each pod that runs.
FILES = ("/run/pyrun/pods", "/var/lib/pyrun/pods")
# For one wait. Each takes less than a second on an ordinary machine; an emulated one is twenty times slower.
PATIENCE_S = 60.0
SETTLE_S = 15.0
NOBODY_LISTENS = 75
CLIENT = f"""
import http.client, sys
connection = http.client.HTTPConnection("localhost", timeout=20)
try:
    connection.request("GET", "/", headers={{"User-Agent": sys.argv[1]}})
except ConnectionRefusedError:
    sys.exit({NOBODY_LISTENS})
answer = connection.getresponse()
title = answer.read().decode().partition("<title>")[2].partition("</title>")[0]
print(answer.status, answer.reason, "from", answer.getheader("Server") + ":", title)
"""

Things = dict[str, frozenset[str]]


class DemoError(Exception):
    """Something is not as it should be."""


def main() -> int:
    before = observe()
    try:
        step("Start a pod of two containers: nginx, and rsyslog that ships nginx's access log")
        with Run() as run:
            pod = start(run)
            step("Request a page over the pod's loopback, from a process in its network namespace")
            request(run, pod)
            step("What the containers share, and what each has for itself (namespaces by number)")
            compare_namespaces(pod)
            had = new_things(before, pod)
            step("Stop it, as Ctrl-C or systemd would: SIGTERM to pyrun")
            stop(run)
        step("What is left")
        show_what_is_left(before, had, pod)
    except DemoError as error:
        print(f"\n{paint('failed', 31)}: {error}", flush=True)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


# ---- the steps -------------------------------------------------------------------------------------------------------


def start(run: Run) -> Pod:
    show(f"$ pyrun run {MANIFEST.parent.name}/{MANIFEST.name}")
    deadline = Deadline("the pod's processes", run)
    while (pod := find_pod(run)) is None:
        deadline.check()
    for name in CONTAINERS:
        while (pid := pod.first_process(name)) is None:
            deadline.check()
        show(f"container {name:8} is process {pid} of the machine and process 1 of its own")
    return pod


def request(run: Run, pod: Pod) -> None:
    agent = f"pyrun-demo/{os.getpid()}"
    deadline = Deadline("nginx's answer", run)
    while (answer := fetch(pod.pause, agent)) is None:
        deadline.check()
    show(f"GET http://localhost/ -> {answer}")
    run.show_until(rf"shipper +\| access-log: .*{agent}", "the request in the shipper's output")
    check(True, "the line went from nginx through the shared emptyDir and out of the shipper's container")


def compare_namespaces(pod: Pod) -> None:
    pids = [pod.first_process(name) for name in CONTAINERS]
    show(f"{'':9}{CONTAINERS[0]:>12}{CONTAINERS[1]:>12}{'machine':>12}")
    for kind, name in {**SHARED, **OWN}.items():
        if not os.path.exists(f"/proc/self/ns/{kind}"):
            show(f"{name:9} this kernel is built without it")
            continue
        one, other, host = [namespace(pid, kind) for pid in (*pids, "self")]
        row = f"{name:9}{one:>12}{other:>12}{host:>12}"
        verdict = "the same" if one == other else "each its own"
        check((one == other) == (kind in SHARED) and host not in (one, other), f"{row}   {verdict}")


def stop(run: Run) -> None:
    run.process.send_signal(signal.SIGTERM)
    run.show_until(None, "pyrun's end")
    status = run.process.wait(PATIENCE_S)
    check(status == 0, f"pyrun ended with status {status}")


def show_what_is_left(before: Things, had: Things, pod: Pod) -> None:
    # The kernel takes down mount and network namespaces a moment after their last process has gone.
    end_s = time.monotonic() + SETTLE_S
    while any((left := new_things(before, pod)).values()) and time.monotonic() < end_s:
        time.sleep(0.02)
    show(f"{'':26}{'while it ran':>12}{'now':>6}")
    for what, items in left.items():
        show(f"{what:26}{len(had[what]):12}{len(items):6}")
    remains = [f"{what}: {', '.join(sorted(items))}" for what, items in left.items() if items]
    check(not remains, "; ".join(remains) or "nothing is left")


# ---- pyrun, started as a user would ----------------------------------------------------------------------------------


def pyrun_command() -> list[str]:
    """The command beside this interpreter, or the same thing where only the sources are there."""
    script = Path(sys.executable).with_name("pyrun")
    return [str(script)] if script.exists() else [sys.executable, "-m", "pyrun_runtime.cli.main"]


class Run:
    """`pyrun run`, and its output line by line."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [*pyrun_command(), "run", str(MANIFEST)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def show_until(self, pattern: str | None, what: str) -> None:
        """Print its output up to a line that has *pattern*, or to its end; *what* is waited for."""
        deadline = Deadline(what)
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline.left_s))
            except queue.Empty:
                raise DemoError(f"{what}: not within {PATIENCE_S:.0f} s") from None
            if line is None:
                break
            found = pattern is not None and re.search(pattern, line)
            show(paint("│ ", 34) + (paint(line, 1) if found else line))
            if found:
                return
        if pattern is not None:
            raise DemoError(f"{what}: pyrun ended before")

    def check_alive(self) -> None:
        if self.process.poll() is not None:
            self.show_until(None, "pyrun's end")
            raise DemoError(f"pyrun ended with status {self.process.returncode}")

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_error: object) -> None:
        """Also when the demo has failed or was interrupted, the pod is stopped."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


class Deadline:
    """The end of one wait for *what*, which a pyrun that has ended brings forward."""

    def __init__(self, what: str, run: Run | None = None) -> None:
        self._what = what
        self._run = run
        self._end_s = time.monotonic() + PATIENCE_S

    @property
    def left_s(self) -> float:
        return self._end_s - time.monotonic()

    def check(self) -> None:
        """Wait a little; raise when there is no time left."""
        if self._run is not None:
            self._run.check_alive()
        if self.left_s <= 0:
            raise DemoError(f"{self._what}: not within {PATIENCE_S:.0f} s")
        time.sleep(0.02)


# ---- the pod as the kernel shows it ----------------------------------------------------------------------------------


class Pod:
    """The pod's cgroup, and the pid of the process that holds its namespaces."""

    def __init__(self, cgroup: Path, pause: int) -> None:
        self.cgroup = cgroup
        self.uid = cgroup.name.removeprefix("pod")
        self.pause = pause
        self.processes: set[str] = set()
        self.namespaces: set[str] = set()

    def first_process(self, container: str) -> int | None:
        """The one that is process 1 in the container."""
        for pid in read_words(self.cgroup / container / "cgroup.procs"):
            if status_field(pid, "NSpid").endswith("\t1"):
                return int(pid)
        return None

    def remember(self) -> None:
        """Note its processes and the namespaces that they are in and we are not."""
        for procs in self.cgroup.glob("*/cgroup.procs"):
            for pid in read_words(procs):
                self.processes.add(identity(pid))
                self.namespaces |= set(namespaces_of(pid)) - set(namespaces_of("self"))


def find_pod(run: Run) -> Pod | None:
    """The pod whose pause is a child of *run*."""
    for procs in cgroup_root().glob("pyrun/**/pod*/_pause/cgroup.procs"):
        for pid in read_words(procs):
            if status_field(pid, "PPid") == str(run.process.pid):
                return Pod(procs.parent.parent, int(pid))
    return None


def cgroup_root() -> Path:
    places = [Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")]
    return next((place for place in places if (place / "cgroup.controllers").exists()), places[0])


def fetch(pause: int, agent: str) -> str | None:
    """What nginx answers to a process that has joined the network namespace of *pause*. None while nobody listens there."""
    pidfd = os.pidfd_open(pause)
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    steps = (
        pyrun.steps.JoinNamespaces("pause", ("network",)),
        pyrun.steps.Duplicate("answer", 1),
        pyrun.steps.Exec(("python3", "-I", "-c", CLIENT, agent), program=sys.executable),
    )
    try:
        process = pyrun.spawn(steps, fds={"pause": pidfd, "answer": write_fd})
    finally:
        os.close(pidfd)
        os.close(write_fd)
    with process, open(read_fd) as answer:
        text, status = answer.read().strip(), process.wait_status()
    if status.code not in (0, NOBODY_LISTENS):
        raise DemoError(f"the request failed ({status.describe()})")
    return text if status.code == 0 else None


def read_words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []  # gone between the listing and the reading


def status_field(pid: str, field: str) -> str:
    try:
        found = re.search(rf"^{field}:\t(.*)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return ""
    return found[1] if found else ""


def identity(pid: str) -> str:
    """A process by number and time of start (proc_pid_stat(5), field 22): its name changes, and numbers are given out again."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return f"{pid} (since {stat.rpartition(') ')[2].split()[19]})"


def namespace(pid: object, kind: str) -> str:
    """The number of the namespace that a process is in."""
    return os.readlink(f"/proc/{pid}/ns/{kind}").partition("[")[2].rstrip("]")


def namespaces_of(pid: str) -> Iterator[str]:
    yield from links(f"/proc/{pid}/ns", [*SHARED, *OWN, "cgroup"])


def links(directory: str, names: Iterable[str] | None = None) -> Iterator[str]:
    try:
        for name in os.listdir(directory) if names is None else names:
            yield os.readlink(f"{directory}/{name}")
    except OSError:
        return  # the process has ended


# ---- what a pod could leave ------------------------------------------------------------------------------------------


def observe() -> Things:
    """What this machine has, in every place where a pod has or could have something."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    pids = [name for name in os.listdir("/proc") if name.isdigit()]
    return {
        "processes": frozenset(identity(pid) for pid in pids) - {""},
        "namespaces": frozenset(held_namespaces(pids, mounts)),
        "cgroups": frozenset(directory for directory, _, _ in os.walk(cgroup_root() / "pyrun")),
        "files and directories": frozenset(files()),
        "mounts on the machine": frozenset(" ".join(line.split()[4:5] + line.split()[:1]) for line in mounts),
        "interfaces of the machine": frozenset(name for _, name in socket.if_nameindex()),
    }


def held_namespaces(pids: list[str], mounts: list[str]) -> Iterator[str]:
    """All that something keeps alive: a process in it, a descriptor of it, or a mount."""
    for pid in pids:
        yield from namespaces_of(pid)
        yield from links(f"/proc/{pid}/fd")
    for line in mounts:
        yield line.split()[3]  # of a mounted namespace the root is its name: net:[4026532201]


def files() -> Iterator[str]:
    for top in FILES:
        for directory, names, leaves in os.walk(top):
            yield from (f"{directory}/{name}" for name in (*names, *leaves))


def new_things(before: Things, pod: Pod) -> Things:
    """What has come since *before*; of things that come and go on any machine only the pod's."""
    pod.remember()
    now = observe()
    found = {what: items - before[what] for what, items in now.items()}
    for what in ("cgroups", "files and directories"):
        found[what] = frozenset(item for item in found[what] if pod.uid in item)
    found["processes"] = now["processes"] & pod.processes
    found["namespaces"] = now["namespaces"] & pod.namespaces
    return found


# ---- printing --------------------------------------------------------------------------------------------------------


def paint(text: str, code: int) -> str:
    plain = not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text if plain else f"\x1b[{code}m{text}\x1b[0m"


def step(text: str) -> None:
    print(f"\n{paint('==>', 34)} {paint(text, 1)}", flush=True)


def show(text: str) -> None:
    print(f"    {text}", flush=True)


def check(good: bool, text: str) -> None:
    """What was found: good, or the end of the demo."""
    if not good:
        raise DemoError(text)
    show(f"{text}  {paint('✓', 32)}")


if __name__ == "__main__":
    sys.exit(main())
