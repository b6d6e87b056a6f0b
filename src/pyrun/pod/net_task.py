"""Hooks and probes over the network, from inside the pod's network namespace.

Each runs in a thread of its own that has entered the namespace (setns(2) is for a thread) and may block there; the driver waits
for its answer on a pipe, and gives up when the time is over. A pod on the machine's network needs no setns.
"""

from __future__ import annotations

import os
import select
import socket
import time
from _thread import allocate_lock, start_new_thread

from pyrun.kernel.fd import Fd
from pyrun.linux.namespace import setns
from pyrun.pod.task import Task
from pyrun.spec.handler import GrpcAction, HttpGetAction, TcpSocketAction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from pyrun.pod.pod import Pod
    from pyrun.pod.task import Answer
    from pyrun.spec.handler import Handler

CLONE_NEWNET = 0x40000000
LOOPBACK = "127.0.0.1"  # what a handler without a host means: the pod itself
MAX_TIME_S = 300.0  # of a hook, which has no time of its own: somebody who never answers is not waited for


class Connections:
    """The sockets of one task; closing it wakes up whoever is blocked in one of them."""

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._lock = allocate_lock()
        self._open: list[socket.socket] = []
        self._closed = False

    def left_s(self) -> float:
        """What is left of the time. Raises TimeoutError when that is nothing."""
        left_s = self._deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s

    def connect(self, host: str, port: int) -> socket.socket:
        """A connection to *host*, a name or an address; OSError if there is none."""
        error: OSError | None = None
        for family, kind, protocol, _name, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            connection = socket.socket(family, kind, protocol)
            self.hold(connection)
            try:
                connection.settimeout(self.left_s())
                connection.connect(address)
                return connection
            except OSError as failure:
                error = failure
                connection.close()
        raise error or OSError(f"{host} has no address")

    def hold(self, connection: socket.socket) -> None:
        """Let :meth:`close` wake up whoever waits for *connection*."""
        with self._lock:
            if self._closed:
                connection.close()
                raise TimeoutError
            self._open.append(connection)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # not connected, or closed by the other end


class NetTask(Task):
    """*ask* in a thread inside the network namespace of the process *namespace* (a pidfd; None: where we are)."""

    def __init__(self, ask: Callable[[Connections], Answer], namespace: int | None, deadline_s: float) -> None:
        self.deadline_s = min(deadline_s, time.monotonic() + MAX_TIME_S)
        self._connections = Connections(self.deadline_s)
        self._answer: Answer | None = None
        self._reading, writing = [Fd.adopt(fd) for fd in os.pipe2(os.O_CLOEXEC)]
        # The thread has descriptors of its own: it may outlive us by a moment.
        inside = Fd.adopt(os.dup(namespace)) if namespace is not None else None
        try:
            start_new_thread(self._run, (ask, inside, writing))
        except BaseException:
            for fd in (self._reading, writing, inside):
                if fd is not None:
                    fd.close()
            raise

    def _run(self, ask: Callable[[Connections], Answer], inside: Fd | None, writing: Fd) -> None:
        try:
            if inside is not None:
                with inside:
                    setns(inside.fileno(), CLONE_NEWNET)
            self._answer = ask(self._connections)
        except TimeoutError:
            self._answer = (False, "timed out")
        except Exception as error:  # whatever a server may make us stumble over is an answer, and no end of a pod
            self._answer = (False, _describe(error))
        finally:
            self._connections.close()
            writing.close()

    def interests(self) -> list[tuple[int, int]]:
        return [] if self._reading.closed else [(self._reading.fileno(), select.POLLIN)]

    def turn(self, ready: Collection[int], now_s: float) -> Answer | None:
        if self._reading.closed:
            return None
        answered = self._reading.fileno() in ready and self._answer is not None
        if not answered and now_s < self.deadline_s:
            return None
        answer = self._answer if answered else (False, "timed out")
        self.cancel()
        return answer

    def cancel(self) -> None:
        self._connections.close()
        self._reading.close()


def begin_net_task(pod: Pod, handler: Handler, deadline_s: float) -> NetTask:
    """Begin *handler*, which is one of those over the network."""
    namespace = None if pod.spec.host_network else pod.sandbox.pause.process.fileno()
    if isinstance(handler, TcpSocketAction):
        tcp = handler
        return NetTask(lambda connections: _connects(tcp, connections), namespace, deadline_s)
    if isinstance(handler, GrpcAction):
        from pyrun.pod.grpc_health import check_health

        grpc = handler
        return NetTask(lambda it: check_health(it.connect(LOOPBACK, grpc.port), grpc.service), namespace, deadline_s)
    assert isinstance(handler, HttpGetAction)
    from pyrun.pod.http_get import get

    http = handler
    return NetTask(lambda connections: get(http, connections), namespace, deadline_s)


def _connects(action: TcpSocketAction, connections: Connections) -> Answer:
    connections.connect(action.host or LOOPBACK, action.port).close()
    return True, ""


def _describe(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text or type(error).__name__
