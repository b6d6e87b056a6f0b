"""``pyrun resize``: other resources for a container of a pod that runs."""

from __future__ import annotations

from pyrun_runtime.cli.message import UsageError
from pyrun_runtime.cli.options import one_argument
from pyrun_runtime.cli.reach import find_directory
from pyrun_runtime.control import ask
from pyrun_runtime.resize import parse_amounts
from pyrun_runtime.store import RUN_ROOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun_runtime.cli.options import Options, OptionTable

OPTIONS: OptionTable = {"container": "NAME", "requests": "AMOUNTS", "limits": "AMOUNTS", "root": "DIR"}
HELP = f"""\
usage: pyrun resize [OPTION]... POD

Gives a container of POD (its name or its uid), which another pyrun runs, other cpu and memory. What is not named stays.

  --container NAME    the container; may be left out where the pod has one
  --requests AMOUNTS  such as cpu=500m,memory=1Gi
  --limits AMOUNTS    likewise
  --root DIR          where running pods are known (PYRUN_ROOT; {RUN_ROOT})

The node must have room for it. The pod's QoS class may not change, nor a limit of memory go below what is in use. Where the
container's resizePolicy says RestartContainer it is restarted; else its processes go on, and notice nothing but the new limits.

Exit status: 0 when it is done; 1 if it cannot be done; 2 if what is asked for is wrong.
"""


def run(options: Options, arguments: list[str]) -> int:
    word = one_argument(arguments, "POD")
    amounts = {}
    for name in ("requests", "limits"):
        try:
            amounts[name] = parse_amounts(name, options[name]) if name in options else {}
        except ValueError as error:
            raise UsageError(str(error)) from None
    if not any(amounts.values()):
        raise UsageError("nothing to change: --requests or --limits is missing")
    ask(find_directory(options, word), {"verb": "resize", "container": options.get("container", ""), **amounts})
    return 0
