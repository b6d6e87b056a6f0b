from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.interpreter import run_python
from pyrun.errors import KernelError
from pyrun.linux import file


@pytest.fixture
def root_fd(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/hostname").write_text("inside")
    (tmp_path / "up").symlink_to("../../../../etc/hostname")
    (tmp_path / "absolute").symlink_to("/etc/hostname")
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def read(fd: int) -> bytes:
    assert not os.get_inheritable(fd)
    with os.fdopen(fd, "rb") as opened:
        return opened.read()


@pytest.mark.parametrize("path", ["up", "absolute", "/etc/hostname", "../etc/hostname", b"etc/hostname"])
def test_nothing_leads_out_of_the_root(root_fd: int, path: str | bytes) -> None:
    assert read(file.openat2(root_fd, path, os.O_RDONLY, resolve=file.RESOLVE_IN_ROOT)) == b"inside"


@pytest.mark.parametrize(
    ("path", "resolve", "error"),
    [
        ("up", file.RESOLVE_BENEATH, errno.EXDEV),
        ("absolute", file.RESOLVE_BENEATH, errno.EXDEV),
        ("up", file.RESOLVE_NO_SYMLINKS, errno.ELOOP),
        ("missing", 0, errno.ENOENT),
        ("etc", 1 << 40, errno.EINVAL),
    ],
)
def test_refusals(root_fd: int, path: str, resolve: int, error: int) -> None:
    with pytest.raises(KernelError) as caught:
        file.openat2(root_fd, path, os.O_RDONLY, resolve=resolve)
    assert (caught.value.errno, caught.value.call, caught.value.filename) == (error, "openat2(2)", path)


def test_creates_with_mode(root_fd: int, tmp_path: Path) -> None:
    os.close(file.openat2(root_fd, "new", os.O_CREAT | os.O_WRONLY, 0o600, file.RESOLVE_BENEATH))
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


def test_relative_to_the_working_directory() -> None:
    os.close(file.openat2(file.AT_FDCWD, ".", os.O_PATH))


def test_close_range() -> None:
    run_python(
        """
        import fcntl, os
        from pyrun.errors import KernelError
        from pyrun.linux import file
        fds = [fcntl.fcntl(0, fcntl.F_DUPFD, 100) for _ in range(5)]
        file.close_range(100, 102)
        file.close_range(103, 103, file.CLOSE_RANGE_CLOEXEC)
        assert not os.get_inheritable(103) and os.get_inheritable(104)
        for fd in (100, 101, 102):
            try:
                os.fstat(fd)
            except OSError:
                continue
            raise AssertionError(fd)
        try:
            file.close_range(5, 4)
        except KernelError as error:
            assert (error.errno, error.call) == (22, "close_range(2)")
        else:
            raise AssertionError
        """
    )
