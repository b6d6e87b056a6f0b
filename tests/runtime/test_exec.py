"""``pyrun exec``: another program in a container of a pod that another command runs."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.command import PYRUN, Done, Running, Store, pyrun
from fixtures.machine import patience
from fixtures.pods import FOREVER, document, shell

pytestmark = pytest.mark.root

KINDS = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
SHOWN = (
    "grep -E '^(Cap|NoNewPrivs|Seccomp|Uid|Gid|Groups|Umask)' /proc/self/status; pwd; cat /proc/self/cgroup; "
    "env | grep -vE '^(_|PWD|OLDPWD|SHLVL)=' | sort; readlink "
) + " ".join(f"/proc/self/ns/{kind}" for kind in KINDS)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def pod(store: Store) -> Iterator[Running]:
    with store.running(store.manifest(shell(f"echo ready; {FOREVER}"), terminationGracePeriodSeconds=0)) as running:
        running.wait_for("ready")
        yield running
        running.signal(signal.SIGTERM)
        running.finish()


def execute(store: Store, *arguments: str, stdin: bytes = b"") -> Done:
    return pyrun("exec", *arguments, env=store.environment, stdin=stdin)


def begin(store: Store, *arguments: str, **how: object) -> subprocess.Popen[bytes]:
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
    return subprocess.Popen([*PYRUN, "exec", *arguments], env=store.environment, **streams)  # type: ignore[call-overload,no-any-return]


def read_line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"shareProcessNamespace": True},
        {"hostNetwork": True, "hostIPC": True},
        {"hostUsers": False},
        {"securityContext": {"runAsUser": 1000, "runAsGroup": 5, "seccompProfile": {"type": "RuntimeDefault"}}},
        {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
    ],
    ids=repr,
)
def test_it_has_what_the_first_program_has(store: Store, fields: dict[str, object]) -> None:
    container = shell(f"{SHOWN}; echo ready; {FOREVER}", workingDir="/srv", env=[{"name": "A", "value": "b c"}])
    with store.running(store.manifest(container, terminationGracePeriodSeconds=0, **fields)) as running:
        running.wait_for("ready")
        done = execute(store, "test", "--", "/bin/sh", "-ec", SHOWN)
        assert done.status == 0, done.err
        shown = [line.removeprefix("main | ") for line in running.out.splitlines()]
        assert done.out.splitlines() == shown[: shown.index("ready")]
        running.signal(15)
        running.finish()


@pytest.mark.usefixtures("pod")
@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", 143), ("kill -KILL $$", 137)]
)
def test_its_exit_status_is_ours(store: Store, script: str, status: int) -> None:
    assert execute(store, "test", "--", "sh", "-c", script) == Done(status, "", "")


@pytest.mark.usefixtures("pod")
def test_output_and_errors_stay_apart(store: Store) -> None:
    assert execute(store, "test", "--", "sh", "-c", "echo out; echo err >&2") == Done(0, "out\n", "err\n")


@pytest.mark.usefixtures("pod")
@pytest.mark.parametrize(
    ("arguments", "status", "wanted"),
    [
        (("test", "--", "nonesuch"), 127, "command not found"),
        (("test", "--", "/etc/passwd"), 126, "cannot be executed"),
        (("test",), 2, "behind -- a COMMAND"),
        (("nobody", "--", "true"), 1, "nobody"),
        (("-c", "no", "test", "--", "true"), 1, "no container 'no'; it has main"),
        (("-u", "nonesuch", "test", "--", "true"), 1, "no user 'nonesuch'"),
        (("-u", "root:nonesuch", "test", "--", "true"), 1, "no group 'nonesuch'"),
        (("-e", "x", "test", "--", "true"), 2, "not NAME=VALUE"),
        (("-w", "x", "test", "--", "true"), 2, "not an absolute path"),
    ],
)
def test_what_cannot_be(store: Store, arguments: tuple[str, ...], status: int, wanted: str) -> None:
    done = execute(store, *arguments)
    assert (done.status, done.out) == (status, "")
    assert wanted in done.error


@pytest.mark.usefixtures("pod")
def test_user_directory_and_variables(store: Store) -> None:
    script = "id -u; id -g; pwd; echo $A $HOME; echo again > /dev/stdout"
    done = execute(store, "--user=daemon", "-w", "/usr", "-eA=1", "--env", "A=2", "test", "--", "sh", "-c", script)
    assert done == Done(0, "1\n1\n/usr\n2 /usr/sbin\nagain\n", "")
    assert execute(store, "-u", "12345:6", "test", "--", "sh", "-c", "id -u; id -g").out == "12345\n6\n"


@pytest.mark.usefixtures("pod")
def test_input_with_its_end(store: Store) -> None:
    data = os.urandom(300_000).hex().encode()
    done = execute(store, "-i", "test", "--", "cat", stdin=data)
    assert (done.status, done.out.encode()) == (0, data)
    assert execute(store, "test", "--", "cat", stdin=data) == Done(0, "", "")


@pytest.mark.usefixtures("pod")
def test_input_that_nobody_reads(store: Store) -> None:
    assert execute(store, "-i", "test", "--", "true", stdin=b"x" * 1_000_000).status == 0


@pytest.mark.usefixtures("pod")
def test_a_child_that_keeps_the_pipes_is_not_waited_for(store: Store) -> None:
    assert execute(store, "test", "--", "sh", "-c", "sleep 500 & echo done").out == "done\n"


@pytest.mark.usefixtures("pod")
def test_signals_are_handed_on(store: Store) -> None:
    process = begin(store, "test", "--", "sh", "-c", "trap 'exit 9' USR1; echo up; while :; do sleep 0.02; done")
    assert read_line(process) == b"up\n"
    process.send_signal(signal.SIGUSR1)
    process.communicate(timeout=patience(20))
    assert process.returncode == 9


@pytest.mark.usefixtures("pod")
def test_whoever_reads_us_has_gone(store: Store) -> None:
    process = begin(store, "test", "--", "sh", "-c", "while echo x; do :; done 2> /dev/null; exit 5")
    assert read_line(process) == b"x\n"
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(patience(20)) in (5, 128 + signal.SIGPIPE)
    for stream in (process.stdin, process.stderr):
        assert stream is not None
        stream.close()


def test_a_container_that_dies_in_the_middle(store: Store, pod: Running) -> None:
    process = begin(store, "test", "--", "sh", "-c", "echo up; exec sleep 500")
    assert read_line(process) == b"up\n"
    assert pyrun("kill", "test", env=store.environment).status == 0
    process.communicate(timeout=patience(20))
    assert process.returncode == 137
    assert pod.finish().status == 137
    assert execute(store, "test", "--", "true").status == 1


@pytest.mark.usefixtures("pod")
def test_when_we_are_killed_the_program_is(store: Store) -> None:
    process = begin(store, "-i", "test", "--", "sh", "-c", "echo $$; exec sleep 501")
    read_line(process)
    process.kill()
    process.communicate(timeout=patience(20))
    deadline = time.monotonic() + patience(20)
    look = "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; done 2> /dev/null | grep -c 'sleep 50[1]'"
    while execute(store, "test", "--", "sh", "-c", look).out != "0\n":
        assert time.monotonic() < deadline


def test_the_default_container_is_told(store: Store) -> None:
    containers = (shell(f"echo ready; {FOREVER}", "a"), shell(f"echo ready; {FOREVER}", "b"))
    manifest = document(*containers, terminationGracePeriodSeconds=0)
    with store.running(store.write(manifest)) as running:
        running.wait_for("a | ready")
        done = execute(store, "test", "--", "true")
        assert (done.status, done.error) == (0, "defaulted container 'a' out of: a, b")
        running.wait_for("b | ready")
        assert execute(store, "-c", "b", "test", "--", "true") == Done(0, "", "")
        running.signal(15)
        running.finish()


# ---- with a terminal ----


class Terminal:
    """A terminal of a test's own, with a command on it."""

    def __init__(self, store: Store, *arguments: str) -> None:
        self.ours, theirs = pty.openpty()
        termios.tcsetwinsize(self.ours, (33, 44))
        self.before = termios.tcgetattr(self.ours)
        self.seen = b""
        self.process = begin(store, *arguments, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)

    def wait_for(self, text: bytes) -> None:
        while text not in self.seen:
            self.seen += os.read(self.ours, 4096)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.ours)


@pytest.fixture
def terminal(store: Store, pod: Running) -> Iterator[Terminal]:
    assert pod.process.poll() is None
    script = "trap 'stty size' WINCH; tty; stty size; stty -a | grep -o intr; while read -r line; do echo got $line; done; exit 4"
    terminal = Terminal(store, "-it", "test", "--", "sh", "-c", script)
    yield terminal
    terminal.close()


def test_a_terminal_of_its_own(terminal: Terminal) -> None:
    terminal.wait_for(b"/dev/pts/")
    terminal.wait_for(b"33 44")
    terminal.wait_for(b"intr")
    os.write(terminal.ours, b"hello\r")
    terminal.wait_for(b"got hello")
    termios.tcsetwinsize(terminal.ours, (20, 30))
    terminal.process.send_signal(signal.SIGWINCH)
    os.write(terminal.ours, b"\r")
    terminal.wait_for(b"20 30")
    os.write(terminal.ours, b"\x04")
    assert terminal.process.wait(patience(20)) == 4
    assert termios.tcgetattr(terminal.ours) == terminal.before


def test_ctrl_c_is_the_containers(terminal: Terminal) -> None:
    terminal.wait_for(b"intr")
    os.write(terminal.ours, b"\x03")
    assert terminal.process.wait(patience(20)) == 130
    assert termios.tcgetattr(terminal.ours) == terminal.before


@pytest.mark.usefixtures("pod")
def test_more_than_a_terminal_holds_blocks_nobody(store: Store) -> None:
    terminal = Terminal(
        store, "-it", "test", "--", "sh", "-c", "stty raw -echo; echo up; head -c 200000 | wc -c; exec cat"
    )
    terminal.wait_for(b"up")
    left = b"x" * 200_000
    os.set_blocking(terminal.ours, False)
    deadline = time.monotonic() + patience(20)
    while left:
        assert time.monotonic() < deadline
        try:
            left = left[os.write(terminal.ours, left) :]
        except BlockingIOError:
            time.sleep(0.002)
    os.set_blocking(terminal.ours, True)
    terminal.wait_for(b"200000")
    terminal.close()


@pytest.mark.usefixtures("pod")
def test_a_terminal_without_ours(store: Store) -> None:
    done = execute(store, "-it", "test", "--", "sh", "-c", "tty; cat", stdin=b"one\n")
    assert done.status == 0
    assert "/dev/pts/" in done.out
    assert done.error == "standard input is no terminal: it is handed on as it is"
    assert execute(store, "-t", "test", "--", "sh", "-c", "test -t 1").status == 0
