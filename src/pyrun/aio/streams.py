"""Pipes as asyncio streams, and the standard descriptors of a pod's containers made of them."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack, asynccontextmanager

from pyrun.errors import KernelError, NotFound, StateError
from pyrun.kernel.fd import Fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from types import TracebackType

LIMIT_BYTES = 64 * 1024  # asyncio's own


class _Protocol(asyncio.StreamReaderProtocol):
    """Tells when the transport has closed its descriptor."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self.reader = asyncio.StreamReader(limit_bytes)
        self.gone = asyncio.get_running_loop().create_future()
        super().__init__(self.reader)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not self.gone.done():
            self.gone.set_result(None)


@asynccontextmanager
async def open_reader(fd: Fd | int, *, limit_bytes: int = LIMIT_BYTES) -> AsyncIterator[asyncio.StreamReader]:
    """The pipe, socket or terminal *fd* as a stream, in an ``async with``. *fd* becomes the stream's, which closes it at its end
    or at the end of the block, whichever comes first, and in any case makes it non-blocking.

    *limit_bytes* is what a line may have: ``readline()`` and ``async for`` raise ValueError for a longer one, so for the output
    of strangers take ``read(n)``. About twice as much is held at most; who writes more waits for who reads.

    Raises ValueError for what cannot be waited for, such as a file on disk; *fd* is closed then, too.
    """
    loop = asyncio.get_running_loop()
    with open(_taken(fd), "rb", buffering=0) as pipe:
        protocol = _Protocol(limit_bytes)
        transport, _ = await loop.connect_read_pipe(lambda: protocol, pipe)
        try:
            yield protocol.reader
        finally:
            transport.close()
            await protocol.gone


@asynccontextmanager
async def open_writer(fd: Fd | int) -> AsyncIterator[asyncio.StreamWriter]:
    """The pipe, socket or terminal *fd* as a stream to write to, in an ``async with``. *fd* becomes the stream's, which closes it
    after ``close()`` or at the end of the block; what is still in our buffer at the end of the block is lost, so ``close()``
    and ``await wait_closed()`` first.

    When nobody reads any more ``drain()`` raises a ConnectionError. Raises ValueError as :func:`open_reader`.
    """
    loop = asyncio.get_running_loop()
    with open(_taken(fd), "wb", buffering=0) as pipe:
        protocol = _Protocol()
        transport, _ = await loop.connect_write_pipe(lambda: protocol, pipe)
        try:
            yield asyncio.StreamWriter(transport, protocol, None, loop)
        finally:
            if transport.get_write_buffer_size() or not transport.is_closing():
                transport.abort()
            await protocol.gone


class PodStreams:
    """Pipes for the containers *names* of one pod, ours as streams::

        async with PodStreams(["web"], stdin=["web"]) as streams:
            with Pod.create(spec, directory=path, stdio=streams.stdio) as pod:
                pod.start()
                streams.let_go()
                async for line in streams.stdout["web"]:
                    ...

    ``stdout`` and ``stderr`` have a StreamReader by container; ``stdin`` has a StreamWriter for those that are to have one: the
    others read /dev/null. A container that is made anew goes on in the same pipes. :meth:`let_go` says that none will be: a
    reader comes to its end when we have let go of the writing side and all that had it have ended. What nobody reads holds its
    writer up once the pipe and *limit_bytes* are full (see :func:`open_reader`).

    At the end of the block all of it is closed; a container that still writes then gets SIGPIPE. Raises :class:`KernelError`
    where no descriptor is left: it takes two for each stream until :meth:`let_go`, one after.
    """

    def __init__(self, names: Iterable[str], *, stdin: Iterable[str] = (), limit_bytes: int = LIMIT_BYTES) -> None:
        self.stdin: dict[str, asyncio.StreamWriter] = {}
        self.stdout: dict[str, asyncio.StreamReader] = {}
        self.stderr: dict[str, asyncio.StreamReader] = {}
        self._names = tuple(names)
        self._with_stdin = frozenset(stdin)
        self._limit_bytes = limit_bytes
        self._theirs: dict[str, tuple[Fd, Fd, Fd]] = {}
        self._stack = AsyncExitStack()
        if unknown := self._with_stdin - set(self._names):
            raise NotFound(f"stdin for {', '.join(sorted(unknown))}, not among the containers {', '.join(self._names)}")

    def stdio(self, name: str) -> tuple[int, int, int]:
        """For :meth:`Pod.create`. Raises :class:`NotFound` for a container without pipes, :class:`StateError` after
        :meth:`let_go`."""
        if name in self._theirs:
            read_fd, out_fd, err_fd = self._theirs[name]
            return read_fd.fileno(), out_fd.fileno(), err_fd.fileno()
        if name in self._names:
            raise StateError(f"PodStreams for container {name}", "let go of", "open")
        raise NotFound(f"there are no streams for container {name}")

    def let_go(self) -> None:
        """Close the containers' sides: call it when none will be made any more, which is after :meth:`Pod.start`, or for a pod
        that is driven when it is over. Idempotent."""
        theirs, self._theirs = self._theirs, {}
        for fds in theirs.values():
            for fd in fds:
                fd.close()

    async def __aenter__(self) -> PodStreams:
        async with AsyncExitStack() as stack:
            stack.callback(self.let_go)
            for name in self._names:
                await self._open(name, stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _open(self, name: str, stack: AsyncExitStack) -> None:
        async with AsyncExitStack() as theirs:
            if name in self._with_stdin:
                read_fd, ours = _pipe()
                theirs.enter_context(read_fd)
                self.stdin[name] = await stack.enter_async_context(open_writer(ours))
            else:
                read_fd = theirs.enter_context(Fd.open("/dev/null"))
            self.stdout[name], out_fd = await self._open_output(stack, theirs)
            self.stderr[name], err_fd = await self._open_output(stack, theirs)
            theirs.pop_all()
            self._theirs[name] = read_fd, out_fd, err_fd

    async def _open_output(self, stack: AsyncExitStack, theirs: AsyncExitStack) -> tuple[asyncio.StreamReader, Fd]:
        ours, write_fd = _pipe()
        theirs.enter_context(write_fd)
        return await stack.enter_async_context(open_reader(ours, limit_bytes=self._limit_bytes)), write_fd


def _pipe() -> tuple[Fd, Fd]:
    try:
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(error.errno or 0, "pipe2(2)") from None
    return Fd.adopt(read_fd), Fd.adopt(write_fd)


def _taken(fd: Fd | int) -> int:
    return fd if isinstance(fd, int) else fd.detach()
