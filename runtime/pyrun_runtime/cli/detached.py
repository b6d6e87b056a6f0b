"""Pods that outlive their command: ``pyrun run --detach``, and the supervisor that goes on with them.

::

    /run/pyrun/pods/<uid>/monitor, exits   the monitor, whose children the pod's processes are, and how those have ended
                          pod              what the pod is made with, for who takes it up again (:meth:`pyrun.Pod.adopt`)
                          state            what its driver knows and is doing (:meth:`pyrun.Driver.resume`)
                          options          what the command line said
                          events           what has happened to it (:mod:`pyrun_runtime.event_file`)
                          status           how it has ended
                          supervisor.log   what the supervisor has to say

The supervisor is the only one that decides: killed, it leaves the containers running, their output in their logs and how they end
with the monitor, and the next one (``pyrun supervise``) goes on where it was.
"""

from __future__ import annotations

import json
import math
import os
import time

from pyrun import CleanupErrors, Driver, Fd, MonitorPlace, Pod, Undo, describe_error, kill_pod, log_runs, remove_tree
from pyrun_runtime.admission import Admission
from pyrun_runtime.cli.admit import admit, facts_of
from pyrun_runtime.cli.background import Background
from pyrun_runtime.cli.handlers import explain, handlers
from pyrun_runtime.cli.manifest import keep_sources
from pyrun_runtime.cli.message import CommandError, UsageError, did_you_mean, naming, say, show
from pyrun_runtime.cli.options import setting
from pyrun_runtime.cli.pod_loop import PodLoop
from pyrun_runtime.cli.policy import security_policy
from pyrun_runtime.cli.report import pod_document
from pyrun_runtime.cli.signals import StopSignals
from pyrun_runtime.control import Control
from pyrun_runtime.store import LOG_ROOT, STATE, STATUS, make_directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pyrun import PodSpec, Publish
    from pyrun_runtime.cli.background import Teller
    from pyrun_runtime.cli.manifest import Source
    from pyrun_runtime.cli.options import Options
    from pyrun_runtime.cli.watch import ObjectFiles
    from pyrun_runtime.config import NodeConfig
    from pyrun_runtime.store import Claim, Store

WAITS = ("running", "ready")
LOG, OPTIONS = "supervisor.log", "options"
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

    def launch(self, deadline_s: float) -> None:
        """Start the pod, and drive it. Raises as :meth:`Pod.create`, and what a container could not be started for."""
        job, claim = self._job, self._claim
        self._signals.give_up = lambda: kill_pod(claim.uid)
        with Undo(f"pod {job.spec.metadata.name}") as self._undo:
            make_directories(job.logs)
            self._undo.push(f"remove {job.logs}", remove_tree, job.logs)
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
            driver = Driver(pod, self._tell, self._tail_of)
            self._drive(driver, driver.begin, deadline_s)

    def _drive(self, driver: Driver, begin: Callable[[], object], deadline_s: float) -> None:
        job, pod = self._job, driver.pod
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
        document = pod_document(driver)
        self._claim.replace(STATUS, json.dumps(document).encode())
        if not self._teller.told:
            wanted, phase = self._wanted, driver.life.status().phase
            failed = (
                f"pod {self._job.spec.metadata.name} is over and was never ready: {phase}" if wanted == "ready" else ""
            )
            self._say_id(driver, failed)
        try:
            driver.pod.remove()
            self._claim.retire()
        except CleanupErrors as error:
            say(describe_error(error))
            return error
        return None

    def _tell(self, event: Publish, at_s: float) -> None:
        """A tell of :class:`pyrun.Driver`."""

    def _tail_of(self, name: str) -> bytes:
        return read_tail(f"{self._job.logs}/{name}")


def run_detached(job: Job, sources: list[Source]) -> int:
    """Start the pod in the background, and say its id when it runs, or with ``--wait=ready`` is ready."""
    wanted = job.options.get("wait", "running")
    if wanted not in WAITS:
        raise UsageError(f"--wait={wanted}: not one of {', '.join(WAITS)}{did_you_mean(wanted, WAITS)}")
    report = Background(lambda teller: _launch(job, sources, teller, wanted)).wait()
    for warning in report["warnings"]:
        say(f"warning: {warning}")
    show(report["id"])
    if report["failed"]:
        raise CommandError(report["failed"])
    return 0


def _launch(job: Job, sources: list[Source], teller: Teller, wanted: str) -> int:
    with StopSignals() as signals, job.store.claim_named(job.uid, facts(job)) as claim:
        keep_sources(claim, sources)
        deadline_s = time.monotonic() + float(job.options["timeout"]) if "timeout" in job.options else math.inf
        claim.write(OPTIONS, json.dumps({"options": job.options, "deadline": deadline_s}).encode())
        _let_go(claim)
        job.admit()
        claim.write(STATE, b"{}")
        Supervisor(job, claim, signals, teller, wanted).launch(deadline_s)
    return 0


def _let_go(claim: Claim) -> None:
    """Of who started us: of its terminal, its pipes and its working directory."""
    os.chdir("/")
    claim.write(LOG, b"")
    with (
        Fd.open("/dev/null", os.O_RDONLY) as null,
        Fd.open(f"{claim.directory}/{LOG}", os.O_WRONLY | os.O_APPEND) as log,
    ):
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source.fileno(), target)


def facts(job: Job) -> dict[str, str | int]:
    """Of a detached pod, for pod.json."""
    return {**facts_of(job.spec), "detached": 1, "boot_id": read_boot_id(), "logs": job.logs}


def read_boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


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
