"""``pyrun wait``: until pods are what somebody waits for."""

from __future__ import annotations

from pyrun_runtime.cli.message import FAILED, TIMED_OUT, UsageError, did_you_mean, say, show
from pyrun_runtime.cli.reach import ROOT_HELP, ROOT_OPTIONS, reach, seconds, tell_errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun_runtime.cli.options import Options, OptionTable
    from pyrun_runtime.cli.reach import Reached

OPTIONS: OptionTable = {"for": "WHAT", "timeout": "SECONDS", **ROOT_OPTIONS}
PHASES = ("Pending", "Running", "Succeeded", "Failed")
# What --for takes -> what is asked of the launcher.
CONDITIONS = {
    "exit": ("exit", ""),
    "ready": ("ready", ""),
    "condition=Ready": ("ready", ""),
    **{f"phase={phase}": ("phase", phase) for phase in PHASES},
}
HELP = f"""\
usage: pyrun wait [OPTION]... POD...

Waits until every POD is over and removed, and prints how its containers ended: a line with name and exit code for each, where
there are several pods as pod/name.

  --for=WHAT             wait for something else: ready, or phase=Running (Pending, Succeeded, Failed)
  --timeout SECONDS      not longer than that
{ROOT_HELP}
Exit status: 0 when all are what was waited for, whatever the exit codes; 124 if the time was over first; 1 if there is no such
pod, or one cannot come to that any more.
"""


def run(options: Options, arguments: list[str]) -> int:
    wanted = options.get("for", "exit")
    if wanted not in CONDITIONS:
        raise UsageError(f"--for={wanted}: not one of {', '.join(CONDITIONS)}{did_you_mean(wanted, CONDITIONS)}")
    timeout_s = seconds("timeout", options["timeout"]) if "timeout" in options else None
    what, value = CONDITIONS[wanted]
    every = reach(options, arguments, {"verb": "wait", "for": what, "value": value}, timeout_s)
    for each in every:
        _show_codes(each, several=len(every) > 1)
    late = [each.word for each in every if each.answer is None and each.error is None]
    if late:
        say(f"{options['timeout']} s are over, and {wanted} has not come of {', '.join(late)}")
    if tell_errors(every):
        return FAILED
    return TIMED_OUT if late else 0


def _show_codes(each: Reached, several: bool) -> None:
    codes = (each.answer or {}).get("exitCodes", {})
    for name, code in codes.items():
        show(f"{each.word}/{name} {code}" if several else f"{name} {code}")
