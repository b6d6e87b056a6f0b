"""``pyrun plan``: what ``pyrun run`` would do, and why in that order."""

from __future__ import annotations

import os
import sys

from pyrun import (
    BEFORE,
    Machine,
    SpecError,
    bind_claims,
    oci_to_json,
    plan_pod,
    read_machine,
    replace,
    settle_security,
    standalone_oci,
)
from pyrun_runtime.cli.manifest import OBJECT_HELP, OBJECT_OPTIONS, load_manifest
from pyrun_runtime.cli.message import UsageError, did_you_mean, show
from pyrun_runtime.cli.options import one_argument, setting, values_of
from pyrun_runtime.cli.output import wants_colour
from pyrun_runtime.cli.policy import POLICY_HELP, POLICY_OPTIONS, in_cluster_domain, security_policy
from pyrun_runtime.store import STATE_ROOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signals
    from collections.abc import Sequence

    from pyrun import PodPlan, PodSpec, ProcessPlan, steps
    from pyrun_runtime.cli.options import Options, OptionTable
else:
    import _signal as signals

OPTIONS: OptionTable = {"oci": "", "container": "NAME", "state": "DIR", **OBJECT_OPTIONS, **POLICY_OPTIONS}
HELP = f"""\
usage: pyrun plan [OPTION]... SPEC

Prints what 'pyrun run SPEC' would do: for pause, which holds what the pod's containers share, and for each container, the steps
between clone and exec in their order. Behind a step stands why it is there, and what has to come after it and why; each reason is
told once per process. Needs no root, touches nothing.

  --container NAME  this container only
  --oci             the container's OCI runtime specification (config.json) instead, for any OCI runtime: what the container would
                    share with the pod is its own there, and the image is read-only; with more than one container, say which.
                    Time offsets need crun 1.14.2 or runc 1.2; a subPath of a hostPath is refused
  --state DIR       where emptyDirs on disk would be (PYRUN_STATE; /var/lib/pyrun)
{OBJECT_HELP}{POLICY_HELP}
Exit status: 0, or 2 if SPEC is wrong.
"""
DIM, BOLD, RESET = "\x1b[2m", "\x1b[1m", "\x1b[0m"
NIL_UID = "00000000-0000-0000-0000-000000000000"  # RFC 9562, 5.9: for a pod that gets its uid when it is run
# Where reasons begin; a step that is longer has its reason on the next line.
REASON_COLUMN = 62


def run(options: Options, arguments: list[str]) -> int:
    path = one_argument(arguments, "SPEC")
    pod = in_cluster_domain(load_manifest(path, values_of(options, "configmap")), options)
    _check_container(pod, options)
    try:
        show(_text(pod, options))
    except SpecError as error:
        raise error.located("standard input" if path == "-" else path) from None
    return 0


def _text(pod: PodSpec, options: Options) -> str:
    plan = _plan(pod, options)
    wanted = options.get("container")
    containers = [each for each in plan.containers if wanted in (None, each.name)]
    if "oci" in options:
        return _oci(pod, plan, containers[0])
    colour = sys.stdout is not None and sys.stdout.isatty() and wants_colour()
    shown = containers if wanted else [plan.pause, *containers]
    return "\n\n".join([_describe(each, f"{plan.cgroup}/{each.cgroup}", colour) for each in shown])


def _check_container(pod: PodSpec, options: Options) -> None:
    names = [container.name for container in pod.containers]
    wanted = options.get("container")
    if wanted is not None and wanted not in names:
        hint = did_you_mean(wanted, names) or f"; there is {', '.join(names)}"
        raise UsageError(f"the pod has no container {wanted!r}{hint}")
    if "oci" in options and wanted is None and len(names) > 1:
        raise UsageError(f"--oci shows one container, and the pod has {len(names)}: add --container {names[0]}")


def _plan(pod: PodSpec, options: Options) -> PodPlan:
    uid = pod.metadata.uid or NIL_UID
    state = setting(options, "state", "PYRUN_STATE", STATE_ROOT)
    machine = read_machine()
    if os.geteuid() != 0:
        # The plan is that of root, who is to run it.
        machine = replace(machine, capabilities=Machine().capabilities)
    pod = settle_security(pod, security_policy(options, pod))
    pod = bind_claims(pod, f"{state}/claims")
    return plan_pod(pod, uid, f"{state}/pods/{uid}/data", machine, death_signal=signals.SIGKILL)


def _oci(pod: PodSpec, plan: PodPlan, container: ProcessPlan) -> str:
    import json

    assert container.oci is not None
    return json.dumps(oci_to_json(standalone_oci(pod, container.oci, plan.paths)), indent=2)


def _describe(plan: ProcessPlan, cgroup: str, colour: bool) -> str:
    what = plan.name if plan.oci is None else f"container {plan.name}"
    clone = f", with a new {' and '.join(plan.namespaces)} namespace" if plan.namespaces else ""
    title = f"{what}: {len(plan.steps)} steps, born in cgroup {cgroup}{clone}"
    lines = [f"{BOLD}{title}{RESET}" if colour else title]
    said: set[str] = set()
    for number, step in enumerate(plan.steps):
        why = [reason for reason in _reasons(step, plan.steps[number + 1 :]) if reason not in said]
        said.update(why)
        lines.append(_line(number, step.describe(), "; ".join(why), colour))
    return "\n".join(lines)


def _line(number: int, text: str, why: str, colour: bool) -> str:
    line = f"{number:4}  {text}"
    if not why:
        return line
    gap = " " * max(2, REASON_COLUMN - len(line))
    return f"{line}{gap}{DIM}# {why}{RESET}" if colour else f"{line}{gap}# {why}"


def _reasons(step: steps.Step, later: Sequence[steps.Step]) -> list[str]:
    """Why the step is there, and why it stands before what comes later."""
    kinds = {type(each) for each in later}
    rules = [rule for rule in BEFORE if type(step) is rule.first and rule.second in kinds]
    return [step.reason, *[f"before {rule.second.kind.lower().replace('_', ' ')}: {rule.reason}" for rule in rules]]
