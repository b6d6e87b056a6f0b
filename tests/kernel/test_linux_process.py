from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import pytest

from fixtures.interpreter import run_python
from fixtures.machine import cgroup2_root
from pyrun._core import lib
from pyrun.errors import KernelError
from pyrun.linux import namespace, pidfd, process


@pytest.fixture
def plan_fd() -> Iterator[int]:
    """The stage's argument is its number; the scripts here do not look at it."""
    fd = os.memfd_create("plan")
    yield fd
    os.close(fd)


class Script:
    """A shell script as the stage, which answers through a pipe. bash: dash knows no descriptor above 9."""

    def __init__(self, text: str) -> None:
        self.answer, self.tell = os.pipe()
        self.fd = os.memfd_create("stage", os.MFD_CLOEXEC)
        os.write(self.fd, f"#!/bin/bash\nexec >&{self.tell}\n{text}\n".encode())
        # Executed through a descriptor for reading: one for writing is ETXTBSY.
        reading = os.open(f"/proc/self/fd/{self.fd}", os.O_RDONLY | os.O_CLOEXEC)
        os.close(self.fd)
        self.fd = reading

    def close(self) -> None:
        for fd in (self.answer, self.tell, self.fd):
            os.close(fd)

    def run(self, plan_fd: int, flags: int = 0, **more: int | str | None) -> tuple[list[str], int]:
        """Lines that it wrote, and its exit code."""
        pid, fd, flight = process.clone3(flags, stage_fd=self.fd, plan_fd=plan_fd, keep_fds=[self.tell], **more)  # type: ignore[arg-type]
        process.land(flight)
        assert not os.get_inheritable(fd)
        assert pidfd.read_pid(fd) == pid
        result = pidfd.waitid(fd)
        os.close(fd)
        assert result is not None
        assert result.code == lib.CLD_EXITED
        os.set_blocking(self.answer, False)
        return os.read(self.answer, 4096).decode().split("\n")[:-1], result.status


@pytest.mark.root
def test_clone3_runs_the_stage_with_its_plan_and_descriptors(plan_fd: int) -> None:
    script = Script("echo $1; for fd in /proc/$$/fd/*; do echo ${fd##*/}; done; exit 5")
    other, unwanted = os.pipe()
    try:
        os.set_inheritable(unwanted, True)
        (argument, *fds), status = script.run(plan_fd)
    finally:
        script.close()
        os.close(other)
        os.close(unwanted)
    assert (argument, status) == (str(plan_fd), 5)
    assert {0, 1, 2, plan_fd, script.tell, script.fd} <= {*map(int, fds)}
    assert not {other, unwanted} & {*map(int, fds)}


@pytest.mark.root
def test_clone3_makes_namespaces(plan_fd: int) -> None:
    script = Script("readlink /proc/self/ns/uts /proc/self/ns/ipc; echo $$")
    try:
        (uts, ipc, pid), _ = script.run(plan_fd, lib.CLONE_NEWUTS | lib.CLONE_NEWPID)
    finally:
        script.close()
    assert uts != os.readlink("/proc/self/ns/uts")
    assert ipc == os.readlink("/proc/self/ns/ipc")
    assert pid == "1"


@pytest.mark.root
def test_clone3_with_a_user_namespace(plan_fd: int) -> None:
    script = Script("id -u; cat /proc/self/uid_map")
    try:
        (uid, uid_map), _ = script.run(plan_fd, lib.CLONE_NEWUSER, uid_map="0 1000 1\n", gid_map="0 1000 1\n")
    finally:
        script.close()
    assert uid == "0"
    assert uid_map.split() == ["0", "1000", "1"]


@pytest.mark.root
def test_clone3_in_a_pid_namespace(plan_fd: int) -> None:
    here = namespace.open_namespace("/proc/self", "pid")
    script = Script("readlink /proc/self/ns/pid")
    try:
        (pid_namespace,), _ = script.run(plan_fd, pid_namespace_fd=here)
    finally:
        script.close()
        os.close(here)
    assert pid_namespace == os.readlink("/proc/self/ns/pid")


@pytest.mark.root
def test_clone3_into_a_cgroup(plan_fd: int) -> None:
    root = cgroup2_root()
    if root is None:
        pytest.skip("no cgroup v2")
    group = root / "pyrun-test-linux"
    group.mkdir()
    fd = os.open(group, os.O_PATH | os.O_DIRECTORY)
    script = Script("cat /proc/self/cgroup")
    try:
        memberships, _ = script.run(plan_fd, cgroup_fd=fd)
    finally:
        script.close()
        os.close(fd)
        group.rmdir()
    assert memberships[-1].endswith("/pyrun-test-linux")


def clone3_error(**arguments: int | str) -> KernelError:
    """Of the call itself, or of its child before it was the stage: then the child has exited."""
    try:
        _, fd, flight = process.clone3(0, **arguments)  # type: ignore[arg-type]
    except KernelError as error:
        return error
    with pytest.raises(KernelError) as caught:
        process.land(flight)
    assert pidfd.waitid(fd) is not None
    os.close(fd)
    return caught.value


@pytest.mark.root
def test_clone3_names_the_call_that_failed(plan_fd: int) -> None:
    error = clone3_error(stage_fd=plan_fd, plan_fd=plan_fd)
    assert error.call == "execveat(2)"
    assert error.errno in (errno.ENOEXEC, errno.ETXTBSY)  # empty, and open for writing, which not every kernel minds
    error = clone3_error(stage_fd=plan_fd, plan_fd=plan_fd, cgroup_fd=plan_fd)
    assert (error.call, error.errno) == ("clone3(2)", errno.EBADF)
    error = clone3_error(stage_fd=plan_fd, plan_fd=plan_fd, pid_namespace_fd=plan_fd)
    assert (error.call, error.errno) == ("setns(2)", errno.EINVAL)
    error = clone3_error(stage_fd=plan_fd, plan_fd=999)
    assert error.call.startswith("fcntl(2)")
    assert error.errno == errno.EBADF


def test_subreaper_gets_the_orphans() -> None:
    run_python(
        """
        import os
        from pyrun.linux import process
        assert not process.get_child_subreaper()
        process.set_child_subreaper(True)
        assert process.get_child_subreaper()
        answer, tell = os.pipe()
        child = os.fork()
        if child == 0:
            if os.fork() == 0:
                os.read(answer, 1)
                os._exit(9)
            os._exit(0)
        os.waitpid(child, 0)
        os.write(tell, b"1")
        orphan, status = os.wait()
        assert orphan != child and os.waitstatus_to_exitcode(status) == 9
        process.set_child_subreaper(False)
        assert not process.get_child_subreaper()
        """
    )


def test_process_name() -> None:
    run_python(
        """
        from pyrun.linux import process, procfs
        process.set_process_name("a (name) that is long")
        assert process.get_process_name() == "a (name) that i"
        assert procfs.read_status().name == procfs.read_stat().name == "a (name) that i"
        process.set_process_name("new\\nline \\\\n )")
        assert procfs.read_status().name == procfs.read_stat().name == "new\\nline \\\\n )"
        """
    )
    with pytest.raises(ValueError, match="NUL"):
        process.set_process_name("a\0b")
