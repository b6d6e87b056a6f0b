from __future__ import annotations

import pytest

from fixtures.interpreter import run_python
from pyrun.linux import seccomp

# uname(2) fails with EXDEV, all other calls pass.
FILTER = """
import errno, os
from pyrun.errors import KernelError
from pyrun.linux import bpf, process, seccomp
UNAME = {"x86_64": 63, "aarch64": 160}[os.uname().machine]
PROGRAM = bpf.encode([
    (bpf.LOAD, 0, 0, 0),
    (bpf.JEQ, 0, 1, UNAME),
    (bpf.RETURN, 0, 0, seccomp.SECCOMP_RET_ERRNO | errno.EXDEV),
    (bpf.RETURN, 0, 0, seccomp.SECCOMP_RET_ALLOW),
])
def failure(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return error
    raise AssertionError
"""


def test_filter_is_in_force() -> None:
    run_python(
        FILTER
        + """
process.set_no_new_privileges()
assert seccomp.set_mode_filter(PROGRAM) == 0
assert failure(os.uname).errno == errno.EXDEV
from pyrun.linux import procfs
status = procfs.read_status()
assert status.no_new_privileges and status.seccomp == 2 and status.seccomp_filters >= 1
"""
    )


def test_listener_and_thread_synchronisation() -> None:
    run_python(
        FILTER
        + """
import threading
process.set_no_new_privileges()
release, found = threading.Event(), []
def other():
    release.wait()
    found.append(failure(os.uname).errno)
thread = threading.Thread(target=other)
thread.start()
assert seccomp.set_mode_filter(PROGRAM, seccomp.SECCOMP_FILTER_FLAG_TSYNC) == 0
release.set()
thread.join()
assert found == [errno.EXDEV]
listener = seccomp.set_mode_filter(PROGRAM, seccomp.SECCOMP_FILTER_FLAG_NEW_LISTENER)
assert listener > 2 and not os.get_inheritable(listener)
os.close(listener)
"""
    )


def test_bad_program() -> None:
    run_python(
        FILTER
        + """
process.set_no_new_privileges()
error = failure(seccomp.set_mode_filter, PROGRAM[:8])  # runs off its end
assert (type(error), error.errno, error.call) == (KernelError, errno.EINVAL, "seccomp(2)")
assert failure(seccomp.set_mode_filter, b"").errno == errno.EINVAL
"""
    )


@pytest.mark.root
def test_without_privilege_no_new_privileges_is_needed() -> None:
    run_python(
        FILTER
        + """
import prctl  # before the ids change: the checkout may lie where only root can read

os.setresuid(65534, 65534, 65534)
assert failure(seccomp.set_mode_filter, PROGRAM).errno == errno.EACCES
process.set_no_new_privileges()
seccomp.set_mode_filter(PROGRAM)
"""
    )


def test_actions() -> None:
    assert seccomp.has_action(seccomp.SECCOMP_RET_KILL_PROCESS)
    assert seccomp.has_action(seccomp.SECCOMP_RET_ERRNO)
    assert not seccomp.has_action(0x12340000)
