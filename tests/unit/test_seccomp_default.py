"""The default profile: what it allows, its prebuilt filters, and how it differs from podman's."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fixtures.bpf_machine import ALLOW, AUDIT, ERRNO, KILL_PROCESS, X32_BIT, judge, run_filter
from fixtures.podman import PODMAN_PROFILE, needs_podman_profile
from pyrun.container.seccomp import (
    MACHINES,
    PROFILE_CAPABILITIES,
    DefaultProfile,
    filter_path,
    seccomp_filter,
    seccomp_flags,
)
from pyrun.container.seccomp_build import PREBUILT_CAPABILITIES, build_default_profiles
from pyrun.container.seccomp_compile import compile_filter
from pyrun.container.seccomp_profile import (
    ALLOWED,
    ARCHITECTURES,
    BY_CAPABILITY,
    NEW_NAMESPACES,
    default_profile_oci,
)
from pyrun.container.security import CAPABILITY_NAMES, DEFAULT_CAPABILITIES, capability_mask
from pyrun.errors import Unsupported
from pyrun.linux.bpf import INSTRUCTION_BYTES
from pyrun.linux.syscall_table import ARCHITECTURES as COLUMNS
from pyrun.linux.syscall_table import read_syscall_numbers

EPERM, EINVAL, ENOSYS = ERRNO | 1, ERRNO | 22, ERRNO | 38
COLUMNS_OF = {"x86_64": ("x86_64", "i386", "x32"), "aarch64": ("aarch64", "arm")}
EVERY_CAPABILITY = CAPABILITY_NAMES

FIRST_ARGUMENTS = sorted(
    {0, 1, 8, 9, 0x20000, 0x20008, 0x20009, 0xFFFFFFFF, 2**64 - 1, NEW_NAMESPACES, 0x1200011, 0x3D0F00}
    | set(range(36, 48))
    | {1 << bit for bit in range(64)}
    | {1 << 32 | family for family in (2, 38, 39, 40, 41)}
)


# ---- the table of numbers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "column"), [("unistd_64.h", "x86_64"), ("unistd_32.h", "i386"), ("unistd_x32.h", "x32")]
)
def test_the_numbers_are_those_of_the_kernel_headers(header: str, column: str) -> None:
    known = read_syscall_numbers(column)
    found = {}
    for line in Path(f"/usr/include/x86_64-linux-gnu/asm/{header}").read_text().splitlines():
        if line.startswith("#define __NR_") and len(words := line.replace("(__X32_SYSCALL_BIT + ", "").split()) == 3:
            found[words[1].removeprefix("__NR_")] = int(words[2].rstrip(")"))
    assert len(found) > 300
    assert {name: known.get(name) for name in found} == found


def test_new_calls_have_one_number_everywhere() -> None:
    for name, number in read_syscall_numbers("x86_64").items():
        if 424 <= number < 512:
            others = {read_syscall_numbers(column).get(name, number) for column in COLUMNS}
            assert others == {number}, name


def test_every_name_in_the_profile_is_known() -> None:
    known = set().union(*[read_syscall_numbers(column) for column in COLUMNS])
    named = {name for group in (*ALLOWED.values(), *BY_CAPABILITY.values()) for name in group.split()}
    # Calls that other profiles name but no kernel of these machines has under that name.
    assert named - known == {"getsid", "recv", "send", "utimensat_time64"} - known
    everyone = [name for group in ALLOWED.values() for name in group.split()]
    assert len(everyone) == len(set(everyone)), "a call stands in two groups"
    assert not set(everyone) & {name for group in BY_CAPABILITY.values() for name in group.split()}


# ---- the filters -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("capabilities", [*PREBUILT_CAPABILITIES, ("CAP_SYS_ADMIN",), EVERY_CAPABILITY])
def test_every_number_is_judged_as_the_profile_says(machine: str, capabilities: tuple[str, ...]) -> None:
    profile = default_profile_oci(capabilities, machine)
    program = compile_filter(profile, machine)
    conditional = {name for rule in profile["syscalls"] if rule.get("args") for name in rule["names"]}  # type: ignore[attr-defined]
    for column in COLUMNS_OF[machine]:
        numbers = read_syscall_numbers(column)
        newest = max(
            n
            for rule in profile["syscalls"]
            for name in rule["names"]
            if (n := numbers.get(name, 0)) < 0xF0000  # type: ignore[attr-defined]
        )
        for number in [*range(600), *range(0xF0000, 0xF0008)]:
            has_conditions = any(numbers.get(name) == number for name in conditional)
            for first in FIRST_ARGUMENTS if has_conditions else (0,):
                args = (first, 0, 0, 0, 0, 0)
                wanted = judge(profile, column, number, args)
                if number > newest and wanted == EPERM:
                    wanted = ENOSYS
                marker = X32_BIT if column == "x32" else 0
                assert run_filter(program, marker | number, AUDIT[column], args) == wanted, (column, number, first)


def verdict(name: str, *args: int, column: str = "x86_64", capabilities: tuple[str, ...] = DEFAULT_CAPABILITIES) -> int:
    machine = "x86_64" if column in COLUMNS_OF["x86_64"] else "aarch64"
    marker = X32_BIT if column == "x32" else 0
    program = DefaultProfile(capabilities, machine).filter()
    return run_filter(program, marker | read_syscall_numbers(column)[name], AUDIT[column], args)


@pytest.mark.parametrize("column", AUDIT)
def test_the_calls_that_matter(column: str) -> None:
    for name in ("read", "execve", "ptrace", "chroot", "io_setup", "seccomp", "landlock_restrict_self", "mseal"):
        assert verdict(name, column=column) == ALLOW, name
    for name in "mount unshare setns bpf keyctl add_key userfaultfd io_uring_setup kexec_load reboot swapon".split():
        assert verdict(name, column=column) == EPERM, name
    for name in "mount unshare setns bpf clone3 pivot_root syslog open_tree_attr".split():
        assert verdict(name, column=column, capabilities=("CAP_SYS_ADMIN",)) == ALLOW, name
    assert verdict("clone3", column=column) == ENOSYS
    assert verdict("chroot", column=column, capabilities=()) == EPERM


@pytest.mark.parametrize("column", AUDIT)
def test_clone_makes_no_namespaces(column: str) -> None:
    assert verdict("clone", 0x3D0F00, column=column) == ALLOW
    for bit in range(32):
        wanted = EPERM if NEW_NAMESPACES >> bit & 1 else ALLOW
        assert verdict("clone", 1 << bit | 17, column=column) == wanted
    assert verdict("clone", NEW_NAMESPACES, column=column, capabilities=("CAP_SYS_ADMIN",)) == ALLOW


@pytest.mark.parametrize("column", AUDIT)
def test_two_address_families_are_refused(column: str) -> None:
    for family in range(46):
        assert verdict("socket", family, column=column) == (EPERM if family in (38, 40) else ALLOW), family
    assert verdict("socket", 46, column=column) == EPERM


@pytest.mark.parametrize("column", AUDIT)
def test_junk_above_the_family_does_not_help(column: str) -> None:
    """The kernel takes the family as an int; a filter that compares 64 bits must not be led astray by the rest."""
    for family in (38, 40):
        for junk in (1 << 32, 1 << 63, 0xFFFFFFFF << 32):
            assert verdict("socket", junk | family, column=column) == EPERM


def test_a_call_of_another_machine_is_killed() -> None:
    for machine in MACHINES:
        program = DefaultProfile(machine=machine).filter()
        other = next(m for m in MACHINES if m != machine)
        for column in COLUMNS_OF[other]:
            assert run_filter(program, 0, AUDIT[column]) == KILL_PROCESS


# ---- ahead of time ---------------------------------------------------------------------------------------------------


def test_the_mask_is_that_of_the_profile() -> None:
    assert capability_mask(BY_CAPABILITY) == PROFILE_CAPABILITIES
    assert set(ARCHITECTURES) == set(MACHINES)


def test_building_writes_one_file_for_each_machine_and_set(tmp_path: Path) -> None:
    paths = build_default_profiles(tmp_path)
    assert sorted(paths) == sorted(str(path) for path in tmp_path.iterdir())
    assert len(paths) == len(MACHINES) * len(PREBUILT_CAPABILITIES)
    for machine in MACHINES:
        for capabilities in PREBUILT_CAPABILITIES:
            built = Path(filter_path(machine, capability_mask(capabilities), str(tmp_path))).read_bytes()
            assert built == compile_filter(default_profile_oci(capabilities, machine), machine)


def test_what_is_installed_is_what_the_sources_say() -> None:
    """A filter left over from an older build would be an older policy."""
    for machine in MACHINES:
        for capabilities in PREBUILT_CAPABILITIES:
            path = Path(filter_path(machine, capability_mask(capabilities)))
            if path.exists():
                wanted = compile_filter(default_profile_oci(capabilities, machine), machine)
                assert path.read_bytes() == wanted, f"{path} is older than the profile: build again"


def test_the_filter_is_short() -> None:
    """Loading costs by length; see the numbers in pyrun.container.seccomp_compile."""
    assert len(DefaultProfile(machine="x86_64").filter()) <= 300 * INSTRUCTION_BYTES
    native = {**default_profile_oci(DEFAULT_CAPABILITIES, "x86_64"), "architectures": []}
    assert len(compile_filter(native, "x86_64")) <= 100 * INSTRUCTION_BYTES


def test_capabilities_that_the_profile_does_not_ask_for_share_its_filter() -> None:
    bits = capability_mask(("CAP_NET_ADMIN", "CAP_SYS_CHROOT"))
    assert filter_path("x86_64", bits) == filter_path("x86_64", capability_mask(DEFAULT_CAPABILITIES))
    assert filter_path("x86_64", 0) != filter_path("x86_64", bits)


def test_the_default_profile_reads_like_the_object_that_it_is() -> None:
    profile = DefaultProfile(machine="x86_64")
    assert profile == default_profile_oci(DEFAULT_CAPABILITIES, "x86_64")
    assert json.loads(json.dumps(dict(profile))) == profile.oci()
    assert list(profile) == list(profile.oci())
    assert len(profile) == 4
    assert seccomp_flags(profile) == 0
    assert seccomp_filter(DefaultProfile()) == seccomp_filter(dict(DefaultProfile()))
    assert "CAP_CHOWN" in repr(profile)


def test_a_machine_without_a_table_is_unsupported() -> None:
    for use in (DefaultProfile.filter, DefaultProfile.oci):
        with pytest.raises(Unsupported, match="riscv64"):
            use(DefaultProfile(machine="riscv64"))


def test_the_fast_path_imports_next_to_nothing(tmp_path: Path) -> None:
    """The default filter is on the path of every start: reading it must not cost an import of the compiler."""
    script = f"""
import sys
from pyrun.container import seccomp
seccomp.filter_path = lambda *_: {str(tmp_path / "filter")!r}
before = set(sys.modules)
assert seccomp.seccomp_filter(seccomp.DefaultProfile()) == b"filter"
print(*sorted(set(sys.modules) - before))
print(*sorted(m for m in sys.modules if m in {{"json", "re", "struct", "collections", "typing", "dataclasses"}}))
print(*sorted(m for m in sys.modules if m.startswith("pyrun.container")))
"""
    (tmp_path / "filter").write_bytes(b"filter")
    command = [sys.executable, "-S", "-E", "-c", "import sys; sys.path[:0] = sys.argv[1:]\n" + script, *sys.path]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded, heavy, own = ran.stdout.split("\n")[:3]
    assert (loaded, heavy) == ("", "")
    assert own.split() == ["pyrun.container", "pyrun.container.seccomp", "pyrun.container.security"]


# ---- podman's profile ------------------------------------------------------------------------------------------------

# Why the default profile differs from the one that podman ships. Reason -> calls; checked to be complete and current.
DENIED_UNLIKE_PODMAN = {
    "namespaces and mounts are for CAP_SYS_ADMIN, as in containerd; podman lets everyone try, for nested rootless use": """
        clone3 fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree pivot_root setns umount umount2
        unshare""",
    "the kernel keyring has no namespace": "keyctl",
    "restarting the machine is for CAP_SYS_BOOT": "reboot",
    "the kernel's log is for CAP_SYSLOG": "syslog",
    "memory policy is for CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy",
    "taking another process's descriptors is for CAP_SYS_PTRACE": "pidfd_getfd",
}
ALLOWED_UNLIKE_PODMAN = {
    "newer than Debian 12's file": """
        cachestat fchmodat2 file_getattr file_setattr futex_requeue futex_wait futex_waitv futex_wake getxattrat
        listmount listxattrat lsm_get_self_attr lsm_list_modules map_shadow_stack mseal removexattrat setxattrat
        statmount""",
    "the kernel itself makes them for a probe; refused, a probed program dies": "uprobe uretprobe",
    "containerd and Docker allow them": "io_pgetevents io_pgetevents_time64 vmsplice",
}
CONDITIONAL_UNLIKE_PODMAN = {"clone": "no new namespaces", "socket": "neither AF_ALG nor AF_VSOCK"}


def podman_profile(capabilities: tuple[str, ...]) -> dict[str, Any]:
    """podman's file as the OCI object that it becomes for *capabilities* on x86-64."""
    source = json.loads(PODMAN_PROFILE.read_text())
    chosen = []
    for rule in source["syscalls"]:
        includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
        if "arches" in includes and "amd64" not in includes["arches"]:
            continue
        if not set(includes.get("caps") or ()) <= set(capabilities) or set(excludes.get("caps") or ()) & set(
            capabilities
        ):
            continue
        chosen.append(rule)
    return {**source, "syscalls": chosen}


def allowed_names(profile: dict[str, Any], column: str) -> set[str]:
    """What may be called with all arguments zero."""
    zeros = (0,) * 6
    return {name for name, n in read_syscall_numbers(column).items() if judge(profile, column, n, zeros) == ALLOW}


@needs_podman_profile
def test_differences_from_podman_are_the_ones_with_a_reason() -> None:
    ours, theirs = default_profile_oci(DEFAULT_CAPABILITIES, "x86_64"), podman_profile(DEFAULT_CAPABILITIES)
    denied, allowed = set(), set()
    for column in ("x86_64", "i386", "x32"):
        mine, others = allowed_names(ours, column), allowed_names(theirs, column)
        denied |= others - mine
        allowed |= mine - others
    assert denied == set(" ".join(DENIED_UNLIKE_PODMAN.values()).split())
    assert allowed == set(" ".join(ALLOWED_UNLIKE_PODMAN.values()).split())


@needs_podman_profile
def test_conditions_are_podmans_but_for_those_with_a_reason() -> None:
    ours, theirs = default_profile_oci(DEFAULT_CAPABILITIES, "x86_64"), podman_profile(DEFAULT_CAPABILITIES)
    differ = set()
    for name in ("personality", "clone", "socket", "ptrace", "prctl", "ioctl"):
        number = read_syscall_numbers("x86_64")[name]
        for first in FIRST_ARGUMENTS:
            args = (first, 0, 0, 0, 0, 0)
            if (judge(ours, "x86_64", number, args) == ALLOW) != (judge(theirs, "x86_64", number, args) == ALLOW):
                differ.add(name)
    assert differ == set(CONDITIONAL_UNLIKE_PODMAN)


def test_a_group_is_a_reason() -> None:
    reasons = [*DENIED_UNLIKE_PODMAN, *ALLOWED_UNLIKE_PODMAN, *ALLOWED]
    assert len(set(reasons)) == len(reasons)
    for first, second in pairwise(sorted(BY_CAPABILITY)):
        assert first < second
