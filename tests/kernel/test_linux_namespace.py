from __future__ import annotations

import errno
import os

import pytest

from fixtures.interpreter import run_python
from pyrun.errors import KernelError
from pyrun.linux import namespace, procfs
from pyrun.linux.namespace import NAMESPACE_TYPES


@pytest.mark.parametrize("kind", NAMESPACE_TYPES)
def test_id_is_the_number_in_the_link(kind: str) -> None:
    link = os.readlink(f"/proc/self/ns/{NAMESPACE_TYPES[kind].link}")
    assert link == f"{NAMESPACE_TYPES[kind].link}:[{namespace.read_namespace_id(procfs.SELF, kind)}]"


def test_id_by_descriptor_of_the_process() -> None:
    process = procfs.open_process(os.getpid())
    try:
        assert namespace.read_namespace_id(process, "pid") == namespace.read_namespace_id("/proc/self", "pid")
        fd = namespace.open_namespace(process, "pid", for_children=True)
        assert os.fstat(fd).st_ino == namespace.read_namespace_id(process, "pid", for_children=True)
        assert not os.get_inheritable(fd)
        os.close(fd)
    finally:
        os.close(process)


def test_no_such_process() -> None:
    for function, call in ((namespace.open_namespace, "open(2)"), (namespace.read_namespace_id, "stat(2)")):
        with pytest.raises(KernelError) as caught:
            function("/proc/0", "mount")
        assert (caught.value.errno, caught.value.call) == (errno.ENOENT, call)
        assert caught.value.filename == "/proc/0/ns/mnt"


def test_errors_of_unshare_and_setns() -> None:
    with pytest.raises(KernelError) as caught:
        namespace.unshare(1)
    assert (caught.value.errno, caught.value.call) == (errno.EINVAL, "unshare(2)")
    with pytest.raises(KernelError) as caught:
        namespace.setns(-1)
    assert (caught.value.errno, caught.value.call) == (errno.EBADF, "setns(2)")


@pytest.mark.root
@pytest.mark.parametrize("kind", [kind for kind in NAMESPACE_TYPES if kind not in ("user", "pid")])
def test_unshare_and_the_way_back(kind: str) -> None:
    run_python(
        """
        import os, sys
        from pyrun.linux import namespace
        kind = sys.argv[1]
        row = namespace.NAMESPACE_TYPES[kind]
        def number():
            return namespace.read_namespace_id("/proc/self", kind, for_children=True)
        before = number()
        fd = namespace.open_namespace("/proc/self", kind)
        namespace.unshare(row.flag)
        assert number() != before
        namespace.setns(fd, row.flag)
        assert number() == before
        os.close(fd)
        """,
        kind,
    )


@pytest.mark.root
def test_new_pid_namespace_shows_with_its_first_child() -> None:
    run_python(
        """
        import errno, os, signal
        from pyrun.errors import KernelError
        from pyrun.linux import namespace
        def number(where="/proc/self", for_children=True):
            return namespace.read_namespace_id(where, "pid", for_children=for_children)
        before = number()
        namespace.unshare(namespace.NAMESPACE_TYPES["pid"].flag)
        try:
            number()
        except KernelError as error:
            assert error.errno == errno.ENOENT
        else:
            raise AssertionError
        child = os.fork()
        if child == 0:
            signal.pause()
        assert number() == number(f"/proc/{child}", False) != before
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        """
    )


@pytest.mark.root
def test_setns_by_pidfd_joins_several_at_once() -> None:
    run_python(
        """
        import os, signal
        from pyrun._core import lib
        from pyrun.linux import namespace, pidfd
        flags = lib.CLONE_NEWUTS | lib.CLONE_NEWIPC | lib.CLONE_NEWNET
        ready, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            namespace.unshare(flags)
            os.write(tell, b"1")
            signal.pause()
        os.read(ready, 1)
        fd = pidfd.pidfd_open(pid)
        namespace.setns(fd, flags)
        for kind in ("uts", "ipc", "network"):
            there = namespace.read_namespace_id(f"/proc/{pid}", kind)
            assert there == namespace.read_namespace_id("/proc/self", kind)
        pidfd.pidfd_send_signal(fd, signal.SIGKILL)
        assert pidfd.waitid(fd).status == signal.SIGKILL
        """
    )
