"""``pyrun run``: a pod in the foreground."""

from __future__ import annotations

import os

from pyrun import CleanupErrors, Pod, SpecError, describe_error, kill_pod, new_uid, replace
from pyrun_runtime.cli.manifest import load_manifest
from pyrun_runtime.cli.message import FAILED, CommandError, UsageError, encode_message, naming, say
from pyrun_runtime.cli.options import one_argument, setting
from pyrun_runtime.cli.output import Outputs
from pyrun_runtime.cli.report import closing_table, exit_status
from pyrun_runtime.cli.signals import StopSignals
from pyrun_runtime.cli.supervise import Supervisor
from pyrun_runtime.cli.trace import Trace
from pyrun_runtime.store import RUN_ROOT, STATE_ROOT, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun import PodSpec
    from pyrun_runtime.cli.options import Options, OptionTable
    from pyrun_runtime.store import Claim

OPTIONS: OptionTable = {"trace": "FILE", "timeout": "SECONDS", "root": "DIR", "state": "DIR"}
HELP = f"""\
usage: pyrun run [OPTION]... SPEC

Runs the pod in SPEC (JSON or YAML; - is standard input) until all its containers have ended, and removes it. Needs root.

  --timeout SECONDS  stop the pod after that time
  --trace FILE       write where the time went, as a Chrome trace (open it at ui.perfetto.dev)
  --root DIR         where running pods are known (PYRUN_ROOT; {RUN_ROOT})
  --state DIR        where emptyDirs on disk are (PYRUN_STATE; {STATE_ROOT})

Output comes line by line with the container's name before it, standard output and standard error each to its own. The name has a
colour on a terminal; NO_COLOR=1 turns that off.

Ctrl-C, SIGTERM and SIGHUP stop the pod: SIGTERM to each container, after terminationGracePeriodSeconds SIGKILL. So do the end of
the time, and output that nobody reads any more. Ctrl-C or SIGTERM while it is being stopped, or SIGQUIT, kill it at once.

Exit status: 0 if every container exited 0. With a single container its exit status, 128+N if signal N ended it. Otherwise 1.
124 if the time was over; 2 if SPEC is wrong; 1 if the pod could not be started.
"""


def run(options: Options, arguments: list[str]) -> int:
    path = one_argument(arguments, "SPEC")
    timeout_s = _parse_timeout(options["timeout"]) if "timeout" in options else None
    if os.geteuid() != 0:
        raise CommandError(f"a pod needs root to run: sudo pyrun run {path}")
    trace = Trace(options.get("trace"))
    pod = load_manifest(path)
    for warning in pod.warnings:
        say(f"warning: {warning}")
    pod = replace(pod, metadata=replace(pod.metadata, uid=pod.metadata.uid or new_uid()))
    trace.phase("read the manifest")
    run_root = setting(options, "root", "PYRUN_ROOT", RUN_ROOT)
    store = Store(run_root, setting(options, "state", "PYRUN_STATE", STATE_ROOT))
    _collect(store)
    # From before the first directory is made to after the last one is gone: a signal in between must not end us there.
    with StopSignals() as stop_signals, store.claim(pod.metadata.uid or "") as claim:
        trace.phase("look after the state directory")
        claim.describe(_facts(pod))
        try:
            return _run_pod(pod, claim, stop_signals, timeout_s, trace)
        except SpecError as error:
            raise _located(error, "standard input" if path == "-" else path) from None


def _parse_timeout(text: str) -> float:
    try:
        # Not what float() takes besides: 1_0, blanks, digits of other scripts, inf.
        seconds = float(text) if set(text) <= set("0123456789.eE+-") else 0
    except ValueError:
        seconds = 0
    if not 0 < seconds < 1e9:
        raise UsageError(f"--timeout {text}: not a number of seconds above 0")
    return seconds


def _collect(store: Store) -> None:
    """Take away what pods left whose pyrun was killed. What cannot be taken away does not keep this pod from running."""
    for uid, error in store.collect():
        if error is None:
            say(f"removed what was left of pod {uid}, whose pyrun was killed")
        else:
            say(f"warning: left of pod {uid}, whose pyrun was killed: {describe_error(error)}")


def _facts(pod: PodSpec) -> dict[str, str | int]:
    metadata = pod.metadata
    return {
        "name": metadata.name,
        "namespace": metadata.namespace,
        "uid": metadata.uid or "",
        "launcher_pid": os.getpid(),
        "containers": len(pod.containers),
    }


def _run_pod(spec: PodSpec, claim: Claim, stop_signals: StopSignals, timeout_s: float | None, trace: Trace) -> int:
    with Outputs([container.name for container in spec.containers]) as outputs:
        stop_signals.give_up = lambda: kill_pod(claim.uid)
        with naming(f"pod {spec.metadata.name}"):
            pod = Pod.create(spec, directory=claim.data, stdio=outputs.stdio, kill_with_launcher=True)
        trace.phase("create the pod")
        left: CleanupErrors | None = None
        try:
            with pod:
                outputs.containers_have_theirs()
                supervisor = _start(pod, outputs, stop_signals, timeout_s, trace)
                supervisor.watch()
        except CleanupErrors as error:
            left = error  # told at the end: how the containers ended matters no less
        trace.phase("watch and remove the pod")
        supervisor.drain()
        statuses = [container.status for container in pod.containers.values() if container.status is not None]
        outputs.err.write(closing_table(statuses, supervisor.timed_out).encode())
        supervisor.flush()
    trace.save(pod)
    if trace.complaint:
        say(f"the trace: {trace.complaint}")
    if left is not None:
        raise left
    lost = trace.complaint or (outputs.broken is not None and not outputs.broken.unread)
    return exit_status(statuses, supervisor.timed_out) or (FAILED if lost else 0)


def _start(pod: Pod, outputs: Outputs, stop_signals: StopSignals, timeout_s: float | None, trace: Trace) -> Supervisor:
    stop_signals.give_up = None
    if stop_signals.take():
        raise KeyboardInterrupt  # it came while the pod was created: nothing has run, nothing needs grace
    pod.start()
    trace.phase("start the containers")
    for warning in pod.warnings:
        outputs.err.write(encode_message(f"warning: {warning}"))
    trace.save(pod)
    return Supervisor(pod, outputs, stop_signals, timeout_s)


def _located(error: SpecError, source: str) -> SpecError:
    """The same error with the manifest's name, and with what could not be undone after it."""
    located = error.located(error.source or source)
    for note in getattr(error, "__notes__", ()):
        located.add_note(note)
    return located
