"""Waiting for processes and pods, and driving one."""

from __future__ import annotations

import asyncio
import os
import select
import signal

from pyrun.aio.sleep import sleep_for
from pyrun.errors import KernelError, StateError
from pyrun.kernel.fd import Fd
from pyrun.kernel.process import TRACER_LOOK_S

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pyrun.kernel.process import ExitStatus, Process
    from pyrun.pod.container import PodContainer
    from pyrun.pod.driver import Driver
    from pyrun.pod.pod import Pod
    from pyrun.pod.status import ContainerStatus


async def wait_process(process: Process) -> ExitStatus:
    """How *process* ended, once it has; it is reaped then. Any number of tasks may wait for the same one.

    Cancelled, it leaves the process as it is. Raises :class:`StateError` for one that was closed before it was reaped; if that
    happens meanwhile, when it ends.
    """
    status = process.poll()
    if status is not None:
        return status
    # A descriptor of our own: the owner may close his.
    with _dup(process) as pidfd:
        while status is None:
            await sleep_for([(pidfd.fileno(), select.POLLIN)])
            status = process.poll()
            if status is None:  # somebody who traces it has not waited for it yet: until then it is not ours to reap
                await asyncio.sleep(TRACER_LOOK_S)
    return status


async def pod_ends(pod: Pod) -> AsyncIterator[ContainerStatus]:
    """How each container of *pod* ended, in the order in which they do, until every one has.

    For a pod without a :class:`Driver`; what happens in one that is driven, restarts among it, is told to the driver's *tell*. A
    pod that is removed meanwhile has ended: the last statuses come then.
    """
    told: set[PodContainer] = set()
    while True:
        containers = list(pod.containers.values())
        running = [each for each in containers if each.poll() is None]
        ended = [(each.status.finished_s, each) for each in containers if each.status is not None and each not in told]
        for _finished_s, container in sorted(ended, key=lambda pair: pair[0]):
            told.add(container)
            assert container.status is not None
            yield container.status
        if ended:
            continue  # whoever was told has taken some time
        if not running or pod.removed:
            return
        ready = await sleep_for(_interests(running), listeners=pod.listeners)
        if ready and all([each.poll() is None for each in running]):
            await asyncio.sleep(TRACER_LOOK_S)  # as in wait_process


async def wait_pod(pod: Pod) -> dict[str, ContainerStatus]:
    """How the containers of *pod* ended, by name, once all have: :meth:`Pod.wait`. See :func:`pod_ends`."""
    ended = {status.name: status async for status in pod_ends(pod)}
    return {name: ended[name] for name in pod.containers if name in ended}


async def stop_pod(pod: Pod, grace_s: float | None = None) -> dict[str, ContainerStatus]:
    """SIGTERM to each container, after *grace_s* seconds (the manifest's terminationGracePeriodSeconds) SIGKILL to all that is
    left in them: :meth:`Pod.stop`. A pod that is driven is stopped with :meth:`Driver.stop`, and driven to its end.

    Cancelled, it leaves the containers that have not ended running, told to end.
    """
    if pod.removed:
        return await wait_pod(pod)
    pod.signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(pod.spec.termination_grace_period_s if grace_s is None else grace_s):
            return await wait_pod(pod)
    except TimeoutError:
        pass
    if not pod.removed:
        for container in pod.containers.values():
            container.cgroup.kill()
    return await wait_pod(pod)


async def drive(driver: Driver) -> None:
    """Drive a pod whose :meth:`Driver.begin` was called until it is over: :meth:`Driver.run`.

    Others may call :meth:`Driver.stop`, :meth:`Driver.add_ephemeral` and :meth:`Driver.resize` meanwhile. Cancelled, it leaves
    driver and pod as they are: the containers run on, and who drives it again finds what has happened. A turn of the driver
    blocks while it starts containers, for some milliseconds.

    Raises :class:`StateError` if the pod is removed before it is over, and what *tell* raises.
    """
    pod = driver.pod
    while not driver.over:
        if pod.removed:
            raise StateError(f"pod {pod.spec.metadata.name}", "removed", "there until it is over")
        ready = await sleep_for(driver.interests(), driver.wait_s(), pod.listeners)
        if not pod.removed:
            driver.turn(ready)


def _interests(containers: list[PodContainer]) -> list[tuple[int, int]]:
    return [(process.fileno(), select.POLLIN) for each in containers for process in each.awaited]


def _dup(process: Process) -> Fd:
    try:
        return Fd.adopt(os.dup(process.fileno()))
    except OSError as error:
        raise KernelError(error.errno or 0, "fcntl(2)", f"pidfd of process {process.pid}") from None
