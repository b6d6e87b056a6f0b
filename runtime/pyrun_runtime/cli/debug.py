"""``pyrun debug``: one more container in a pod that runs, to look at the others."""

from __future__ import annotations

import os

from pyrun_runtime.cli.message import UsageError, show
from pyrun_runtime.cli.reach import find_directory
from pyrun_runtime.control import ask
from pyrun_runtime.store import RUN_ROOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun_runtime.cli.options import Options, OptionTable

OPTIONS: OptionTable = {"image": "IMAGE", "target": "NAME", "name": "NAME", "root": "DIR"}
HELP = f"""\
usage: pyrun debug [OPTION]... POD -- COMMAND [ARGUMENT]...

Starts an ephemeral container in POD (its name or its uid), which another pyrun runs: with the pod's network, its hostname and its
/dev/shm, and a root file system of its own. What it prints comes where the pod's output goes. It is never started again, and the
pod's end is its end.

  --image IMAGE  its root file system; host: unless said otherwise
  --target NAME  see the processes of this container
  --name NAME    what it is called; debugger- and a number unless said otherwise
  --root DIR     where running pods are known (PYRUN_ROOT; {RUN_ROOT})

Prints its name. Exit status: 0 when it has started; 1 if it could not be; 2 if what is asked for is wrong.
"""


def run(options: Options, arguments: list[str]) -> int:
    word, *command = arguments or [""]
    if not word or not command:
        raise UsageError("expected a POD, and behind -- a COMMAND")
    name = options.get("name") or f"debugger-{os.getpid()}"
    container = {
        "name": name,
        "image": options.get("image", "host:"),
        "command": command,
        "targetContainerName": options.get("target", ""),
    }
    ask(find_directory(options, word), {"verb": "debug", "container": container})
    show(name)
    return 0
