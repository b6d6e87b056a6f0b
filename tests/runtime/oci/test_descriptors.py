"""What passes between caller, container and others: descriptors, terminals, pidfds, notifications."""

from __future__ import annotations

import array
import os
import select
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fixtures.oci_command import OciRuntime, wait_until

pytestmark = pytest.mark.root


@contextmanager
def listening(path: Path, kind: int = socket.SOCK_STREAM) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, kind) as listener:
        directory = os.open(path.parent, os.O_PATH)
        try:
            listener.bind(f"/proc/self/fd/{directory}/{path.name}")  # a test's directory may be longer than sun_path
        finally:
            os.close(directory)
        if kind == socket.SOCK_STREAM:
            listener.listen()
        listener.settimeout(20)
        yield listener


def receive_fd(listener: socket.socket) -> int:
    connection, _ = listener.accept()
    with connection:
        _, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_LEN(4))
    fds = array.array("i")
    ((_, _, data),) = ancillary
    fds.frombytes(data)
    (fd,) = fds
    return fd


def read_terminal(fd: int) -> bytes:
    """Until its other side is closed."""
    found = b""
    try:
        while data := os.read(fd, 4096):
            found += data
    except OSError:
        pass
    return found


# ---- descriptors -------------------------------------------------------------------------------------------------------


@contextmanager
def at_three(*contents: bytes) -> Iterator[list[int]]:
    """Files with *contents*, for :func:`call_with`."""
    files = []
    for content in contents:
        fd = os.memfd_create("preserved")
        os.write(fd, content)
        os.lseek(fd, 0, os.SEEK_SET)
        files.append(fd)
    try:
        yield files
    finally:
        for fd in files:
            os.close(fd)


def call_with(
    runtime: OciRuntime, files: list[int], *words: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command with *files* at 3, 4 and so on: a shell moves them there."""
    moves = " ".join(f"{3 + i}<&{fd}" for i, fd in enumerate(files))
    script = f'exec "$@" {moves}'
    command = ["/bin/bash", "-c", script, "sh", *runtime.command(*words)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        pass_fds=files,
        env={**os.environ, **environment},
    )


def test_a_program_has_the_standard_descriptors_only(runtime: OciRuntime) -> None:
    runtime.configure("/bin/sh", "-c", "ls /proc/$$/fd; true")
    assert runtime.ok("run", "-b", runtime.bundle, "box").split() == ["0", "1", "2"]


@pytest.mark.parametrize("count", [1, 2])
def test_descriptors_are_handed_on(runtime: OciRuntime, count: int) -> None:
    runtime.configure("/bin/sh", "-c", "ls /proc/$$/fd; cat <&3")
    with at_three(b"three", b"four") as files:
        done = call_with(runtime, files, "run", "--preserve-fds", str(count), "-b", str(runtime.bundle), "box")
    assert done.stdout.split() == ["0", "1", "2", *map(str, range(3, 3 + count)), "three"], done
    assert done.stderr == ""


def test_descriptors_are_handed_on_to_exec(runtime: OciRuntime) -> None:
    runtime.configure("/bin/sleep", "60")
    runtime.create()
    with at_three(b"three") as files:
        done = call_with(runtime, files, "exec", "--preserve-fds", "1", "box", "/bin/sh", "-c", "cat <&3")
    assert (done.stdout, done.stderr) == ("three", "")


def test_sockets_of_systemd_come_first(runtime: OciRuntime) -> None:
    runtime.configure("/bin/sh", "-c", "echo $LISTEN_FDS $LISTEN_PID; cat <&3; cat <&4; ls /proc/$$/fd; true")
    words = ("run", "--preserve-fds", "1", "-b", str(runtime.bundle), "box")
    with at_three(b"listening\n", b"preserved\n") as files:
        done = call_with(runtime, files, *words, LISTEN_FDS="1")
    assert done.stdout.split() == ["1", "1", "listening", "preserved", "0", "1", "2", "3", "4"], done


def test_sockets_for_another_process_are_not_ours(runtime: OciRuntime) -> None:
    runtime.configure("/bin/sh", "-c", "echo [$LISTEN_FDS]; ls /proc/$$/fd; true")
    with at_three(b"x") as files:
        words = ("run", "-b", str(runtime.bundle), "box")
        done = call_with(runtime, files, *words, LISTEN_FDS="1", LISTEN_PID="1")
    assert done.stdout.split() == ["[]", "0", "1", "2"], done


def test_a_pidfd_for_who_asks(runtime: OciRuntime) -> None:
    runtime.configure("/bin/sleep", "60")
    with listening(runtime.top / "pidfd") as listener:
        runtime.create("box", "--pidfd-socket", runtime.top / "pidfd")
        pidfd = receive_fd(listener)
    try:
        assert f"Pid:\t{runtime.state()['pid']}\n" in Path(f"/proc/self/fdinfo/{pidfd}").read_text()
        runtime.ok("delete", "--force", "box")
        assert select.select([pidfd], [], [], 20)[0]
    finally:
        os.close(pidfd)


def test_nobody_listens(runtime: OciRuntime) -> None:
    runtime.configure("/bin/sleep", "60")
    error = runtime.call("create", "-b", runtime.bundle, "--pidfd-socket", runtime.top / "none", "box").error
    assert f"{runtime.top}/none" in error
    assert runtime.left() == []


# ---- terminals ---------------------------------------------------------------------------------------------------------


def test_the_terminal_goes_to_the_console_socket(runtime: OciRuntime) -> None:
    process = {"terminal": True, "consoleSize": {"height": 33, "width": 77}}
    runtime.configure("/bin/sh", "-c", "tty; stty size; exit 3", process=process)
    with listening(runtime.top / "console") as listener:
        runtime.create("box", "--console-socket", runtime.top / "console")
        terminal = receive_fd(listener)
    try:
        runtime.ok("start", "box")
        assert read_terminal(terminal).split() == [b"/dev/pts/0", b"33", b"77"]
    finally:
        os.close(terminal)


def test_exec_with_a_console_socket(runtime: OciRuntime) -> None:
    runtime.configure("/bin/sleep", "60")
    runtime.create()
    with listening(runtime.top / "console") as listener:
        runtime.ok("exec", "--detach", "--tty", "--console-socket", runtime.top / "console", "box", "tty")
        terminal = receive_fd(listener)
    try:
        assert read_terminal(terminal).split() == [b"/dev/pts/0"]
    finally:
        os.close(terminal)


def test_a_terminal_needs_somebody_who_takes_it(runtime: OciRuntime) -> None:
    runtime.configure("/bin/true", process={"terminal": True})
    assert "needs --console-socket" in runtime.call("create", "-b", runtime.bundle, "box").error
    runtime.configure("/bin/true")
    error = runtime.call("create", "-b", runtime.bundle, "--console-socket", "/x", "box").error
    assert "this one has none" in error
    assert runtime.left() == []


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_a_terminal_in_the_foreground(runtime: OciRuntime, verb: str) -> None:
    """Between ours and the container's: keys go in as they are, output and exit status come out."""
    script = "stty size; read x; echo got $x; exit 4"
    if verb == "run":
        runtime.configure("/bin/sh", "-c", script, process={"terminal": True})
        words = ["run", "-b", str(runtime.bundle), "box"]
    else:
        runtime.configure("/bin/sleep", "60")
        runtime.create()
        words = ["exec", "--tty", "box", "/bin/sh", "-c", script]
    ours, theirs = os.openpty()
    try:
        subprocess.run(["stty", "rows", "31", "cols", "99"], stdin=theirs, check=True)
        with subprocess.Popen(runtime.command(*words), stdin=theirs, stdout=theirs, stderr=theirs) as process:
            os.close(theirs)
            os.write(ours, b"hello\n")
            output = read_terminal(ours)
            assert process.wait(20) == 4, output
    finally:
        os.close(ours)
    assert b"31 99" in output
    assert b"got hello" in output


# ---- notifications -----------------------------------------------------------------------------------------------------


def test_ready_reaches_the_caller_with_the_pid_that_it_knows(runtime: OciRuntime) -> None:
    """busybox has no client for datagrams, so a process of ours says it in the container's place, through its root."""
    runtime.configure("/bin/sh", "-c", "echo $NOTIFY_SOCKET; exec sleep 60")
    outside = runtime.top / "notify"
    environment = {**os.environ, "NOTIFY_SOCKET": str(outside)}
    with listening(outside, socket.SOCK_DGRAM) as listener:
        runtime.create(env=environment)
        pid = runtime.state()["pid"]
        with subprocess.Popen(runtime.command("start", "box"), env=environment) as start:
            inside = Path(f"/proc/{pid}/root/run/notify")
            wait_until((inside / "notify.sock").exists)
            wait_until(lambda: "/run/notify/notify.sock" in runtime.output())
            assert start.poll() is None, "start waits for READY=1"
            tell(inside, b"STATUS=almost")
            assert start.poll() is None
            tell(inside, b"STATUS=up\nREADY=1")
            assert start.wait(20) == 0
        assert listener.recv(4096) == f"MAINPID={pid}\nREADY=1\n".encode()


def test_who_waits_for_a_program_to_be_ready_is_in_nobodys_way(runtime: OciRuntime) -> None:
    runtime.configure("/bin/sleep", "60")
    environment = {**os.environ, "NOTIFY_SOCKET": str(runtime.top / "notify")}
    with listening(runtime.top / "notify", socket.SOCK_DGRAM):
        runtime.create(env=environment)
        with subprocess.Popen(runtime.command("start", "box"), env=environment) as start:
            wait_until(lambda: runtime.status() == "running")
            runtime.ok("exec", "box", "true")
            assert start.poll() is None
            runtime.ok("delete", "--force", "box")
            assert start.wait(20) == 0


def test_ready_of_a_program_in_the_foreground(runtime: OciRuntime) -> None:
    runtime.configure("/bin/sh", "-c", "echo up; read x; echo $x")
    environment = {**os.environ, "NOTIFY_SOCKET": str(runtime.top / "notify")}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with listening(runtime.top / "notify", socket.SOCK_DGRAM) as listener:
        command = runtime.command("run", "-b", runtime.bundle, "box")
        with subprocess.Popen(command, env=environment, **pipes) as run:
            assert run.stdin is not None
            assert run.stdout is not None
            assert run.stdout.readline() == b"up\n"
            pid = runtime.state()["pid"]
            tell(Path(f"/proc/{pid}/root/run/notify"), b"READY=1")
            assert listener.recv(4096) == f"MAINPID={pid}\nREADY=1\n".encode()
            run.stdin.write(b"bye\n")
            run.stdin.close()
            assert run.stdout.read() == b"bye\n"
            assert run.wait(20) == 0


def test_a_terminal_that_others_have_open_does_not_keep_us(runtime: OciRuntime) -> None:
    runtime.configure("/bin/sleep", "60")
    runtime.create()
    ours, theirs = os.openpty()
    try:
        words = ("exec", "--tty", "box", "/bin/sh", "-c", "trap '' HUP; sleep 50 & echo printed; exit 5")
        with subprocess.Popen(runtime.command(*words), stdin=theirs, stdout=theirs, stderr=theirs) as process:
            os.close(theirs)
            assert process.wait(20) == 5
            assert b"printed" in read_terminal(ours)
    finally:
        os.close(ours)


def test_start_does_not_wait_for_a_program_that_has_ended(runtime: OciRuntime) -> None:
    runtime.configure("/bin/true")
    environment = {**os.environ, "NOTIFY_SOCKET": str(runtime.top / "notify")}
    with listening(runtime.top / "notify", socket.SOCK_DGRAM):
        runtime.create(env=environment)
        runtime.ok("start", "box", env=environment)


def tell(directory: Path, message: bytes) -> None:
    place = os.open(directory, os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(message, f"/proc/self/fd/{place}/notify.sock")
    finally:
        os.close(place)
