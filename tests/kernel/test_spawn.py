"""pyrun_spawn(): from a busy, big, oddly furnished parent to a child that has just what it was given."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fixtures.child import at_gate, run, shell
from fixtures.machine import cgroup2_root, patience
from pyrun._core import lib
from pyrun.errors import ExecError, KernelError, PyrunError, StateError, StepError
from pyrun.kernel.fd import Fd
from pyrun.kernel.spawn import create, inject_fault, spawn
from pyrun.kernel.step import (
    Duplicate,
    Exec,
    FindProgram,
    Gate,
    JoinNamespaces,
    MakeDirectory,
    SetDomainname,
    SetHostname,
    SetOomScoreAdj,
    SetUmask,
    Step,
    WriteFile,
)

pytestmark = pytest.mark.root

TRUE = Exec(("true",), program="/bin/true")
SLEEP = Exec(("sleep", "60"), program="/bin/sleep")
MAP = "0 100000 65536\n"
KINDS = {"mount": "mnt", "uts": "uts", "ipc": "ipc", "network": "net", "pid": "pid", "cgroup": "cgroup", "time": "time"}


def descriptors() -> set[int]:
    found = set()
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            fcntl.fcntl(fd, fcntl.F_GETFD)
            found.add(fd)
        except OSError:
            pass  # the listing's own
    return found


def open_descriptors() -> int:
    return len(descriptors())


def is_gone(pid: int, limit_s: float = 5.0) -> bool:
    deadline = time.monotonic() + patience(limit_s)
    while os.path.exists(f"/proc/{pid}") and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


# ---- namespaces ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_one_new_namespace_and_no_other(kind: str) -> None:
    with at_gate(namespaces=(kind,)) as seen:
        other = [name for name, file in KINDS.items() if seen.namespace(file) != os.readlink(f"/proc/self/ns/{file}")]
    assert other == [kind]


def test_all_namespaces_together_with_user() -> None:
    with at_gate(namespaces=(*KINDS, "user"), uid_map=MAP, gid_map=MAP) as seen:
        for file in (*KINDS.values(), "user"):
            assert seen.namespace(file) != os.readlink(f"/proc/self/ns/{file}"), file
        assert (seen.proc / "uid_map").read_text().split() == MAP.split()
        assert (seen.proc / "gid_map").read_text().split() == MAP.split()
        assert seen.status("Uid").split() == ["100000"] * 4
        assert seen.status("CapEff").strip("0") == "1ffffffffff"


def test_program_in_a_user_namespace_is_its_root() -> None:
    output = shell(
        "id -u; id -g; cat /proc/self/uid_map; hostname inside; hostname",
        namespaces=("user", "uts"),
        uid_map=MAP,
        gid_map=MAP,
    )
    assert output.split() == ["0", "0", "0", "100000", "65536", "inside"]


def test_maps_of_several_lines() -> None:
    lines = "0 100000 10\n10 200000 20\n"
    with at_gate(namespaces=("user",), uid_map=lines, gid_map=lines) as seen:
        assert (seen.proc / "uid_map").read_text().split() == lines.split()


@pytest.mark.parametrize("text", ["nonsense\n", "0 0\n", ""])
def test_a_bad_map_is_an_error_and_leaves_no_child(text: str) -> None:
    before = open_descriptors()
    with pytest.raises(KernelError) as caught:
        create((TRUE,), namespaces=("user",), uid_map=text, gid_map=MAP)
    assert caught.value.call == "write(2) of an id map"
    assert caught.value.errno == errno.EINVAL
    assert open_descriptors() == before


def test_a_map_without_root_is_an_error_and_leaves_no_child() -> None:
    before = open_descriptors()
    with pytest.raises(KernelError, match=r"setresuid\(2\) to root of the new user namespace"):
        create((TRUE,), namespaces=("user",), uid_map="5 100000 10\n", gid_map=MAP)
    assert open_descriptors() == before


@pytest.mark.parametrize("how", [{}, {"uid_map": MAP}, {"gid_map": MAP}])
def test_a_user_namespace_needs_both_maps(how: dict[str, str]) -> None:
    with pytest.raises(PyrunError, match="uid_map and gid_map"):
        create((TRUE,), namespaces=("user",), **how)


def test_maps_without_a_user_namespace_are_refused() -> None:
    with pytest.raises(PyrunError, match="uid_map and gid_map"):
        create((TRUE,), uid_map=MAP, gid_map=MAP)


def test_pid_one_of_a_new_pid_namespace() -> None:
    assert shell("echo $$", namespaces=("pid",)) == "1\n"


def test_born_in_a_pid_namespace_that_exists() -> None:
    with at_gate(namespaces=("pid",)) as first:
        with at_gate(pid_namespace=first.created.process) as second:
            assert second.namespace("pid") == first.namespace("pid")
            assert second.status("NSpid").split() == [str(second.pid), "2"]
        # This thread's next child is born here again.
        with at_gate() as third:
            assert third.namespace("pid") == os.readlink("/proc/self/ns/pid")
        with Fd.open(f"/proc/{first.pid}/ns/pid") as namespace, at_gate(pid_namespace=namespace) as fourth:
            assert fourth.namespace("pid") == first.namespace("pid")


def test_not_a_pid_namespace_is_an_error_of_setns() -> None:
    with Fd.open("/proc/self/ns/uts") as uts, pytest.raises(KernelError) as caught:
        create((TRUE,), pid_namespace=uts)
    assert (caught.value.call, caught.value.errno) == ("setns(2)", errno.EINVAL)


def test_joining_namespaces_of_another_process() -> None:
    with at_gate(SetHostname("pod"), namespaces=("uts", "ipc", "network", "time")) as holder:
        kinds = ("uts", "ipc", "network", "time")
        with at_gate(JoinNamespaces("holder", kinds), fds={"holder": holder.created.process}) as seen:
            for file in ("uts", "ipc", "net", "time"):
                assert seen.namespace(file) == holder.namespace(file)
            assert seen.namespace("mnt") == os.readlink("/proc/self/ns/mnt")
        with Fd.open(f"/proc/{holder.pid}/ns/uts") as uts:
            output = shell("hostname", JoinNamespaces("uts", ("uts",)), fds={"uts": uts})
            assert output == "pod\n"


# ---- cgroup --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def cgroup() -> Iterator[Path]:
    root = cgroup2_root()
    if root is None:
        pytest.skip("no cgroup v2 here")
    path = root / f"pyrun-test-{os.getpid()}"
    path.mkdir()
    try:
        yield path
    finally:
        deadline = time.monotonic() + patience(5)
        while "populated 1" in (path / "cgroup.events").read_text() and time.monotonic() < deadline:
            time.sleep(0.005)
        path.rmdir()


def test_born_in_its_cgroup(cgroup: Path) -> None:
    with Fd.open(str(cgroup), os.O_RDONLY | os.O_DIRECTORY) as directory:
        with at_gate(cgroup=directory, namespaces=("pid", "mount")) as seen:
            lines = (seen.proc / "cgroup").read_text().splitlines()
            assert f"0::/{cgroup.name}" in lines
            assert (cgroup / "cgroup.procs").read_text().split() == [str(seen.pid)]
        with at_gate(cgroup=directory, namespaces=("user",), uid_map=MAP, gid_map=MAP) as seen:
            assert (cgroup / "cgroup.procs").read_text().split() == [str(seen.pid)]


def test_cgroup_namespace_is_rooted_in_the_own_cgroup(cgroup: Path) -> None:
    with Fd.open(str(cgroup), os.O_RDONLY | os.O_DIRECTORY) as directory:
        output = shell("cat /proc/self/cgroup", cgroup=directory, namespaces=("cgroup",))
    assert "0::/\n" in output


@pytest.mark.parametrize("path", ["/tmp", "/dev/null"])
def test_no_cgroup_is_an_error_of_clone3(path: str) -> None:
    before = open_descriptors()
    with Fd.open(path) as wrong, pytest.raises(KernelError) as caught:
        spawn((TRUE,), cgroup=wrong)
    assert caught.value.call == "clone3(2)"
    assert caught.value.errno in (errno.EBADF, errno.EINVAL)
    assert open_descriptors() == before


# ---- a big and busy parent -------------------------------------------------------------------------------------------------


def test_from_a_parent_of_500_megabytes() -> None:
    """That it is quick is what bench/ measures. Here: it works while the memory is really there, and no page table is copied."""
    ballast = bytearray(500 * 2**20)
    ballast[:: resource.getpagesize()] = b"x" * len(range(0, len(ballast), resource.getpagesize()))
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        with spawn((TRUE,)) as process:
            assert process.wait_status().code == 0
    # After a fork-like clone each page that the parent writes to is a fault: for all of them, 128,000.
    ballast[:: resource.getpagesize()] = b"y" * len(range(0, len(ballast), resource.getpagesize()))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults < 20_000
    assert ballast[0] == ballast[-resource.getpagesize()] == ord("y")


def test_eight_threads_spawn_while_others_allocate() -> None:
    stop = threading.Event()
    failures: list[BaseException] = []

    def allocate() -> None:
        while not stop.is_set():
            [bytearray(n) for n in range(1, 4000, 37)]

    def spawn_many(number: int) -> None:
        try:
            for i in range(25):
                status, output = run(Exec(("echo", f"{number}.{i}"), program="/bin/echo"), namespaces=("uts", "pid"))
                assert (status.code, output) == (0, f"{number}.{i}\n")
        except BaseException as error:
            failures.append(error)

    allocators = [threading.Thread(target=allocate) for _ in range(2)]
    spawners = [threading.Thread(target=spawn_many, args=(n,)) for n in range(8)]
    before = open_descriptors()
    for thread in (*allocators, *spawners):
        thread.start()
    for thread in spawners:
        thread.join()
    stop.set()
    for thread in allocators:
        thread.join()
    assert not failures
    assert open_descriptors() == before


def test_threads_join_different_pid_namespaces_at_once() -> None:
    failures: list[BaseException] = []

    def spawn_inside() -> None:
        try:
            with at_gate(namespaces=("pid",)) as holder:
                for _ in range(10):
                    with at_gate(pid_namespace=holder.created.process) as seen:
                        assert seen.namespace("pid") == holder.namespace("pid")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=spawn_inside) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_signals_rain_during_the_spawn() -> None:
    """Python's handlers run in the parent, never in the child, which shares its memory until the exec."""
    seen: set[int] = set()
    old = signal.signal(signal.SIGALRM, lambda *_: seen.add(os.getpid()))
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    try:
        for _ in range(100):
            with spawn((TRUE,), namespaces=("uts",)) as process:
                assert process.wait_status().code == 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert seen == {os.getpid()}


def test_signals_rain_while_maps_are_written() -> None:
    old = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    try:
        for _ in range(30):
            with spawn((TRUE,), namespaces=("user",), uid_map=MAP, gid_map=MAP) as process:
                assert process.wait_status().code == 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


@pytest.mark.parametrize("plan", [(TRUE,), (Gate(), TRUE), (SLEEP,)], ids=["short", "gated", "long"])
def test_an_interrupt_right_after_the_clone_leaves_no_child(
    plan: tuple[Step, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signals are blocked around the clone, so Ctrl-C comes at once after it: there is a child, and nobody has it yet."""

    class Interrupted:
        def __getattr__(self, name: str) -> object:
            return getattr(lib, name)

        def pyrun_spawn(self, *arguments: object) -> None:
            lib.pyrun_spawn(*arguments)
            raise KeyboardInterrupt

    before = open_descriptors()
    monkeypatch.setattr("pyrun.linux.process.lib", Interrupted())
    with pytest.raises(KeyboardInterrupt):
        spawn(plan)
    assert open_descriptors() == before
    assert not Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text()


@pytest.mark.parametrize("failing", [1, 2])
def test_a_pipe_that_cannot_be_made_leaves_no_other(failing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def pipe2(flags: int) -> tuple[int, int]:
        made.append(flags)
        if len(made) == failing:
            raise OSError(errno.ENFILE, "no")
        return real(flags)

    real = os.pipe2
    before = open_descriptors()
    monkeypatch.setattr(os, "pipe2", pipe2)
    with pytest.raises(KernelError, match="pipe2"):
        create((Gate(), TRUE))
    assert open_descriptors() == before


def test_other_threads_run_while_one_waits_for_a_child() -> None:
    """create() returns before the gate, and what blocks after it blocks without the GIL."""
    counted = 0
    with at_gate() as seen:
        waiter = threading.Thread(target=seen.created.wait_started)
        waiter.start()
        for _ in range(1000):
            counted += 1
        seen.created.open_gate()
        waiter.join()
        seen.created.process.end()
    with spawn((Exec(("sleep", "0.3"), program="/bin/sleep"),)) as process:
        ticks: list[float] = []
        thread = threading.Thread(target=process.wait)
        thread.start()
        while thread.is_alive():
            ticks.append(time.monotonic())
            time.sleep(0.01)
        thread.join()
    assert len(ticks) > 5
    assert counted == 1000


# ---- what the child gets ---------------------------------------------------------------------------------------------------


def test_program_sees_the_descriptors_it_was_given_and_no_other() -> None:
    extra = [os.open("/dev/null", os.O_RDONLY) for _ in range(5)]
    for fd in extra[::2]:
        os.set_inheritable(fd, True)  # not even these: nobody gave them
    try:
        listing = Exec(("ls", "/proc/self/fd"), program="/bin/ls")
        status, output = run(Duplicate("log", 9), listing, fds={"log": extra[0], "unused": extra[1]})
    finally:
        for fd in extra:
            os.close(fd)
    assert status.code == 0
    assert output.split() == ["0", "1", "2", "3", "9"]  # 3 is the directory that ls reads


def test_descriptors_may_trade_their_numbers() -> None:
    """Whatever numbers the launcher happens to have: those of the sources, and those of its own pipes, may be wanted."""
    reads, writes = os.pipe2(os.O_CLOEXEC)
    try:
        files = [os.memfd_create(f"file-{i}") for i in range(3)]
        given = {f"file-{i}": fd for i, fd in enumerate(files)}
        wanted = dict(zip(given, files[1:] + files[:1]))
        wanted |= {"pipe": 3}
        plan = [Duplicate(name, number) for name, number in wanted.items()]
        names = "; ".join(f"readlink /proc/self/fd/{number}" for number in files)
        output = shell(names, *plan, fds={**given, "pipe": writes})
        assert output.split("\n")[:3] == [f"/memfd:file-{i} (deleted)" for i in (2, 0, 1)]
    finally:
        for fd in (*files, reads, writes):
            os.close(fd)


@pytest.mark.parametrize("number", range(3, 40))
def test_a_failure_is_told_whatever_numbers_the_program_wants(number: int) -> None:
    """One of these numbers is the report pipe's."""
    with Fd.open("/dev/null") as null, pytest.raises(StepError) as caught:
        spawn((Duplicate("null", number), WriteFile("/nonexistent", b""), TRUE), fds={"null": null})
    assert (caught.value.index, caught.value.errno) == (1, errno.ENOENT)


def test_sigpipe_and_all_other_signals_are_default_and_none_is_blocked() -> None:
    assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN  # Python's way
    old = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR2})
    try:
        status, output = run(Exec(("cat", "/proc/self/status"), program="/bin/cat"))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGUSR1, old)
    assert status.code == 0
    fields = dict(line.split(":\t") for line in output.splitlines() if line.startswith("Sig"))
    assert (fields["SigBlk"], fields["SigIgn"], fields["SigCgt"]) == ("0" * 16,) * 3


def test_the_mask_of_the_caller_is_as_it_was() -> None:
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        for how in ({}, {"namespaces": ("pid",)}, {"namespaces": ("user",), "uid_map": MAP, "gid_map": MAP}):
            with spawn((TRUE,), **how) as process:
                process.wait()
            assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == old | {signal.SIGUSR1}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def test_umask_is_the_launchers_and_files_of_the_plan_do_not_know_it(tmp_path: Path) -> None:
    old = os.umask(0o037)
    try:
        made = MakeDirectory(str(tmp_path / "made"), mode=0o777)
        assert shell("umask", made) == "0037\n"
        assert (tmp_path / "made").stat().st_mode & 0o7777 == 0o777
        assert shell("umask", SetUmask(0o072)) == "0072\n"
    finally:
        os.umask(old)


def test_environment_and_arguments_arrive_as_they_are() -> None:
    words = ("a b", "", "\udcff\udcfe", "ü", "x" * 5000, "$(id)")
    status, output = run(Exec(("printf", "%s|", *words), program="/usr/bin/printf"))
    assert (status.code, output) == (0, "".join([f"{word}|" for word in words]))
    status, output = run(Exec(("env", "-0"), ("A=1", "B=", "C=\udcff", "A=2"), program="/usr/bin/env"))
    assert (status.code, output) == (0, "A=1\0B=\0C=\udcff\0A=2\0")


def test_a_huge_argument_list_is_told_as_too_big() -> None:
    with pytest.raises(ExecError) as caught:
        spawn((Exec(("true", *["x" * 100_000] * 100), program="/bin/true"),))
    assert caught.value.errno == errno.E2BIG
    status, _ = run(Exec(("true", *["x" * 100] * 5_000), ("K=" + "v" * 100_000,), program="/bin/true"))
    assert status.code == 0


def test_nul_is_refused_before_there_is_a_child() -> None:
    before = open_descriptors()
    with pytest.raises(PyrunError, match="NUL"):
        spawn((Exec(("true", "a\0b"), program="/bin/true"),))
    assert open_descriptors() == before


def test_a_descriptor_that_is_closed_is_named_as_the_fault() -> None:
    with pytest.raises(KernelError, match="descriptor for the plan") as caught:
        spawn((Duplicate("gone", 1), TRUE), fds={"gone": 999})
    assert caught.value.errno == errno.EBADF


def script(body: str, *arguments: str, closed: str = "") -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own, started by a shell that closes some of its descriptors."""
    command = f'exec "$0" "$@" {closed}'
    code = textwrap.dedent(body)
    return subprocess.run(
        ["/bin/sh", "-c", command, sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parents[1])])},
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=False,
    )


@pytest.mark.parametrize("closed", ["<&-", "<&- >&-", "<&- >&- 2>&-", "2>&-", ">&-"])
def test_a_launcher_without_standard_descriptors(closed: str, tmp_path: Path) -> None:
    """Numbers 0 to 2 are then free, and what the launcher opens lands there."""
    body = """
        import os, sys
        for fd in range(3):
            try:
                os.fstat(fd)
            except OSError:
                pass
        from pyrun.kernel.spawn import create, spawn
        from pyrun.kernel.step import Exec, Gate, NewMount, Attach, SetHostname
        out = sys.argv[1]
        plan = (SetHostname("x"), NewMount("tmpfs", "t"), Attach("t", "/mnt"), Gate(),
                Exec(("sh", "-c", f"ls -l /proc/self/fd >{out}"), program="/bin/sh"))
        with create(plan, namespaces=("uts", "mount")) as created:
            created.wait_created()
            with created.start() as process:
                status = process.wait()
        assert status.code == 0, status
        try:
            spawn((Exec(("x",), program="/nonexistent"),))
        except Exception as error:
            open(out, "a").write(type(error).__name__)
    """
    out = tmp_path / "out"
    done = script(body, str(out), closed=closed)
    assert done.returncode == 0, done.stderr
    lines = out.read_text().splitlines()
    assert lines.pop() == "ExecError"
    targets = {line.split()[-3]: line.split()[-1] for line in lines[1:]}
    assert set(targets) == {"0", "1", "2", "3"}
    assert targets["1"] == str(out)
    assert not [target for target in targets.values() if "memfd" in target]


# ---- what becomes of it ----------------------------------------------------------------------------------------------------


def test_a_failing_step_is_told_with_index_and_errno_and_leaves_nothing() -> None:
    before = open_descriptors()
    with pytest.raises(StepError) as caught:
        spawn((SetHostname("x"), WriteFile("/proc/nonexistent", b"x"), TRUE), namespaces=("uts", "time"))
    assert caught.value.errno == errno.ENOENT
    assert caught.value.index == 2  # behind the step that makes the time namespace
    assert isinstance(caught.value.step, WriteFile)
    assert "write /proc/nonexistent (1 bytes): No such file or directory (ENOENT)" in str(caught.value)
    assert open_descriptors() == before


def test_an_optional_step_that_fails_is_a_warning() -> None:
    with create((SetOomScoreAdj(5000), TRUE)) as created, created.start() as process:
        assert process.wait_status().code == 0
    assert [(type(w.step), w.errno, w.index) for w in created.warnings] == [(SetOomScoreAdj, errno.EINVAL, 0)]


def test_program_that_is_missing_or_cannot_be_executed(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("x")
    for steps, code in (
        ((Exec(("x",), program="/nonexistent"),), 127),
        ((FindProgram("no-such", "/bin:/usr/bin"), TRUE), 127),
        ((Exec(("x",), program=str(plain)),), 126),
        ((FindProgram(str(plain), "/bin"), TRUE), 126),
        ((FindProgram("plain", str(tmp_path)), TRUE), 126),
        ((FindProgram("/tmp", "/bin"), TRUE), 126),
        ((FindProgram("", "/bin"), TRUE), 127),
        ((Exec(("x",), program="/etc/passwd/x"),), 127),
    ):
        with pytest.raises(ExecError) as caught:
            spawn(steps)
        assert caught.value.exit_code == code, caught.value


def test_stamps_are_monotonic_and_within_the_call() -> None:
    begin = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    plan = (SetHostname("a"), SetDomainname("b"), Gate(), TRUE)
    with create(plan, namespaces=("uts",)) as created:
        created.wait_created()
        waited = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        created.start().end()
    end = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    flat = [stamp for pair in created.stamps for stamp in pair]
    assert flat.pop() == 0, "the exec did not come back"
    assert flat == sorted(flat)
    assert begin < flat[0]
    assert flat[-1] < end
    assert created.stamps[2][0] < waited < created.stamps[2][1], "the gate was waited at"


def test_nothing_runs_past_the_gate_until_it_is_opened(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    plan = (Gate(), WriteFile(str(mark), b"x", create_mode=0o600), TRUE)
    with create(plan) as created:
        created.wait_created()
        created.wait_created()  # once there, it stays there
        assert not select.select([created.process], [], [], 0.1)[0]
        assert not mark.exists()
        with created.start() as process:
            assert process.wait_status().code == 0
        assert mark.exists()


def test_gate_may_be_opened_before_the_child_is_there() -> None:
    with create((Gate(), TRUE)) as created:
        created.open_gate()
        with created.wait_started() as process:
            assert process.wait_status().code == 0
    with pytest.raises(StateError):
        created.open_gate()


def test_abandoned_at_the_gate(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    before = open_descriptors()
    created = create((Gate(), WriteFile(str(mark), b"x", create_mode=0o600), TRUE))
    created.wait_created()
    pid = created.process.pid
    created.abandon()
    created.abandon()
    assert not os.path.exists(f"/proc/{pid}")
    assert not mark.exists()
    assert open_descriptors() == before


def test_abandoned_before_it_got_anywhere() -> None:
    before = open_descriptors()
    for _ in range(20):
        create((Gate(), TRUE), namespaces=("mount", "uts")).abandon()
    assert open_descriptors() == before


def test_killed_at_the_gate() -> None:
    with create((SetHostname("x"), Gate(), TRUE), namespaces=("uts",)) as created:
        created.wait_created()
        created.process.kill()
        with pytest.raises(StepError, match="signal SIGKILL before its program ran") as caught:
            created.start()
    assert isinstance(caught.value.step, Gate)
    assert caught.value.index == 1


def test_killed_on_the_way_to_the_gate() -> None:
    """At any moment, by somebody else: an error that says so, never a hang, never a success."""
    for delay in range(25):
        created = create((*[SetHostname("x")] * 50, Gate(), TRUE), namespaces=("uts", "mount", "ipc"))
        with created:
            time.sleep(delay * 0.0001)
            created.process.kill()
            with pytest.raises(StepError, match="signal SIGKILL"):
                created.start()


def test_launcher_is_killed_while_its_child_is_at_the_gate() -> None:
    body = """
        import os, signal, sys
        from pyrun.kernel.spawn import create
        from pyrun.kernel.step import Exec, Gate
        created = create((Gate(), Exec(("sleep", "60"), program="/bin/sleep")), namespaces=("mount",))
        created.wait_created()
        print(created.process.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = script(body)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert is_gone(int(done.stdout))


def test_a_plan_without_an_exec_ends_with_zero(tmp_path: Path) -> None:
    """Created, it does its steps; there is no program that could be spawned."""
    plan = (WriteFile(str(tmp_path / "x"), b"y", create_mode=0o600),)
    with create(plan) as created:
        assert created.process.wait_status().code == 0
    assert (tmp_path / "x").read_bytes() == b"y"
    for steps in (plan, ()):
        with pytest.raises(PyrunError, match="no Exec"):
            spawn(steps)


def test_an_ignored_sigchld_is_told_before_anything_is_done() -> None:
    """It outlives an exec, so a program may have it from whoever started it."""
    previous = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(StateError, match="SIGCHLD of this process is ignored"):
            spawn((TRUE,))
    finally:
        signal.signal(signal.SIGCHLD, previous)


def test_a_namespace_of_no_such_kind() -> None:
    with pytest.raises(PyrunError, match="'net' is not a kind of namespace: there are mount, "):
        spawn((TRUE,), namespaces=("net",))


def test_no_descriptor_left_is_an_error_of_its_call() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spawn((TRUE,)).end()  # the programs are open from now on
    before = open_descriptors()
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    worked = []
    for limit in range(3, highest + 8):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        try:
            with suppress(KernelError):
                spawn((TRUE,)).end()
                worked.append(limit)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert open_descriptors() == before
    assert worked
    assert worked[0] > 8


def test_injected_fault_fails_the_step() -> None:
    plan = (SetHostname("x"), SetDomainname("y"), Gate(), TRUE)
    for index in range(4):
        inject_fault(index, errno.ENOSPC)
        try:
            with pytest.raises((StepError, ExecError)) as caught:
                spawn(plan, namespaces=("uts",))
        finally:
            inject_fault(None)
        assert caught.value.errno == errno.ENOSPC
        if isinstance(caught.value, StepError):
            assert caught.value.index == index


def test_hundreds_leave_no_descriptor_and_no_zombie() -> None:
    before = open_descriptors()
    for i in range(150):
        if i % 3 == 0:
            with pytest.raises(ExecError):
                spawn((Exec(("x",), program="/nonexistent"),))
        elif i % 3 == 1:
            create((Gate(), TRUE)).abandon()
        else:
            with spawn((SLEEP,)):
                pass
    assert open_descriptors() == before
    assert not Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text()


def test_descriptors_are_close_on_exec_in_the_launcher() -> None:
    before = descriptors()
    with create((Gate(), TRUE)) as created:
        new = descriptors() - before
        assert len(new) == 4  # report, gate, plan, pidfd
        assert all([fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for fd in new])
        created.abandon()


def test_out_of_descriptors_is_an_error_and_no_leak() -> None:
    before = open_descriptors()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.open("/dev/null", os.O_RDONLY)
    os.close(probe)

    def attempt(limit: int) -> int:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        try:
            spawn((TRUE,)).end()
            return 0
        except OSError as error:
            return error.errno or 0
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    outcomes = []
    while 0 not in outcomes:
        outcomes.append(attempt(probe + len(outcomes)))
        assert open_descriptors() == before
    assert len(outcomes) > 3
    assert set(outcomes[:-1]) == {errno.EMFILE}


def test_proc_exe_of_a_waiting_child_cannot_be_written() -> None:
    """It leads to a sealed memfd: not to the host's interpreter, and not to anything that could be changed (CVE-2019-5736)."""
    with at_gate() as seen:
        assert os.readlink(seen.proc / "exe") == "/memfd:pyrun-stage (deleted)"
        with pytest.raises(OSError, match=r"Text file busy|Operation not permitted"):
            os.open(seen.proc / "exe", os.O_WRONLY)
        # not dumpable: its /proc files belong to root, whoever it runs as
        assert (seen.proc / "exe").lstat().st_uid == 0
