"""``pyrun kill``: a signal to containers."""

from __future__ import annotations

import signal

from pyrun_runtime.cli.message import UsageError, did_you_mean
from pyrun_runtime.cli.reach import ROOT_HELP, ROOT_OPTIONS, conclude, reach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun_runtime.cli.options import Options, OptionTable

OPTIONS: OptionTable = {"container,c": "NAME", "signal,s": "SIGNAL", **ROOT_OPTIONS}
HELP = f"""\
usage: pyrun kill [OPTION]... POD...

Sends a signal to the first process of each container of a pod that runs. What comes after its end is as the restart policies say:
to be rid of a pod, stop it.

  -c, --container NAME   to this container alone
  -s, --signal SIGNAL    by name or number: TERM, SIGHUP, RTMIN+3, 9; KILL unless said otherwise
{ROOT_HELP}
Returns after KILL when the containers have ended, else when the signal is sent. Prints the name of each pod.

Exit status: 0 if that was done; 1 if there is no such pod or container, or it does not run; 2 for a signal that is none.
"""


def run(options: Options, arguments: list[str]) -> int:
    number = parse_signal(options.get("signal", "KILL"))
    request = {"verb": "kill", "container": options.get("container", ""), "signal": number}
    every = reach(options, arguments, request)
    return conclude(every)


def parse_signal(text: str) -> int:
    """``9``, ``KILL``, ``SIGKILL``, ``RTMIN+3``. Raises UsageError."""
    if text.isascii() and text.isdecimal() and len(text) <= 2 and 1 <= int(text) < signal.NSIG:
        return int(text)
    name = text.upper().removeprefix("SIG")
    known = {each.name.removeprefix("SIG"): int(each) for each in signal.Signals}
    base, plus, more = name.partition("+")
    if plus and base == "RTMIN" and more.isdecimal() and signal.SIGRTMIN + int(more[:3]) <= signal.SIGRTMAX:
        return signal.SIGRTMIN + int(more[:3])
    if name not in known:
        raise UsageError(f"--signal {text}: no such signal{did_you_mean(name, known)}")
    return known[name]
