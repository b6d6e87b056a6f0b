"""``pyrun rm``: remove pods."""

from __future__ import annotations

from pyrun_runtime.cli.message import CommandError, UsageError
from pyrun_runtime.cli.reach import ROOT_HELP, ROOT_OPTIONS, conclude_removed, reach
from pyrun_runtime.cli.stop import grace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun_runtime.cli.options import Options, OptionTable

OPTIONS: OptionTable = {"force,f": "", "time,t": "SECONDS", "grace-period": "SECONDS", **ROOT_OPTIONS}
HELP = f"""\
usage: pyrun rm [OPTION]... POD...

Removes what is left of pods that have ended. A pod that runs is refused, unless forced. Prints the name of each.

  -f, --force            kill pods that run, at once or with --time after that many seconds of grace
  -t, --time SECONDS     see --force
  --grace-period SECONDS the same
{ROOT_HELP}
Exit status: 0 when nothing is left of them; 1 if there is no such pod, one runs, or something could not be removed.
"""


class Runs(CommandError):
    """The pod runs."""


def run(options: Options, arguments: list[str]) -> int:
    given = grace(options)
    if "force" in options:
        every = reach(options, arguments, {"verb": "stop", "grace": given or 0})
    elif given is not None:
        raise UsageError("--time is for --force")
    else:
        every = reach(options, arguments, {"verb": "wait", "for": "exit"}, timeout_s=0)
        for each in every:
            if each.error is None and each.answer is None:
                each.error = Runs(f"pod {each.word} runs: stop it first, or --force")
    return conclude_removed(options, every)
