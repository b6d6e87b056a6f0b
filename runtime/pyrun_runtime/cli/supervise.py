"""``pyrun supervise``: look after a detached pod whose supervisor was killed."""

from __future__ import annotations

import os

from pyrun import Fd
from pyrun_runtime.cli.background import Background, Teller
from pyrun_runtime.cli.message import CommandError, naming, show
from pyrun_runtime.cli.options import one_argument
from pyrun_runtime.cli.reach import ROOT_HELP, ROOT_OPTIONS, store_of
from pyrun_runtime.store import find_pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun_runtime.cli.options import Options, OptionTable

OPTIONS: OptionTable = {"foreground": "", **ROOT_OPTIONS}
HELP = f"""\
usage: pyrun supervise [OPTION]... POD

Takes up a detached pod whose supervisor was killed, and goes on with it in the background: with its restart counts, back-off
times and probes as they were. 'pyrun run', 'pyrun ps' and whatever names the pod do that by themselves. Of a pod whose monitor
has gone, too, nothing runs any more: then it is written down that it has ended. Prints the pod's uid.

  --foreground           stay until the pod is over; SIGTERM stops the pod
{ROOT_HELP}
Exit status: 0; 1 if there is no such pod, or it has a supervisor.
"""


def run(options: Options, arguments: list[str]) -> int:
    word = one_argument(arguments, "POD")
    store = store_of(options)
    uid = find_pod(store.run_root, word)
    if not store.is_orphan(uid):
        raise CommandError(f"pod {word} is no detached pod, is over, or has somebody who looks after it")
    from pyrun_runtime.cli.detached import supervise

    if "foreground" in options:
        with naming("a pipe"):
            reading, writing = [Fd.adopt(fd) for fd in os.pipe2(os.O_CLOEXEC)]
        with reading, writing:
            return supervise(store, uid, Teller(writing), in_background=False)
    report = Background(lambda teller: supervise(store, uid, teller, in_background=True)).wait()
    show(str(report["id"]))
    return 0
