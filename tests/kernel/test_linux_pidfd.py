from __future__ import annotations

import errno
import os
import select
import signal
import threading
from collections.abc import Iterator

import pytest

from fixtures.interpreter import run_python
from pyrun._core import lib
from pyrun.errors import KernelError
from pyrun.linux import pidfd


def start(script: str) -> int:
    return os.posix_spawn("/bin/sh", ["sh", "-c", script], os.environ)


@pytest.fixture
def sleeper() -> Iterator[int]:
    """The pidfd of a child that sleeps; it is killed and reaped if the test has not done so."""
    fd = pidfd.pidfd_open(start("exec sleep 1000"))
    yield fd
    try:
        pidfd.pidfd_send_signal(fd, signal.SIGKILL)
        pidfd.waitid(fd)
    except KernelError:
        pass
    os.close(fd)


def test_exit_code_and_usage() -> None:
    fd = pidfd.pidfd_open(start("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exit 7"))
    result = pidfd.waitid(fd)
    os.close(fd)
    assert result is not None
    assert (result.code, result.status) == (lib.CLD_EXITED, 7)
    assert result.user_us + result.system_us > 0
    assert result.max_rss_bytes > 100_000


def test_signal_and_wait_without_blocking(sleeper: int) -> None:
    assert pidfd.waitid(sleeper, lib.WNOHANG) is None
    pidfd.pidfd_send_signal(sleeper, 0)
    pidfd.pidfd_send_signal(sleeper, signal.SIGTERM)
    assert select.select([sleeper], [], [], 10)[0]
    looked = pidfd.waitid(sleeper, lib.WNOWAIT)
    reaped = pidfd.waitid(sleeper)
    assert looked is not None
    assert reaped is not None
    assert (looked.code, looked.status) == (reaped.code, reaped.status) == (lib.CLD_KILLED, signal.SIGTERM)


def test_a_second_wait_and_signal_fail(sleeper: int) -> None:
    assert pidfd.read_pid(sleeper) is not None
    pidfd.pidfd_send_signal(sleeper, signal.SIGKILL)
    pidfd.waitid(sleeper)
    assert pidfd.read_pid(sleeper) is None
    with pytest.raises(KernelError) as caught:
        pidfd.waitid(sleeper)
    assert (caught.value.errno, caught.value.call) == (errno.ECHILD, "waitid(2)")
    with pytest.raises(KernelError) as caught:
        pidfd.pidfd_send_signal(sleeper, signal.SIGTERM)
    assert (caught.value.errno, caught.value.call) == (errno.ESRCH, "pidfd_send_signal(2)")


def test_wait_goes_on_after_a_signal_handler(sleeper: int) -> None:
    seen = []
    old = signal.signal(signal.SIGUSR1, lambda number, _frame: seen.append(number))
    main = threading.main_thread().ident
    assert main is not None
    timers = [
        threading.Timer(0.1, lambda: signal.pthread_kill(main, signal.SIGUSR1)),
        threading.Timer(0.3, lambda: pidfd.pidfd_send_signal(sleeper, signal.SIGKILL)),
    ]
    for timer in timers:
        timer.start()
    try:
        result = pidfd.waitid(sleeper)
    finally:
        for timer in timers:
            timer.join()
        signal.signal(signal.SIGUSR1, old)
    assert result is not None
    assert result.status == signal.SIGKILL
    assert seen == [signal.SIGUSR1]


def test_pid_of_a_pidfd() -> None:
    fd = pidfd.pidfd_open(os.getpid())
    assert pidfd.read_pid(fd) == os.getpid()
    assert not os.get_inheritable(fd)
    os.close(fd)
    with pytest.raises(KernelError) as caught:
        pidfd.read_pid(0)
    assert caught.value.errno == errno.EBADF


def test_no_such_process() -> None:
    with pytest.raises(KernelError) as caught:
        pidfd.pidfd_open(2**22 + 1)  # above PID_MAX_LIMIT
    assert (caught.value.errno, caught.value.call) == (errno.ESRCH, "pidfd_open(2)")


@pytest.mark.root
def test_descriptor_of_another_process() -> None:
    run_python(
        """
        import os, subprocess
        from pyrun.errors import KernelError
        from pyrun.linux import pidfd
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process = pidfd.pidfd_open(child.pid)
        copy = pidfd.pidfd_getfd(process, 1)
        assert os.path.sameopenfile(copy, child.stdout.fileno()) and not os.get_inheritable(copy)
        try:
            pidfd.pidfd_getfd(process, 1000)
        except KernelError as error:
            assert (error.errno, error.call) == (9, "pidfd_getfd(2)")
        else:
            raise AssertionError
        os.close(copy)
        os.close(process)
        child.communicate()
        """
    )
