"""``pyrun run`` as its users run it: exit statuses, the closing table, errors, time-outs, the trace; and nothing is left."""

from __future__ import annotations

import json
import os
import subprocess
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fixtures.command import AS_NOBODY, PYRUN, Done, Store, pyrun
from fixtures.machine import patience
from fixtures.pods import FOREVER, Document, document, host_path, mount, shell
from pyrun import ContainerStatus, ExitStatus
from pyrun_runtime.cli.report import closing_table, exit_status, format_duration, reason
from pyrun_runtime.store import RUN_ROOT, STATE_ROOT


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


# ---- the report ------------------------------------------------------------------------------------------------------


def status(name: str = "a", code: int | None = 0, signal: int | None = None, why: str = "Completed") -> ContainerStatus:
    return ContainerStatus(name, ExitStatus(code, signal), why, 100.0, 101.5)


@pytest.mark.parametrize(
    ("statuses", "timed_out", "expected"),
    [
        ([status()], [], 0),
        ([status(code=3)], [], 3),
        ([status(code=None, signal=9)], [], 137),
        ([status(), status("b")], [], 0),
        ([status(), status("b", code=3)], [], 1),
        ([status(), status("b", code=None, signal=15)], [], 1),
        ([status(code=3)], ["a"], 124),
        ([status(), status("b")], ["b"], 124),
    ],
)
def test_exit_status(statuses: list[ContainerStatus], timed_out: list[str], expected: int) -> None:
    assert exit_status(statuses, timed_out) == expected


def test_closing_table_stands_in_columns() -> None:
    rows = [status("web"), status("a-long-name", 3, why="Error"), status("x", None, 15)]
    assert closing_table(rows, ["x"]) == (
        "CONTAINER    EXIT  REASON     RUN TIME\n"
        "web             0  Completed   1.500 s\n"
        "a-long-name     3  Error       1.500 s\n"
        "x             143  Timeout     1.500 s\n"
    )


@pytest.mark.parametrize(
    ("ended", "expected"),
    [
        (status(), "Completed"),
        (status(code=1, why="Error"), "Error"),
        (status(code=None, signal=9, why="Error"), "SIGKILL"),
        (status(code=None, signal=9, why="OOMKilled"), "OOMKilled"),
        (status(code=None, signal=34, why="Error"), "SIGRTMIN"),
        (status(code=None, signal=37, why="Error"), "SIGRTMIN+3"),
        (status(code=None, signal=64, why="Error"), "SIGRTMAX"),
        (ContainerStatus("a", ExitStatus(None, 11, core_dumped=True), "Error", 0, 1), "SIGSEGV (core dumped)"),
    ],
)
def test_reason(ended: ContainerStatus, expected: str) -> None:
    assert reason(ended) == expected


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0123, "0.012 s"),
        (9.9994, "9.999 s"),
        (12.34, "12.3 s"),
        (59.99, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.9, "1 h 00 min"),
        (7261, "2 h 01 min"),
        (90000, "25 h 00 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


# ---- pods that run ---------------------------------------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.smoke
def test_single_container_gives_its_status(store: Store) -> None:
    done = store.run(store.manifest(shell("echo out; echo err >&2; exit 7")))
    assert (done.status, done.out) == (7, "main | out\n")
    assert "err\n" in done.err
    code, why, run_time = done.table()["main"]
    assert (code, why) == ("7", "Error")
    assert run_time.endswith(" s")


@pytest.mark.root
def test_single_container_ended_by_a_signal(store: Store) -> None:
    done = store.run(store.manifest(shell("ulimit -c 0; sh -c 'kill -SEGV $$'; exit $?")))
    assert done.status == 139
    # PID 1 cannot kill itself, so the pod's PID namespace is shared here: pause is PID 1.
    done = store.run(store.manifest(shell("ulimit -c 0; kill -SEGV $$"), shareProcessNamespace=True))
    assert done.status == 139
    assert done.table()["main"][:2] == ["139", "SIGSEGV"]


@pytest.mark.root
@pytest.mark.smoke
def test_several_containers(store: Store) -> None:
    done = store.run(store.manifest(shell("echo 1", "one"), shell("echo 2", "two")))
    assert done.status == 0
    assert sorted(done.out.splitlines()) == ["one | 1", "two | 2"]
    assert {name: row[:2] for name, row in done.table().items()} == {
        "one": ["0", "Completed"],
        "two": ["0", "Completed"],
    }
    done = store.run(store.manifest(shell("exit 0", "one"), shell("exit 2", "two")))
    assert done.status == 1
    assert {name: row[0] for name, row in done.table().items()} == {"one": "0", "two": "2"}


@pytest.mark.root
def test_run_time_is_told(store: Store) -> None:
    row = store.run(store.manifest(shell("sleep 0.5"))).table()["main"]
    assert 0.5 <= float(row[2].removesuffix(" s")) < patience(3)


@pytest.mark.root
def test_default_directories(store: Store) -> None:
    spec = store.manifest(ready_with_disk(), volumes=[{"name": "disk"}])
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYRUN_")}
    command = subprocess.Popen(
        [*PYRUN, "run", spec], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    )
    with command:
        try:
            assert command.stdout is not None
            assert command.stdout.readline() == b"main | ready\n"
            places = [Path(root, "pods") for root in (RUN_ROOT, STATE_ROOT)]
            described = [path for path in places[0].glob("*/pod.json") if launcher(path) == command.pid]
            assert len(described) == 1
            uid = described[0].parent.name
            assert (places[1] / uid / "data").is_dir()
        finally:
            command.terminate()
            command.terminate()
    assert not any([(place / uid).exists() for place in places])


def ready_with_disk() -> Document:
    """A pod without a volume on disk has no directory for them."""
    return shell(f"echo ready; {FOREVER}", volumeMounts=[mount("disk", "/disk")])


def launcher(path: Path) -> int | None:
    """Whose pod it is; None for one of somebody else's that has just gone."""
    try:
        return int(json.loads(path.read_text())["launcher_pid"])
    except (FileNotFoundError, json.JSONDecodeError):
        return None


@pytest.mark.root
def test_directories_can_be_chosen_by_option(store: Store) -> None:
    spec = store.manifest(ready_with_disk(), volumes=[{"name": "disk"}], terminationGracePeriodSeconds=0)
    with store.running("--root", store.top / "r", "--state", store.top / "s", spec) as command:
        command.wait_for("ready")
        assert len(list((store.top / "r/pods").glob("*/lock"))) == len(list((store.top / "s/pods").glob("*/data"))) == 1
        command.process.terminate()
        command.finish()
    assert not list((store.top / "r/pods").iterdir()) + list((store.top / "s/pods").iterdir())


@pytest.mark.root
def test_pod_is_described_while_it_runs(store: Store) -> None:
    with store.running(store.manifest(shell(f"echo ready; {FOREVER}"), terminationGracePeriodSeconds=0)) as command:
        command.wait_for("ready")
        (uid,) = store.uids()
        facts = json.loads((store.run_root / "pods" / uid / "pod.json").read_text())
        assert facts == {
            "name": "test",
            "namespace": "default",
            "uid": uid,
            "launcher_pid": command.process.pid,
            "containers": 1,
        }
        command.process.terminate()
        assert command.finish().status == 137


@pytest.mark.root
def test_two_pods_of_one_name_run_side_by_side_but_not_of_one_uid(store: Store) -> None:
    manifest = document(shell(f"echo ready; {FOREVER}"), terminationGracePeriodSeconds=0)
    spec = store.write(manifest)
    with store.running(spec) as first, store.running(spec) as second:
        for command in (first, second):
            command.wait_for("ready")
        assert len(store.uids()) == 2
        for command in (first, second):
            command.process.terminate()
            command.finish()
    manifest["metadata"]["uid"] = "my-pod"
    spec = store.write(manifest)
    with store.running(spec) as first:
        first.wait_for("ready")
        done = pyrun("run", spec, env=store.environment)
        assert done.status == 1
        assert done.error == f"pod my-pod is running already ({store.run_root}/pods/my-pod is locked)"
        assert store.uids() == {"my-pod"}
        first.process.terminate()
        assert first.finish().status == 137


@pytest.mark.root
def test_warnings_of_the_manifest(store: Store) -> None:
    done = store.run(store.manifest(shell("true"), nodeSelector={"disk": "ssd"}))
    assert done.status == 0
    assert "pyrun: warning: /spec: nodeSelector: accepted, and without meaning on one node" in done.err


@pytest.mark.root
def test_why_a_pod_was_ended_is_told(store: Store) -> None:
    done = store.run(store.manifest(shell(FOREVER), activeDeadlineSeconds=1, terminationGracePeriodSeconds=0))
    assert done.status == 137
    assert "pyrun: pod test: DeadlineExceeded: Pod was active on the node longer than" in done.err


# ---- time-out --------------------------------------------------------------------------------------------------------


@pytest.mark.root
def test_timeout_stops_with_grace(store: Store) -> None:
    script = "trap 'echo stopping; exit 0' TERM; while :; do sleep 0.05; done"
    begin = time.monotonic()
    done = store.run("--timeout", "0.5", store.manifest(shell(script, "a"), shell("true", "b")))
    assert 0.5 <= time.monotonic() - begin < patience(10)
    assert (done.status, done.out) == (124, "a | stopping\n")
    assert "pyrun: 0.5 s are over: stopping, for up to 30 s\n" in done.err
    assert done.table()["a"][:2] == ["0", "Timeout"]
    assert done.table()["b"][:2] == ["0", "Completed"]


@pytest.mark.root
def test_timeout_that_is_not_reached(store: Store) -> None:
    assert store.run("--timeout=100", store.manifest(shell("exit 3"))).status == 3


@pytest.mark.root
def test_timeout_and_grace(store: Store) -> None:
    spec = store.manifest(shell("trap '' TERM; while :; do sleep 0.05; done"), terminationGracePeriodSeconds=1)
    done = store.run("--timeout=0.3", spec)
    assert done.status == 124
    assert "pyrun: 1 s of grace are over: killing main\n" in done.err


@pytest.mark.root
def test_timeout_while_all_wait_for_a_restart(store: Store) -> None:
    """None runs then, and yet it was the time that ended the pod."""
    done = store.run("--timeout=2", store.manifest(shell("true"), restartPolicy="Always"))
    assert done.status == 124, done.err


# ---- errors: one line, the place in it, 2 for bad input and 1 for failed, nothing left ---------------------------------


def bad(name: str) -> Any:
    twin = shell("true", "web")
    return {
        "two of one name": document(twin, twin),
        "mounted twice": document(
            shell("true", volumeMounts=[mount("v", "/a"), mount("v", "/a")]), volumes=[{"name": "v"}]
        ),
        "no such host path": document(shell("true"), volumes=[host_path("v", "/no/such/path")]),
        "host path of another type": document(shell("true"), volumes=[host_path("v", "/etc", "File")]),
        "unknown field": document(shell("true"), hostnam="x"),
        "not here": document(shell("true"), resourceClaims=[{"name": "x"}]),
    }[name]


@pytest.mark.root
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("two of one name", "/spec/containers/1/name: 'web' is the name of container 0 already"),
        ("mounted twice", "/spec/containers/0/volumeMounts/1/mountPath: '/a' is mounted already, by "),
        ("no such host path", "/spec/volumes/0/hostPath/path: /no/such/path: No such file or directory"),
        ("host path of another type", "/spec/volumes/0/hostPath/type: /etc is not a regular file"),
        ("unknown field", "/spec/hostnam: no such field; did you mean 'hostname'?"),
        ("not here", "/spec/resourceClaims: devices of a cluster are not given out here"),
    ],
)
def test_bad_manifest(store: Store, name: str, message: str) -> None:
    spec = store.write(bad(name))
    done = store.run(spec)
    assert (done.status, done.out) == (2, "")
    assert done.error.startswith(f"{spec}: {message}")


@pytest.mark.root
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b'{"apiVersion": "v1",', "line 1, column 21: not JSON: expecting property name enclosed in double quotes"),
        (b"x" * 10_000_000, "9.5 MiB are too much: the limit is 3.0 MiB"),
        (b"[" * 2_000_000, "nested deeper than 64 levels"),
        (b"\x7fELF\xff", "not UTF-8 text"),
    ],
    ids=["empty", "no json", "10 MB of nonsense", "brackets", "binary"],
)
def test_what_is_no_manifest(store: Store, data: bytes, message: str) -> None:
    spec = store.write(data)
    done = store.run(spec)
    assert (done.status, done.out) == (2, "")
    assert done.error.startswith(f"{spec}: {message}")


@pytest.mark.root
def test_what_is_no_file(store: Store) -> None:
    missing = store.top / "missing.json"
    assert store.run(missing) == Done(2, "", f"pyrun: {missing}: No such file or directory\n")
    assert store.run(store.top) == Done(2, "", f"pyrun: {store.top}: Is a directory\n")
    assert store.run("-") == Done(2, "", "pyrun: standard input: the file is empty\n")


@pytest.mark.root
def test_command_that_does_not_exist(store: Store) -> None:
    spec = store.manifest(shell("echo never"), {"name": "b", "image": "host:", "command": ["no-such-program"]})
    done = store.run(spec)
    assert (done.status, done.out) == (1, "")
    (error,) = [line for line in done.err.splitlines() if "warning" not in line]
    assert error.startswith("pyrun: container b: 'no-such-program': command not found in PATH /usr/local/sbin:")


@pytest.mark.root
def test_command_that_is_no_program(store: Store) -> None:
    done = store.run(store.manifest({"name": "b", "image": "host:", "command": ["/etc/passwd"]}))
    assert done.status == 1
    assert done.error == "container b: '/etc/passwd': cannot be executed: Permission denied (EACCES)"


@pytest.mark.root
def test_working_directory_that_cannot_be(store: Store) -> None:
    done = store.run(store.manifest(shell("true", workingDir="/etc/passwd/x")))
    assert done.status == 1
    assert done.error.startswith("container main: step ")
    assert "Not a directory (ENOTDIR)" in done.error


@pytest.mark.root
def test_state_directory_that_cannot_be(store: Store) -> None:
    done = pyrun("run", "--state", "/dev/null/x", store.manifest(shell("true")), env=store.environment)
    assert done.status == 1
    assert "/dev/null/x" in done.error
    assert not store.entries()


def limited(store: Store, *limits: str) -> Done:
    """A pod under limits of prlimit(1)."""
    spec = store.manifest(shell("true", "a"), shell("true", "b"))
    command = ["prlimit", *limits, *PYRUN[:1], *PYRUN[3:], "run", spec]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=store.environment)
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.root
def test_too_few_descriptors_are_told_with_the_place(store: Store) -> None:
    for count in range(10, 34, 2):
        done = limited(store, f"--nofile={count}")
        message = done.err.splitlines()[-1]
        assert done.status == 1, count
        assert "Too many open files" in message
        assert not message.startswith("pyrun: Too many")
    assert store.run(store.manifest(shell("true"))).status == 0  # and has taken what is left of those


@pytest.mark.root
@pytest.mark.parametrize(("size", "place"), [(0, "/pod.json: "), (1000, "pod test: ")])
def test_files_that_may_not_be_large_enough_are_named(store: Store, size: int, place: str) -> None:
    done = limited(store, f"--fsize={size}")
    assert done.status == 1
    assert done.error.endswith(f"{place}File too large")
    assert not store.entries()


@pytest.mark.root
def test_not_root(store: Store) -> None:
    store.top.chmod(0o755)
    spec = store.manifest(shell("true"))
    done = subprocess.run([*AS_NOBODY, *PYRUN, "run", spec], capture_output=True, check=False, env=store.environment)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == f"pyrun: a pod needs root to run: sudo pyrun run {spec}\n"
    assert not store.entries()


# ---- trace -----------------------------------------------------------------------------------------------------------


def trace(store: Store, **fields: Any) -> tuple[dict[int, str], list[dict[str, Any]]]:
    """The names of the tracks, and the events."""
    path = store.top / "trace.json"
    spec = store.manifest(shell("sleep 0.1", "a"), shell("true", "b"), **fields)
    assert store.run("--trace", path, spec).status == 0
    events = json.loads(path.read_text())["traceEvents"]
    names = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
    return names, [event for event in events if event["ph"] == "X"]


@pytest.mark.root
def test_trace_has_a_track_per_process_and_a_span_per_step(store: Store) -> None:
    names, events = trace(store)
    assert list(names.values()) == ["launcher", "pause", "a", "b"]
    steps = {
        name: [event["args"]["kind"] for event in events if names[event["pid"]] == name and "args" in event]
        for name in names.values()
    }
    assert steps["pause"][-1] == "EXEC"
    # Under the filter nothing is timed: it might forbid to ask for the time.
    last = ["GATE", "RAISE_CAPABILITIES", "SECCOMP"]
    assert steps["a"][-3:] == steps["b"][-3:] == last
    phases = [event["name"] for event in events if names[event["pid"]] == "launcher"]
    assert phases[:2] == ["interpreter and imports", "read the manifest"]
    assert {"create the pod", "start the containers"} <= set(phases)


@pytest.mark.root
@pytest.mark.parametrize("offset_s", [None, "86400"])
def test_trace_has_one_clock(store: Store, offset_s: str | None) -> None:
    """Whatever the time namespace: the steps lie within the phase in which the launcher had them done, one after the other."""
    names, events = trace(store, annotations={"pyrun.dev/time-offset-monotonic": offset_s} if offset_s else {})
    phases = {event["name"]: event for event in events if names[event["pid"]] == "launcher"}
    begin = phases["create the pod"]["ts"]
    end = phases["start the containers"]["ts"] + phases["start the containers"]["dur"]
    steps = [event for event in events if "args" in event]
    assert all([begin <= event["ts"] and event["ts"] + event["dur"] <= end for event in steps])
    for pid in names:
        own = [event for event in steps if event["pid"] == pid]
        assert all([a["ts"] + a["dur"] <= b["ts"] + 0.001 for a, b in pairwise(own)])
    (program,) = [event for event in events if event["name"] == "the program runs" and names[event["pid"]] == "a"]
    assert program["dur"] >= 90_000


@pytest.mark.root
@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/no/such/directory/t.json", "No such file or directory"),
        ("/dev/full", "No space left on device"),
        ("/etc", "Is a directory"),
    ],
)
def test_trace_file_that_cannot_be_written_is_told_before_the_pod_exists(store: Store, path: str, why: str) -> None:
    done = store.run("--trace", path, store.manifest(shell("echo never")))
    assert done == Done(1, "", f"pyrun: {path}: {why}\n")


@pytest.mark.root
def test_fifo_that_nobody_reads_is_not_waited_for(store: Store) -> None:
    os.mkfifo(store.top / "fifo")
    done = store.run("--trace", store.top / "fifo", store.manifest(shell("echo never")))
    assert done == Done(1, "", f"pyrun: {store.top}/fifo: No such device or address\n")


@pytest.mark.root
@pytest.mark.parametrize(("code", "status"), [(0, 1), (7, 7)])
def test_trace_file_that_cannot_be_written_any_more_costs_no_result(store: Store, code: int, status: int) -> None:
    path = store.top / "t.json"
    # Until: the trace of the start may be written between the two.
    script = f"until rm -f {path} && mkdir {path} 2>/dev/null; do :; done; echo done; exit {code}"
    volumes = [host_path("top", store.top)]
    spec = store.manifest(shell(script, volumeMounts=[mount("top", str(store.top))]), volumes=volumes)
    done = store.run("--trace", path, spec)
    assert (done.status, done.out) == (status, "main | done\n")
    assert done.err.splitlines()[-1] == f"pyrun: the trace: {path}: Is a directory"
    assert done.err.splitlines()[-2].startswith("main ")


@pytest.mark.root
def test_trace_that_does_not_fit_at_the_start_ends_no_pod(store: Store) -> None:
    """The first one is written when the containers have started."""
    (store.top / "small").mkdir()
    script = 'mount -t tmpfs -o size=4k tmpfs "$1" && shift && exec "$@"'
    spec = store.manifest(shell("sleep 0.2; echo done"))
    path = store.top / "small/t.json"
    command = ["unshare", "-m", "/bin/sh", "-c", script, "sh", path.parent, *PYRUN, "run", "--trace", path, spec]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=store.environment)
    assert (done.returncode, done.stdout) == (1, "main | done\n")
    assert done.stderr.endswith(f"pyrun: the trace: {path}: No space left on device\n")
