"""``pyrun stop``: let pods end."""

from __future__ import annotations

from pyrun_runtime.cli.reach import ROOT_HELP, ROOT_OPTIONS, conclude_removed, reach, seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun_runtime.cli.options import Options, OptionTable

OPTIONS: OptionTable = {"time,t": "SECONDS", "grace-period": "SECONDS", **ROOT_OPTIONS}
HELP = f"""\
usage: pyrun stop [OPTION]... POD...

Stops pods as their manifests say, sidecars last, and waits until nothing is left of them; several at the same time. Prints the
name of each. A pod that ends by itself meanwhile is no error, and what is left of one whose pyrun was killed is removed. Of a
detached pod logs and status stay, until 'pyrun rm'.

  -t, --time SECONDS     how long its containers may take, instead of terminationGracePeriodSeconds; 0 kills at once
  --grace-period SECONDS the same
{ROOT_HELP}
Exit status: 0 when all have ended; 1 if there is no such pod, or something of one could not be removed.
"""


def run(options: Options, arguments: list[str]) -> int:
    every = reach(options, arguments, {"verb": "stop", "grace": grace(options)})
    return conclude_removed(options, every)


def grace(options: Options) -> float | None:
    """What is asked for, in seconds; None for the pod's own."""
    given = [name for name in ("time", "grace-period") if name in options]
    return seconds(given[0], options[given[0]]) if given else None
