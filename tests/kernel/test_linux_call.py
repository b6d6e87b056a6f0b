from __future__ import annotations

import errno
from pathlib import Path

import pytest

from pyrun.errors import KernelError
from pyrun.linux import call


def test_success_is_handed_through() -> None:
    assert call.check(0, "dup(2)") == 0
    assert call.check(7, "dup(2)") == 7


@pytest.mark.parametrize("name", ["/no/such", b"/no/such", Path("/no/such")])
def test_failure_is_an_error_with_call_and_file(name: call.Path) -> None:
    with pytest.raises(KernelError) as caught:
        call.check(-errno.ENOENT, "open_tree(2)", name)
    assert (caught.value.errno, caught.value.call, caught.value.filename) == (errno.ENOENT, "open_tree(2)", "/no/such")
    assert str(caught.value) == "open_tree(2) '/no/such': No such file or directory (ENOENT)"


def test_failure_without_a_file() -> None:
    with pytest.raises(KernelError) as caught:
        call.check(-errno.EPERM, "unshare(2)")
    assert caught.value.filename is None


def test_errors_of_os_are_converted() -> None:
    error = call.convert(OSError(errno.EACCES, "x", b"/some\xff"), "open(2)")
    assert (error.errno, error.call, error.filename) == (errno.EACCES, "open(2)", "/some\udcff")


@pytest.mark.parametrize("encode", [call.encode_path, call.encode_text])
def test_nul_is_refused_and_not_cut_off(encode: object) -> None:
    with pytest.raises(ValueError, match="NUL"):
        encode("/etc\0/passwd")  # type: ignore[operator]


def test_paths_of_any_bytes() -> None:
    assert call.encode_path("/a\udcff") == b"/a\xff"
    assert call.encode_path(Path("/a")) == b"/a"
