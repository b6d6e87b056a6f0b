"""The monitor of a pod: a process that is parent of the pod's others, and outlives whoever started it (csrc/monitor.c).

What a client does by itself without one, it asks of the monitor: :func:`pyrun.kernel.spawn.create` takes one for an argument, and
the processes that it makes then are :class:`MonitoredProcess`, whose ends the monitor keeps.
"""

from __future__ import annotations

import errno
import os
from _socket import (
    AF_UNIX,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    MSG_PEEK,
    SCM_RIGHTS,
    SOCK_CLOEXEC,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socketpair,
)
from _socket import socket as Socket
from _thread import allocate_lock
from itertools import count
from struct import pack, unpack

from pyrun._core import lib
from pyrun.errors import KernelError, NotFound, StateError
from pyrun.kernel.fd import Fd
from pyrun.kernel.monitor_protocol import (
    CONSOLE,
    FDS_MOST,
    MESSAGE_BYTES,
    NO_FD,
    OUTPUT_BYTES,
    STDERR,
    STDIN,
    STDIN_ONCE,
    STDOUT,
    UNKNOWN,
    VERSION,
    Answer,
    pack_request,
    unpack_answer,
)
from pyrun.kernel.process import SIGKILL, SIGPIPE, ExitStatus, Process
from pyrun.kernel.program import program_fd
from pyrun.kernel.spawn import create
from pyrun.kernel.step import ChangeDirectory, Duplicate, Exec, NewSession, SetOomScoreAdj
from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import NoReturn

    from pyrun.kernel.spawn import HasFileno

SOCKET = "monitor"
EXITS = "exits"
BACKLOG = 8
OOM_SCORE = -999  # the last to go, but for what is never to


class ExitRecord(Value):
    """How a process ended, as the monitor has kept it. ``number`` counts from 1, ``name`` is its container's.

    Times are of CLOCK_MONOTONIC, ``finished_real_s`` of CLOCK_REALTIME. ``oom_kills``, ``ooms``, ``memory_max`` (how often the
    limit was met) and ``memory_peak_bytes`` are those of its cgroup; None without the memory controller.
    """

    number: int
    id: int
    name: str
    pid: int
    status: ExitStatus
    started_s: float
    finished_s: float
    finished_real_s: float
    oom_kills: int | None
    ooms: int | None
    memory_max: int | None
    memory_peak_bytes: int | None


class MonitorStatus(Value):
    """What the monitor says of itself.

    ``stalled`` containers have a log that cannot be written, ``stalls`` is how often that began, ``last_error`` the errno of the
    last time, 0 for never. ``lost_bytes`` were read and never written; ``orphans`` were reaped.
    """

    processes: int
    containers: int
    clients: int
    stalled: int
    last_error: int
    stalls: int
    read_bytes: int
    written_bytes: int
    lost_bytes: int
    orphans: int


class LogFile(Value):
    """Where a container's output goes: ``<number>.log`` in *directory*, with older parts ``<number>.log.1`` and so on, no more
    than *max_files* in all, of about *max_bytes* each."""

    directory: str
    number: int = 0
    max_bytes: int = 10 * 1024 * 1024  # containerLogMaxSize and containerLogMaxFiles of the kubelet
    max_files: int = 5


class Monitor:
    """A connection to a pod's monitor. Several may have one at the same time; a closed one leaves the monitor as it is.

    Every method that asks it for something raises :class:`StateError` when it is gone, and :class:`KernelError` with what it
    could not do.
    """

    def __init__(self, socket: Socket, own: Process | None = None) -> None:
        self._socket = socket
        self._own = own
        self._lock = allocate_lock()
        # Never twice, also not by another client of the same monitor after a restart of ours.
        self._ids = count(int.from_bytes(os.urandom(6), "little") << 16 | 1)
        self.lost = False
        self.pid = 0

    @classmethod
    def start(cls, directory: str, *, cgroup: HasFileno | None = None, held: HasFileno | None = None) -> Monitor:
        """Start a monitor that is to be found at ``<directory>/monitor`` and keeps its exit records in ``<directory>/exits``,
        in *cgroup*. A lock (flock(2)) on *held* lasts as long as it does. If that fails, nothing is left."""
        exits, path = f"{directory}/{EXITS}", f"{directory}/{SOCKET}"
        ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
        try:
            with (
                Fd.adopt(theirs.detach()) as client,
                _listen(path) as listening,
                Fd.open(exits, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600) as records,
                Fd.open("/dev/null", os.O_RDWR) as null,
            ):
                given = {"client": client, "listen": listening, "exits": records, "null": null, "held": held or null}
                created = create(MONITOR_STEPS, cgroup=cgroup, fds={**given, "program": program_fd("pyrun-monitor")})
                with created:
                    monitor = cls(ours, created.wait_started())
            monitor._greet()
        except BaseException:
            ours.close()
            for left in (path, exits):
                _unlink(left)
            raise
        return monitor

    @classmethod
    def connect(cls, directory: str) -> Monitor:
        """A further connection to the monitor of *directory*. Raises :class:`NotFound` if there is none."""
        connection = Socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
        try:
            with Fd.open(directory, os.O_PATH | os.O_DIRECTORY) as place:
                connection.connect(f"/proc/self/fd/{place.fileno()}/{SOCKET}")
            monitor = cls(connection)
            monitor._greet()
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            raise NotFound(f"no monitor lives at {directory}") from None
        except BaseException:
            connection.close()
            raise
        return monitor

    def fileno(self) -> int:
        """Readable when the monitor has gone, or has something for who is attached."""
        return self._socket.fileno()

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` or :meth:`quit` was called."""
        return self._socket.fileno() < 0

    def close(self) -> None:
        """Let go of the monitor, which lives on. Idempotent."""
        self._socket.close()
        if self._own is not None:
            self._own.close()

    def quit(self) -> None:
        """Let the monitor end; nothing it has started may be alive any more (:class:`KernelError`, EBUSY). Idempotent."""
        if self.closed:
            return
        try:
            self._ask(pack_request("QUIT", {}))
            self._await_end()
        except StateError:
            pass  # it has gone by itself
        if self._own is not None:
            self._own.wait()
        self.close()

    def end(self) -> None:
        """:meth:`quit`, and let go of one that does not because something lives: whoever ends that ends the monitor as well (its
        cgroup, cgroup.kill). Idempotent."""
        try:
            self.quit()
        except KernelError as error:
            if error.errno != errno.EBUSY:
                raise
            if self._own is not None:
                self._own.end()
            self.close()

    @property
    def gone(self) -> bool:
        """Whether it has ended. Only for a connection that is not attached to anything."""
        self.lost = self.lost or self.closed or _is_at_end(self._socket)
        return self.lost

    # ---- processes ----

    def spawn(
        self,
        plan_fd: int,
        fds: Sequence[int],
        *,
        name: str = "",
        flags: int = 0,
        cgroup: HasFileno | None = None,
        pid_namespace: HasFileno | None = None,
        uid_map: str | None = None,
        gid_map: str | None = None,
    ) -> MonitoredProcess:
        """Start the plan in *plan_fd*, whose slots name their descriptors by the index among *fds*. Other arguments as for
        :func:`pyrun.kernel.spawn.create`; *name* is for who asks what lives."""
        sent = [*fds, plan_fd, program_fd("pyrun-stage")]
        places = {"plan": len(fds), "stage": len(fds) + 1}
        for key, given in (("cgroup", cgroup), ("pid_namespace", pid_namespace)):
            places[key] = NO_FD if given is None else len(sent)
            sent += [] if given is None else [given.fileno()]
        maps = [b"" if text is None else text.encode() + b"\0" for text in (uid_map, gid_map)]
        id, sizes = next(self._ids), {"uid_map_bytes": len(maps[0]), "gid_map_bytes": len(maps[1])}
        fields: dict[str, int | str] = {"clone_flags": flags, "name": name, **places, **sizes}
        request = pack_request("SPAWN", fields, id, b"".join(maps))
        with self._lock:
            return self._process(*self._exchange(request, sent))

    def find(self, id: int) -> MonitoredProcess | ExitRecord:
        """The process *id*, or how it ended. Raises :class:`KernelError` (ESRCH) for one that never was."""
        with self._lock:
            answer, pidfd = self._exchange(pack_request("FIND", {}, id))
        return _record(answer) if answer.kind == "EXITED" else self._process(answer, pidfd)

    def processes(self) -> list[tuple[str, MonitoredProcess]]:
        """All that live, with their names, in no order."""
        return [(str(answer.fields["name"]), self._process(answer, pidfd)) for answer, pidfd in self._list("LIST")]

    def exits(self, after: int = 0) -> list[ExitRecord]:
        """How processes ended, from the first whose number is above *after* on, in order."""
        found: list[ExitRecord] = []
        while True:
            last = found[-1].number if found else after
            try:
                for answer, _ in self._list("EXITS", last):
                    found.append(_record(answer))
                return found
            except KernelError as error:
                if error.errno != errno.EAGAIN or not found or found[-1].number == last:
                    raise  # all that it could send has been read: it goes on from there

    # ---- output and input ----

    def write_logs(self, name: str, log: LogFile, fds: Mapping[int, HasFileno], stdin_once: bool = False) -> None:
        """Let the monitor read container *name*'s output and log it. *fds* are by ``STDIN`` (the end that is written to),
        ``STDOUT`` and ``STDERR`` (those that are read from), or ``CONSOLE``, the socket that its terminal will come from; they
        stay the caller's, who had better close them."""
        kinds = [kind for kind in (STDIN, STDOUT, STDERR, CONSOLE) if kind in fds]
        has = sum(kinds) | (STDIN_ONCE if stdin_once else 0)
        fields: dict[str, int | str] = {
            "has": has,
            "number": log.number,
            "max_files": log.max_files,
            "max_bytes": log.max_bytes,
            "name": name,
        }
        with Fd.open(log.directory, os.O_PATH | os.O_DIRECTORY) as directory:
            sent = [directory.fileno(), *[fds[kind].fileno() for kind in kinds]]
            self._ask(pack_request("STREAMS", fields), sent)

    def reopen_logs(self) -> None:
        """Go on in new files: whoever has moved the old ones away (logrotate(8)) wants that."""
        self._ask(pack_request("REOPEN", {}))

    def attach(self, name: str, *, stdin: bool = False, stdout: bool = True, stderr: bool = True) -> None:
        """From now on hand what container *name* writes to :meth:`read_output` of this connection, and with *stdin*, which one
        client may have, what :meth:`write_input` is given to it. Raises :class:`KernelError`: ESRCH without such a container,
        EBUSY if another has its input, EBADF if it has none."""
        has = STDIN * stdin | STDOUT * stdout | STDERR * stderr
        self._ask(pack_request("ATTACH", {"has": has, "name": name}))

    def read_output(self) -> Answer:
        """What comes next of the container attached to: OUTPUT with its stream and text, LOST with a number of bytes that this
        client was too slow for, ENDED; ERROR for input that was refused. Waits for it."""
        answer, _ = self._receive()
        return answer

    def write_input(self, data: bytes) -> None:
        """Send it to the container's standard input; waits while that is full."""
        for at in range(0, len(data), OUTPUT_BYTES):
            self._send(pack_request("INPUT", {}, text=data[at : at + OUTPUT_BYTES]))

    def end_input(self) -> None:
        """That was all of its input."""
        self._send(pack_request("INPUT_END", {}))

    def resize_terminal(self, rows: int, columns: int) -> None:
        """Tell the terminal of the container attached to how large it is."""
        self._send(pack_request("WINDOW", {"rows": rows, "columns": columns}))

    def status(self) -> MonitorStatus:
        """How it does."""
        with self._lock:
            answer, _ = self._exchange(pack_request("STATUS", {}))
        return MonitorStatus(**{name: answer.number(name) for name in answer.fields})

    # ---- messages ----

    def _greet(self) -> None:
        with self._lock:
            answer, _ = self._exchange(pack_request("HELLO", {"version": VERSION}))
        self.pid = answer.number("pid")

    def _ask(self, request: bytes, fds: Sequence[int] = ()) -> None:
        with self._lock:
            self._exchange(request, fds)

    def _list(self, kind: str, id: int = 0) -> Iterator[tuple[Answer, Fd | None]]:
        with self._lock:
            self._send(pack_request(kind, {}, id))
            while True:
                answer, fd = self._receive()
                if answer.kind == "OK":
                    return
                _raise_error(answer)
                yield answer, fd

    def _exchange(self, request: bytes, fds: Sequence[int] = ()) -> tuple[Answer, Fd | None]:
        rest = list(fds)
        while len(rest) > FDS_MOST:
            self._send(pack_request("DESCRIPTORS", {}), rest[:FDS_MOST])
            del rest[:FDS_MOST]
        self._send(request, rest)
        answer, fd = self._receive()
        _raise_error(answer)
        return answer, fd

    def _send(self, request: bytes, fds: Sequence[int] = ()) -> None:
        rights = [(SOL_SOCKET, SCM_RIGHTS, pack(f"={len(fds)}i", *fds))] if fds else []
        try:
            self._socket.sendmsg([request], rights, MSG_NOSIGNAL)
        except (BrokenPipeError, ConnectionResetError):
            self._raise_lost()
        except OSError as error:
            raise KernelError(error.errno or 0, "sendmsg(2) to the monitor") from None

    def _receive(self) -> tuple[Answer, Fd | None]:
        try:
            data, control, _, _ = self._socket.recvmsg(MESSAGE_BYTES, CMSG_SPACE(4), MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            data, control = b"", []
        fds = [Fd.adopt(unpack("=i", rights[:4])[0]) for _, kind, rights in control if kind == SCM_RIGHTS]
        if not data:
            self._raise_lost()
        return unpack_answer(data), fds[0] if fds else None

    def _raise_lost(self) -> NoReturn:
        self.lost = True
        raise StateError("the monitor", "gone", "alive")

    def _process(self, answer: Answer, pidfd: Fd | None) -> MonitoredProcess:
        assert pidfd is not None
        return MonitoredProcess(answer.number("pid"), pidfd, self, answer.id, answer.number("started_ns") / 1e9)

    def _await_end(self) -> None:
        while True:
            self._receive()

    def __enter__(self) -> Monitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class MonitoredProcess(Process):
    """A child of a monitor: ``id`` is what it is called there. It is waited for as any other; who reaps it is the monitor."""

    def __init__(self, pid: int, pidfd: Fd, monitor: Monitor, id: int, started_s: float = 0.0) -> None:
        super().__init__(pid, pidfd)
        self.id = id
        self.started_s = started_s
        self.record: ExitRecord | None = None
        self._monitor = monitor
        self._is_another = False

    @classmethod
    def ended(cls, record: ExitRecord, monitor: Monitor) -> MonitoredProcess:
        """One of which only the record is left."""
        gone = Fd.open("/dev/null", os.O_PATH)
        gone.close()
        process = cls(record.pid, gone, monitor, record.id, record.started_s)
        process._keep(record)
        return process

    @property
    def finished_s(self) -> float | None:
        return self.record.finished_s if self.record is not None else None

    @property
    def has_run(self) -> bool:
        """One whose maker died while it was on its way has found its gate closed, or nobody who reads its report."""
        status = self.record.status if self.record is not None else None
        return status is None or (status.code != lib.PLAN_STATUS_CLOSED and status.signal != SIGPIPE)

    def _keep(self, record: ExitRecord) -> None:
        self.pid, self.record, self._status = record.pid, record, record.status

    def successor(self, pid: int) -> Process:
        found = self._monitor.find(self.id)
        if isinstance(found, ExitRecord):  # both are over; the record is of the one that mattered
            self._keep(found)
            return self
        self._is_another = True
        return found

    def end(self) -> None:
        if self._is_another and not self.closed:
            self.close()
            return
        super().end()

    def _reap(self) -> ExitStatus | None:
        with self._lock:
            if self._status is None:
                if self.closed:
                    raise StateError(f"process {self.pid}", "closed", "open")
                if self._ends_within(0):
                    self._status = self._ask_for_status()
            return self._status

    def _ask_for_status(self) -> ExitStatus | None:
        """None where somebody who traces it has not waited for it yet."""
        try:
            found = self._monitor.find(self.id)
        except StateError:  # whoever the monitor has left behind was killed by its death signal
            return ExitStatus(None, SIGKILL)
        if isinstance(found, ExitRecord):
            self.record = found
            return found.status
        found.close()
        return None


def _record(answer: Answer) -> ExitRecord:
    exited = answer.number("code") == lib.CLD_EXITED
    number = answer.number("status")
    status = ExitStatus(
        code=number if exited else None,
        signal=None if exited else number,
        core_dumped=answer.number("code") == lib.CLD_DUMPED,
        user_s=answer.number("user_us") / 1e6,
        system_s=answer.number("system_us") / 1e6,
        max_rss_bytes=answer.number("max_rss_kib") * 1024,
    )
    return ExitRecord(
        number=answer.number("number"),
        id=answer.number("id"),
        name=str(answer.fields["name"]),
        pid=answer.number("pid"),
        status=status,
        started_s=answer.number("started_ns") / 1e9,
        finished_s=answer.number("finished_ns") / 1e9,
        finished_real_s=answer.number("finished_real_ns") / 1e9,
        oom_kills=_known(answer, "oom_kill"),
        ooms=_known(answer, "oom"),
        memory_max=_known(answer, "memory_max"),
        memory_peak_bytes=_known(answer, "memory_peak"),
    )


def _known(answer: Answer, field: str) -> int | None:
    value = answer.number(field)
    return None if value == UNKNOWN else value


def _raise_error(answer: Answer) -> None:
    if answer.kind == "ERROR":
        raise KernelError(answer.number("error"), str(answer.fields["call"]))


def _listen(path: str) -> Fd:
    listening = Socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    try:
        directory, name = os.path.split(path)
        with Fd.open(directory, os.O_PATH | os.O_DIRECTORY) as place:
            listening.bind(f"/proc/self/fd/{place.fileno()}/{name}")
        os.chmod(path, 0o600)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise KernelError(error.errno or 0, "bind(2)", path) from None
    return Fd.adopt(listening.detach())


def _is_at_end(socket: Socket) -> bool:
    try:
        return not socket.recv(1, MSG_PEEK | MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


MONITOR_STEPS = (
    NewSession(),
    Duplicate("null", 0),
    Duplicate("null", 1),
    Duplicate("null", 2),
    Duplicate("client", 3),
    Duplicate("listen", 4),
    Duplicate("exits", 5),
    Duplicate("held", 6),
    ChangeDirectory("/"),
    SetOomScoreAdj(OOM_SCORE),
    Exec(("pyrun-monitor", "3", "4", "5"), file="program"),
)
