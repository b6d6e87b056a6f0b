"""The pause process: the first of a pod, which holds its namespaces."""

from __future__ import annotations

import os

from pyrun.errors import StateError
from pyrun.kernel.fd import Fd
from pyrun.kernel.program import program_fd
from pyrun.kernel.spawn import Adopted, create
from pyrun.kernel.step import Duplicate, Exec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from pyrun.errors import StepError
    from pyrun.kernel.monitor import Monitor, MonitoredProcess
    from pyrun.kernel.process import Process
    from pyrun.kernel.spawn import Created, HasFileno
    from pyrun.kernel.step import Step

READY_FD = 3
MONITORED_AS = "/pause"  # what no container can be called


class PauseProcess:
    """Runs the static ``pyrun-pause`` at the end of a plan that makes the namespaces.

    ``process`` is the child; its pidfd is what others join the namespaces by. ``ready`` can be read as soon as they are made:
    others may be started before that, with a plan that waits for it (:class:`~pyrun.kernel.step.Await`).
    """

    def __init__(self, setup: Created | Adopted, ready: Fd) -> None:
        self.ready = ready
        self._setup = setup
        self._ready = self._started = False

    @property
    def process(self) -> Process:
        """The one that is pause, once it is ready: a plan may go on in a child."""
        return self._setup.process

    @property
    def warnings(self) -> list[StepError]:
        """Optional steps that failed."""
        return self._setup.warnings

    @property
    def stamps(self) -> list[tuple[int, int]]:
        """When each step began and ended; see :func:`pyrun.kernel.encode.decode_stamps`."""
        return self._setup.stamps

    def fileno(self) -> int:
        return self.process.fileno()

    @classmethod
    def create(
        cls,
        plan: Sequence[Step],
        *,
        namespaces: Collection[str] = (),
        cgroup: HasFileno | None = None,
        fds: Mapping[str, HasFileno | int] | None = None,
        monitor: Monitor | None = None,
    ) -> PauseProcess:
        """Let a child run *plan* and become pause, and return without waiting for it: see :meth:`wait_ready`. With a *monitor*
        it is that one's child.

        The plan's slots ``program`` and ``ready`` are filled here; it ends in :data:`PAUSE_STEPS`, or they are added.
        """
        ready, child_ready = [Fd.adopt(fd) for fd in os.pipe2(os.O_CLOEXEC)]
        try:
            with child_ready:
                given = {**(fds or {}), "program": program_fd("pyrun-pause"), "ready": child_ready}
                steps = plan if plan[-len(PAUSE_STEPS) :] == PAUSE_STEPS else (*plan, *PAUSE_STEPS)
                setup = create(
                    steps, namespaces=namespaces, cgroup=cgroup, fds=given, monitor=monitor, name=MONITORED_AS
                )
        except BaseException:
            ready.close()
            raise
        return cls(setup, ready)

    @classmethod
    def start(
        cls,
        plan: Sequence[Step],
        *,
        namespaces: Collection[str] = (),
        cgroup: HasFileno | None = None,
        fds: Mapping[str, HasFileno | int] | None = None,
    ) -> PauseProcess:
        """:meth:`create`, and wait until it is ready. If it fails, nothing is left."""
        pause = cls.create(plan, namespaces=namespaces, cgroup=cgroup, fds=fds)
        try:
            pause.wait_ready()
        except BaseException:
            pause.end()
            raise
        pause.ready.close()
        return pause

    @classmethod
    def adopt(cls, process: MonitoredProcess) -> PauseProcess:
        """pause as another has started it, and found it ready."""
        ready, writing = [Fd.adopt(fd) for fd in os.pipe2(os.O_CLOEXEC)]
        writing.close()  # as that of a pause that has become the program
        pause = cls(Adopted(process), ready)
        pause._ready = pause._started = True
        return pause

    def becomes_ready(self) -> bool:
        """Wait until pause says that it is ready; False if it never will."""
        self._ready = self._ready or bool(os.read(self.ready.fileno(), 1))
        return self._ready

    def wait_ready(self) -> None:
        """Wait until pause has said that it is ready; at once if it has.

        Raises :class:`StepError`; :class:`StateError` if it has ended instead. Both wait for its end: in its PID namespace then
        lives nobody whom the caller would have to reap.
        """
        if self._started:
            return
        ready = self.becomes_ready()
        self._setup.wait_started()
        self._started = ready
        if not ready:
            self.process.wait()
            self.check_runs()

    def check_runs(self) -> None:
        """Raises :class:`StateError` if it has ended."""
        status = self.process.poll()
        if status is not None:
            raise StateError("pause", f"over ({status.describe()})", "ready")

    def end(self) -> None:
        """Kill and reap it, close. Idempotent, and works at any time."""
        self._setup.abandon()
        self.ready.close()


PAUSE_STEPS = (Duplicate("ready", READY_FD), Exec(("pause", str(READY_FD)), file="program"))
