"""The library in an asyncio loop: waits that are awaited and output that is a stream, without threads.

Nothing here is imported unless somebody asks for it. What runs out of time is :func:`asyncio.timeout`'s business, and a wait that
is cancelled leaves process, pod and driver as they are: it can be begun anew. :func:`run` alone ends what it began.

All waits are for the loop's own thread, and sleep in the loop's selector: nothing is polled at intervals. What makes or removes
something (:func:`pyrun.spawn`, :meth:`Pod.create`, :meth:`Pod.start`, :meth:`Pod.remove`, a turn of a driver that starts a
container) does block, for as long as the kernel needs: some milliseconds for a pod.
"""

from __future__ import annotations

from pyrun.aio.command import run
from pyrun.aio.streams import PodStreams, open_reader, open_writer
from pyrun.aio.waits import drive, pod_ends, stop_pod, wait_pod, wait_process

__all__ = [
    "PodStreams",
    "drive",
    "open_reader",
    "open_writer",
    "pod_ends",
    "run",
    "stop_pod",
    "wait_pod",
    "wait_process",
]
