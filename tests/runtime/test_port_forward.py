"""``pyrun port-forward``: ports of this machine that lead into a pod."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from fixtures.command import PYRUN, Running, Store, pyrun
from fixtures.machine import patience
from fixtures.pods import document, python

pytestmark = pytest.mark.root

# Says where it is, then all that it was sent, once that has ended.
SERVER = """
import os, socket, threading
def serve(it):
    it.sendall(os.readlink("/proc/self/ns/net").encode() + b" ")
    data = b""
    while more := it.recv(65536):
        data += more
    it.sendall(data)
    it.close()
listening = socket.create_server(("127.0.0.1", 8000), backlog=100)
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def pod(store: Store) -> Iterator[Running]:
    with store.running(store.write(document(python(SERVER), terminationGracePeriodSeconds=0))) as running:
        running.wait_for("ready")
        yield running
        running.signal(signal.SIGTERM)
        running.finish()


@contextmanager
def forwarding(store: Store, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The command, and the port where it listens on 127.0.0.1."""
    pipe = subprocess.PIPE
    command = [*PYRUN, "port-forward", *arguments]
    with subprocess.Popen(command, env=store.environment, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        found = re.fullmatch(r"Forwarding from 127\.0\.0\.1:(\d+) -> \d+\n", line)
        try:
            assert found, line + process.communicate()[1].decode()
            yield process, int(found[1])
        finally:
            process.kill()


def talk(port: int, data: bytes) -> tuple[bytes, bytes]:
    """Where the server is, and what it has heard."""
    with socket.create_connection(("127.0.0.1", port), timeout=patience(20)) as it:
        it.sendall(data)
        it.shutdown(socket.SHUT_WR)
        answer = b""
        while more := it.recv(65536):
            answer += more
    place, _, rest = answer.partition(b" ")
    return place, rest


@pytest.mark.usefixtures("pod")
def test_many_at_once_with_their_ends(store: Store) -> None:
    with forwarding(store, "test", ":8000") as (process, port):
        data = [os.urandom(1000 * number) for number in range(40)]
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda each: talk(port, each), data))
        assert [rest for _, rest in answers] == data
        assert {place for place, _ in answers} != {os.readlink("/proc/self/ns/net").encode()}
        assert os.readlink(f"/proc/{process.pid}/ns/net") == os.readlink("/proc/self/ns/net")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=patience(20))
        assert (process.returncode, err) == (0, b"")


@pytest.mark.usefixtures("pod")
def test_it_ends_with_connections_open(store: Store) -> None:
    with forwarding(store, "--address", "127.0.0.1", "test", ":8000") as (process, port):
        with socket.create_connection(("127.0.0.1", port), timeout=patience(20)) as it:
            assert it.recv(4) == b"net:"
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=patience(20))
        assert (process.returncode, err) == (0, b"")


@pytest.mark.usefixtures("pod")
def test_a_port_that_nobody_serves(store: Store) -> None:
    with forwarding(store, "test", ":9", ":8000") as (process, port):
        it = socket.create_connection(("127.0.0.1", port), timeout=patience(20))
        with it, pytest.raises(ConnectionResetError):
            it.recv(1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=patience(20))
        assert process.returncode == 0
        assert err == b"pyrun: port 9 of the pod: Connection refused\n"


@pytest.mark.parametrize("how", ["stopped", "launcher killed"])
def test_it_ends_with_the_pod(store: Store, pod: Running, how: str) -> None:
    with forwarding(store, "test", ":8000") as (process, port):
        assert talk(port, b"x")[1] == b"x"
        if how == "stopped":
            assert pyrun("stop", "test", env=store.environment).status == 0
        else:
            pod.signal(signal.SIGKILL)
        _, err = process.communicate(timeout=patience(20))
        assert (process.returncode, err) == (0, b"")
    pod.finish()
    assert pyrun("rm", "test", env=store.environment).status == (1 if how == "stopped" else 0)


@pytest.mark.usefixtures("pod")
def test_who_forwards_is_killed_and_the_pod_goes_on(store: Store) -> None:
    with forwarding(store, "test", ":8000") as (process, port):
        assert talk(port, b"x")[1] == b"x"
        process.kill()
        process.communicate()
    with forwarding(store, "test", ":8000") as (_, port):
        assert talk(port, b"y")[1] == b"y"


@pytest.mark.parametrize(
    ("arguments", "status", "wanted"),
    [
        (("test",), 2, "expected a POD and a port"),
        (("test", "x"), 2, "not [LOCAL:]REMOTE"),
        (("test", "70000"), 2, "not [LOCAL:]REMOTE"),
        (("test", "1:2:3"), 2, "not [LOCAL:]REMOTE"),
        (("test", "0"), 2, "no port 0"),
        (("nobody", "80"), 1, "nobody"),
        (("--address", "192.0.2.1", "test", ":80"), 1, "192.0.2.1 port 0"),
    ],
)
@pytest.mark.usefixtures("pod")
def test_what_cannot_be(store: Store, arguments: tuple[str, ...], status: int, wanted: str) -> None:
    done = pyrun("port-forward", *arguments, env=store.environment)
    assert done.status == status
    assert wanted in done.error


@pytest.mark.usefixtures("pod")
def test_a_port_that_is_taken(store: Store) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = pyrun("port-forward", "test", f"{port}:8000", env=store.environment)
        assert done.status == 1
        assert f"127.0.0.1 port {port}" in done.error
