"""The supervisor of a detached pod: the process that goes on with it, and the only one that decides.

Killed, it leaves the containers running, their output in their logs and how they end with the monitor; the next one goes on where
it was. Its files are in :mod:`pyrun_runtime.cli.detached`.
"""

from __future__ import annotations

import json
import math
import os
import time

from pyrun import CleanupErrors, Driver, Fd, MonitorPlace, Pod, Undo, describe_error, kill_pod, log_runs, remove_tree
from pyrun_runtime.admission import Admission
from pyrun_runtime.cli.admit import admit
from pyrun_runtime.cli.handlers import explain, handlers
from pyrun_runtime.cli.message import naming, say
from pyrun_runtime.cli.options import setting
from pyrun_runtime.cli.pod_loop import PodLoop
from pyrun_runtime.cli.policy import security_policy
from pyrun_runtime.cli.report import pod_document
from pyrun_runtime.control import CONTROL, Control
from pyrun_runtime.event_file import EventFile
from pyrun_runtime.store import LOG_ROOT, STATE, STATUS, make_directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pyrun import PodSpec, Publish
    from pyrun_runtime.cli.background import Teller
    from pyrun_runtime.cli.options import Options
    from pyrun_runtime.cli.signals import StopSignals
    from pyrun_runtime.cli.watch import ObjectFiles
    from pyrun_runtime.config import NodeConfig
    from pyrun_runtime.store import Claim, Store

WAITS = ("running", "ready")
OWNER = ".pod"  # in the directory of a pod's logs: a link to its run directory, for pyrun gc
TAIL_BYTES = 2048  # as much as Kubernetes makes a message of
TAIL_READ_BYTES = 16 * TAIL_BYTES  # with the time of each line


class Job:
    """What a supervisor works with: the pod, and what the command line said."""

    def __init__(
        self, spec: PodSpec, options: Options, config: NodeConfig, store: Store, files: ObjectFiles | None
    ) -> None:
        self.spec = spec
        self.options = options
        self.config = config
        self.store = store
        self.files = files
        self.security = security_policy(options, spec)
        self.admission = Admission(store.run_root, store.state_root, config)

    @property
    def uid(self) -> str:
        return self.spec.metadata.uid or ""

    def admit(self) -> None:
        """Reserve what the pod needs."""
        self.config = admit(self.spec, self.store, self.config)

    @property
    def logs(self) -> str:
        metadata = self.spec.metadata
        root = setting(self.options, "logs", "PYRUN_LOGS", LOG_ROOT)
        return f"{root}/pods/{metadata.namespace}_{metadata.name}_{self.uid}"


class Log:
    """Where the supervisor's own words go: :class:`~pyrun_runtime.cli.output.Outputs` of a pod whose output goes elsewhere. What
    a full disk does not take is lost: a pod does not end for it."""

    broken = None
    pending = False

    @property
    def err(self) -> Log:
        return self

    def write(self, data: bytes) -> None:
        try:
            os.write(2, data)
        except OSError:
            pass

    def add(self, _name: str) -> None:
        """Its output goes where that of the others does."""

    def interests(self) -> list[tuple[int, int]]:
        return []

    def handle(self, _ready: Mapping[int, int]) -> bool:
        return False

    def close_sources(self) -> None:
        """There are none."""


class Supervisor:
    """Drives one pod to its end. *teller* hears of its id as soon as it is what *wanted* says, one of :data:`WAITS`; until then
    what fails leaves nothing of the pod, and from then on everything, for the next supervisor."""

    def __init__(self, job: Job, claim: Claim, signals: StopSignals, teller: Teller, wanted: str) -> None:
        self._job = job
        self._claim = claim
        self._signals = signals
        self._teller = teller
        self._wanted = wanted
        self._log = Log()
        self._events = EventFile(claim.directory)
        self._unsaved = False

    def launch(self, deadline_s: float) -> None:
        """Start the pod, and drive it. Raises as :meth:`Pod.create`, and what a container could not be started for."""
        job, claim = self._job, self._claim
        self._signals.give_up = lambda: kill_pod(claim.uid)
        with Undo(f"pod {job.spec.metadata.name}") as self._undo:
            make_directories(job.logs)
            self._undo.push(f"remove {job.logs}", remove_tree, job.logs)
            os.symlink(claim.directory, f"{job.logs}/{OWNER}")
            with naming(f"pod {job.spec.metadata.name}"):
                pod = Pod.create(
                    job.spec,
                    directory=claim.data,
                    policy=job.config.limits,
                    security=job.security,
                    monitor=MonitorPlace(claim.directory, job.logs),
                )
            self._undo.push("remove the pod", pod.remove)
            self._signals.give_up = None
            if self._signals.take():
                raise KeyboardInterrupt  # it came while the pod was created: nothing has run, nothing needs grace
            driver = Driver(pod, self._tell, self._tail_of, self._save)
            self._drive(driver, driver.begin, deadline_s)

    def take_up(self, pod: Pod, document: object, deadline_s: float) -> None:
        """Go on with one that was adopted where the last supervisor was; *document* is what that has saved."""
        with Undo(f"pod {pod.spec.metadata.name}") as self._undo:
            self._undo.push("let go of the pod", pod.close)
            driver = Driver.resume(pod, document, self._tell, self._tail_of, self._save)
            self._say_id(driver)
            self._drive(driver, lambda: None, deadline_s)

    def _drive(self, driver: Driver, begin: Callable[[], object], deadline_s: float) -> None:
        job, pod = self._job, driver.pod
        self._claim.unlink(CONTROL)  # of one who was killed
        with Control(self._claim.directory, {}, explain) as control:
            control.handlers = handlers(driver, self._log, job.security, job.admission, job.config.limits)
            left_s = None if math.isinf(deadline_s) else max(0.0, deadline_s - time.monotonic())
            loop = PodLoop(driver, self._log, self._signals, left_s, job.files)
            loop.control = control
            pod.listeners.add(lambda: self._look(driver))
            begin()
            loop.watch()
            if driver.error is not None and not self._teller.told:
                raise driver.error
            control.close(self._conclude(driver))

    def _look(self, driver: Driver) -> None:
        """Tell of the pod when it is what somebody waits for."""
        if self._teller.told or driver.over:
            return
        ready = driver.life.was_ready if self._wanted == "ready" else driver.life.status().phase == "Running"
        if ready:
            self._say_id(driver)

    def _say_id(self, driver: Driver, failed: str = "") -> None:
        self._undo.forget()
        self._claim.stay()
        self._teller.tell({"id": self._job.uid, "warnings": driver.pod.warnings, "failed": failed})

    def _conclude(self, driver: Driver) -> CleanupErrors | None:
        """The pod is over: keep how, and take it away."""
        self._claim.replace(STATUS, json.dumps(pod_document(driver)).encode())
        if not self._teller.told:
            wanted, phase = self._wanted, driver.life.status().phase
            failed = (
                f"pod {self._job.spec.metadata.name} is over and was never ready: {phase}" if wanted == "ready" else ""
            )
            self._say_id(driver, failed)
        self._events.close()
        try:
            driver.pod.remove()
            self._claim.retire()
        except CleanupErrors as error:
            say(describe_error(error))
            return error
        return None

    def _tell(self, event: Publish, at_s: float) -> None:
        """A tell of :class:`pyrun.Driver`."""
        self._events.write(event, time.time() - time.monotonic() + at_s)

    def _save(self, document: dict[str, object]) -> None:
        """A save of :class:`pyrun.Driver`. A full disk does not end a pod: the next supervisor then goes on from what was saved
        last, and from what it finds."""
        try:
            self._claim.replace(STATE, json.dumps(document).encode())
            self._unsaved = False
        except OSError as error:
            if not self._unsaved:
                say(f"the pod's state cannot be saved: {error.filename}: {error.strerror}")
            self._unsaved = True

    def _tail_of(self, name: str) -> bytes:
        return read_tail(f"{self._job.logs}/{name}")


def read_tail(directory: str) -> bytes:
    """The end of what a container has printed in its last run, from its log (CRI format)."""
    runs = log_runs(directory)
    try:
        with Fd.open(f"{directory}/{runs[-1]}.log", os.O_RDONLY) as file:
            size = os.fstat(file.fileno()).st_size
            lines = os.pread(file.fileno(), TAIL_READ_BYTES, max(0, size - TAIL_READ_BYTES)).split(b"\n")
    except (OSError, IndexError):
        return b""
    whole = [line.split(b" ", 3) for line in lines[size > TAIL_READ_BYTES : -1]]
    text = b"".join([parts[3] + b"\n" * (parts[2] == b"F") for parts in whole if len(parts) == 4])
    return text[-TAIL_BYTES:]
