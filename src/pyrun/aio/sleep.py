"""Sleeping in the loop until a descriptor has something, or somebody says that one has to look again."""

from __future__ import annotations

import asyncio
import math
import select

from pyrun.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


async def sleep_for(
    interests: Iterable[tuple[int, int]],
    timeout_s: float = math.inf,
    listeners: set[Callable[[], object]] | None = None,
) -> list[int]:
    """The descriptors that have what is wanted of them, as (descriptor, events of poll(2)); none when *timeout_s* has run out,
    or one of *listeners* was called, among which we are meanwhile, first.

    The descriptors are put into an epoll of this one sleep, and that into the loop: so several may wait for the same one,
    for other events than the loop knows, and nothing of it stays in the loop when its owner closes a descriptor. The
    sleep of a descriptor that is closed meanwhile is ended by *listeners* or by nobody.

    Raises :class:`KernelError` where there is no descriptor left for the epoll.
    """
    loop = asyncio.get_running_loop()
    woken = loop.create_future()

    def wake() -> None:
        if not woken.done():
            woken.set_result(None)

    def call() -> None:  # from whatever thread, at whatever time
        if not loop.is_closed():
            loop.call_soon_threadsafe(wake)

    with _open_epoll() as poll:
        for fd, events in _merged(interests).items():
            poll.register(fd, events)
        loop.add_reader(poll.fileno(), wake)
        timer = None if timeout_s == math.inf else loop.call_later(timeout_s, wake)
        if listeners is not None:
            listeners.add(call)
        try:
            await woken
        finally:
            if listeners is not None:
                listeners.discard(call)
            if timer is not None:
                timer.cancel()
            loop.remove_reader(poll.fileno())
        return [fd for fd, _events in poll.poll(0)]


def _open_epoll() -> select.epoll:
    try:
        return select.epoll(flags=select.EPOLL_CLOEXEC)
    except OSError as error:
        raise KernelError(error.errno or 0, "epoll_create1(2)") from None


def _merged(interests: Iterable[tuple[int, int]]) -> dict[int, int]:
    """epoll(7) takes a descriptor once."""
    merged: dict[int, int] = {}
    for fd, events in interests:
        merged[fd] = merged.get(fd, 0) | events
    return merged
