"""Steps that set what a process is and may, and what it runs: each performed and then looked at."""

from __future__ import annotations

import errno
import os
import pty
import resource
import select
import signal
import struct
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from fixtures.child import Seen, at_gate, run, shell
from fixtures.machine import patience
from pyrun._core import lib
from pyrun.errors import ExecError, StepError
from pyrun.kernel.fd import Fd
from pyrun.kernel.spawn import create, spawn
from pyrun.kernel.step import (
    Attach,
    ControllingTerminal,
    Duplicate,
    Exec,
    FindProgram,
    Gate,
    JoinKeyring,
    LimitBoundingSet,
    LoadFilter,
    LoopbackUp,
    MakeDirectory,
    NewMount,
    NewSession,
    NewTimeNamespace,
    NoNewPrivileges,
    OpenDirectory,
    OpenTree,
    ParentDeathSignal,
    PivotRoot,
    SetCapabilities,
    SetDomainname,
    SetHostname,
    SetOomScoreAdj,
    SetPropagation,
    SetRlimit,
    SetUser,
    Step,
    Unshare,
    WriteFile,
)

pytestmark = pytest.mark.root

TRUE = Exec(("true",), program="/bin/true")
NET_BIND_SERVICE, NET_RAW, KILL = 10, 13, 5
LAST_CAPABILITY = int(Path("/proc/sys/kernel/cap_last_cap").read_text())


def bits(*numbers: int) -> int:
    return sum([1 << number for number in numbers])


def failure(*steps: Step, **how: object) -> StepError:
    with pytest.raises(StepError) as caught, at_gate(*steps, **how):
        pass
    return caught.value


def wait_for(condition: object, limit_s: float = 5.0) -> None:
    deadline = time.monotonic() + patience(limit_s)
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.005)


# ---- names, network, time ----------------------------------------------------------------------------------------------------


def test_host_and_domain_name() -> None:
    names = (SetHostname("a-pod"), SetDomainname("example.org"))
    output = shell("cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname", *names, namespaces=("uts",))
    assert output.split() == ["a-pod", "example.org"]
    assert failure(SetHostname("x" * 65), namespaces=("uts",)).errno == errno.EINVAL


def test_unshare() -> None:
    with at_gate(Unshare(("uts", "ipc")), SetHostname("apart")) as seen:
        assert seen.namespace("uts") != os.readlink("/proc/self/ns/uts")
        assert seen.namespace("ipc") != os.readlink("/proc/self/ns/ipc")
        assert seen.namespace("net") == os.readlink("/proc/self/ns/net")
    assert os.uname().nodename != "apart"


def test_loopback_comes_up() -> None:
    with at_gate(LoopbackUp(), namespaces=("network",)) as seen:
        # The routing table of the namespace, as the process sees it; 127.0.0.1 is a local address once lo is up.
        assert "127.0.0.1" in (seen.proc / "net/fib_trie").read_text()
    with at_gate(namespaces=("network",)) as seen:
        assert "127.0.0.1" not in (seen.proc / "net/fib_trie").read_text()


@pytest.mark.parametrize(
    ("monotonic_ns", "boottime_ns"),
    [(0, 0), (1000 * 10**9, 2000 * 10**9), (86_400 * 10**9 + 5, 0), (-500_000_001, 0)],
)
def test_time_namespace_with_offsets(monotonic_ns: int, boottime_ns: int) -> None:
    python = (
        "import time; print(time.clock_gettime_ns(time.CLOCK_MONOTONIC), time.clock_gettime_ns(time.CLOCK_BOOTTIME))"
    )
    program = Exec(("python3", "-I", "-S", "-c", python), program=os.path.realpath(sys.executable))
    clocks = (time.CLOCK_MONOTONIC, time.CLOCK_BOOTTIME)
    before = [time.clock_gettime_ns(clock) for clock in clocks]
    status, output = run(NewTimeNamespace(monotonic_ns, boottime_ns), program)
    after = [time.clock_gettime_ns(clock) for clock in clocks]
    assert status.code == 0
    for found, offset, low, high in zip(map(int, output.split()), (monotonic_ns, boottime_ns), before, after):
        assert low + offset <= found <= high + offset


def test_time_namespace_is_entered_not_only_made() -> None:
    with at_gate(NewTimeNamespace(10**9, 0)) as seen:
        assert seen.namespace("time") == seen.namespace("time_for_children") != os.readlink("/proc/self/ns/time")


def test_offset_before_the_beginning_of_time_is_refused() -> None:
    assert failure(NewTimeNamespace(-(10**9) * 10**9, 0)).errno == errno.ERANGE


# ---- limits ------------------------------------------------------------------------------------------------------------------


def test_rlimits() -> None:
    plan = (
        SetRlimit("nofile", resource.RLIMIT_NOFILE, 100, 200),
        SetRlimit("core", resource.RLIMIT_CORE, 0, 0),
        SetRlimit("cpu", resource.RLIMIT_CPU, -1, -1),
    )
    with at_gate(*plan) as seen:
        limits = (seen.proc / "limits").read_text()
    lines = {line[:26].strip(): line[26:].split() for line in limits.splitlines()}
    assert lines["Max open files"][:2] == ["100", "200"]
    assert lines["Max core file size"][:2] == ["0", "0"]
    assert lines["Max cpu time"][:2] == ["unlimited", "unlimited"]


def test_wrong_rlimits() -> None:
    assert failure(SetRlimit("nofile", resource.RLIMIT_NOFILE, 300, 200)).errno == errno.EINVAL
    assert failure(SetRlimit("nonesuch", 99, 1, 1)).errno == errno.EINVAL


@pytest.mark.parametrize("value", [0, 1, 9, 10, 99, 100, 999, 1000])
def test_oom_score_adj(value: int) -> None:
    with at_gate(SetOomScoreAdj(value)) as seen:
        assert (seen.proc / "oom_score_adj").read_text() == f"{value}\n"
        assert not seen.created.warnings


@pytest.mark.parametrize("value", [1001, -1001, 2**62])
def test_oom_score_adj_out_of_range_is_a_warning(value: int) -> None:
    with at_gate(SetOomScoreAdj(value)) as seen:
        assert [warning.errno for warning in seen.created.warnings] == [errno.EINVAL]


def test_oom_score_adj_that_needs_a_capability() -> None:
    """Lowering below what it was: done where CAP_SYS_RESOURCE is, else a warning that says so."""
    allowed = int(Seen.status(_self(), "CapEff"), 16) >> 24 & 1
    with at_gate(SetOomScoreAdj(-998)) as seen:
        assert (seen.proc / "oom_score_adj").read_text() == ("-998\n" if allowed else "0\n")
        assert [warning.errno for warning in seen.created.warnings] == ([] if allowed else [errno.EACCES])


def _self() -> Seen:
    seen = Seen.__new__(Seen)
    seen.proc = Path("/proc/self")
    return seen


# ---- who it is and what it may -----------------------------------------------------------------------------------------------


def test_user_and_groups() -> None:
    with at_gate(SetUser(1234, 2345, (10, 2**32 - 2, 20))) as seen:
        assert seen.status("Uid").split() == ["1234"] * 4
        assert seen.status("Gid").split() == ["2345"] * 4
        assert {int(g) for g in seen.status("Groups").split()} == {10, 20, 2**32 - 2}
        assert int(seen.status("CapEff"), 16) == 0
    assert shell("id -u; id -g; id -G; grep -c '^CapPrm:\t0*$' /proc/self/status", SetUser(7, 8)).split() == [
        "7",
        "8",
        "8",
        "1",
    ]


@pytest.mark.parametrize(("uid", "gid"), [(2**32 - 1, 1), (1, 2**32 - 1), (2**32, 1), (1, 2**40), (-1, 1)])
def test_an_id_that_means_leave_it_is_refused(uid: int, gid: int) -> None:
    """setresuid(-1) succeeds and changes nothing: the program would run as root."""
    assert failure(SetUser(uid, gid)).errno == errno.EINVAL


def test_capability_sets_of_a_user() -> None:
    mask = bits(NET_BIND_SERVICE, NET_RAW)
    plan = (
        LimitBoundingSet(bits(NET_BIND_SERVICE, NET_RAW, KILL)),
        SetUser(1234, 1234),
        SetCapabilities(bits(NET_RAW), mask, mask, bits(NET_BIND_SERVICE)),
    )
    with at_gate(*plan) as seen:
        sets = {name: int(seen.status(f"Cap{name}"), 16) for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")}
    assert sets == {
        "Inh": mask,
        "Prm": mask,
        "Eff": bits(NET_RAW),
        "Bnd": mask | bits(KILL),
        "Amb": bits(NET_BIND_SERVICE),
    }
    # After the exec of a user's program without file capabilities the ambient ones are what is left.
    output = shell("grep ^Cap /proc/self/status", *plan)
    found = {line.split()[0]: int(line.split()[1], 16) for line in output.splitlines()}
    assert (found["CapEff:"], found["CapPrm:"]) == (bits(NET_BIND_SERVICE),) * 2


def test_capabilities_of_root_are_cut_by_the_bounding_set() -> None:
    output = shell("grep ^Cap /proc/self/status", LimitBoundingSet(bits(KILL)), SetCapabilities(0, 0, 0, 0))
    found = {line.split()[0]: int(line.split()[1], 16) for line in output.splitlines()}
    assert found["CapEff:"] == found["CapBnd:"] == bits(KILL)


def test_capabilities_beyond_the_kernels_last() -> None:
    with at_gate(LimitBoundingSet(2**64 - 1)) as seen:
        assert seen.status("CapBnd") == Seen.status(_self(), "CapBnd")
    with at_gate(LimitBoundingSet(0)) as seen:
        assert int(seen.status("CapBnd"), 16) == 0


def test_ambient_capability_that_is_not_permitted() -> None:
    plan = (SetUser(1, 1), SetCapabilities(0, bits(KILL), 0, bits(NET_RAW)))
    assert failure(*plan).errno == errno.EPERM
    assert failure(SetCapabilities(0, 0, 0, 1 << (LAST_CAPABILITY + 1))).errno == errno.EINVAL


def test_no_new_privileges() -> None:
    with at_gate(NoNewPrivileges()) as seen:
        assert seen.status("NoNewPrivs") == "1"


def test_session_and_process_group() -> None:
    pid, group, session, own = shell("cut -d' ' -f1,5,6 /proc/$$/stat; echo $$", NewSession()).split()
    assert pid == group == session == own


def test_controlling_terminal() -> None:
    leader, terminal = pty.openpty()
    try:
        plan = (NewSession(), ControllingTerminal("tty"), Duplicate("tty", 0))
        output = shell("tty; echo hello >/dev/tty; cut -d' ' -f7 /proc/$$/stat", *plan, fds={"tty": terminal})
        name, device = output.split()
        assert name == os.ttyname(terminal)
        assert int(device) == os.fstat(terminal).st_rdev
        assert os.read(leader, 100) == b"hello\r\n"
    finally:
        os.close(leader)
        os.close(terminal)
    with Fd.open("/dev/null") as null:
        assert failure(NewSession(), ControllingTerminal("tty"), fds={"tty": null}).errno == errno.ENOTTY


def test_keyring_of_its_own() -> None:
    def serial(*steps: Step) -> str:
        return shell("grep _ses /proc/keys || grep keyring /proc/keys || true", *steps)

    with at_gate(JoinKeyring("pyrun-test"), JoinKeyring()) as seen:
        if seen.created.warnings:  # a filter around us: told, and no failure
            assert {warning.errno for warning in seen.created.warnings} <= {errno.EPERM, errno.ENOSYS}
            return
    assert "pyrun-test" in shell("cat /proc/keys", JoinKeyring("pyrun-test"))
    assert serial(JoinKeyring()) != serial(JoinKeyring())


def test_killed_when_the_launching_thread_ends() -> None:
    created = []

    def launch() -> None:
        created.append(create((ParentDeathSignal(signal.SIGKILL), Gate(), TRUE)))
        created[0].wait_created()

    thread = threading.Thread(target=launch)
    thread.start()
    thread.join()
    with created[0]:
        status = created[0].process.wait(patience(5))
        assert status is not None
        assert status.signal == signal.SIGKILL


def test_launcher_that_died_before_the_signal_was_asked_for_is_noticed(tmp_path: Path) -> None:
    """The report pipe is what tells. Here it is closed by hand; the parent itself lives on."""
    mark = tmp_path / "mark"
    slow = [MakeDirectory(str(tmp_path / "d"))] * 2000
    created = create((*slow, ParentDeathSignal(signal.SIGKILL), WriteFile(str(mark), b"", create_mode=0o600), TRUE))
    try:
        created._report.close()
        status = created.process.wait(patience(10))
        assert status is not None
        assert status.code != 0
        assert not mark.exists()
    finally:
        created.abandon()


def test_launcher_that_died_before_is_noticed_while_somebody_has_a_copy_of_its_pipe() -> None:
    """A child of the launcher's that is still on its way to the stage, for example; here it is the test itself."""
    with subprocess.Popen(["sleep", "1000"]) as launcher, Fd.adopt(os.pidfd_open(launcher.pid)) as pidfd:
        plan = (ParentDeathSignal(signal.SIGKILL, "launcher"), TRUE)
        with spawn(plan, fds={"launcher": pidfd}) as process:
            assert process.wait_status().code == 0
        launcher.kill()
        select.select([pidfd], [], [])
        with pytest.raises(StepError) as caught:
            spawn(plan, fds={"launcher": pidfd})
    assert caught.value.errno == errno.ESRCH


# ---- filter ------------------------------------------------------------------------------------------------------------------


def bpf(*instructions: tuple[int, int, int, int]) -> bytes:
    return b"".join([struct.pack("=HBBI", *instruction) for instruction in instructions])


ALLOW_ALL = bpf((0x06, 0, 0, lib.SECCOMP_RET_ALLOW))


def deny(number: int, error: int) -> bytes:
    ret = (0x06, 0, 0, lib.SECCOMP_RET_ERRNO | error)
    return bpf((0x20, 0, 0, 0), (0x15, 0, 1, number), ret, (0x06, 0, 0, lib.SECCOMP_RET_ALLOW))


def test_filter_is_on_when_the_program_runs() -> None:
    uname = {"x86_64": 63, "aarch64": 160}[os.uname().machine]
    plan = (NoNewPrivileges(), LoadFilter(deny(uname, errno.EDOM)), Exec(("uname",), program="/bin/uname"))
    status, output = run(*plan)
    assert (status.code, output) == (1, "")
    status, output = run(NoNewPrivileges(), LoadFilter(ALLOW_ALL), Exec(("uname",), program="/bin/uname"))
    assert (status.code, output) == (0, "Linux\n")


def test_between_filter_and_exec_no_other_call_is_made() -> None:
    """A filter that allows execve and what the loader of a program needs, and not one of the calls of the stage."""
    execve = {"x86_64": 59, "aarch64": 221}[os.uname().machine]
    only_exec = bpf(
        (0x20, 0, 0, 0),
        (0x15, 0, 1, execve),
        (0x06, 0, 0, lib.SECCOMP_RET_ALLOW),
        (0x06, 0, 0, lib.SECCOMP_RET_KILL_PROCESS),
    )
    plan = (NoNewPrivileges(), LoadFilter(only_exec), TRUE)
    with create(plan) as created, created.start() as process:
        status = process.wait_status()
        # It came as far as the new program, whose first call killed it.
        assert status.signal == signal.SIGSYS
    assert [begin for begin, _ in created.stamps][-1] == 1, "under the filter the stage asks for no time"


def test_filters_that_are_no_filters() -> None:
    for program, number in (
        (b"", errno.EINVAL),
        (ALLOW_ALL[:-1], errno.EINVAL),
        (ALLOW_ALL * 4097, errno.EINVAL),
        (ALLOW_ALL * 65537, errno.EINVAL),  # cut to 16 bits this is one instruction: allow everything
        (bpf((0x20, 0, 0, 0)), errno.EINVAL),
    ):
        assert failure(NoNewPrivileges(), LoadFilter(program)).errno == number
    assert failure(NoNewPrivileges(), LoadFilter(ALLOW_ALL, 1 << 30)).errno == errno.EINVAL


# ---- the program -------------------------------------------------------------------------------------------------------------


def program(path: Path, text: str, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {text}\n")
    path.chmod(mode)
    return path


def found(name: str, path: str, *steps: Step, **how: object) -> str:
    status, output = run(*steps, FindProgram(name, path), Exec((name,)), **how)
    assert status.code == 0
    return output.strip()


def test_search_in_path(tmp_path: Path) -> None:
    program(tmp_path / "b/tool", "from-b")
    program(tmp_path / "c/tool", "from-c")
    program(tmp_path / "locked/tool", "locked", mode=0o644)
    (tmp_path / "d/tool").mkdir(parents=True)
    top = str(tmp_path)
    assert found("tool", f"{top}/a:{top}/b:{top}/c") == "from-b"
    assert found("tool", f"{top}/c:{top}/b") == "from-c"
    assert found("tool", f"{top}/d:{top}/locked:{top}/b/tool:{top}/c") == "from-c", "what cannot run is passed over"
    assert found(f"{top}/b/tool", "/nonexistent") == "from-b"
    assert found("tool", f"/{'x' * 5000}:{top}/b") == "from-b"
    with pytest.raises(ExecError) as caught:
        found("tool", f"{top}/a:{top}/locked:{top}/d")
    assert caught.value.exit_code == 126
    with pytest.raises(ExecError) as caught:
        found("tool", "")
    assert caught.value.exit_code == 127


def test_an_empty_element_of_path_is_the_working_directory(tmp_path: Path) -> None:
    from pyrun.kernel.step import ChangeDirectory

    program(tmp_path / "tool", "here")
    here = ChangeDirectory(str(tmp_path))
    for path in ("", ":", "/nonexistent:", ":/nonexistent", "/a::/b"):
        assert found("tool", path, here) == "here"
    assert found("./tool", "/bin", here) == "here"


def test_program_is_searched_as_its_user(tmp_path: Path) -> None:
    tmp_path.parent.chmod(0o755)
    tmp_path.chmod(0o755)
    program(tmp_path / "private/tool", "root-only", mode=0o700)
    program(tmp_path / "public/tool", "everybody")
    for parent in tmp_path.parents:
        if parent.stat().st_mode & 0o005 != 0o005:
            parent.chmod(0o755)
    path = f"{tmp_path}/private:{tmp_path}/public"
    assert found("tool", path) == "root-only"
    assert found("tool", path, SetUser(1234, 1234)) == "everybody"


def test_program_is_searched_as_the_container_sees_it(tmp_path: Path) -> None:
    """In the new root, where /bin holds one static program, and the host's /bin is nowhere."""
    from pyrun.kernel.program import program_path

    plan = (
        SetPropagation("/", "private"),
        NewMount("tmpfs", "t"),
        Attach("t", str(tmp_path)),
        OpenDirectory(str(tmp_path), "root"),
        OpenTree(program_path("pyrun-pause"), "p"),
        Attach("p", "bin/only", at="root", create=True),
        PivotRoot("root"),
    )
    status, output = run(*plan, FindProgram("only", "/usr/bin:/bin"), Exec(("only", "-v")), namespaces=("mount",))
    assert status.code == 0
    assert output.startswith("pyrun-pause ")
    with pytest.raises(ExecError):
        run(*plan, FindProgram("sh", "/usr/bin:/bin"), Exec(("sh",)), namespaces=("mount",))


def test_program_by_descriptor() -> None:
    from pyrun.kernel.program import program_fd

    status, output = run(Exec(("any name", "-v"), file="p"), fds={"p": program_fd("pyrun-pause")})
    assert status.code == 0
    assert output.startswith("pyrun-pause ")


def test_a_script_whose_interpreter_is_missing_is_an_error_of_the_exec(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/nonexistent\n")
    script.chmod(0o755)
    with pytest.raises(ExecError) as caught:
        spawn((Exec(("script",), program=str(script)),))
    assert caught.value.exit_code == 127


def test_garbage_is_not_executable(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_text(textwrap.dedent("\x7fELF nonsense"))
    garbage.chmod(0o755)
    with pytest.raises(ExecError) as caught:
        spawn((Exec(("garbage",), program=str(garbage)),))
    assert (caught.value.errno, caught.value.exit_code) == (errno.ENOEXEC, 126)
