"""The descriptors that a program of a container gets beside 0, 1 and 2, and those that the caller wants of it.

``--preserve-fds N`` hands on 3 to N+2. Sockets of systemd's (sd_listen_fds(3)) come before them: LISTEN_FDS says how many, if
LISTEN_PID is us or missing.
"""

from __future__ import annotations

import os

from pyrun import replace
from pyrun_runtime.cli.message import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun import OciProcess
    from pyrun_runtime.oci.options import Options

FIRST = 3
PRESERVE_MOST = 1024


def count_listen_fds() -> int:
    """How many sockets systemd gave us for the container."""
    count, pid = os.environ.get("LISTEN_FDS", ""), os.environ.get("LISTEN_PID", "")
    if not (count.isascii() and count.isdigit()) or (pid and pid != str(os.getpid())):
        return 0
    return int(count)


def count_preserved(options: Options) -> int:
    """How many descriptors from 3 on are the container's. Raises :class:`UsageError` for one that is not open."""
    listen, asked = count_listen_fds(), options.number("preserve-fds")
    if listen + asked > PRESERVE_MOST:
        raise UsageError(f"--preserve-fds {asked}: more than {PRESERVE_MOST} descriptors")
    for fd in range(FIRST, FIRST + listen + asked):
        try:
            os.fstat(fd)
        except OSError:
            what = f"--preserve-fds {asked}" if fd >= FIRST + listen else f"LISTEN_FDS={listen}"
            raise UsageError(f"{what}: descriptor {fd} is not open") from None
    return listen + asked


def preserved_slots(count: int) -> dict[str, int]:
    return {f"preserved {number}": FIRST + number for number in range(count)}


def with_listen_fds(process: OciProcess) -> OciProcess:
    """*process* with the variables that tell it of systemd's sockets."""
    count = count_listen_fds()
    if not count:
        return process
    kept = tuple([entry for entry in process.env if not entry.startswith(("LISTEN_FDS=", "LISTEN_PID="))])
    # The first process of the container has the pid 1 there, which is what it compares with.
    return replace(process, env=(*kept, f"LISTEN_FDS={count}", "LISTEN_PID=1"))


def send_pidfd(options: Options, pidfd: int) -> None:
    """To ``--pidfd-socket``, if there is one."""
    path = options.get("pidfd-socket")
    if path:
        from pyrun_runtime.unix_socket import connect, send_fd

        connection = connect(path)
        try:
            send_fd(connection, pidfd, b"pidfd")
        finally:
            connection.close()
