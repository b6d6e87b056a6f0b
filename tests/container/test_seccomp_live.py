"""The filter in the kernel: a child loads it and makes calls, as x86-64, as i386 (int 0x80) and as x32."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from pyrun.container.seccomp import DefaultProfile, seccomp_filter
from pyrun.linux.syscall_table import read_syscall_numbers

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="makes calls of x86")

EPERM, ENOSYS = 1, 38
X32_BIT = 0x40000000
NEW_USER, NEW_UTS = 0x10000000, 0x04000000

# Runs in the child: filter and calls come as JSON on standard input, the results (negative errno) go out as JSON.
CHILD = r"""
import ctypes, json, mmap, os, sys

wanted = json.load(sys.stdin)
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
# push rbx; mov eax, edi; mov ebx, esi; mov ecx, edx; int 0x80; pop rbx; ret
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes.fromhex("53 89f8 89f3 89d1 cd80 5b c3"))
entry = ctypes.addressof(ctypes.c_char.from_buffer(code))
int80 = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint, ctypes.c_uint, ctypes.c_uint)(entry)

def native(number, *args):
    ctypes.set_errno(0)
    value = libc.syscall(*[ctypes.c_long(a) for a in (number, *args)])
    return -ctypes.get_errno() if value == -1 else value

class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

bytes_ = bytes.fromhex(wanted["filter"])
buffer = ctypes.create_string_buffer(bytes_, len(bytes_))
program = Program(len(bytes_) // 8, ctypes.addressof(buffer))
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert native(317, 1, 0, ctypes.addressof(program)) == 0  # seccomp(SECCOMP_SET_MODE_FILTER)
results = []
for abi, number, args in wanted["calls"]:
    results.append(native(number, *args) if abi == "native" else int80(number, *(args + [0, 0])[:2]))
print(json.dumps({"pid": os.getpid(), "results": results}), flush=True)
os._exit(0)
"""


def run_calls(program: bytes, *calls: tuple[str, int, list[int]]) -> tuple[int, int, list[int]]:
    """Exit status, pid and results of a child that loads *program* and makes *calls*."""
    ran = subprocess.run(
        [sys.executable, "-S", "-c", CHILD],
        input=json.dumps({"filter": program.hex(), "calls": calls}),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    said = json.loads(ran.stdout) if ran.stdout else {"pid": 0, "results": []}
    assert ran.stdout or ran.returncode < 0, ran.stderr
    return ran.returncode, said["pid"], said["results"]


def native(name: str, *args: int) -> tuple[str, int, list[int]]:
    return "native", read_syscall_numbers("x86_64")[name], list(args)


def i386(name: str, *args: int) -> tuple[str, int, list[int]]:
    return "i386", read_syscall_numbers("i386")[name], list(args)


def x32(name: str, *args: int) -> tuple[str, int, list[int]]:
    return "native", X32_BIT | read_syscall_numbers("x32")[name], list(args)


def has_i386() -> bool:
    """Whether this kernel runs 32-bit calls; without them int 0x80 ends the child with SIGSEGV."""
    status, pid, results = run_calls(
        seccomp_filter({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"]}), i386("getpid")
    )
    return status == 0 and results == [pid]


def test_native_calls_are_judged_by_the_default_filter() -> None:
    cases: list[tuple[tuple[str, int, list[int]], int]] = [
        (native("unshare", NEW_UTS), -EPERM),
        (native("setns", -1, 0), -EPERM),
        (native("mount", 0, 0, 0, 0, 0), -EPERM),
        (native("keyctl", 0), -EPERM),
        (native("bpf", 0), -EPERM),
        (native("clone", NEW_USER, 0, 0, 0, 0), -EPERM),
        (native("clone3", 0, 0), -ENOSYS),
        (("native", 5000, []), -ENOSYS),
        (native("personality", 0xFFFFFFFF), 0),
        (native("personality", 0x40000), -EPERM),
        (native("socket", 40, 1, 0), -EPERM),
        (native("socket", 38, 5, 0), -EPERM),
        (native("socket", 1 << 32 | 38, 5, 0), -EPERM),
        (native("sched_yield"), 0),
    ]
    status, _, results = run_calls(DefaultProfile().filter(), *[call for call, _ in cases], native("socket", 1, 1, 0))
    assert status == 0
    assert results[:-1] == [wanted for _, wanted in cases]
    assert results[-1] > 2, "a unix socket is an ordinary descriptor"


def test_i386_calls_are_judged_by_their_own_numbers() -> None:
    if not has_i386():
        pytest.skip("this kernel runs no i386 calls")
    calls = [
        i386("getpid"),
        i386("mount"),
        i386("unshare", NEW_UTS),
        i386("clone3"),
        i386("setns"),
        i386("clone", NEW_USER),
    ]
    status, pid, results = run_calls(DefaultProfile().filter(), *calls)
    assert status == 0
    assert results == [pid, -EPERM, -EPERM, -ENOSYS, -EPERM, -EPERM]


def test_x32_calls_are_judged_even_where_the_kernel_has_none() -> None:
    status, pid, results = run_calls(DefaultProfile().filter(), x32("mount"), x32("unshare", NEW_UTS), x32("getpid"))
    assert status == 0
    assert results[:2] == [-EPERM, -EPERM]
    assert results[2] in (pid, -ENOSYS)


@pytest.mark.parametrize("call", [i386("getpid"), x32("getpid")])
def test_an_architecture_that_the_profile_does_not_name_is_killed(call: tuple[str, int, list[int]]) -> None:
    if call[0] == "i386" and not has_i386():
        pytest.skip("this kernel runs no i386 calls")
    native_only: dict[str, Any] = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"]}
    status, _, _ = run_calls(seccomp_filter(native_only), call)
    assert status == -signal.SIGSYS


def test_the_filter_of_the_largest_size_loads() -> None:
    """Longer than anything in use, with every kind of comparison: the kernel's checker takes it."""
    names = sorted(
        set(read_syscall_numbers("x86_64")) - {"write", "exit_group", "getpid", "munmap", "rt_sigaction", "futex"}
    )
    operators = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")
    syscalls = []
    for i, name in enumerate(names):
        argument = {"index": 5, "value": 0x1234567800000000 + i, "valueTwo": i, "op": f"SCMP_CMP_{operators[i % 7]}"}
        syscalls.append({"names": [name], "action": "SCMP_ACT_LOG", "args": [argument]})
    program = seccomp_filter({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": syscalls})
    assert 1000 < len(program) // 8 <= 4096
    status, pid, results = run_calls(program, native("getpid"))
    assert (status, results) == (0, [pid])
