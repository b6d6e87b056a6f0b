"""Unix sockets of the caller's: where the terminal, a pidfd or a notification goes."""

from __future__ import annotations

import os
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET, socketpair
from _socket import socket as Socket

from pyrun import Fd

__all__ = ["Socket", "bind_datagram", "connect", "receive_fd", "send_fd", "socket_pair"]

PATH_MOST = 107  # sun_path of unix(7), without the NUL at its end


def connect(path: str, kind: int = SOCK_STREAM) -> Socket:
    """A connection to the socket at *path*, however long that is. Raises OSError that names *path*."""
    connection = Socket(AF_UNIX, kind | SOCK_CLOEXEC)
    try:
        directory, name = os.path.split(os.path.abspath(path))
        with Fd.open(directory, os.O_PATH | os.O_DIRECTORY) as place:
            connection.connect(f"/proc/self/fd/{place.fileno()}/{name}" if len(os.fsencode(path)) > PATH_MOST else path)
    except OSError as error:
        connection.close()
        error.filename = path
        raise
    return connection


def bind_datagram(path: str, mode: int) -> Socket:
    """A datagram socket at *path*, which may be sent to by whom *mode* lets."""
    bound = Socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
    try:
        directory, name = os.path.split(path)
        with Fd.open(directory, os.O_PATH | os.O_DIRECTORY) as place:
            bound.bind(f"/proc/self/fd/{place.fileno()}/{name}" if len(os.fsencode(path)) > PATH_MOST else path)
        os.chmod(path, mode)
    except BaseException:
        bound.close()
        raise
    return bound


def send_fd(connection: Socket, fd: int, text: bytes) -> None:
    """unix(7), SCM_RIGHTS."""
    connection.sendmsg([text], [(SOL_SOCKET, SCM_RIGHTS, fd.to_bytes(4, "little"))])


def receive_fd(connection: Socket) -> Fd | None:
    """The descriptor that came with the next message; None if there was none."""
    from _socket import CMSG_LEN, MSG_CMSG_CLOEXEC

    _, ancillary, _, _ = connection.recvmsg(4096, CMSG_LEN(4), MSG_CMSG_CLOEXEC)
    for level, kind, data in ancillary:
        if (level, kind) == (SOL_SOCKET, SCM_RIGHTS):
            return Fd.adopt(int.from_bytes(data[:4], "little"))
    return None


def socket_pair() -> tuple[Socket, Socket]:
    """Two ends of a stream."""
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
