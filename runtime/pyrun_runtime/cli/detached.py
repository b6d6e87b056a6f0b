"""Pods that outlive their command: ``pyrun run --detach``, and taking them up again.

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
import select
import time

from pyrun import (
    AlreadyExists,
    CleanupErrors,
    Fd,
    NotFound,
    Pod,
    PyrunError,
    SandboxGone,
    SpecError,
    describe_error,
    lost_life,
    read_kept,
    remove_leftovers,
)
from pyrun_runtime.cli.admit import facts_of
from pyrun_runtime.cli.background import Background
from pyrun_runtime.cli.manifest import keep_sources, name_of
from pyrun_runtime.cli.message import CommandError, UsageError, did_you_mean, say, show
from pyrun_runtime.cli.options import values_of
from pyrun_runtime.cli.report import life_report
from pyrun_runtime.cli.signals import StopSignals
from pyrun_runtime.cli.supervisor import WAITS, Job, Supervisor
from pyrun_runtime.config import load_config
from pyrun_runtime.store import STATE, STATUS, read_facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun_runtime.cli.background import Teller
    from pyrun_runtime.cli.manifest import Source
    from pyrun_runtime.cli.options import Options
    from pyrun_runtime.cli.watch import ObjectFiles
    from pyrun_runtime.store import Claim, Store

LOG, OPTIONS = "supervisor.log", "options"
# Options that are paths: the supervisor has another working directory.
PATHS = ("config", "logs", "seccomp-profiles", "configmap")
CLAIM_S, LOOK_S = 0.1, 0.002
MONITOR_LOST = "the monitor, whose children the pod's processes were, and its supervisor have ended"
SANDBOX_LOST = "pause, which held the pod's namespaces, and its supervisor have ended"


def run_detached(job: Job, sources: list[Source]) -> int:
    """Start the pod in the background, and say its id when it runs, or with ``--wait=ready`` is ready."""
    wanted = job.options.get("wait", "running")
    if wanted not in WAITS:
        raise UsageError(f"--wait={wanted}: not one of {', '.join(WAITS)}{did_you_mean(wanted, WAITS)}")
    _make_absolute(job.options)
    report = Background(lambda teller: _launch(job, sources, teller, wanted)).wait()
    for warning in report["warnings"]:
        say(f"warning: {warning}")
    show(report["id"])
    if report["failed"]:
        raise CommandError(report["failed"])
    return 0


def _launch(job: Job, sources: list[Source], teller: Teller, wanted: str) -> int:
    with StopSignals() as signals, job.store.claim_named(job.uid, {**facts(job), **origin(*sources[0])}) as claim:
        keep_sources(claim, sources)
        deadline_s = time.monotonic() + float(job.options["timeout"]) if "timeout" in job.options else math.inf
        claim.write(OPTIONS, json.dumps({"options": job.options, "deadline": deadline_s}).encode())
        _let_go(claim)
        job.admit()
        Supervisor(job, claim, signals, teller, wanted).launch(deadline_s)
    return 0


def _make_absolute(options: Options) -> None:
    for name in PATHS:
        if name in options:
            options[name] = "\0".join([os.path.abspath(path) for path in values_of(options, name)])


def _let_go(claim: Claim) -> None:
    """Of who started us: of its terminal, its pipes and its working directory."""
    os.chdir("/")
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    with Fd.open("/dev/null", os.O_RDONLY) as null, Fd.open(f"{claim.directory}/{LOG}", flags, 0o600) as log:
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source.fileno(), target)


def facts(job: Job) -> dict[str, str | int]:
    """Of a detached pod, for pod.json."""
    return {**facts_of(job.spec), "detached": 1, "boot_id": read_boot_id(), "logs": job.logs}


def origin(name: str, data: bytes) -> dict[str, str | int]:
    """Which file it was made of, and of what in it: for :mod:`pyrun_runtime.cli.manifests`."""
    import hashlib

    path: dict[str, str | int] = {} if name == name_of("-") else {"source": os.path.abspath(name)}
    return {**path, "source_hash": hashlib.sha256(data).hexdigest()}


def read_boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


# ---- those whose supervisor was killed ----


def adopt_orphans(store: Store) -> None:
    """Give each a supervisor. What cannot be taken up is told."""
    for uid in store.find_orphans():
        adopt_orphan(store, uid)


def adopt_orphan(store: Store, uid: str) -> None:
    """Give it a supervisor, or, where its monitor has gone as well, write down that it is over."""
    try:
        Background(lambda teller: supervise(store, uid, teller, in_background=True)).wait()
    except CommandError as error:
        say(f"warning: pod {uid}, whose supervisor was killed, cannot be taken up: {error}")


def supervise(store: Store, uid: str, teller: Teller, *, in_background: bool) -> int:
    """Be the supervisor of pod *uid*. Raises :class:`AlreadyExists` if it has one; that somebody was quicker while we are *in the
    background* is no error."""
    claim = _claim(store, uid)
    if claim is None:
        if not in_background:
            raise AlreadyExists(f"pod {uid} has a supervisor")
        teller.tell({"id": uid})
        return 0
    claim.stay()
    with StopSignals() as signals, claim:
        if in_background:
            _let_go(claim)
        if os.path.exists(f"{claim.directory}/{STATUS}"):
            _take_away(claim)
        elif read_facts(store.run_root, uid).get("boot_id") != read_boot_id():
            remove_leftovers(uid, claim.data)
            claim.release()
            say(f"removed what was left of pod {uid} from before the machine was started again")
        else:
            _take_up(store, claim, signals, teller)
        teller.tell({"id": uid})
    return 0


def _claim(store: Store, uid: str) -> Claim | None:
    """None where somebody has it, and not only for the moment that it takes to look whether somebody has."""
    deadline_s = time.monotonic() + CLAIM_S
    while True:
        try:
            return store.claim_orphan(uid)
        except AlreadyExists:
            if time.monotonic() > deadline_s:
                return None
        select.select([], [], [], LOOK_S)


def _take_up(store: Store, claim: Claim, signals: StopSignals, teller: Teller) -> None:
    try:
        _go_on(store, claim, signals, teller)
    except SpecError as error:
        raise error.located(error.source or f"{claim.directory}/{STATE}") from None


def _go_on(store: Store, claim: Claim, signals: StopSignals, teller: Teller) -> None:
    told = read_facts(store.run_root, claim.uid)
    options, deadline_s = _read_options(claim)
    document = _read_state(claim)
    kept = read_kept(claim.directory)
    try:
        pod = Pod.adopt(claim.directory)
    except SandboxGone:
        _declare_lost(claim, document, "SandboxLost", SANDBOX_LOST)
        return
    except NotFound:
        _declare_lost(claim, document, "MonitorLost", MONITOR_LOST)
        return
    job = Job(kept.spec, options, load_config(options.get("config")), store, _object_files(options))
    source: dict[str, str | int] = {name: str(told[name]) for name in ("source", "source_hash") if name in told}
    claim.describe({**facts(job), **source})
    Supervisor(job, claim, signals, teller, "running").take_up(pod, document, deadline_s)


def _declare_lost(claim: Claim, document: object, reason: str, message: str) -> None:
    """What the pod lives by has ended while nobody looked, and the pod with it."""
    kept = read_kept(claim.directory)
    life, usages = lost_life(kept.spec, document, time.monotonic(), reason, message)
    claim.replace(STATUS, json.dumps(life_report(kept.spec, kept.uid, life, usages, {})).encode())
    say(f"pod {kept.uid}: {reason}: {message}")
    _take_away(claim)


def _take_away(claim: Claim) -> None:
    """What is left of a pod that is over."""
    try:
        remove_leftovers(claim.uid, claim.data)
        claim.retire()
    except CleanupErrors as error:
        raise CommandError(describe_error(error)) from None


def _read_state(claim: Claim) -> object:
    path = f"{claim.directory}/{STATE}"
    try:
        with open(path, "rb") as file:
            return json.loads(file.read())
    except ValueError as error:
        raise CommandError(f"{path}: {error}") from None


def _read_options(claim: Claim) -> tuple[Options, float]:
    """What its first command line said, and when its time is over."""
    path = f"{claim.directory}/{OPTIONS}"
    try:
        with open(path, "rb") as file:
            found = json.loads(file.read())
        return dict(found["options"]), float(found["deadline"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def _object_files(options: Options) -> ObjectFiles | None:
    """What cannot be read any more is not watched any more."""
    if not values_of(options, "configmap"):
        return None
    from pyrun_runtime.cli.watch import ObjectFiles

    try:
        return ObjectFiles(values_of(options, "configmap"))
    except (PyrunError, CommandError) as error:
        say(f"warning: ConfigMaps and Secrets stay as they were: {error}")
        return None
