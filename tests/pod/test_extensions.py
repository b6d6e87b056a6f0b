"""Annotations under pyrun.dev/, in real pods: ulimits, init, network."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from fixtures.machine import patience
from fixtures.pods import FOREVER, created, pod_spec, python, run_pod, running, shell
from pyrun.errors import ExecError

pytestmark = pytest.mark.root

INIT = {"pyrun.dev/init": "true"}


def test_ulimits_reach_the_program(tmp_path: Path) -> None:
    limits = {"pyrun.dev/ulimits": "nofile=100:200, core=0", "pyrun.dev/ulimits.two": "nofile=50"}
    script = "echo $(ulimit -Sn) $(ulimit -Hn) $(ulimit -c)"
    printed = run_pod(pod_spec(shell(script, "one"), shell(script, "two"), annotations=limits), tmp_path)
    assert printed == {"one": "100 200 0\n", "two": "50 50 0\n"}


def test_without_a_network_even_lo_is_down(tmp_path: Path) -> None:
    script = """
import socket
with socket.create_server(("127.0.0.1", 0)) as server:
    socket.create_connection(server.getsockname()).close()
"""
    with running(pod_spec(python(script), annotations={"pyrun.dev/network": "none"}), tmp_path) as it:
        assert it.wait()["main"].exit.code == 1
        assert "Network is unreachable" in it.read()
    assert run_pod(pod_spec(python(script)), tmp_path) == {"main": ""}


# ---- init ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_init_exits_as_the_program(tmp_path: Path, code: int) -> None:
    with running(pod_spec(shell(f"exit {code}"), annotations=INIT), tmp_path) as it:
        assert it.wait()["main"].exit.code == code


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_program_that_a_signal_ends_is_128_and_more(tmp_path: Path, number: int) -> None:
    script = f"import os; os.kill(os.getpid(), {int(number)})"
    with running(pod_spec(python(script), annotations=INIT), tmp_path) as it:
        assert it.wait()["main"].exit.code == 128 + number


def test_the_program_is_the_child_of_a_sealed_init(tmp_path: Path) -> None:
    with running(pod_spec(shell(f"echo $$ $PPID; {FOREVER}"), annotations=INIT), tmp_path) as it:
        own, parent = it.wait_for("\n").split()
        assert (own, parent) == ("2", "1")
        assert os.readlink(it.proc() / "exe").startswith("/memfd:pyrun-init")
        with pytest.raises(OSError, match=r"busy|not permitted"):
            os.truncate(it.proc() / "exe", 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_signals_are_handed_on(tmp_path: Path, number: int) -> None:
    """To a program without a handler, too: as process 1 it would not hear of them."""
    with running(pod_spec(shell(f"echo ready; {FOREVER}"), annotations=INIT), tmp_path) as it:
        it.wait_for("ready")
        it.pod.signal(number)
        assert it.wait()["main"].exit.code == 128 + number


def test_orphans_are_reaped(tmp_path: Path) -> None:
    script = """
import os, sys, time
if os.fork() == 0:
    if os.fork() == 0:
        time.sleep(0.05)
    os._exit(0)
os.wait()
deadline = time.monotonic() + 20
while time.monotonic() < deadline:
    names = [name for name in os.listdir("/proc") if name.isdigit()]
    if len(names) == 2:
        sys.exit(0)
    time.sleep(0.01)
sys.exit(f"left: {names}")
"""
    with running(pod_spec(python(script), annotations=INIT), tmp_path) as it:
        assert it.wait(patience(30))["main"].exit.code == 0, it.read()


def test_the_program_has_a_clean_signal_mask(tmp_path: Path) -> None:
    script = "import signal; print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))"
    assert run_pod(pod_spec(python(script), annotations=INIT), tmp_path) == {"main": "[]\n"}


def test_a_missing_program_is_still_an_error_of_the_creation(tmp_path: Path) -> None:
    container = shell("true") | {"command": ["no-such-program"]}
    with pytest.raises(ExecError, match="no-such-program"), created(pod_spec(container, annotations=INIT), tmp_path):
        pass


def test_in_a_shared_pid_namespace_pause_does_it(tmp_path: Path) -> None:
    spec = pod_spec(shell("cat /proc/1/comm"), annotations=INIT, shareProcessNamespace=True)
    assert run_pod(spec, tmp_path) == {"main": "memfd:pyrun-pau\n"}
