"""``pyrun logs``: what the containers of detached pods have printed."""

from __future__ import annotations

import math
import os
import select
import sys
import time

from pyrun import Inotify, log_runs
from pyrun_runtime.cli.choice import check_container, container_statuses, default_container
from pyrun_runtime.cli.document import date
from pyrun_runtime.cli.duration import parse_duration
from pyrun_runtime.cli.message import CommandError, UsageError
from pyrun_runtime.cli.options import values_of
from pyrun_runtime.cli.reach import ROOT_HELP, ROOT_OPTIONS, reach_status
from pyrun_runtime.ended import read_status
from pyrun_runtime.log_reader import LogReader
from pyrun_runtime.store import STATE, read_facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pyrun_runtime.cli.options import Options, OptionTable
    from pyrun_runtime.log_reader import Line

OPTIONS: OptionTable = {
    "follow,f": "",
    "container,c": "NAME...",
    "all-containers": "",
    "tail": "N",
    "since": "DURATION",
    "since-time": "DATE",
    "timestamps": "",
    "previous,p": "",
    "prefix": "",
    "limit-bytes": "N",
    **ROOT_OPTIONS,
}
HELP = f"""\
usage: pyrun logs [OPTION]... POD...

Prints what a container of a detached pod has printed in its last run, standard output and standard error as they came. Logs stay
until 'pyrun rm'; those of the last two runs of each container are kept. With several pods, or several containers, each line has
[pod/NAME/CONTAINER] before it.

  -f, --follow           go on with what comes, until that run is over
  -c, --container NAME   of this container; may be given again. Without it, the pod's first or the one that its annotation
                         kubectl.kubernetes.io/default-container names
  --all-containers       of all
  --tail N               only the last N lines
  --since DURATION       only what is not older than that: 30s, 5m, 1h30m
  --since-time DATE      only what came after that: 2026-11-27T15:00:00Z
  --timestamps           with the time of each line
  -p, --previous         of the run before the last one
  --prefix               [pod/NAME/CONTAINER] before each line, also of a single container
  --limit-bytes N        stop after that much
{ROOT_HELP}
The output of a pod in the foreground went to its 'pyrun run'.

Exit status: 0; 1 if there is no such pod, container or log.
"""
SETTLE_S = 0.1  # what the last output of a container that has ended may take from its pipe to its log
FOREVER_MS = 3_600_000
ENDED_STAGES = ("waiting", "done")


class Source:
    """One run of one container: its lines, and whether there can be more."""

    def __init__(self, directory: str, logs: str, pod: str, name: str, number: int) -> None:
        self.reader = LogReader(f"{logs}/{name}", number)
        self.prefix = f"[pod/{pod}/{name}] ".encode()
        self.name = name
        self.directory = directory
        self.logs = f"{logs}/{name}"
        self.number = number
        self.ended_s = math.inf  # when it was seen that it has ended

    def look(self, now_s: float) -> None:
        """See whether the run is over."""
        if self.ended_s == math.inf and self._is_over():
            self.ended_s = now_s

    def _is_over(self) -> bool:
        if log_runs(self.logs)[-1:] != [self.number] or read_status(self.directory) is not None:
            return True
        import json

        try:
            with open(f"{self.directory}/{STATE}", "rb") as file:
                stage = json.loads(file.read())["life"]["containers"][self.name]["stage"]
        except (OSError, ValueError, KeyError, TypeError):
            return not os.path.exists(self.directory)
        return stage in ENDED_STAGES


class Printer:
    """Writes lines to standard output, as the options say."""

    def __init__(self, options: Options, prefixed: bool) -> None:
        self._prefixed = prefixed
        self._timestamps = "timestamps" in options
        self._since = _since(options)
        self._left = _number(options, "limit-bytes") if "limit-bytes" in options else math.inf

    @property
    def full(self) -> bool:
        return self._left <= 0

    def show(self, source: Source, line: Line) -> None:
        if line.time < self._since or self.full:
            return
        text = (source.prefix if self._prefixed else b"") + (f"{line.time} ".encode() if self._timestamps else b"")
        data = text + line.text + b"\n"
        if len(data) > self._left:
            data = data[: int(self._left)]
        self._left -= len(data)
        sys.stdout.buffer.write(data)


def run(options: Options, arguments: list[str]) -> int:
    _check(options)
    pods, failed = reach_status(options, arguments)
    sources = [source for pod, directory in pods for source in _sources(pod, directory, options)]
    prefixed = "prefix" in options or len(sources) > 1
    printer = Printer(options, prefixed)
    try:
        for source in sources:
            if "tail" in options and options["tail"] != "-1":
                source.reader.seek_tail(_number(options, "tail"))
            _pump(source, printer, last="follow" not in options)
        if "follow" in options:
            _follow(sources, printer)
    finally:
        for source in sources:
            source.reader.close()
    sys.stdout.buffer.flush()
    return 1 if failed else 0


def _check(options: Options) -> None:
    if "all-containers" in options and "container" in options:
        raise UsageError("--all-containers and --container exclude each other")
    if "since" in options and "since-time" in options:
        raise UsageError("--since and --since-time exclude each other")
    if "follow" in options and "previous" in options:
        raise UsageError("--previous is over: it cannot be followed")
    for name in ("tail", "limit-bytes"):
        if name in options:
            _number(options, name)
    _since(options)


def _number(options: Options, name: str) -> int:
    text = options[name]
    if name == "tail" and text == "-1":
        return -1
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise UsageError(f"--{name} {text}: not a number from 0 on")
    return int(text)


def _since(options: Options) -> str:
    """The first time that is shown, as logs have it; empty for the beginning."""
    if "since" in options:
        return _beginning(time.time() - parse_duration("since", options["since"]))
    text = options.get("since-time", "")
    if not text:
        return ""
    import datetime

    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--since-time {text}: not a date such as 2026-11-27T15:00:00Z") from None
    if moment.tzinfo is None:
        raise UsageError(f"--since-time {text}: without a time zone; Z is UTC")
    return _beginning(moment.timestamp())


def _beginning(real_s: float) -> str:
    """What sorts before all times of that microsecond: logs have nanoseconds."""
    return date(real_s).removesuffix("Z")


# ---- which logs ----


def _sources(pod: Mapping[str, Any], directory: str, options: Options) -> list[Source]:
    """The runs that are asked for of one pod. Raises CommandError."""
    run_root, uid = os.path.dirname(os.path.dirname(directory)), os.path.basename(directory)
    logs = read_facts(run_root, uid).get("logs")
    name_of_pod = str(pod["metadata"]["name"])
    if not isinstance(logs, str):
        raise CommandError(f"pod {name_of_pod} runs in the foreground: its output goes to its 'pyrun run'")
    statuses = container_statuses(pod)
    if "all-containers" in options:
        names = list(statuses)
    else:
        names = [check_container(pod, name) for name in values_of(options, "container")]
    found = []
    for name in names or [default_container(pod)]:
        number = _run(name_of_pod, name, log_runs(f"{logs}/{name}"), statuses[name]["state"], options)
        if number is not None:
            found.append(Source(directory, logs, name_of_pod, name, number))
    return found


def _run(pod: str, name: str, runs: list[int], state: Mapping[str, Any], options: Options) -> int | None:
    """The number of the run; None for one of all that has none."""
    back = 2 if "previous" in options else 1
    if len(runs) >= back:
        return runs[-back]
    if "all-containers" in options:
        return None
    if "previous" in options:
        raise CommandError(f"previous terminated container {name!r} in pod {pod!r} not found")
    why = state.get("waiting", {}).get("reason", "it has no log")
    raise CommandError(f"container {name!r} in pod {pod!r} is waiting to start: {why}")


# ---- printing ----


def _pump(source: Source, printer: Printer, last: bool) -> None:
    for line in source.reader.read():
        printer.show(source, line)
        if printer.full:
            return
    if last:
        for line in source.reader.take_rest():
            printer.show(source, line)


def _follow(sources: list[Source], printer: Printer) -> None:
    """Until all runs are over, or enough was printed."""
    with Inotify() as watch:
        for directory in {each for source in sources for each in (source.logs, source.directory)}:
            watch.watch(directory)
        going = list(sources)
        while going and not printer.full:
            now_s = time.monotonic()
            for source in going:
                source.look(now_s)
                over = now_s - source.ended_s >= SETTLE_S
                _pump(source, printer, last=over)
                if over:
                    source.ended_s = -math.inf
            going = [source for source in going if source.ended_s != -math.inf]
            sys.stdout.buffer.flush()
            if not going:
                return
            due_s = min([source.ended_s for source in going]) + SETTLE_S - time.monotonic()
            poll = select.poll()
            poll.register(watch.fileno(), select.POLLIN)
            # Who reads us may go without our writing anything.
            poll.register(sys.stdout.fileno(), 0)
            ready = dict(poll.poll(FOREVER_MS if due_s == math.inf else math.ceil(max(0.0, due_s) * 1000)))
            if ready.get(sys.stdout.fileno(), 0) & select.POLLERR:
                raise BrokenPipeError
            watch.read()
