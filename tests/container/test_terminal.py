"""The terminal of a container: whose it is, what it is for the program, and what a hostile container can make of it."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fixtures.oci_container import IDS, MOUNTS, NAMESPACES, created, make_root, oci_spec, run_to_the_end
from pyrun.container.exec import CONTAINER, plan_exec
from pyrun.container.plan import Setting
from pyrun.container.security import available_capabilities
from pyrun.errors import StepError
from pyrun.kernel.fd import Fd
from pyrun.kernel.process import Process
from pyrun.kernel.spawn import create
from pyrun.spec.oci import OciSpec
from pyrun.value import replace

pytestmark = pytest.mark.root

REFUSALS = (errno.ENOTTY, errno.EISDIR, errno.ENXIO, errno.EXDEV)
OTHERS = tuple(kind for kind in NAMESPACES if kind != "mount")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path / "root")


def receive(console: socket.socket) -> Fd:
    data, descriptors, _, _ = socket.recv_fds(console, 4096, 1)
    assert data == b"/dev/ptmx"
    return Fd.adopt(descriptors[0])


def read_terminal(master: Fd, process: Process) -> str:
    """Until the last program has closed its end, which a terminal tells as EIO."""
    found = b""
    poll = select.poll()
    poll.register(master.fileno(), select.POLLIN)
    while poll.poll(10_000):
        try:
            found += os.read(master.fileno(), 4096)
        except OSError:
            break
    assert process.wait_status().code == 0, found
    return found.decode().replace("\r\n", "\n")


@contextmanager
def with_terminal(spec: OciSpec) -> Iterator[tuple[Process, Fd]]:
    ours, theirs = socket.socketpair()
    with ours, theirs, created(spec, {"console": theirs}) as (it, _), receive(ours) as master, it.start() as process:
        yield process, master


def on_terminal(spec: OciSpec) -> str:
    with with_terminal(spec) as (process, master):
        return read_terminal(master, process)


def terminal_spec(root: Path, script: str, *kinds: str, **more: Any) -> OciSpec:
    process = {"terminal": True, **more.pop("process", {})}
    return oci_spec(root, script, *OTHERS, *kinds, process=process, **more)


def test_the_program_has_a_terminal_of_its_own_devpts(root: Path) -> None:
    script = "tty; ls -1 /dev/pts; for fd in 0 1 2; do readlink /proc/self/fd/$fd; done; ls /proc/self/fd | grep -c ."
    seen = on_terminal(terminal_spec(root, script)).splitlines()
    assert seen == ["/dev/pts/0", "0", "ptmx", *["/dev/pts/0"] * 3, "4"]  # 4: ls's own


def test_it_controls_the_session(root: Path) -> None:
    """/dev/tty can be opened by nobody else, and Ctrl-C is a signal."""
    with with_terminal(
        terminal_spec(root, "trap 'echo caught; exit 0' INT; echo ready; while :; do sleep 0.1; done")
    ) as (
        process,
        master,
    ):
        assert os.read(master.fileno(), 100) == b"ready\r\n"
        os.write(master.fileno(), b"\x03")
        assert "caught" in read_terminal(master, process)


def test_the_console_is_this_terminal(root: Path) -> None:
    seen = on_terminal(terminal_spec(root, "stat -c %t:%T /dev/console /dev/pts/0; echo text > /dev/console"))
    first, second, text = seen.splitlines()
    assert first == second
    assert text == "text"


def test_its_size(root: Path) -> None:
    assert on_terminal(terminal_spec(root, "stty size", process={"consoleSize": {"height": 33, "width": 77}})) == (
        "33 77\n"
    )


def test_the_other_end_blocks_as_any_other(root: Path) -> None:
    with with_terminal(terminal_spec(root, "sleep 100")) as (_, master):
        assert not fcntl.fcntl(master.fileno(), fcntl.F_GETFL) & os.O_NONBLOCK
        fcntl.ioctl(master.fileno(), termios.TIOCSWINSZ, struct.pack("HHHH", 5, 6, 0, 0))


def test_in_a_user_namespace(root: Path) -> None:
    make_root(root / "mapped", owner=100000)
    spec = terminal_spec(root / "mapped", "tty; id -u", "user", uidMappings=IDS, gidMappings=IDS)
    assert on_terminal(spec) == "/dev/pts/0\n0\n"


def test_without_a_console_socket_the_program_gets_the_launchers_descriptors(root: Path) -> None:
    with created(terminal_spec(root, "tty || echo none"), console=False) as (it, output):
        assert run_to_the_end(it, output) == "not a tty\nnone\n"


def test_without_a_devpts_it_is_an_error_that_says_so(root: Path) -> None:
    spec = terminal_spec(root, "true", mounts=MOUNTS[:1])
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(StepError, match="a terminal needs a devpts mounted at /dev/pts"):
        created(spec, {"console": theirs}).__enter__()


def test_a_console_socket_that_nobody_reads_is_an_error(root: Path) -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs, pytest.raises(StepError, match="nobody listens at the console socket"):
        created(terminal_spec(root, "true"), {"console": theirs}).__enter__()


# ---- exec, where the container has been at work -----------------------------------------------------------------------


def exec_on_terminal(spec: OciSpec, process: Process, script: str) -> str:
    assert spec.process is not None
    other = replace(spec.process, args=("/bin/sh", "-c", script), terminal=True)
    setting = Setting(gated=False, grantable=available_capabilities())
    steps = plan_exec(spec, other, NAMESPACES, setting=setting)
    ours, theirs = socket.socketpair()
    with ours, theirs, create(steps, fds={CONTAINER: process, "console": theirs}) as it:
        it.wait_created()
        ours.settimeout(10)
        # Without a gate the plan runs by itself; its failure closes the report before anything is sent.
        if not select.select([ours], [], [], 2)[0]:
            it.start()
        with receive(ours) as master, it.start() as program:
            return read_terminal(master, program)


def test_another_process_gets_a_terminal_of_the_container(root: Path) -> None:
    spec = oci_spec(root, "sleep 100", *OTHERS)
    with created(spec) as (it, _), it.start() as process:
        assert (
            exec_on_terminal(spec, process, "tty; ls -1 /dev/pts; tty < /dev/tty") == "/dev/pts/0\n0\nptmx\n/dev/tty\n"
        )


@pytest.mark.parametrize(
    "trick",
    [
        "busybox mkfifo /tmp/x",
        "echo > /tmp/x",
        "busybox mknod /tmp/x c 1 3",
        "ln -s /proc/self/fd/3 /tmp/x",
        "busybox mkdir /tmp/x",
    ],
)
def test_a_multiplexer_that_is_none_is_noticed(root: Path, trick: str) -> None:
    """A FIFO would hold a naive runtime up for good, and another file would get its terminal's requests."""
    script = f"cd /bin; busybox umount /dev/pts; {trick.replace('ln', 'busybox ln')}; busybox mv /tmp/x /dev/pts/ptmx"
    spec = oci_spec(root, f"{script}; echo ready; sleep 100", *OTHERS)
    with created(spec) as (it, output), it.start() as process:
        assert os.read(output.fileno(), 100) == b"ready\n"
        with pytest.raises(StepError) as caught:
            exec_on_terminal(spec, process, "true")
    assert caught.value.errno in REFUSALS
