"""kernel/program.py: the static programs, as memfds that nobody can change."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.child import run
from pyrun.kernel.program import above_standard, program_fd, program_path, use_program
from pyrun.kernel.step import Exec

NAMES = ("pyrun-stage", "pyrun-pause", "pyrun-monitor")


@pytest.mark.parametrize("name", NAMES)
def test_memfd_is_the_program_and_sealed(name: str) -> None:
    fd = program_fd(name)
    assert fd == program_fd(name), "made once"
    content = Path(program_path(name)).read_bytes()
    assert os.pread(fd, len(content) + 1, 0) == content
    seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    for seal in (fcntl.F_SEAL_WRITE, fcntl.F_SEAL_GROW, fcntl.F_SEAL_SHRINK, fcntl.F_SEAL_SEAL):
        assert seals & seal
    for attempt in (lambda: os.pwrite(fd, b"x", 0), lambda: os.ftruncate(fd, 0), lambda: os.ftruncate(fd, 10**6)):
        with pytest.raises(PermissionError):
            attempt()
    # Nor by another way to it, as a process would have through /proc/<pid>/exe.
    again = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY)
    with pytest.raises(PermissionError):
        os.write(again, b"x")
    os.close(again)
    assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC


@pytest.mark.parametrize("name", NAMES)
def test_program_is_static_and_small(name: str) -> None:
    path = Path(program_path(name))
    headers = subprocess.run(["readelf", "-lW", path], capture_output=True, text=True, check=True).stdout
    assert "INTERP" not in headers
    assert "DYNAMIC" not in headers
    assert "GNU_STACK" in headers
    assert " RWE " not in headers, "the stack is not executable, and nothing is both written and run"
    assert path.stat().st_size < {"pyrun-stage": 64, "pyrun-pause": 8, "pyrun-monitor": 32}[name] * 1024
    assert os.access(path, os.X_OK)


@pytest.mark.root
def test_seam_for_another_build(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(Path("/bin/echo").read_bytes())
    fd = program_fd("pyrun-pause")
    try:
        use_program("pyrun-pause", str(other))
        status, output = run(Exec(("echo", "other"), file="p"), fds={"p": program_fd("pyrun-pause")})
        assert (status.code, output) == (0, "other\n")
        with pytest.raises(FileNotFoundError):
            use_program("pyrun-pause", "/nonexistent")
    finally:
        use_program("pyrun-pause", None)
    assert program_fd("pyrun-pause") >= 3
    assert fd >= 3


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        program_fd("no-such-program")


def test_above_standard_moves_low_descriptors_only() -> None:
    fd = os.open("/dev/null", os.O_RDONLY)
    assert above_standard(fd) == fd
    os.close(fd)
    code = """if True:
        import fcntl, os
        from pyrun.kernel.program import above_standard
        os.close(0)
        fd = os.open("/dev/null", os.O_RDONLY)
        assert fd == 0
        moved = above_standard(fd)
        assert moved > 2 and fcntl.fcntl(moved, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        try:
            os.fstat(0)
        except OSError as error:
            print(error.errno)
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"{errno.EBADF}\n"
