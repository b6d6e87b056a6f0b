"""``pyrun run``: a pod in the foreground."""

from __future__ import annotations

import os

from pyrun import (
    CleanupErrors,
    Driver,
    Pod,
    SpecError,
    bind_claims,
    kill_pod,
    new_uid,
    replace,
)
from pyrun_runtime.admission import Admission, NotAdmitted
from pyrun_runtime.cli.admit import admit, collect, facts_of
from pyrun_runtime.cli.document import check_format, render
from pyrun_runtime.cli.event_lines import Events
from pyrun_runtime.cli.handlers import explain, handlers
from pyrun_runtime.cli.manifest import OBJECT_HELP, OBJECT_OPTIONS, keep_sources, load_manifest_with, read_source
from pyrun_runtime.cli.message import FAILED, TIMED_OUT, CommandError, UsageError, encode_message, naming, say, show
from pyrun_runtime.cli.options import one_argument, setting, values_of
from pyrun_runtime.cli.output import Outputs
from pyrun_runtime.cli.pod_loop import PodLoop
from pyrun_runtime.cli.policy import POLICY_HELP, POLICY_OPTIONS, in_cluster_domain, security_policy
from pyrun_runtime.cli.report import closing_table, exit_status, pod_document, rejected_document
from pyrun_runtime.cli.signals import StopSignals
from pyrun_runtime.cli.trace import Trace
from pyrun_runtime.config import CONFIG, load_config
from pyrun_runtime.control import Control
from pyrun_runtime.event_file import EventFile
from pyrun_runtime.store import LOG_ROOT, RUN_ROOT, STATE_ROOT, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun import PodSpec
    from pyrun_runtime.cli.input import Input
    from pyrun_runtime.cli.options import Options, OptionTable
    from pyrun_runtime.cli.watch import ObjectFiles
    from pyrun_runtime.config import NodeConfig
    from pyrun_runtime.store import Claim

OPTIONS: OptionTable = {
    "detach,d": "",
    "wait": "WHAT",
    "timeout": "SECONDS",
    "events": "",
    "output": "FORMAT",
    "trace": "FILE",
    "root": "DIR",
    "state": "DIR",
    "logs": "DIR",
    "config": "FILE",
    **OBJECT_OPTIONS,
    **POLICY_OPTIONS,
}
HELP = f"""\
usage: pyrun run [OPTION]... SPEC

Runs the pod in SPEC (JSON or YAML; - is standard input) until it is over, and removes it. Needs root. A pod is over when all its
containers have ended for good: with restartPolicy Always, which is the default, when it is stopped.

  -d, --detach       leave the pod in the background: print its uid when it runs, and end; 'pyrun rm' removes it in the end
  --wait WHAT        of a detached pod: running (the default), or ready
  --timeout SECONDS  stop the pod after that time
  --events           tell what happens to the pod, a line each on standard error
  --output FORMAT    print the pod's status at the end as json or yaml; the containers' output goes to standard error
{OBJECT_HELP}\
  --trace FILE       write where the time went, as a Chrome trace (open it at ui.perfetto.dev)
  --root DIR         where running pods are known (PYRUN_ROOT; {RUN_ROOT})
  --state DIR        where emptyDirs on disk are (PYRUN_STATE; {STATE_ROOT})
  --logs DIR         where the logs of detached pods are (PYRUN_LOGS; {LOG_ROOT})
  --config FILE      what this node keeps for itself, and its limits ({CONFIG}, if it exists)
{POLICY_HELP}
Output comes line by line with the container's name before it, standard output and standard error each to its own. The name has a
colour on a terminal; NO_COLOR=1 turns that off.

Ctrl-C, SIGTERM and SIGHUP stop the pod: SIGTERM to each container, sidecars last, after terminationGracePeriodSeconds SIGKILL. So
do the end of the time, and output that nobody reads any more. Ctrl-C or SIGTERM while it is being stopped, or SIGQUIT, kill it at
once.

Exit status: 0 if every container exited 0. With a single container its exit status, 128+N if signal N ended it. Otherwise 1. Init
containers and sidecars do not count, but for an init container that fails the pod.
With --detach 0 as soon as the pod is what was waited for, 1 if it cannot come to that any more.
124 if the time was over; 2 if SPEC is wrong; 1 if the pod could not be started.
"""


def run(options: Options, arguments: list[str]) -> int:
    path = one_argument(arguments, "SPEC")
    if "timeout" in options:
        _parse_timeout(options["timeout"])
    _check_detached(options)
    if "output" in options:
        check_format(options["output"])
    if os.geteuid() != 0:
        raise CommandError(f"a pod needs root to run: sudo pyrun run {path}")
    trace = Trace(options.get("trace"))
    config = load_config(options.get("config"))
    files = _object_files(options)
    objects = files.objects() if files is not None else ()
    source = read_source(path)
    pod = in_cluster_domain(load_manifest_with(source, objects), options)
    for warning in pod.warnings:
        say(f"warning: {warning}")
    pod = replace(pod, metadata=replace(pod.metadata, uid=pod.metadata.uid or new_uid()))
    trace.phase("read the manifest")
    run_root = setting(options, "root", "PYRUN_ROOT", RUN_ROOT)
    state_root = setting(options, "state", "PYRUN_STATE", STATE_ROOT)
    store = Store(run_root, state_root)
    pod = bind_claims(pod, f"{state_root}/claims")
    collect(store)
    sources = [source, *(files.sources() if files is not None else ())]
    if "detach" in options:
        from pyrun_runtime.cli.detached import run_detached
        from pyrun_runtime.cli.supervisor import Job

        options |= {"root": run_root, "state": state_root}
        return run_detached(Job(pod, options, config, store, files), sources)
    # From before the first directory is made to after the last one is gone: a signal in between must not end us there.
    with StopSignals() as stop_signals, store.claim(pod.metadata.uid or "") as claim:
        trace.phase("look after the state directory")
        claim.describe(facts_of(pod))
        keep_sources(claim, sources)
        try:
            config = admit(pod, store, config)
        except NotAdmitted as error:
            if "output" in options:
                show(render(rejected_document(pod, error.reason, error.message), options["output"]), end="")
            raise
        try:
            admission = Admission(run_root, store.state_root, config)
            return _Run(pod, options, stop_signals, trace, config, admission, files).run(claim)
        except SpecError as error:
            raise _located(error, "standard input" if path == "-" else path) from None


def _check_detached(options: Options) -> None:
    """Raises UsageError for what does not go together."""
    if "detach" in options:
        for name in ("output", "trace", "events"):
            if name in options:
                raise UsageError(f"--{name} is for a pod in the foreground, not for --detach")
    elif "wait" in options:
        raise UsageError("--wait is for --detach")


def _object_files(options: Options) -> ObjectFiles | None:
    """Read before the pod, and looked at again while it runs."""
    paths = values_of(options, "configmap")
    if not paths:
        return None
    from pyrun_runtime.cli.watch import ObjectFiles

    return ObjectFiles(paths)


def _parse_timeout(text: str) -> float:
    try:
        # Not what float() takes besides: 1_0, blanks, digits of other scripts, inf.
        seconds = float(text) if set(text) <= set("0123456789.eE+-") else 0
    except ValueError:
        seconds = 0
    if not 0 < seconds < 1e9:
        raise UsageError(f"--timeout {text}: not a number of seconds above 0")
    return seconds


class _Run:
    """One run of a pod: what belongs to it between its claim and its end."""

    def __init__(
        self,
        spec: PodSpec,
        options: Options,
        stop_signals: StopSignals,
        trace: Trace,
        config: NodeConfig,
        admission: Admission,
        object_files: ObjectFiles | None,
    ) -> None:
        self.spec = spec
        self.format = options.get("output")
        self.events = "events" in options
        self.timeout_s = _parse_timeout(options["timeout"]) if "timeout" in options else None
        self.object_files = object_files
        self.stop_signals = stop_signals
        self.trace = trace
        self.security = security_policy(options, spec)
        self.policy = config.limits
        self.admission = admission

    def run(self, claim: Claim) -> int:
        """The exit status."""
        spec = self.spec
        names = [each.name for each in (*spec.init_containers, *spec.containers, *spec.ephemeral_containers)]
        with (
            Outputs(names, self.format is not None, _input_of(spec)) as outputs,
            Control(claim.directory, {}, explain) as control,
            EventFile(claim.directory) as event_file,
        ):
            self.stop_signals.give_up = lambda: kill_pod(claim.uid)
            with naming(f"pod {spec.metadata.name}"):
                pod = Pod.create(
                    spec,
                    directory=claim.data,
                    stdio=outputs.stdio,
                    console=outputs.input.console if outputs.input is not None else None,
                    kill_with_launcher=True,
                    policy=self.policy,
                    security=self.security,
                )
            self.trace.phase("create the pod")
            events = Events(pod, outputs, event_file, self.events)
            driver = Driver(pod, events.tell, outputs.tail_of)
            left: CleanupErrors | None = None
            try:
                with pod:
                    control.handlers = handlers(driver, outputs, self.security, self.admission, self.policy)
                    loop = self._start(driver, outputs)
                    loop.control = control
                    loop.watch()
            except CleanupErrors as error:
                left = error  # told at the end: how the containers ended matters no less
            control.close(left)
            self.trace.phase("watch and remove the pod")
            loop.drain()
            ran = driver.life.have_run()
            statuses = [status for name in ran if (status := pod.containers[name].status) is not None]
            if statuses:
                outputs.err.write(closing_table(statuses, loop.timed_out, driver.life.restarts()).encode())
            life = driver.life
            if life.failed and life.reason and driver.error is None:
                outputs.err.write(encode_message(f"pod {spec.metadata.name}: {life.reason}: {life.message}"))
            loop.flush()
        self.trace.save(pod)
        if self.trace.complaint:
            say(f"the trace: {self.trace.complaint}")
        if self.format is not None:
            show(render(pod_document(driver), self.format), end="")
        if left is not None:
            raise left
        if driver.error is not None:
            raise driver.error
        lost = self.trace.complaint or (outputs.broken is not None and not outputs.broken.unread)
        return self._exit_status(driver, loop) or (FAILED if lost else 0)

    def _start(self, driver: Driver, outputs: Outputs) -> PodLoop:
        self.stop_signals.give_up = None
        if self.stop_signals.take():
            raise KeyboardInterrupt  # it came while the pod was created: nothing has run, nothing needs grace
        loop = PodLoop(driver, outputs, self.stop_signals, self.timeout_s, self.object_files)
        driver.begin()
        self.trace.phase("start the containers")
        for warning in driver.pod.sandbox.pause.warnings:
            outputs.err.write(encode_message(f"warning: pause: {warning}"))
        self.trace.save(driver.pod)
        return loop

    def _exit_status(self, driver: Driver, loop: PodLoop) -> int:
        """124 if the time was over; that of the regular containers; of a pod that failed for another reason, 1."""
        if loop.time_over:
            return TIMED_OUT
        regular = [driver.pod.containers.get(each.name) for each in self.spec.containers]
        statuses = [each.status for each in regular if each is not None and each.status is not None]
        failed = driver.life.failed or len(statuses) < len(regular)
        return exit_status(statuses, loop.timed_out) or (FAILED if failed else 0)


def _input_of(spec: PodSpec) -> Input | None:
    """For a pod that reads our input or has a terminal."""
    every = (*spec.init_containers, *spec.containers, *spec.ephemeral_containers)
    if not any([each.stdin or each.tty for each in every]):
        return None
    from pyrun_runtime.cli.input import Input

    return Input(spec)


def _located(error: SpecError, source: str) -> SpecError:
    """The same error with the manifest's name, and with what could not be undone after it."""
    located = error.located(error.source or source)
    for note in getattr(error, "__notes__", ()):
        located.add_note(note)
    return located
