"""``pyrun stats``: what pods use, once or again and again."""

from __future__ import annotations

import select
import sys

from pyrun_runtime.cli.document import list_output, render
from pyrun_runtime.cli.duration import parse_duration
from pyrun_runtime.cli.message import UsageError, flush, show
from pyrun_runtime.cli.options import setting
from pyrun_runtime.cli.reach import ROOT_HELP, ROOT_OPTIONS
from pyrun_runtime.columns import align
from pyrun_runtime.store import RUN_ROOT
from pyrun_runtime.usage_rows import HEADER, WIDE, Samples, document_of, rows_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun_runtime.cli.options import Options, OptionTable
    from pyrun_runtime.usage_rows import Pod

OPTIONS: OptionTable = {
    "stream": "",
    "interval": "DURATION",
    "output,o": "FORMAT",
    "namespace,n": "NAME",
    "no-headers": "",
    **ROOT_OPTIONS,
}
HELP = f"""\
usage: pyrun stats [OPTION]... [POD...]

Shows what pods and their containers use: processors (in thousandths, over the time between two looks), memory without what was
not used lately, pids, bytes read and written, and the pressure on cpu, memory and io: the share of the last ten seconds in which
some of it waited. What this machine does not measure is a -; without the controllers of cgroup v2 that is all but cpu.

  --stream               again and again, until Ctrl-C; with json a line for each pod and look
  --interval DURATION    between two looks: 500ms, 1s (the default is 200ms for one look, 1s for a stream)
  -o, --output FORMAT    table, wide (with namespace, uid, throttling, peak and OOM kills), json, yaml, or name
  -n, --namespace NAME   only pods of that namespace
  --no-headers           leave the first line of a table out
{ROOT_HELP}
Exit status: 0; 1 if there is no pod of a name that was given.
"""


def run(options: Options, arguments: list[str]) -> int:
    output, stream = list_output(options), "stream" in options
    if stream and output == "yaml":
        raise UsageError("--output yaml has no end: with --stream it is json")
    interval_s = parse_duration("interval", options.get("interval", "1s" if stream else "200ms"))
    samples = Samples(setting(options, "root", "PYRUN_ROOT", RUN_ROOT), arguments)
    samples.look()
    while True:
        _wait(interval_s)
        pods = samples.look()
        if "namespace" in options:
            pods = [pod for pod in pods if pod.namespace == options["namespace"]]
        _print(pods, output, "no-headers" not in options, stream)
        if not stream:
            return 0
        flush()


def _wait(seconds: float) -> None:
    """Or until nobody reads us any more."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    if dict(poll.poll(round(seconds * 1000))).get(sys.stdout.fileno(), 0) & select.POLLERR:
        raise BrokenPipeError


def _print(pods: list[Pod], output: str, headed: bool, stream: bool) -> None:
    if output in ("table", "wide"):
        wide = output == "wide"
        header: tuple[str, ...] = WIDE if wide else HEADER
        rows = [header] * headed + [row for pod in pods for row in rows_of(pod, wide)]
        for line in align(rows) if rows else []:
            show(line)
    elif output == "name":
        for pod in pods:
            show(f"pod/{pod.name}")
    elif stream:
        import json

        for pod in pods:
            show(json.dumps(document_of(pod)))
    else:
        show(render({"items": [document_of(pod) for pod in pods]}, output), end="")
