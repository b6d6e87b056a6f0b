"""Fd: one owner, close-on-exec, closed once."""

from __future__ import annotations

import errno
import os

import pytest

from pyrun.errors import KernelError, StateError
from pyrun.kernel.fd import Fd


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def test_owns_and_closes() -> None:
    fd = Fd(os.open("/dev/null", os.O_RDONLY))
    number = fd.fileno()
    assert is_open(number)
    assert repr(number) in repr(fd)
    fd.close()
    assert fd.closed
    assert not is_open(number)
    assert "closed" in repr(fd)


def test_close_is_idempotent_and_takes_nobody_else_s_number() -> None:
    fd = Fd.open("/dev/null")
    number = fd.fileno()
    fd.close()
    other = os.open("/dev/zero", os.O_RDONLY)
    try:
        assert other == number  # the lowest free number
        fd.close()
        assert is_open(other)
    finally:
        os.close(other)


def test_is_close_on_exec_however_it_came() -> None:
    read, write = os.pipe2(0)
    with Fd(read), Fd(write):
        assert not os.get_inheritable(read)
        assert not os.get_inheritable(write)


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_PATH])
def test_open_is_close_on_exec(flags: int) -> None:
    with Fd.open("/dev", flags | os.O_DIRECTORY) as fd:
        assert not os.get_inheritable(fd.fileno())


def test_context_manager_closes_on_error() -> None:
    with pytest.raises(RuntimeError), Fd.open("/dev/null") as fd:
        raise RuntimeError
    assert fd.closed


def test_fileno_of_a_closed_one_is_an_error() -> None:
    fd = Fd.open("/dev/null")
    fd.close()
    with pytest.raises(StateError, match="descriptor is closed"):
        fd.fileno()


def test_detach_hands_over() -> None:
    fd = Fd.open("/dev/null")
    number = fd.detach()
    assert fd.closed
    fd.close()
    assert is_open(number)
    os.close(number)
    with pytest.raises(StateError):
        fd.detach()


def test_dup_is_another_descriptor() -> None:
    with Fd.open("/dev/null") as fd, fd.dup() as copy:
        assert copy.fileno() != fd.fileno()
        assert not os.get_inheritable(copy.fileno())
        fd.close()
        assert is_open(copy.fileno())


def test_forgotten_one_warns_and_closes() -> None:
    fd = Fd.open("/dev/null")
    number = fd.fileno()
    with pytest.warns(ResourceWarning, match=f"descriptor {number} was not closed"):
        del fd
    assert not is_open(number)


def test_what_is_no_descriptor_is_refused() -> None:
    for number in (-1, 1_000_000):
        with pytest.raises(KernelError) as caught:
            Fd(number)
        assert caught.value.errno == errno.EBADF


def test_failed_open_names_call_and_path() -> None:
    with pytest.raises(KernelError, match=r"open\(2\) '/nonexistent': .*ENOENT"):
        Fd.open("/nonexistent")


def test_close_after_somebody_else_closed_the_number() -> None:
    fd = Fd.open("/dev/null")
    os.close(fd.fileno())
    fd.close()
