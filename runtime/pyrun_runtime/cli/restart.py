"""``pyrun restart``: end containers and start them again."""

from __future__ import annotations

from pyrun_runtime.cli.reach import ROOT_HELP, ROOT_OPTIONS, conclude, reach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun_runtime.cli.options import Options, OptionTable

OPTIONS: OptionTable = {"container,c": "NAME", **ROOT_OPTIONS}
HELP = f"""\
usage: pyrun restart [OPTION]... POD...

Ends the containers and sidecars of a pod within its grace period, and starts them again at once, whatever their restart policies
are; one that waits for its back-off or has ended is started. The sandbox stays: network, volumes, hostname. Init containers
do not run again.

  -c, --container NAME   this container alone
{ROOT_HELP}
Returns when they run again, and prints the name of each pod.

Exit status: 0 when they run; 1 if there is no such pod or container, or one could not be started again.
"""


def run(options: Options, arguments: list[str]) -> int:
    every = reach(options, arguments, {"verb": "restart", "container": options.get("container", "")})
    return conclude(every)
