"""The monitor: what it starts, keeps and writes, with clients that go and come, and with those that talk nonsense."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from struct import Struct
from typing import Any

import pytest

import fixtures.child  # noqa: F401  the programs that the sanitizers' tests have built
from fixtures.machine import patience
from fixtures.oci_command import wait_until
from pyrun.errors import KernelError, NotFound, StateError, StepError
from pyrun.kernel.fd import Fd
from pyrun.kernel.monitor import ExitRecord, LogFile, Monitor, MonitoredProcess
from pyrun.kernel.monitor_protocol import (
    ANSWERS,
    FDS_MOST,
    MESSAGE_BYTES,
    REQUESTS,
    STDERR,
    STDIN,
    STDOUT,
    Answer,
    pack_request,
)
from pyrun.kernel.spawn import create
from pyrun.kernel.step import Duplicate, Exec, Gate, NewPidNamespace, ParentDeathSignal, Step, WriteFile
from pyrun.linux.mount import fsconfig_create, fsconfig_set_string, fsmount, fsopen
from pyrun.linux.pidfd import pidfd_open

pytestmark = pytest.mark.root

HEAD_BYTES = {name: Struct("=" + layout.format).size for name, layout in ANSWERS.items()}
LINE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z) (stdout|stderr) ([FP]) (.*)")


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[Monitor]:
    with Monitor.start(str(tmp_path)) as monitor:
        yield monitor
        for _, process in monitor.processes():
            process.end()
        monitor.quit()


def run_in(monitor: Monitor, script: str, *steps: Step, name: str = "main", **fds: Fd) -> MonitoredProcess:
    """A shell that is a child of the monitor and dies with it; *fds* may be stdin, stdout, stderr."""
    numbers = {"stdin": 0, "stdout": 1, "stderr": 2}
    plan = (
        ParentDeathSignal(signal.SIGKILL, "monitor"),
        *[Duplicate(slot, numbers[slot]) for slot in fds],
        *steps,
        Exec(("/bin/sh", "-c", script), env=("PATH=/usr/bin:/bin",)),
    )
    with Fd.adopt(pidfd_open(monitor.pid)) as pidfd:
        created = create(plan, fds={"monitor": pidfd, **fds}, monitor=monitor, name=name)
        with created:
            process = created.start() if any(isinstance(step, Gate) for step in plan) else created.wait_started()
    assert isinstance(process, MonitoredProcess)
    return process


@contextmanager
def logged(monitor: Monitor, top: Path, name: str = "main", **how: Any) -> Iterator[dict[str, Fd]]:
    """The container's ends of pipes whose other ends the monitor has."""
    with_input = how.pop("stdin", False)
    stdin_once = how.pop("stdin_once", False)
    pipes = {slot: [Fd.adopt(fd) for fd in os.pipe2(os.O_CLOEXEC)] for slot in ("stdout", "stderr", "stdin")}
    given = {STDOUT: pipes["stdout"][0], STDERR: pipes["stderr"][0]}
    if with_input:
        given[STDIN] = pipes["stdin"][1]
    try:
        monitor.write_logs(name, LogFile(str(top), **how), given, stdin_once)
        for fd in (pipes["stdout"][0], pipes["stderr"][0], pipes["stdin"][1]):
            fd.close()
        yield {slot: ends[slot != "stdin"] for slot, ends in pipes.items() if slot != "stdin" or with_input}
    finally:
        for ends in pipes.values():
            for fd in ends:
                fd.close()


def read_log(path: Path) -> list[tuple[str, str, str]]:
    """(stream, P or F, text) of each line, which all have the format."""
    lines = path.read_bytes().decode().split("\n")
    assert lines.pop() == ""
    found = [LINE.fullmatch(line) for line in lines]
    assert all(found), lines
    return [each.groups()[1:] for each in found if each]  # type: ignore[misc]


def raises(number: int) -> Any:
    return pytest.raises(KernelError, check=lambda error: error.errno == number)


# ---- processes ----


def test_a_process_and_its_end(monitor: Monitor) -> None:
    with run_in(monitor, "exit 3", name="web") as process:
        status = process.wait_status()
        assert (status.code, status.signal) == (3, None)
        assert process.record is not None
        assert (process.record.number, process.record.name, process.record.pid) == (1, "web", process.pid)
        assert process.started_s <= process.record.finished_s
    with run_in(monitor, "kill -KILL $$") as killed:
        assert killed.wait_status().signal == signal.SIGKILL
    assert [(each.number, each.status.exit_code) for each in monitor.exits()] == [(1, 3), (2, 137)]
    assert monitor.exits(after=1)[0].number == 2


def test_the_child_is_the_monitors(monitor: Monitor, tmp_path: Path) -> None:
    with run_in(monitor, f"echo $PPID >{tmp_path}/ppid; exec sleep 1000") as process:
        wait_until(lambda: (tmp_path / "ppid").exists() and (tmp_path / "ppid").read_text() != "")
        assert int((tmp_path / "ppid").read_text()) == monitor.pid
        assert [name for name, each in _closing(monitor.processes())] == ["main"]
        assert sorted(os.listdir(f"/proc/{process.pid}/fd")) == ["0", "1", "2"]
        assert process.poll() is None


def _closing(found: list[tuple[str, MonitoredProcess]]) -> list[tuple[str, MonitoredProcess]]:
    for _, process in found:
        process.close()
    return found


def test_a_step_that_fails(monitor: Monitor) -> None:
    with pytest.raises(StepError, match="/nowhere/x") as caught:
        run_in(monitor, "true", WriteFile("/nowhere/x", b""))
    assert caught.value.errno == errno.ENOENT
    with Fd.open("/dev/null") as null, pytest.raises(KernelError, match="the plan's descriptors"):
        monitor.spawn(null.fileno(), [])
    assert monitor.processes() == []


def test_a_gate(monitor: Monitor) -> None:
    with run_in(monitor, "exit 5", Gate()) as process:
        assert process.wait_status().code == 5


def test_a_plan_that_goes_on_in_a_child(monitor: Monitor) -> None:
    with run_in(monitor, "test $$ = 1 && exit 9", NewPidNamespace()) as process:
        assert process.wait_status().code == 9
    with run_in(monitor, "exec sleep 1000", NewPidNamespace()) as process:
        ((_, found),) = monitor.processes()
        with found:
            assert found.pid == process.pid
    assert [each.status.exit_code for each in monitor.exits()] == [9, 137]


def test_more_descriptors_than_a_message_takes(monitor: Monitor) -> None:
    null = [Fd.open("/dev/null") for _ in range(FDS_MOST + 100)]
    fds = {f"n{i}": fd for i, fd in enumerate(null)}
    try:
        plan = (
            *[Duplicate(slot, 600 + i) for i, slot in enumerate(fds)],
            Exec(("/bin/sh", "-c", "ls /proc/self/fd | wc -l")),
        )
        with create(plan, fds=fds, monitor=monitor) as created, created.wait_started() as process:
            assert process.wait_status().code == 0
    finally:
        for fd in null:
            fd.close()


def test_a_client_that_comes_late(monitor: Monitor, tmp_path: Path) -> None:
    """It finds what lives, and all that has ended, in order."""
    ids = []
    for code in range(40):
        with run_in(monitor, f"exit {code}", name=f"c{code}") as process:
            process.wait()
            ids.append(process.id)
    with run_in(monitor, "exec sleep 1000", name="alive") as alive, Monitor.connect(str(tmp_path)) as late:
        records = late.exits()
        assert [(each.name, each.status.code) for each in records] == [(f"c{code}", code) for code in range(40)]
        found = late.find(ids[7])
        assert isinstance(found, ExitRecord)
        assert found == records[7]
        ((name, process),) = late.processes()
        with process:
            assert (name, process.pid) == ("alive", alive.pid)
            assert process.kill()
            assert process.wait_status().signal == 9
        assert alive.wait_status().signal == 9, "both are told"
    size = HEAD_BYTES["EXITED"]
    raw = (tmp_path / "exits").read_bytes()
    assert [raw[at : at + 8] for at in range(0, len(raw), size)] == [
        number.to_bytes(8, "little") for number in range(1, 42)
    ]


def test_a_client_that_goes_takes_nothing_with_it(tmp_path: Path) -> None:
    first = Monitor.start(str(tmp_path))
    process = run_in(first, "exec sleep 1000")
    first.close()
    process.close()
    with Fd.adopt(pidfd_open(first.pid)) as pidfd, Monitor.connect(str(tmp_path)) as second:
        ((_, again),) = second.processes()
        with again:
            assert again.poll() is None
        with raises(errno.ESRCH):
            second.find(12345)
        second.quit()
        os.waitid(os.P_PIDFD, pidfd.fileno(), os.WEXITED)
    with pytest.raises(NotFound):
        Monitor.connect(str(tmp_path))


def test_it_does_not_end_while_something_lives(monitor: Monitor) -> None:
    with run_in(monitor, "exec sleep 1000"), raises(errno.EBUSY):
        monitor.quit()


def test_it_takes_its_children_with_it(tmp_path: Path) -> None:
    monitor = Monitor.start(str(tmp_path))
    process = run_in(monitor, "exec sleep 1000")
    with Fd.adopt(pidfd_open(monitor.pid)) as pidfd:
        signal.pidfd_send_signal(pidfd.fileno(), signal.SIGKILL)
        assert process.wait_status().signal == signal.SIGKILL
        with pytest.raises(StateError, match="the monitor is gone"):
            monitor.status()
        assert monitor.lost
    process.close()
    monitor.quit()


def test_orphans_are_reaped(monitor: Monitor) -> None:
    with run_in(monitor, "(sleep 0.01 & sleep 0.02 &) ; exit 0") as process:
        process.wait()
    wait_until(lambda: monitor.status().orphans == 2)
    assert [each.status.code for each in monitor.exits()] == [0]


def test_it_takes_few_kilobytes(monitor: Monitor) -> None:
    rollup = Path(f"/proc/{monitor.pid}/smaps_rollup").read_text()
    assert int(next(line.split()[1] for line in rollup.splitlines() if line.startswith("Pss:"))) < 1024
    assert os.readlink(f"/proc/{monitor.pid}/exe") == "/memfd:pyrun-monitor (deleted)"
    # The standard ones, a client's, where others connect, the records, and what tells of signals.
    assert len(os.listdir(f"/proc/{monitor.pid}/fd")) == 8, os.listdir(f"/proc/{monitor.pid}/fd")


# ---- logs ----


def test_lines_of_both_streams(monitor: Monitor, tmp_path: Path) -> None:
    script = "echo one; echo two >&2; printf three; exec >&-; exec sleep 0.01"
    with logged(monitor, tmp_path) as ends, run_in(monitor, script, **ends) as process:
        for fd in ends.values():
            fd.close()
        process.wait()
    log = tmp_path / "0.log"
    wait_until(lambda: log.read_text().count("\n") == 3)
    assert sorted(read_log(log)) == [("stderr", "F", "two"), ("stdout", "F", "one"), ("stdout", "P", "three")]
    assert log.stat().st_mode & 0o777 == 0o640


def test_bytes_of_any_kind_come_through(monitor: Monitor, tmp_path: Path) -> None:
    """Parts and lines put together again are what was written."""
    random = Random(1)
    data = b"".join(random.randbytes(random.choice([0, 1, 7, 300, 40000])) + b"\n" for _ in range(60)) + b"no end"
    with logged(monitor, tmp_path) as ends:
        for at in range(0, len(data), 5000):
            os.write(ends["stdout"].fileno(), data[at : at + 5000])
    whole = b""
    log = tmp_path / "0.log"
    wait_until(lambda: b"no end\n" in log.read_bytes())
    for line in re.findall(rb"[^ ]{30} stdout ([FP]) ([^\n]*)\n", log.read_bytes()):
        whole += line[1] + (b"\n" if line[0] == b"F" else b"")
    assert whole == data


def test_rotation(monitor: Monitor, tmp_path: Path) -> None:
    with logged(monitor, tmp_path, max_bytes=4000, max_files=3) as ends:
        for i in range(400):
            os.write(ends["stdout"].fileno(), b"line %03d\n" % i)
            if i % 40 == 39:  # what it reads at once, it writes into one file
                wait_until(lambda: monitor.status().read_bytes == (i + 1) * 9)  # noqa: B023
    wait_until(lambda: (tmp_path / "0.log").exists() and "line 399" in (tmp_path / "0.log").read_text())
    names = sorted(path.name for path in tmp_path.glob("*.log*"))
    assert names == ["0.log", "0.log.1", "0.log.2"]
    lines = [text for name in reversed(names) for _, _, text in read_log(tmp_path / name)]
    assert lines == [f"line {i:03d}" for i in range(400 - len(lines), 400)]
    assert all((tmp_path / name).stat().st_size < 4000 + MESSAGE_BYTES for name in names)


def test_reopening(monitor: Monitor, tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    with logged(monitor, tmp_path) as ends:
        os.write(ends["stdout"].fileno(), b"before\n")
        wait_until(lambda: "before" in log.read_text())
        log.rename(tmp_path / "moved")
        monitor.reopen_logs()
        os.write(ends["stdout"].fileno(), b"after\n")
        wait_until(lambda: log.exists() and "after" in log.read_text())
    assert [text for _, _, text in read_log(tmp_path / "moved")] == ["before"]
    assert [text for _, _, text in read_log(log)] == ["after"]


def test_a_log_that_cannot_be_written(monitor: Monitor, tmp_path: Path) -> None:
    """Its container waits, and nothing is lost: what cannot be written here is a directory in the place of the file."""
    log, half = tmp_path / "0.log", "yes 0123456789 | head -n 50000"
    with (
        logged(monitor, tmp_path) as ends,
        run_in(
            monitor, f"{half}; until [ -e {tmp_path}/go ]; do sleep 0.01; done; {half}", stdout=ends["stdout"]
        ) as process,
    ):
        ends["stdout"].close()
        wait_until(lambda: monitor.status().read_bytes == 550000)
        log.rename(tmp_path / "moved")
        log.mkdir()
        monitor.reopen_logs()
        (tmp_path / "go").touch()
        wait_until(lambda: monitor.status().stalled == 1)
        status = monitor.status()
        assert (status.last_error, status.stalls >= 1) == (errno.EISDIR, True)
        assert process.poll() is None
        log.rmdir()
        assert process.wait(patience(30)) is not None
        wait_until(lambda: monitor.status().read_bytes == 1100000 and monitor.status().stalled == 0)
    parts = [line for name in ("moved", "0.log") for line in read_log(tmp_path / name)]
    text = "".join(text + ("\n" if kind == "F" else "") for _, kind, text in parts)
    assert text == "0123456789\n" * 100000
    assert monitor.status().lost_bytes == 0


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """256 KiB, mounted nowhere."""
    with Fd.adopt(fsopen("tmpfs")) as context:
        fsconfig_set_string(context.fileno(), "size", "256k")
        fsconfig_create(context.fileno())
        with Fd.adopt(fsmount(context.fileno())) as mounted:
            yield Path(f"/proc/self/fd/{mounted.fileno()}")


def test_a_full_disk(monitor: Monitor, small_disk: Path) -> None:
    top = small_disk
    filler = top / "filler"
    filler.write_bytes(bytes(200 * 1024))
    with logged(monitor, top) as ends, run_in(monitor, "yes | head -c 60000", stdout=ends["stdout"]) as process:
        ends["stdout"].close()
        wait_until(lambda: monitor.status().stalled == 1)
        assert monitor.status().last_error == errno.ENOSPC
        filler.unlink()
        seen = bytearray()

        def all_is_written() -> bool:
            """A line of two bytes has forty before it, so the disk is full again, until what is there is taken away."""
            if monitor.status().stalled and not os.statvfs(top).f_bavail:
                with open(top / "0.log", "rb+") as file:
                    seen.extend(file.read())
                    file.truncate(0)
            status = monitor.status()
            return (status.read_bytes, status.stalled) == (60000, 0)

        wait_until(all_is_written)
        assert process.wait_status().code == 0
    assert monitor.status().lost_bytes == 0
    assert (seen + (top / "0.log").read_bytes()).count(b" stdout F y\n") == 30000


def test_much_output_takes_few_kilobytes(monitor: Monitor, tmp_path: Path) -> None:
    logs = logged(monitor, tmp_path, max_bytes=1 << 20, max_files=2)
    with logs as ends, run_in(monitor, "head -c 100000000 /dev/zero", stdout=ends["stdout"]) as process:
        ends["stdout"].close()
        assert process.wait(patience(120)) is not None
    wait_until(lambda: monitor.status().read_bytes == 100_000_000)
    status = Path(f"/proc/{monitor.pid}/status").read_text()
    assert int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) < 2048


def test_the_next_run_has_another_file(monitor: Monitor, tmp_path: Path) -> None:
    """What the run before wrote is in its own file to the last byte."""
    for number in range(3):
        with logged(monitor, tmp_path, number=number) as ends:
            os.write(ends["stdout"].fileno(), b"x" * 60000 + b"run %d\n" % number)
    wait_until(lambda: "run 2" in (tmp_path / "2.log").read_text())
    for number in range(3):
        text = "".join(text for _, _, text in read_log(tmp_path / f"{number}.log"))
        assert text == "x" * 60000 + f"run {number}"


# ---- attaching ----


def read_until_end(client: Monitor) -> list[Answer]:
    found = [client.read_output()]
    while found[-1].kind != "ENDED":
        found.append(client.read_output())
    return found


def test_attaching(monitor: Monitor, tmp_path: Path) -> None:
    """Both see what is written from then on; one of them writes, and says when that was all."""
    with (
        logged(monitor, tmp_path, stdin=True) as ends,
        Monitor.connect(str(tmp_path)) as first,
        Monitor.connect(str(tmp_path)) as second,
        run_in(monitor, "cat; echo end >&2", **ends) as process,
    ):
        for fd in ends.values():
            fd.close()
        first.attach("main", stdin=True)
        second.attach("main", stderr=False)
        with Monitor.connect(str(tmp_path)) as third, raises(errno.EBUSY):
            third.attach("main", stdin=True)
        first.write_input(b"a" * 50000)
        first.write_input(b"b\n")
        first.end_input()
        for client, streams in ((first, {STDOUT, STDERR}), (second, {STDOUT})):
            answers = read_until_end(client)[:-1]
            assert {each.kind for each in answers} == {"OUTPUT"}
            assert {each.number("stream") for each in answers} == streams
            text = b"".join(each.text for each in answers if each.number("stream") == STDOUT)
            assert text == b"a" * 50000 + b"b\n"
        assert process.wait_status().code == 0


def test_one_who_does_not_read(monitor: Monitor, tmp_path: Path) -> None:
    """Neither the container nor the log waits for it; it is told what it has missed."""
    with (
        logged(monitor, tmp_path, stdin=True) as ends,
        Monitor.connect(str(tmp_path)) as slow,
        run_in(monitor, "read x; head -c 5000000 /dev/zero; echo", **ends) as process,
        Monitor.connect(str(tmp_path)) as writer,
    ):
        for fd in ends.values():
            fd.close()
        slow.attach("main")
        writer.attach("main", stdin=True, stdout=False, stderr=False)
        writer.write_input(b"\n")
        assert process.wait(patience(60)) is not None
        wait_until(lambda: monitor.status().read_bytes == 5000001)
        answers = read_until_end(slow)
        got = sum(len(each.text) for each in answers if each.kind == "OUTPUT")
        lost = sum(each.number("bytes") for each in answers if each.kind == "LOST")
        assert got + lost == 5000001
        assert lost > 0


@pytest.mark.parametrize("once", [True, False])
def test_stdin_once(monitor: Monitor, tmp_path: Path, once: bool) -> None:
    with logged(monitor, tmp_path, stdin=True, stdin_once=once) as ends, run_in(monitor, "cat", **ends) as process:
        for fd in ends.values():
            fd.close()
        with Monitor.connect(str(tmp_path)) as client:
            client.attach("main", stdin=True)
            client.write_input(b"x\n")
        wait_until(lambda: "x" in (tmp_path / "0.log").read_text())
        if once:
            assert process.wait_status().code == 0
        with Monitor.connect(str(tmp_path)) as client:
            if once:
                with raises(errno.EBADF):
                    client.attach("main", stdin=True)
            else:
                client.attach("main", stdin=True)
                client.end_input()
                assert process.wait_status().code == 0


@pytest.mark.usefixtures("monitor")
def test_attaching_to_nothing(tmp_path: Path) -> None:
    with Monitor.connect(str(tmp_path)) as client:
        with raises(errno.ESRCH):
            client.attach("main")
        client.write_input(b"x")
        refused = client.read_output()
        assert (refused.kind, refused.number("error")) == ("ERROR", errno.EPERM)


# ---- nonsense ----


def test_messages_that_make_no_sense(monitor: Monitor, tmp_path: Path) -> None:
    """Each is answered with an error, and no descriptor stays."""
    with Monitor.connect(str(tmp_path)) as client, Fd.open("/dev/null") as null:
        socket = client._socket
        hello = pack_request("HELLO", {"version": 1})
        for data, number in (
            (b"x", errno.EBADMSG),
            (hello[:-1], errno.EBADMSG),
            (hello + b"x", errno.EBADMSG),
            (b"\xff\xff\xff\xff" + hello[4:], errno.EOPNOTSUPP),
            (bytes(4) + hello[4:], errno.EOPNOTSUPP),
            (b"\x40\0\0\0" + hello[4:], errno.EOPNOTSUPP),
            (pack_request("HELLO", {"version": 2}), errno.EPROTONOSUPPORT),
            (bytes(MESSAGE_BYTES + 100), errno.EMSGSIZE),
            (pack_request("SPAWN", _spawn(plan=5), 1), errno.EBADF),
            (pack_request("SPAWN", _spawn(), 0), errno.EEXIST),
            (pack_request("SPAWN", _spawn(clone_flags=0x80000000), 1), errno.EINVAL),
            (pack_request("SPAWN", _spawn(uid_map_bytes=1000), 1), errno.EINVAL),
            (pack_request("SPAWN", _spawn(uid_map_bytes=6), 1, b"no end"), errno.EINVAL),
            (pack_request("STREAMS", _streams(has=0, max_files=0)), errno.EINVAL),
            (pack_request("STREAMS", _streams(has=2, max_files=1)), errno.EBADF),
            (pack_request("STREAMS", _streams(has=64, max_files=1)), errno.EINVAL),
        ):
            socket.sendmsg([data], [(1, 1, null.fileno().to_bytes(4, "little"))])
            answer, _ = client._receive()
            assert (answer.kind, answer.number("error")) == ("ERROR", number), data
        monitor.status()
        assert len(os.listdir(f"/proc/{monitor.pid}/fd")) == 9


def _streams(**fields: int) -> dict[str, Any]:
    return {"number": 0, "max_bytes": 1, "name": "a", **fields}


def _spawn(**fields: int) -> dict[str, Any]:
    return {**dict.fromkeys(REQUESTS["SPAWN"].fields, 0), "cgroup": -1, "pid_namespace": -1, "name": "", **fields}


def test_any_bytes(monitor: Monitor, tmp_path: Path) -> None:
    """Thousands of damaged requests, with descriptors: it lives, answers, and has none of them any more."""
    random = Random(7)
    valid = [
        pack_request(kind, {field: "a" if field == "name" else 1 for field in layout.fields}, random.randrange(3))
        for kind, layout in REQUESTS.items()
        if kind != "QUIT"
    ]
    quit = pack_request("QUIT", {})[:4]
    with Fd.open("/dev/null") as null:
        for _ in range(60):
            with Monitor.connect(str(tmp_path)) as client:
                client._socket.setblocking(False)
                for _ in range(60):
                    data = bytearray(random.choice(valid))
                    for _ in range(random.randrange(4)):
                        data[random.randrange(len(data))] = random.choice([0, 1, 2, 127, 255, random.randrange(256)])
                    if data[:4] == quit:
                        continue
                    rights = null.fileno().to_bytes(4, "little") * random.randrange(1, 6)
                    try:
                        client._socket.sendmsg([data], [(1, 1, rights)])
                        client._socket.recv(MESSAGE_BYTES)
                    except BlockingIOError:
                        pass
    wait_until(lambda: monitor.status().clients == 1)
    held = len(os.listdir(f"/proc/{monitor.pid}/fd"))
    assert held <= 8 + 6 * monitor.status().containers


def test_clients_that_are_too_many(monitor: Monitor, tmp_path: Path) -> None:
    clients = [Monitor.connect(str(tmp_path)) for _ in range(15)]
    with pytest.raises(StateError, match="the monitor is gone"):
        Monitor.connect(str(tmp_path))
    for client in clients:
        client.close()
    wait_until(lambda: monitor.status().clients == 1)
    Monitor.connect(str(tmp_path)).close()


@pytest.mark.usefixtures("monitor")
def test_others_than_root_are_sent_away(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o755)
    os.chmod(tmp_path / "monitor", 0o666)
    with Fd.open(str(tmp_path), os.O_PATH) as place:
        script = (
            "import os, socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); "
            f"s.connect('/proc/self/fd/{place.fileno()}/monitor'); print(s.recv(1))"
        )
        done = subprocess.run(
            ["/usr/bin/python3", "-c", script],
            capture_output=True,
            text=True,
            check=False,
            pass_fds=[place.fileno()],
            user=65534,
            group=65534,
        )
    assert done.stdout == "b''\n", done
