"""Parsers of /proc on text as the kernel writes it, with names that somebody hostile has chosen."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrun.errors import KernelError
from pyrun.linux import mountinfo, procfs
from pyrun.linux.procfs import CgroupMembership, Limit

STATUS = b"""\
Name:\t%b
Umask:\t0022
State:\tS (sleeping)
Tgid:\t4711
Ngid:\t0
Pid:\t4711
PPid:\t1
TracerPid:\t0
Uid:\t1000\t1001\t1002\t1003
Gid:\t100\t101\t102\t103
FDSize:\t64
Groups:\t24 25 \x20
NStgid:\t4711\t7\t1
NSpid:\t4711\t7\t1
VmRSS:\t    3512 kB
Threads:\t3
SigBlk:\t0000000000000001
SigIgn:\t0000000000001000
SigCgt:\t0000000180004002
CapInh:\t0000000000000001
CapPrm:\t000001ffffffffff
CapEff:\t0000000000000003
CapBnd:\t000001ffffffffff
CapAmb:\t0000000000000000
NoNewPrivs:\t1
Seccomp:\t2
Seccomp_filters:\t1
"""


def written_name(name: bytes) -> bytes:
    """As proc_task_name() writes it to status."""
    return name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")


def test_status() -> None:
    status = procfs.parse_status(STATUS % b"sleep")
    assert (status.name, status.state, status.pid, status.parent_pid, status.threads) == ("sleep", "S", 4711, 1, 3)
    assert (status.uids, status.gids) == ((1000, 1001, 1002, 1003), (100, 101, 102, 103))
    assert (status.groups, status.ns_pids) == ((24, 25), (4711, 7, 1))
    assert (status.umask, status.rss_bytes) == (0o022, 3512 * 1024)
    assert (status.blocked, status.ignored, status.caught) == (1, 0x1000, 0x180004002)
    assert status.capabilities == procfs.CapabilitySets(1, 0x1FFFFFFFFFF, 3, 0x1FFFFFFFFFF, 0)
    assert (status.no_new_privileges, status.seccomp, status.seccomp_filters) == (True, 2, 1)


def test_status_of_a_zombie_and_of_a_kernel_without_seccomp() -> None:
    left_out = (b"Umask", b"VmRSS", b"Seccomp", b"Seccomp_filters")
    lines = [line for line in STATUS.splitlines(True) if line.split(b":")[0] not in left_out]
    status = procfs.parse_status(b"".join(lines) % b"x")
    assert (status.umask, status.rss_bytes, status.seccomp, status.seccomp_filters) == (0, 0, 0, 0)


NAMES = st.binary(max_size=15).map(lambda name: name.replace(b"\0", b"/"))


@given(NAMES)
def test_no_name_reaches_into_the_rest_of_status(name: bytes) -> None:
    status = procfs.parse_status(STATUS.replace(b"%b", written_name(name)))
    assert os.fsencode(status.name) == name
    assert status.uids == (1000, 1001, 1002, 1003)


@pytest.mark.parametrize("name", [b"\nUid:\t0\t0\t0\t0", b"a\\", b"\\n", b" x ", b"\t", b"", b"\xff"])
def test_names_that_want_to(name: bytes) -> None:
    status = procfs.parse_status(STATUS.replace(b"%b", written_name(name)))
    assert os.fsencode(status.name) == name
    assert status.uids == (1000, 1001, 1002, 1003)


STAT = b"4711 (%b) S 1 4711 4700 34816 -1 4194304 101 2 3 4 11 12 13 14 20 0 3 0 98765 8192 878 18446744073709551615"


@given(NAMES)
def test_stat_with_any_name(name: bytes) -> None:
    stat = procfs.parse_stat(STAT.replace(b"%b", name))
    assert os.fsencode(stat.name) == name
    assert (stat.pid, stat.state, stat.parent_pid, stat.group, stat.session, stat.terminal) == (
        4711,
        "S",
        1,
        4711,
        4700,
        34816,
    )
    assert (stat.user_ticks, stat.system_ticks, stat.threads, stat.start_ticks) == (11, 12, 3, 98765)


@pytest.mark.parametrize("name", [b") R 1 (", b"a\nb) Z 0", b"((", b"))"])
def test_stat_with_names_that_look_like_its_end(name: bytes) -> None:
    assert procfs.parse_stat(STAT.replace(b"%b", name)).state == "S"


def test_cgroups() -> None:
    data = b"12:cpu,cpuacct:/a\n1:name=systemd:/user.slice/x:y\n0::/pyrun/pod\xff (deleted)\n"
    assert procfs.parse_cgroups(data) == (
        CgroupMembership(12, ("cpu", "cpuacct"), "/a"),
        CgroupMembership(1, ("name=systemd",), "/user.slice/x:y"),
        CgroupMembership(0, (), "/pyrun/pod\udcff (deleted)"),
    )
    assert procfs.parse_cgroups(b"") == ()


def test_limits() -> None:
    data = (
        b"Limit                     Soft Limit           Hard Limit           Units     \n"
        b"Max cpu time              unlimited            unlimited            seconds   \n"
        b"Max open files            1024                 524288               files     \n"
        b"Max nice priority         0                    0                    \n"
        b"Max something new         1                    2                    things    \n"
    )
    assert procfs.parse_limits(data) == {
        "RLIMIT_CPU": Limit(None, None),
        "RLIMIT_NOFILE": Limit(1024, 524288),
        "RLIMIT_NICE": Limit(0, 0),
    }


def test_sizes() -> None:
    data = b"55d0-7ffd ---p 00000000 00:00 0    [rollup]\nRss:   16 kB\nPss:   7 kB\nHugePages_Total:   5\nActive(anon): 1 kB\n"
    assert procfs.parse_sizes(data) == {"Rss": 16384, "Pss": 7168, "HugePages_Total": 5, "Active(anon)": 1024}


@given(st.binary())
def test_sizes_take_anything(data: bytes) -> None:
    procfs.parse_sizes(data)


# ---- mountinfo -------------------------------------------------------------------------------------------------------

LINE = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n"


def test_mountinfo() -> None:
    (mount,) = mountinfo.parse_mountinfo(LINE)
    assert (mount.mount_id, mount.parent_id, mount.major, mount.minor) == (36, 35, 98, 0)
    assert (mount.root, mount.target, mount.options) == ("/mnt1", "/mnt2", ("rw", "noatime"))
    assert (mount.fs_type, mount.source, mount.super_options) == ("ext3", "/dev/root", ("rw", "errors=continue"))
    assert (mount.shared, mount.master, mount.propagate_from, mount.unbindable) == (None, 1, None, False)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (b"", (None, None, None, False)),
        (b"shared:2 ", (2, None, None, False)),
        (b"shared:7 master:8 propagate_from:9 ", (7, 8, 9, False)),
        (b"unbindable ", (None, None, None, True)),
        (b"new_in_some_kernel:5 ", (None, None, None, False)),
    ],
)
def test_mountinfo_propagation(tags: bytes, expected: tuple[object, ...]) -> None:
    (mount,) = mountinfo.parse_mountinfo(LINE.replace(b"master:1 ", tags))
    assert (mount.shared, mount.master, mount.propagate_from, mount.unbindable) == expected


def written_path(path: bytes) -> bytes:
    """As mangle() and seq_path() write it."""
    return b"".join([b"\\%03o" % byte if byte in b" \t\n\\#" else bytes([byte]) for byte in path])


PATHS = st.binary(max_size=30).map(lambda path: b"/" + path.replace(b"\0", b"-"))


@given(PATHS, PATHS, st.binary(max_size=10).map(lambda source: source.replace(b"\0", b" ")))
def test_mountinfo_with_any_names(root: bytes, target: bytes, source: bytes) -> None:
    line = LINE.replace(b"/mnt1", written_path(root)).replace(b"/dev/root", written_path(source))
    (mount,) = mountinfo.parse_mountinfo(line.replace(b" /mnt2 ", b" " + written_path(target) + b" "))
    assert (os.fsencode(mount.root), os.fsencode(mount.source)) == (root, source)
    assert mount.fs_type == "ext3"
    if b"/mnt2" not in root:
        assert os.fsencode(mount.target) == target


@pytest.mark.parametrize(
    ("field", "meaning"),
    [
        (rb"\040", " "),
        (rb"\011\012", "\t\n"),
        (rb"\134040", r"\040"),
        (rb"\043", "#"),
        (rb"\x\08", r"\x\08"),
        (b"\\", "\\"),
    ],
)
def test_mountinfo_escapes(field: bytes, meaning: str) -> None:
    (mount,) = mountinfo.parse_mountinfo(LINE.replace(b"/mnt2", b"/" + field))
    assert mount.target == "/" + meaning


def test_mountinfo_overlay_options_keep_their_commas() -> None:
    (mount,) = mountinfo.parse_mountinfo(LINE.replace(b"rw,errors=continue", rb"rw,lowerdir=/a\054b,upperdir=/c\040d"))
    assert mount.super_options == ("rw", "lowerdir=/a,b", "upperdir=/c d")


def test_mountinfo_without_a_source() -> None:
    (mount,) = mountinfo.parse_mountinfo(b"1 0 0:5 / /t rw -  tmpfs  rw\n".replace(b"-  tmpfs", b"- tmpfs"))
    assert (mount.fs_type, mount.source, mount.super_options) == ("tmpfs", "", ("rw",))


# ---- reading ---------------------------------------------------------------------------------------------------------


def test_own_process() -> None:
    status, stat = procfs.read_status(), procfs.read_stat()
    assert (status.pid, stat.pid, stat.parent_pid) == (os.getpid(), os.getpid(), os.getppid())
    assert status.uids[:3] == os.getresuid()
    assert status.name == stat.name
    assert 0 < procfs.read_smaps_rollup()["Pss"] <= procfs.read_meminfo()["MemTotal"]
    assert procfs.read_limits()["RLIMIT_NOFILE"].soft
    assert any(mount.target == "/proc" for mount in mountinfo.read_mountinfo())
    assert procfs.read_cgroups()
    assert procfs.read_last_capability() >= 40


def test_process_by_descriptor_stays_that_process() -> None:
    pid = os.posix_spawn("/bin/cat", ["cat", "/dev/null"], {})
    where = procfs.open_process(pid)
    try:
        assert procfs.read_stat(where).pid == pid
        os.waitpid(pid, 0)
        with pytest.raises(KernelError) as caught:
            procfs.read_stat(where)
        assert (caught.value.errno, caught.value.call, caught.value.filename) == (3, "open(2)", "stat")
    finally:
        os.close(where)


def test_no_such_process() -> None:
    with pytest.raises(KernelError) as caught:
        procfs.read_status("/proc/0")
    assert (caught.value.errno, caught.value.call, caught.value.filename) == (2, "open(2)", "/proc/0/status")
    with pytest.raises(KernelError) as caught:
        procfs.open_process(0)
    assert (caught.value.errno, caught.value.call) == (2, "open(2)")
