"""``pyrun rm``: remove pods."""

from __future__ import annotations

import os

from pyrun import PyrunError
from pyrun_runtime.cli.message import CommandError, UsageError
from pyrun_runtime.cli.reach import ROOT_HELP, ROOT_OPTIONS, conclude_removed, reach, store_of
from pyrun_runtime.cli.stop import grace
from pyrun_runtime.store import STATUS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun_runtime.cli.options import Options, OptionTable
    from pyrun_runtime.cli.reach import Reached
    from pyrun_runtime.store import Store

OPTIONS: OptionTable = {"force,f": "", "time,t": "SECONDS", "grace-period": "SECONDS", **ROOT_OPTIONS}
HELP = f"""\
usage: pyrun rm [OPTION]... POD...

Removes what is left of pods that have ended: of a detached one its logs and its status. A pod that runs is refused, unless
forced. Prints the name of each.

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
    store = store_of(options)
    for each in every:
        ended = each.error is None and os.path.exists(f"{each.directory}/{STATUS}")
        if ended or ("force" in options and each.directory and store.is_orphan(os.path.basename(each.directory))):
            _remove(store, each)
    return conclude_removed(options, every)


def _remove(store: Store, each: Reached) -> None:
    from pyrun_runtime.ended import remove_ended

    each.error = None
    try:
        remove_ended(store, os.path.basename(each.directory))
    except (PyrunError, OSError) as error:
        each.error = error
