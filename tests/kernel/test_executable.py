"""csrc/executable.c: what an exec would refuse is refused when the program is looked up, with the same word."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import struct
from pathlib import Path

import pytest

from fixtures.child import at_gate
from pyrun.errors import ExecError
from pyrun.kernel.spawn import create
from pyrun.kernel.step import Exec, FindProgram, Gate, SetUser, Step

pytestmark = pytest.mark.root

CAT = "/bin/cat"


def write(path: Path, content: bytes, mode: int = 0o755) -> str:
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def found(program: str, *steps: Step, env: tuple[str, ...] = (), argv: tuple[str, ...] = ()) -> None:
    """Let a child look *program* up, and wait for its gate."""
    exec_ = Exec(argv or (program,), env)
    with create((*steps, FindProgram(program, "/bin"), Gate(), exec_)) as created:
        created.wait_created()


def refused(program: str, *steps: Step, env: tuple[str, ...] = (), argv: tuple[str, ...] = ()) -> int:
    """The errno with which it is refused, before the gate."""
    with pytest.raises(ExecError) as caught:
        found(program, *steps, env=env, argv=argv)
    assert caught.value.exit_code == 126
    return caught.value.errno


@pytest.mark.parametrize("line", [b"#!/bin/sh", b"#!/bin/sh\n", b"#! \t/bin/sh -e\n", b"#!/bin/sh\0"])
def test_a_script_whose_interpreter_is_there(tmp_path: Path, line: bytes) -> None:
    found(write(tmp_path / "script", line))


@pytest.mark.parametrize(
    ("line", "error", "kernels"),
    [
        (b"#!/no/such\n", errno.ELIBACC, errno.ENOENT),
        (b"#!/etc/passwd/x\n", errno.ELIBACC, errno.ENOTDIR),
        (b"#!/etc\n", errno.EACCES, errno.EACCES),
        (b"#!/etc/passwd\n", errno.EACCES, errno.EACCES),
        (b"#!\n", errno.ENOEXEC, errno.ENOEXEC),
        (b"#!", errno.ENOEXEC, errno.EACCES),
        (b"#!   \t\n", errno.ENOEXEC, errno.ENOEXEC),
        (b"#!/" + b"x" * 300, errno.ENOEXEC, errno.ENOEXEC),
        (b"", errno.ENOEXEC, errno.ENOEXEC),
        (b"echo a script that does not say whose\n", errno.ENOEXEC, errno.ENOEXEC),
    ],
)
def test_a_file_that_the_kernel_does_not_run(tmp_path: Path, line: bytes, error: int, kernels: int) -> None:
    """The kernel says the same, but for an interpreter that is missing, or has no name."""
    program = write(tmp_path / "script", line)
    assert refused(program) == error
    assert kernel_says(program) == kernels


def kernel_says(program: str, env: dict[str, str] | None = None) -> int:
    """The errno of an exec; 0 if it works."""
    try:
        os.waitpid(os.posix_spawn(program, [program, "/dev/null"], env or {}), 0)
    except OSError as error:
        return error.errno or 0
    return 0


def test_an_interpreter_that_is_a_script(tmp_path: Path) -> None:
    below = b"/bin/sh"
    for depth in range(8):
        path = write(tmp_path / f"script{depth}", b"#!" + below + b"\n")
        below = path.encode()
        if depth < 5:
            found(path)
        else:
            assert refused(path) == errno.ELOOP


def interpreter_of(program: str) -> tuple[int, int]:
    """Where in an ELF file the name of its interpreter is, and its size."""
    data = Path(program).read_bytes()
    (offset,) = struct.unpack_from("=Q", data, 32)
    size, count = struct.unpack_from("=HH", data, 54)
    for i in range(count):
        kind, _flags, at, _, _, length = struct.unpack_from("=IIQQQQ", data, offset + i * size)
        if kind == 3:
            return at, length
    raise AssertionError(f"{program} has no interpreter")


def test_an_elf_file_whose_interpreter_is_missing(tmp_path: Path) -> None:
    found(CAT)
    at, length = interpreter_of(CAT)
    data = bytearray(Path(CAT).read_bytes())
    data[at : at + length] = b"/no/such".ljust(length, b"\0")
    assert refused(write(tmp_path / "cat", bytes(data))) == errno.ELIBACC
    data[at : at + length] = b"x" * length
    assert refused(write(tmp_path / "cat", bytes(data))) == errno.ENOEXEC


@pytest.mark.parametrize("content", [b"\x7fELF" + bytes(40), b"\x7fELF\x01" + bytes(80), b"\xca\xfe\xba\xbe\0"])
def test_what_a_kernel_may_have_been_taught_is_left_to_it(tmp_path: Path, content: bytes) -> None:
    found(write(tmp_path / "program", content))


def test_a_program_that_may_be_run_but_not_read(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for parent in list(tmp_path.parents)[:3]:
        parent.chmod(parent.stat().st_mode | 0o011)
    shutil.copy(CAT, tmp_path / "cat")
    (tmp_path / "cat").chmod(0o711)
    with at_gate(SetUser(65534, 65534), FindProgram(str(tmp_path / "cat"), "")):
        pass


# ---- how much ----


def test_strings_as_long_as_the_kernel_takes_them() -> None:
    longest = 131072 - 1
    found(CAT, env=("A=" + "x" * (longest - 2),))
    assert refused(CAT, env=("A=" + "x" * (longest - 1),)) == errno.E2BIG
    assert refused(CAT, argv=(CAT, "x" * (longest + 1))) == errno.E2BIG


def test_as_much_in_all_as_the_kernel_takes() -> None:
    """What the kernel takes is a part of the stack's limit: a little less is found, a little more is refused, as by itself."""
    soft, _ = resource.getrlimit(resource.RLIMIT_STACK)
    limit = 6 << 20 if soft == resource.RLIM_INFINITY else min(6 << 20, soft // 4)
    each = len("000000=") + 1000 + 1 + 8  # name, value, the end of the string, the pointer to it
    for count, error in ((limit // each - 5, 0), (limit // each + 5, errno.E2BIG)):
        variables = {f"{i:06}": "x" * 1000 for i in range(count)}
        assert kernel_says(CAT, variables) == error
        env = tuple([f"{name}={value}" for name, value in variables.items()])
        if error:
            assert refused(CAT, env=env) == error
        else:
            found(CAT, env=env)
