"""/proc: text of the kernel to values.

``parse_*`` are pure, bytes to values; ``read_*`` read a file and parse it. A process is given as *where*: the path of its
/proc/PID directory (such as ``/proc/self``), or a descriptor of it, which goes on meaning this one process after its pid is used
again. See proc(5) for every file here.

Names of processes, mounts and cgroups are chosen by whoever made them and may hold blanks, brackets, newlines or bytes that are
not UTF-8 (these become surrogates, as :func:`os.fsdecode` has it). No parser takes such a byte for structure.
"""

from __future__ import annotations

import os

from pyrun.linux.call import convert
from pyrun.linux.capability import CapabilitySets
from pyrun.linux.file import read_bytes
from pyrun.value import Value

SELF = "/proc/self"
KIB_BYTES = 1024


class Status(Value):
    """/proc/PID/status. ``uids`` and ``gids`` are real, effective, saved, file system; ``ns_pids`` the pid in each PID namespace
    from the reader's inwards; ``seccomp`` the mode (0 none, 1 strict, 2 filter); ``rss_bytes`` is 0 for a zombie; ``ignored`` and
    ``caught`` are masks of signals, bit 0 for signal 1."""

    name: str
    state: str
    pid: int
    parent_pid: int
    uids: tuple[int, ...]
    gids: tuple[int, ...]
    groups: tuple[int, ...]
    ns_pids: tuple[int, ...]
    umask: int
    threads: int
    rss_bytes: int
    blocked: int
    ignored: int
    caught: int
    capabilities: CapabilitySets
    no_new_privileges: bool
    seccomp: int
    seccomp_filters: int


class Stat(Value):
    """/proc/PID/stat as far as it is used. Times are in clock ticks (sysconf(3) _SC_CLK_TCK); ``start_ticks`` counts from boot
    as the reader's time namespace has it, and tells processes of one pid apart."""

    pid: int
    name: str
    state: str
    parent_pid: int
    group: int
    session: int
    terminal: int
    user_ticks: int
    system_ticks: int
    threads: int
    start_ticks: int


class CgroupMembership(Value):
    """One line of /proc/PID/cgroup: ``hierarchy`` 0 without controllers is cgroup v2."""

    hierarchy: int
    controllers: tuple[str, ...]
    path: str


class Limit(Value):
    """A resource limit, getrlimit(2); None is unlimited."""

    soft: int | None
    hard: int | None


# The kernel's words in /proc/PID/limits (fs/proc/base.c) and the names of getrlimit(2).
LIMIT_NAMES = {
    "Max cpu time": "RLIMIT_CPU",
    "Max file size": "RLIMIT_FSIZE",
    "Max data size": "RLIMIT_DATA",
    "Max stack size": "RLIMIT_STACK",
    "Max core file size": "RLIMIT_CORE",
    "Max resident set": "RLIMIT_RSS",
    "Max processes": "RLIMIT_NPROC",
    "Max open files": "RLIMIT_NOFILE",
    "Max locked memory": "RLIMIT_MEMLOCK",
    "Max address space": "RLIMIT_AS",
    "Max file locks": "RLIMIT_LOCKS",
    "Max pending signals": "RLIMIT_SIGPENDING",
    "Max msgqueue size": "RLIMIT_MSGQUEUE",
    "Max nice priority": "RLIMIT_NICE",
    "Max realtime priority": "RLIMIT_RTPRIO",
    "Max realtime timeout": "RLIMIT_RTTIME",
}


# ---- reading ---------------------------------------------------------------------------------------------------------


def below(where: int | str, name: str) -> tuple[str, int | None]:
    """The path and the ``dir_fd`` under which *name* of the directory *where* is found.

    Kernel: openat(2).
    Affects: nothing.
    Raises: nothing.
    """
    return (name, where) if isinstance(where, int) else (f"{where}/{name}", None)


def open_process(pid: int) -> int:
    """A descriptor of /proc/PID, for *where*: reads through it fail with ESRCH once the process is gone.

    Kernel: open(2) of a directory of proc(5).
    Affects: nothing.
    Raises: ENOENT if there is no such process.
    Owns: the caller closes the descriptor, which is close-on-exec.
    """
    try:
        return os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise convert(error, "open(2)") from None


def read_text(name: str, dir_fd: int | None = None) -> str:
    """The whole of a file as text.

    Kernel: open(2), read(2).
    Affects: nothing.
    Raises: as :func:`read_bytes`.
    """
    return os.fsdecode(read_bytes(name, dir_fd))


def read_status(where: int | str = SELF) -> Status:
    """Ids, capabilities, seccomp mode and more of a process.

    Kernel: /proc/PID/status.
    Affects: nothing.
    Units: bytes for memory.
    Raises: ENOENT or ESRCH if the process has ended.
    """
    return parse_status(read_bytes(*below(where, "status")))


def read_stat(where: int | str = SELF) -> Stat:
    """State, parent, session, times of a process.

    Kernel: /proc/PID/stat.
    Affects: nothing.
    Units: clock ticks.
    Raises: ENOENT or ESRCH if the process has ended.
    """
    return parse_stat(read_bytes(*below(where, "stat")))


def read_cgroups(where: int | str = SELF) -> tuple[CgroupMembership, ...]:
    """The cgroups of a process, one for each hierarchy, as the reader's cgroup namespace has them.

    Kernel: /proc/PID/cgroup, cgroups(7).
    Affects: nothing.
    Raises: ENOENT or ESRCH if the process has ended.
    """
    return parse_cgroups(read_bytes(*below(where, "cgroup")))


def read_limits(where: int | str = SELF) -> dict[str, Limit]:
    """The resource limits of a process by the names of getrlimit(2).

    Kernel: /proc/PID/limits.
    Affects: nothing.
    Units: those of getrlimit(2).
    Raises: ENOENT or ESRCH if the process has ended.
    """
    return parse_limits(read_bytes(*below(where, "limits")))


def read_smaps_rollup(where: int | str = SELF) -> dict[str, int]:
    """Memory of a process summed over its mappings: ``Pss`` shares each page among those who map it.

    Kernel: /proc/PID/smaps_rollup, Linux 4.14. Dear: it walks the page tables.
    Affects: nothing.
    Units: bytes.
    Raises: ESRCH for a process without memory (a zombie, a kernel thread); EACCES without PTRACE_MODE_READ.
    """
    return parse_sizes(read_bytes(*below(where, "smaps_rollup")))


def read_meminfo() -> dict[str, int]:
    """Memory of the machine by the kernel's names, such as ``MemTotal`` and ``MemAvailable``.

    Kernel: /proc/meminfo.
    Affects: nothing.
    Units: bytes; ``HugePages_*`` are numbers of pages.
    Raises: ENOENT without /proc.
    """
    return parse_sizes(read_bytes("/proc/meminfo"))


def read_last_capability() -> int:
    """The highest capability number that this kernel knows.

    Kernel: /proc/sys/kernel/cap_last_cap, Linux 3.2.
    Affects: nothing.
    Raises: ENOENT without /proc.
    """
    return int(read_bytes("/proc/sys/kernel/cap_last_cap"))


def in_user_namespace() -> bool:
    """Whether this process is in a user namespace other than the first one, as far as its ids tell.

    Kernel: /proc/self/uid_map, user_namespaces(7): the first one maps every id to itself.
    Affects: nothing.
    Raises: ENOENT without /proc.
    """
    return read_bytes("/proc/self/uid_map").split() != [b"0", b"0", b"4294967295"]


# ---- parsing ---------------------------------------------------------------------------------------------------------


def parse_status(data: bytes) -> Status:
    """Of /proc/PID/status. The kernel escapes newline and backslash in the name, so no name can add a line.

    Kernel: proc_pid_status() in fs/proc/array.c.
    Affects: nothing.
    Units: bytes for memory.
    Raises: KeyError or ValueError for a text that is no such file.
    """
    fields = {key: value.strip() for key, _, value in [line.partition(b":") for line in data.split(b"\n")]}
    return Status(
        # The value follows one tab; blanks at its ends belong to the name.
        name=_unescape_name(data[data.index(b"\t") + 1 : data.index(b"\n")]),
        state=fields[b"State"][:1].decode(),
        pid=int(fields[b"Pid"]),
        parent_pid=int(fields[b"PPid"]),
        uids=_numbers(fields[b"Uid"]),
        gids=_numbers(fields[b"Gid"]),
        groups=_numbers(fields[b"Groups"]),
        ns_pids=_numbers(fields[b"NSpid"]),
        umask=int(fields.get(b"Umask", b"0"), 8),  # missing for a process without file system, as a zombie
        threads=int(fields[b"Threads"]),
        rss_bytes=_size(fields.get(b"VmRSS", b"0 kB")),
        blocked=int(fields[b"SigBlk"], 16),
        ignored=int(fields[b"SigIgn"], 16),
        caught=int(fields[b"SigCgt"], 16),
        capabilities=_capabilities(fields),
        no_new_privileges=fields[b"NoNewPrivs"] == b"1",
        seccomp=int(fields.get(b"Seccomp", b"0")),  # missing without CONFIG_SECCOMP
        seccomp_filters=int(fields.get(b"Seccomp_filters", b"0")),
    )


def parse_stat(data: bytes) -> Stat:
    """Of /proc/PID/stat. The name stands in brackets and may hold brackets, blanks and newlines: it ends at the last ``)``.

    Kernel: do_task_stat() in fs/proc/array.c; field numbers as in proc_pid_stat(5).
    Affects: nothing.
    Units: clock ticks.
    Raises: ValueError or IndexError for a text that is no such file.
    """
    begin, end = data.index(b"("), data.rindex(b")")
    fields = data[end + 1 :].split()  # fields[0] is number 3
    return Stat(
        pid=int(data[:begin]),
        name=os.fsdecode(data[begin + 1 : end]),
        state=fields[0].decode(),
        parent_pid=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        terminal=int(fields[4]),
        user_ticks=int(fields[14 - 3]),
        system_ticks=int(fields[15 - 3]),
        threads=int(fields[20 - 3]),
        start_ticks=int(fields[22 - 3]),
    )


def parse_cgroups(data: bytes) -> tuple[CgroupMembership, ...]:
    """Of /proc/PID/cgroup. The path is the rest of the line: it may hold colons, and the kernel refuses newlines.

    Kernel: proc_cgroup_show() in kernel/cgroup/cgroup.c.
    Affects: nothing.
    Raises: ValueError for a text that is no such file.
    """
    memberships = []
    for line in data.split(b"\n"):
        if line:
            hierarchy, controllers, path = line.split(b":", 2)
            names = tuple(os.fsdecode(controllers).split(",")) if controllers else ()
            memberships.append(CgroupMembership(int(hierarchy), names, os.fsdecode(path)))
    return tuple(memberships)


def parse_limits(data: bytes) -> dict[str, Limit]:
    """Of /proc/PID/limits: by name, a limit that this table does not know is left out.

    Kernel: proc_pid_limits() in fs/proc/base.c.
    Affects: nothing.
    Units: those of getrlimit(2).
    Raises: ValueError for a text that is no such file.
    """
    limits = {}
    for line in data.decode().splitlines():
        name = LIMIT_NAMES.get(line[:25].rstrip())
        if name is not None:
            soft, hard = [None if word == "unlimited" else int(word) for word in line[25:].split()[:2]]
            limits[name] = Limit(soft, hard)
    return limits


def parse_sizes(data: bytes) -> dict[str, int]:
    """Of the files with lines ``Name:   123 kB``, such as meminfo and smaps_rollup. Other lines are passed over.

    Kernel: fs/proc/meminfo.c, fs/proc/task_mmu.c.
    Affects: nothing.
    Units: bytes; a number without a unit stays as it is.
    Raises: nothing.
    """
    sizes = {}
    for line in data.split(b"\n"):
        key, colon, value = line.partition(b":")
        words = value.split()
        if colon and words and words[0].isdigit() and words[1:] in ([], [b"kB"]):
            sizes[key.decode()] = _size(value)
    return sizes


def _size(value: bytes) -> int:
    words = value.split()
    return int(words[0]) * (KIB_BYTES if words[1:] == [b"kB"] else 1)


def _numbers(value: bytes) -> tuple[int, ...]:
    return tuple([int(word) for word in value.split()])


def _capabilities(fields: dict[bytes, bytes]) -> CapabilitySets:
    names = (b"CapInh", b"CapPrm", b"CapEff", b"CapBnd", b"CapAmb")
    return CapabilitySets(*[int(fields[name], 16) for name in names])


def _unescape_name(name: bytes) -> str:
    r"""``\n`` and ``\\`` of string_escape_str() back to one byte each."""
    parts = name.split(b"\\\\")
    return os.fsdecode(b"\\".join([part.replace(b"\\n", b"\n") for part in parts]))
