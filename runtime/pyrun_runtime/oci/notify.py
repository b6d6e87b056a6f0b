"""sd_notify(3) through a container: NOTIFY_SOCKET of the caller.

The container gets a socket of its own in ``/run/notify``, for the host's socket is nothing that a container should reach.
``start`` listens there until the program says READY=1, or ends, and says so outside, with the pid that the host knows.
"""

from __future__ import annotations

import os
import select

from pyrun import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun import ForeignProcess, OciSpec
    from pyrun_runtime.oci.store import Entry
    from pyrun_runtime.unix_socket import Socket

VARIABLE = "NOTIFY_SOCKET"
DIRECTORY = "notify"
NAME = "notify.sock"
INSIDE = "/run/notify"
MESSAGE_MOST = 4096


def host_socket() -> str:
    """The caller's socket; empty if there is none, or one that is no file (unix(7), abstract)."""
    path = os.environ.get(VARIABLE, "")
    return path if path.startswith("/") else ""


def with_notify(spec: OciSpec, entry: Entry) -> OciSpec:
    """*spec* with a directory for the socket, which is made, and the variable that names it."""
    if not host_socket() or spec.process is None:
        return spec
    from pyrun import OciMount

    directory = f"{entry.path}/{DIRECTORY}"
    os.mkdir(directory, 0o755)
    mount = OciMount(INSIDE, "bind", directory, ("bind", "nosuid", "noexec", "nodev", "ro"))
    env = [variable for variable in spec.process.env if not variable.startswith(f"{VARIABLE}=")]
    process = replace(spec.process, env=(*env, f"{VARIABLE}={INSIDE}/{NAME}"))
    return replace(spec, process=process, mounts=(*spec.mounts, mount))


class Notifications:
    """What the program of process *pid* says until READY=1; nothing without a NOTIFY_SOCKET at ``create`` and now."""

    def __init__(self, entry: Entry, pid: int) -> None:
        path = f"{entry.path}/{DIRECTORY}"
        self._pid = pid
        self._socket: Socket | None = None
        if host_socket() and os.path.isdir(path):
            from pyrun_runtime.unix_socket import bind_datagram  # most containers never need a socket

            self._socket = bind_datagram(f"{path}/{NAME}", 0o777)

    def fileno(self) -> int:
        """-1 where nothing will come, or nothing more."""
        return -1 if self._socket is None else self._socket.fileno()

    def read(self) -> bool:
        """One message. If it says that the program is ready, the host is told, and False says that no more is to come."""
        if self._socket is not None and b"READY=1" in self._socket.recv(MESSAGE_MOST).split(b"\n"):
            self.close()
            _tell_host(self._pid)
        return self._socket is not None

    def wait_ready(self, process: ForeignProcess) -> None:
        """Until the program is ready, or has ended."""
        while self.fileno() >= 0:
            poll = select.poll()
            for fd in (self.fileno(), process.fileno()):
                poll.register(fd, select.POLLIN)
            if self.fileno() not in [fd for fd, _ in poll.poll()]:
                return
            self.read()

    def close(self) -> None:
        """Idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _tell_host(pid: int) -> None:
    from _socket import SOCK_DGRAM

    from pyrun_runtime.unix_socket import connect

    connection = connect(host_socket(), SOCK_DGRAM)
    try:
        connection.send(f"MAINPID={pid}\nREADY=1\n".encode())
    finally:
        connection.close()
