"""pyrun-oci itself is a program in C that does the plain cases and hands the rest to Python: both must come to the same."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from random import Random
from typing import Any

import pytest

from fixtures.machine import ROOT, cgroup2_root, patience
from fixtures.oci_command import PYRUN_OCI_PYTHON, SCRIPTS, OciRuntime, wait_until

pytestmark = pytest.mark.root

HANDED_OVER = 77
SLEEP = ("/bin/sleep", "60")
FRONT = SCRIPTS / "pyrun-oci"


def hooks(*names: str) -> dict[str, Any]:
    return {"hooks": {name: [{"path": "/bin/true"}] for name in names}}


# ---- the same as Python ------------------------------------------------------------------------------------------------

Words = tuple[str, ...]
# A word that is no verb: stopped (wait for the end), unlinked (the program is taken away).
SEQUENCES: dict[str, tuple[Words, ...]] = {
    "a life": (("start", "box"), ("kill", "box", "KILL"), ("stopped",), ("delete", "box")),
    "never started": (("delete", "box"),),
    "never started, forced": (("delete", "--force", "box"),),
    "running, forced": (("start", "box"), ("delete", "-f", "box")),
    "all that is an error": (
        ("start",),
        ("start", "none"),
        ("kill", "none"),
        ("delete", "none"),
        ("delete", "--force", "none"),
        ("start", "box", "more"),
        ("start", "--nonsense", "box"),
        ("--log-format", "x", "start", "box"),
        ("kill", "box", "NOPE"),
        ("kill", "box", "0"),
        ("kill", "box", "65"),
        ("kill", "../box"),
        ("kill", "x" * 300),
        ("start", "box"),
        ("start", "box"),
        ("delete", "box"),
        ("kill", "box", "9"),
        ("stopped",),
        ("kill", "box"),
        ("start", "box"),
        ("delete", "box"),
        ("delete", "box"),
    ),
    "every signal": (("start", "box"), *[("kill", "box", str(n)) for n in (1, 10, 34)], ("kill", "box", "SIGKILL")),
    "killed before it was started": (("kill", "box", "KILL"), ("stopped",), ("start", "box"), ("delete", "box")),
    "a program that has gone": (("unlinked",), ("start", "box"), ("stopped",), ("start", "box"), ("delete", "box")),
    "paused": (
        *(("pause", "box"), ("start", "box"), ("delete", "box"), ("resume", "box")),
        *(("start", "box"), ("pause", "box"), ("kill", "box", "KILL"), ("delete", "--force", "box")),
    ),
}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "all hooks": hooks("createRuntime", "startContainer", "poststart", "poststop"),
    "no pid namespace": {"linux": {"namespaces": [{"type": kind} for kind in ("mount", "uts")]}},
}


def play(runtime: OciRuntime, sequence: tuple[Words, ...]) -> list[object]:
    """What each command said, and what there was after it."""
    seen: list[object] = []
    for words in sequence:
        if words == ("stopped",):
            runtime.wait_stopped()
        elif words == ("unlinked",):
            (runtime.bundle / "rootfs/bin/busybox").unlink()
        else:
            done = runtime.call(*words)
            seen += [words, done.status, done.out, done.err.replace(str(runtime.top), "TOP")]
        directory = runtime.root / "box"
        if words[0] != "kill" or "KILL" not in words[-1]:  # when it ends is a matter of moments
            seen.append(runtime.call("state", "box").out and runtime.status())
        seen += [sorted(os.listdir(directory)) if directory.exists() else None, len(runtime.left())]
    return seen


BOTH = [(sequence, "plain") for sequence in SEQUENCES]
BOTH += [
    (sequence, configuration)
    for sequence in ("a life", "never started", "running, forced")
    for configuration in list(CONFIGURATIONS)[1:]
]


@pytest.mark.parametrize(("sequence", "configuration"), BOTH)
def test_both_do_and_leave_the_same(tmp_path: Path, sequence: str, configuration: str) -> None:
    seen = []
    for name, program in (("front", (str(FRONT),)), ("python", PYRUN_OCI_PYTHON)):
        runtime = OciRuntime(tmp_path / name, program)
        runtime.configure(*SLEEP, **CONFIGURATIONS[configuration])
        runtime.create()
        seen.append(play(runtime, SEQUENCES[sequence]))
        runtime.ok("delete", "--force", "box")
        assert runtime.left() == []
    assert seen[0] == seen[1]


# ---- what is plain, and what is not --------------------------------------------------------------------------------------


@pytest.fixture
def alone(tmp_path: Path, runtime: OciRuntime) -> OciRuntime:
    """*runtime*, with a front that has nobody to hand over to but a program that says so."""
    return with_witness(tmp_path, runtime, FRONT)


def with_witness(directory: Path, runtime: OciRuntime, front: Path) -> OciRuntime:
    place = directory / "alone"
    place.mkdir()
    shutil.copy(front, place / "pyrun-oci")
    witness = place / "pyrun-oci-python"
    witness.write_text(f'#!/bin/sh\nfor word; do echo "$word"; done\nexit {HANDED_OVER}\n')
    witness.chmod(0o755)
    made = OciRuntime.__new__(OciRuntime)
    made.__dict__ = {**runtime.__dict__, "program": (str(place / "pyrun-oci"),)}
    return made


def test_a_plain_container_needs_no_interpreter(runtime: OciRuntime, alone: OciRuntime) -> None:
    runtime.configure("/bin/sh", "-c", "trap 'echo heard' TERM USR1; echo ready; while :; do sleep 0.01; done")
    runtime.create()
    alone.ok("start", "box")
    assert runtime.status() == "running"
    wait_until(lambda: "ready" in runtime.output())
    for count, words in enumerate([(), ("SIGTERM",), ("TERM",), ("15",), ("USR1",), ("10",)]):
        alone.ok("kill", "box", *words)
        wait_until(lambda count=count: runtime.output().count("heard") > count)  # type: ignore[misc]
    alone.ok("--systemd-cgroup", "--log", "/nowhere/log", "--log-format=json", "--debug", "kill", "box", "KILL")
    runtime.wait_stopped()
    alone.ok("delete", "box")
    assert runtime.left() == []


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("manager", ["cgroupfs", "disabled"])
def test_a_forced_delete_of_one_that_lives_needs_none(
    runtime: OciRuntime, alone: OciRuntime, manager: str, started: bool
) -> None:
    runtime.configure("/bin/sh", "-c", "sleep 60 & sleep 60")
    runtime.create("box", "--cgroup-manager", manager)
    pid = runtime.state()["pid"]
    if started:
        alone.ok("start", "box")
    alone.ok("delete", "--force", "box")
    assert not os.path.exists(f"/proc/{pid}/exe") or not os.path.exists(f"/proc/{pid}/root/bin")
    assert runtime.left() == []


ODD: list[Words] = [
    (),
    ("--version",),
    ("--help",),
    ("state", "box"),
    ("list",),
    ("create", "box"),
    ("start",),
    ("start", "none"),
    ("start", "box", "more"),
    ("start", "--help", "box"),
    ("start", "--", "box"),
    ("start", "--exec-error", "2", "box"),
    ("start", "--debug=false", "box"),
    ("start", "--cgroup-manager", "x", "box"),
    ("start", "--log-format=x", "box"),
    ("start", "box", "--log"),
    ("start", "--root", "", "box"),
    ("start", "--root", "/tmp/../tmp", "box"),
    ("start", "--rooted", "x", "box"),
    ("start", ""),
    ("start", "."),
    ("start", ".."),
    ("start", "../state/box"),
    ("start", "box/"),
    ("start", "./box"),
    ("start", "b\nox"),
    ("start", "é"),
    ("start", "x" * 256),
    ("start", "x" * 100_000),
    ("start", *["--debug"] * 100, "box"),
    ("kill", "--all", "box"),
    ("kill", "box", "0"),
    ("kill", "box", "65"),
    ("kill", "box", "0015"),
    ("kill", "box", "99999999999999999999999"),
    ("kill", "box", "term"),
    ("kill", "box", ""),
    ("kill", "box", "15 "),
    ("kill", "box", "SIGRTMIN"),
    ("kill", "box", "SIGSIGTERM"),
    ("kill", "box", "TERM", "more"),
    ("delete", "--force", "none"),
    ("delete", "--force=true", "box"),
    ("--force", "delete", "box"),
]


def test_everything_else_is_handed_over_as_it_came(runtime: OciRuntime, alone: OciRuntime) -> None:
    runtime.configure(*SLEEP)
    runtime.create()
    before = sorted(os.listdir(runtime.root / "box"))
    for words in ODD:
        done = alone.call(*words)
        assert done.status == HANDED_OVER, words
        assert done.out == "".join(f"{word}\n" for word in ("--root", runtime.root, *words)), words
    assert sorted(os.listdir(runtime.root / "box")) == before
    assert runtime.status() == "created"
    runtime.ok("start", "box")
    for words in (("start", "box"), ("delete", "box")):
        assert alone.call(*words).status == HANDED_OVER, words
    assert runtime.status() == "running"


def test_a_notify_socket_is_for_python(runtime: OciRuntime, alone: OciRuntime) -> None:
    runtime.configure(*SLEEP)
    runtime.create()
    done = alone.call("start", "box", env={**os.environ, "NOTIFY_SOCKET": "/run/none"})
    assert done.status == HANDED_OVER
    assert runtime.status() == "created"


@pytest.mark.parametrize(
    ("configuration", "plain"),
    [
        (hooks("createRuntime", "prestart", "createContainer"), {"start", "kill", "delete"}),
        (hooks("startContainer"), {"kill", "delete"}),
        (hooks("poststart"), {"kill", "delete"}),
        (hooks("poststop"), {"start", "kill"}),
        (CONFIGURATIONS["no pid namespace"], {"start", "delete"}),
    ],
)
def test_hooks_and_a_shared_pid_namespace_are_for_python(
    runtime: OciRuntime, alone: OciRuntime, configuration: dict[str, Any], plain: set[str]
) -> None:
    runtime.configure(*SLEEP, **configuration)
    runtime.create()
    for words in (("start", "box"), ("kill", "box", "KILL"), ("delete", "--force", "box")):
        done = alone.call(*words)
        assert (done.status == 0) == (words[0] in plain), words
        if done.status:
            assert done.status == HANDED_OVER
            runtime.ok(*words)
        if words[0] == "kill":
            runtime.wait_stopped()
    assert runtime.left() == []


def test_why_a_program_did_not_start_is_handed_over(runtime: OciRuntime, alone: OciRuntime) -> None:
    runtime.configure(*SLEEP)
    runtime.create()
    (runtime.bundle / "rootfs/bin/busybox").unlink()
    done = alone.call("--debug", "start", "box")
    assert done.out.splitlines() == ["--root", str(runtime.root), "--debug", "start", "--exec-error=2", "box"]
    assert "exec '/bin/sleep': No such file or directory" in runtime.call("start", "--exec-error=2", "box").error


def test_what_is_in_the_way_of_a_delete_is_for_python(runtime: OciRuntime, alone: OciRuntime) -> None:
    """A file that nobody knows, a group below the container's; then nothing has been removed of what names the container."""
    runtime.configure(*SLEEP)
    runtime.create()
    runtime.ok("kill", "box", "KILL")
    runtime.wait_stopped()
    extra = runtime.root / "box/extra"
    extra.touch()
    assert alone.call("delete", "box").status == HANDED_OVER
    extra.unlink()
    below = Path(f"{cgroup2_root()}/{runtime.cgroup}/box/below")
    below.mkdir()
    assert alone.call("delete", "box").status == HANDED_OVER
    assert below.exists()
    assert runtime.status() == "stopped"
    runtime.ok("delete", "box")
    assert runtime.left() == []


def test_groups_of_others_stay(runtime: OciRuntime, alone: OciRuntime) -> None:
    other = Path(f"{cgroup2_root()}/{runtime.cgroup}/other")
    runtime.configure(*SLEEP)
    runtime.create()
    other.mkdir()
    alone.ok("delete", "--force", "box")
    assert runtime.left() == [str(other.parent)]
    assert [path.name for path in other.parent.iterdir() if path.is_dir()] == ["other"]
    other.rmdir()
    other.parent.rmdir()


def test_another_process_of_the_same_number_is_not_signalled(runtime: OciRuntime, alone: OciRuntime) -> None:
    runtime.configure(*SLEEP)
    runtime.create()
    record = runtime.root / "box/front"
    version, _verbs, pid, ticks = record.read_text().split("\n")[0].split(" ")
    record.write_text(record.read_text().replace(f" {ticks}\n", f" {int(ticks) - 1}\n"))
    for words in (("kill", "box", "KILL"), ("start", "box")):
        assert alone.call(*words).status == HANDED_OVER
    assert (version, int(pid), runtime.status()) == ("1", runtime.state()["pid"], "created")


def test_a_missing_other_half_is_told(tmp_path: Path) -> None:
    shutil.copy(FRONT, tmp_path / "pyrun-oci")
    done = subprocess.run([tmp_path / "pyrun-oci", "list"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "pyrun-oci: pyrun-oci-python, which belongs beside it, cannot be executed\n"


# ---- damaged records ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sanitized") / "pyrun-oci"
    flags = ["-std=gnu17", "-D_GNU_SOURCE", "-DPYRUN_HOSTED", "-g", "-O1", f"-I{ROOT}/csrc", "-Werror"]
    flags += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-static-libasan", "-static-libubsan"]
    sources = [ROOT / "csrc/oci_front.c", ROOT / "tests/c/sanitizer_options.c"]
    subprocess.run(["gcc", *flags, "-o", out, *sources], check=True)
    return out


def test_a_damaged_record_is_for_python(tmp_path: Path, runtime: OciRuntime, sanitized: Path) -> None:
    """Tried with a signal that changes nothing: what a damaged path would make `delete` remove may be there."""
    runtime.configure(*SLEEP)
    runtime.create()
    alone = with_witness(tmp_path, runtime, sanitized)
    record = runtime.root / "box/front"
    good = record.read_bytes()
    alone.ok("kill", "box", "CONT")
    random = Random(4)
    damaged = [b"", b"\n", b"1", b"1 ", b"1 k", good[:-1], good + b"x", good + b"\n", b"2" + good[1:], good * 1000]
    damaged += [b"1 k 99999999999 1\n\n\n", b"1 k 1 99999999999999999999999\n\n\n", b"1 k -1 5\n\n\n", b"1 k 0 0\n\n\n"]
    damaged += [b"1 k 1 1\n/a\n\n", b"1 k 1 1\n\nb\n", b"1 k 1 1\n/a\n../b\n", b"\0" * 50, b" " * 9000]
    for data in damaged:
        record.write_bytes(data)
        assert alone.call("kill", "box", "CONT").status == HANDED_OVER, data
    for _ in range(100):
        data = bytearray(good)
        for _ in range(random.randint(1, 4)):
            data[random.randrange(len(data))] = random.choice(b"\0\n 019kz/.\xff")
        record.write_bytes(data)
        done = alone.call("kill", "box", "CONT")
        assert done.status in (0, HANDED_OVER), (data, done)
        assert done.err == "", (data, done)
    record.write_bytes(good)
    alone.ok("start", "box")
    alone.ok("delete", "--force", "box")
    assert runtime.left() == []


# ---- killed at any moment, and many at once ----------------------------------------------------------------------------

LIBC = ctypes.CDLL(None, use_errno=True)
PTRACE_TRACEME, PTRACE_SYSCALL = 0, 24


def die_at(command: list[str], stop: int) -> bool:
    """Run *command* up to its *stop*th entry into a system call or return from one, and kill it there. False: it ended before."""

    def be_traced() -> None:
        LIBC.ptrace(PTRACE_TRACEME, 0, None, None)

    with subprocess.Popen(command, preexec_fn=be_traced) as process:  # noqa: PLW1509 (no threads here)
        for _ in range(stop):
            _, status = os.waitpid(process.pid, 0)
            if not os.WIFSTOPPED(status):
                process.returncode = os.waitstatus_to_exitcode(status)
                return False
            assert LIBC.ptrace(PTRACE_SYSCALL, process.pid, None, None) == 0
        os.waitpid(process.pid, 0)
        process.send_signal(signal.SIGKILL)
        return process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("words", [("start", "box"), ("delete", "--force", "box")])
def test_killed_at_any_moment_it_leaves_what_can_be_deleted(
    runtime: OciRuntime, alone: OciRuntime, words: Words
) -> None:
    runtime.configure(*SLEEP)
    stop, went_on = 1, True
    while went_on:
        runtime.create()
        went_on = die_at(alone.command(*words), stop)
        runtime.ok("list")
        runtime.ok("delete", "--force", "box")
        assert runtime.left() == [], stop
        stop += 3
    assert stop > 30


def test_fifty_at_once_of_both(tmp_path: Path, runtime: OciRuntime) -> None:
    """One lock: of 25 fronts and 25 interpreters one starts the container, and one deletes it."""
    runtime.configure(*SLEEP)
    runtime.create()
    python = OciRuntime.__new__(OciRuntime)
    python.__dict__ = {**runtime.__dict__, "program": PYRUN_OCI_PYTHON}
    for words, losers in ((("start", "box"), "must be created"), (("delete", "--force", "box"), "")):
        ends = run_at_once(tmp_path, [which.command(*words) for which in (runtime, python)] * 25)
        assert len([said for status, said in ends if status == 0]) == (1 if losers else 50), ends
        assert all(losers in said for status, said in ends if status), ends
    assert runtime.left() == []


def run_at_once(directory: Path, commands: list[list[str]]) -> list[tuple[int, str]]:
    running = []
    for number, command in enumerate(commands):
        with (directory / f"said-{number}").open("wb") as said:
            running.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said))
    return [
        (process.wait(patience(120)), (directory / f"said-{number}").read_text())
        for number, process in enumerate(running)
    ]


def test_a_record_is_written_last_and_says_no_more_than_the_state(runtime: OciRuntime) -> None:
    runtime.configure(*SLEEP)
    runtime.create()
    state = json.loads((runtime.root / "box/state.json").read_text())
    first, root, group, end = (runtime.root / "box/front").read_text().split("\n")
    assert first == f"1 skd {state['pid']} {state['start_ticks']}"
    assert (root, group, end) == (state["cgroup_root"], state["cgroup"], "")
    times = {path.name: path.stat().st_mtime_ns for path in (runtime.root / "box").iterdir()}
    assert times["front"] >= times["state.json"]
