"""``pyrun port-forward``: ports of this machine that lead into a pod."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
from concurrent.futures import ThreadPoolExecutor

from pyrun import ForeignProcess, join_network, parse_entry
from pyrun_runtime.cli.message import CommandError, UsageError, flush, say, show
from pyrun_runtime.cli.options import values_of
from pyrun_runtime.cli.reach import ROOT_HELP, ROOT_OPTIONS, find_directory
from pyrun_runtime.control import NoLauncher, Question, ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun_runtime.cli.options import Options, OptionTable

OPTIONS: OptionTable = {"address": "ADDRESS...", **ROOT_OPTIONS}
HELP = f"""\
usage: pyrun port-forward [OPTION]... POD [LOCAL:]REMOTE...

Listens on ports of this machine and hands each connection on to a port of the pod, on the pod's own 127.0.0.1. :REMOTE takes
a port that is free, and tells which. Ends with the pod, or when it is told to.

  --address ADDRESS      listen here; may be repeated; 127.0.0.1 and ::1 unless said otherwise
{ROOT_HELP}
Exit status: 0 after Ctrl-C or SIGTERM, or when the pod has ended; 1 if there is no such pod, or a port cannot be had; 2 if what
is asked for is wrong.
"""
LOOPBACK = ("127.0.0.1", "::1")
PORT_MOST = 65535
CHUNK = 65536
NO_LINGER = struct.pack("ii", 1, 0)


def run(options: Options, arguments: list[str]) -> int:
    word, *texts = arguments or [""]
    if not word or not texts:
        raise UsageError("expected a POD and a port")
    ports = [parse_ports(text) for text in texts]
    directory = find_directory(options, word)
    entry = parse_entry(ask(directory, {"verb": "enter", "container": ""})["entry"])
    first = ForeignProcess.find(entry.pid, entry.start_ticks)
    if first is None:
        raise CommandError(f"container {entry.name} has ended")
    # One thread for all sockets, and nothing else: it stays in the pod's network, and this process is never there.
    with first, ThreadPoolExecutor(1) as inside, Question(directory, {"verb": "wait", "for": "exit"}) as end:
        if "network" in entry.kinds:
            inside.submit(join_network, first).result()
        return asyncio.run(_serve(inside, values_of(options, "address") or list(LOOPBACK), ports, end))


def parse_ports(text: str) -> tuple[int, int]:
    """``80``, ``8080:80``, ``:80``: the local port, 0 for any, and that of the pod. Raises UsageError."""
    local, colon, remote = text.rpartition(":")
    if not colon:
        local = remote
    elif not local:
        local = "0"
    for number in (local, remote):
        if not (number.isascii() and number.isdecimal() and len(number) <= 5 and int(number) <= PORT_MOST):
            raise UsageError(f"{text}: not [LOCAL:]REMOTE with ports up to {PORT_MOST}")
    if not int(remote):
        raise UsageError(f"{text}: the pod has no port 0")
    return int(local), int(remote)


async def _serve(inside: ThreadPoolExecutor, addresses: list[str], ports: list[tuple[int, int]], end: Question) -> int:
    """Until somebody or the pod says that it is over."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, over.set)
    _watch(end, over)
    forwards: set[asyncio.Task[None]] = set()
    servers: list[asyncio.Server] = []
    try:
        for local, remote in ports:
            servers += await _listen(inside, addresses, local, remote, forwards)
        flush()
        await over.wait()
    finally:
        for server in servers:
            server.close()
        for task in forwards:
            task.cancel()
        await asyncio.gather(*forwards, return_exceptions=True)
    return 0


def _watch(end: Question, over: asyncio.Event) -> None:
    """The pod's launcher answers when the pod is over, or dies."""
    loop = asyncio.get_running_loop()
    answer, control = [fd for fd, _ in end.interests()]

    def look(fd: int) -> None:
        try:
            if end.turn({fd: 0}) is None:
                return
        except NoLauncher:
            pass
        loop.remove_reader(answer)
        loop.remove_reader(control)
        over.set()

    loop.add_reader(answer, look, answer)
    loop.add_reader(control, look, control)


async def _listen(
    inside: ThreadPoolExecutor, addresses: list[str], local: int, remote: int, forwards: set[asyncio.Task[None]]
) -> list[asyncio.Server]:
    """On each address that the machine has; of the two that are meant when none is said, one is enough."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        forwards.add(task)
        task.add_done_callback(forwards.discard)
        await _forward(inside, remote, reader, writer)

    servers: list[asyncio.Server] = []
    for address in addresses:
        try:
            server = await asyncio.start_server(serve, address, local)
        except OSError as error:
            if servers and tuple(addresses) == LOOPBACK:
                continue
            for server in servers:
                server.close()
            error.filename = f"{address} port {local}"
            raise
        servers.append(server)
        bound = server.sockets[0].getsockname()
        local = local or bound[1]  # the same for all addresses
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        show(f"Forwarding from {shown}:{bound[1]} -> {remote}")
    return servers


def _make_socket() -> socket.socket:
    """In the pod's network, for that is where the thread is."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setblocking(False)
    return made


async def _forward(
    inside: ThreadPoolExecutor, remote: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """One connection, to its end."""
    try:
        reading, theirs = await _connect(inside, remote)
    except OSError as error:
        say(f"port {remote} of the pod: {os.strerror(error.errno or 0)}")  # asyncio's own text is about its call
        _reset(writer)
        return
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_copy(reader, theirs))
            group.create_task(_copy(reading, writer))
    except* OSError:  # one end has broken the connection off: so does the other
        for each in (writer, theirs):
            _reset(each)
    finally:
        for each in (writer, theirs):
            each.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Break a connection off so that its other end hears of that, and takes it for no ordinary end (SO_LINGER, socket(7))."""
    connection = writer.get_extra_info("socket")
    if connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    writer.transport.abort()


async def _connect(inside: ThreadPoolExecutor, remote: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    connection = await loop.run_in_executor(inside, _make_socket)
    try:
        await loop.sock_connect(connection, ("127.0.0.1", remote))
    except BaseException:
        connection.close()
        raise
    return await asyncio.open_connection(sock=connection)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One way, to its end, which is handed on as an end: the other way goes on."""
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
