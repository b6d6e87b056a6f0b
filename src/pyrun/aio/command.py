"""One command in fresh namespaces, awaited."""

from __future__ import annotations

import asyncio

from pyrun.aio.waits import wait_process
from pyrun.container.command import Command
from pyrun.kernel.spawn import NEW_NAMESPACES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from pyrun.container.command import Outcome
    from pyrun.kernel.cgroup import Limits
    from pyrun.kernel.spawn import HasFileno


async def run(
    argv: Sequence[str],
    *,
    limits: Limits | None = None,
    timeout_s: float | None = None,
    env: Mapping[str, str] | None = None,
    namespaces: Collection[str] = NEW_NAMESPACES,
    fds: Mapping[int, HasFileno | int] | None = None,
    cgroup: str | None = None,
) -> Outcome:
    """:func:`pyrun.run` in the loop, with its arguments and errors. Cancelled, it kills the command and leaves nothing behind."""
    with Command(argv, limits=limits, env=env, namespaces=namespaces, fds=fds, cgroup=cgroup) as command:
        timed_out = False
        try:
            async with asyncio.timeout(timeout_s):
                await wait_process(command.process)
        except TimeoutError:
            timed_out = command.process.poll() is None
        command.group.kill()
        await wait_process(command.process)
        return command.outcome(timed_out)
