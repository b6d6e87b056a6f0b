"""``pyrun events``: what has happened to pods, and what happens."""

from __future__ import annotations

import os
import select
import sys
import time

from pyrun import Inotify
from pyrun_runtime.cli.document import list_output, render
from pyrun_runtime.cli.duration import parse_duration
from pyrun_runtime.cli.message import UsageError, did_you_mean, flush, one_line, show
from pyrun_runtime.cli.options import setting
from pyrun_runtime.cli.pod_word import age_word, seconds_of
from pyrun_runtime.cli.reach import ROOT_HELP, ROOT_OPTIONS, find_directory
from pyrun_runtime.columns import align
from pyrun_runtime.event_file import EVENTS, read_events
from pyrun_runtime.store import RUN_ROOT, list_uids, read_facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from pyrun_runtime.cli.options import Options, OptionTable

    Event: TypeAlias = dict[str, str]

OPTIONS: OptionTable = {
    "watch,w": "",
    "since": "DURATION",
    "types": "TYPES",
    "output,o": "FORMAT",
    "namespace,n": "NAME",
    "no-headers": "",
    **ROOT_OPTIONS,
}
HELP = f"""\
usage: pyrun events [OPTION]... [POD...]

Lists what has happened to the pods of this machine, or to those named, in the order of time: of a pod in the foreground as long
as it runs, of a detached one until 'pyrun rm'.

  -w, --watch            go on with what happens, to new pods as well, until Ctrl-C or, with PODs, until those are over
  --since DURATION       only what is not older than that: 30s, 5m, 1h30m
  --types TYPES          Normal or Warning
  -o, --output FORMAT    table, wide (with dates, the container and the uid), json, yaml, or name; with --watch a line each
  -n, --namespace NAME   only of pods of that namespace
  --no-headers           leave the first line of a table out
{ROOT_HELP}
Exit status: 0; 1 if there is no pod of a name that was given.
"""
TYPES = ("Normal", "Warning")
HEADERS = {
    "table": ("LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"),
    "wide": ("TIME", "TYPE", "REASON", "OBJECT", "CONTAINER", "UID", "MESSAGE"),
}


def run(options: Options, arguments: list[str]) -> int:
    output = list_output(options)
    feed = _Feed(options, [find_directory(options, word) for word in arguments])
    events = sorted(feed.read(), key=lambda event: event["time"])
    if "watch" not in options:
        _print_all(events, output, "no-headers" not in options)
        return 0
    if output == "yaml":
        raise UsageError("--output yaml has no end: with --watch it is json")
    if output in HEADERS and "no-headers" not in options:
        show("  ".join(HEADERS[output]))
    _print_each(events, output)
    feed.follow(lambda more: _print_each(more, output))
    return 0


class _Feed:
    """The events of some pods, each read once."""

    def __init__(self, options: Options, directories: list[str]) -> None:
        self._run_root = setting(options, "root", "PYRUN_ROOT", RUN_ROOT)
        self._directories = directories
        self._types = options.get("types", ",".join(TYPES)).split(",")
        for each in self._types:
            if each not in TYPES:
                raise UsageError(f"--types {each}: not one of {', '.join(TYPES)}{did_you_mean(each, TYPES)}")
        self._since_s = time.time() - parse_duration("since", options["since"]) if "since" in options else 0.0
        self._namespace = options.get("namespace")
        self._read: dict[str, int] = {}

    def read(self) -> list[Event]:
        """What is new."""
        return [event for directory in self._places() for event in self._of(directory)]

    def _places(self) -> list[str]:
        top = f"{self._run_root}/pods"
        return self._directories or [f"{top}/{uid}" for uid in list_uids(self._run_root)]

    def _of(self, directory: str) -> list[Event]:
        known = self._read.get(directory, 0)
        events = read_events(directory)
        self._read[directory] = len(events)
        if not events[known:]:
            return []
        facts = read_facts(self._run_root, os.path.basename(directory))
        if self._namespace is not None and facts.get("namespace") != self._namespace:
            return []
        told = {"pod": str(facts.get("name", "")), "namespace": str(facts.get("namespace", ""))}
        return [
            {**told, "uid": os.path.basename(directory), **event} for event in events[known:] if self._is_wanted(event)
        ]

    def _is_wanted(self, event: Event) -> bool:
        return event["type"] in self._types and seconds_of(event["time"]) >= self._since_s

    def follow(self, tell: Callable[[list[Event]], object]) -> None:
        """Until the pods that were named are over; for ever without."""
        with Inotify() as watch:
            watch.watch(f"{self._run_root}/pods")
            watched: set[str] = set()
            while True:
                for directory in self._places():
                    if directory not in watched and watch.watch(directory):
                        watched.add(directory)
                tell(sorted(self.read(), key=lambda event: event["time"]))
                flush()
                if self._directories and all([_is_over(directory) for directory in self._directories]):
                    return
                poll = select.poll()
                poll.register(watch.fileno(), select.POLLIN)
                poll.register(sys.stdout.fileno(), 0)
                if dict(poll.poll()).get(sys.stdout.fileno(), 0) & select.POLLERR:
                    raise BrokenPipeError
                watched -= {directory for directory, name in watch.read() if not name}


def _is_over(directory: str) -> bool:
    return not os.path.exists(f"{directory}/{EVENTS}") or os.path.exists(f"{directory}/status")


def _row(event: Event, output: str, now_s: float) -> tuple[str, ...]:
    name = f"pod/{event['pod']}"
    message = one_line(event["message"])
    if output == "wide":
        return (event["time"], event["type"], event["reason"], name, event["container"], event["uid"], message)
    where = f"{event['container']}: " if event["container"] else ""
    return (age_word(now_s - seconds_of(event["time"])), event["type"], event["reason"], name, where + message)


def _print_all(events: list[Event], output: str, headed: bool) -> None:
    if output in HEADERS:
        now_s = time.time()
        for line in align([HEADERS[output]] * headed + [_row(event, output, now_s) for event in events]):
            show(line)
    elif output == "name":
        _print_each(events, output)
    else:
        show(render({"apiVersion": "v1", "kind": "List", "items": events}, output), end="")


def _print_each(events: list[Event], output: str) -> None:
    import json

    for event in events:
        if output in HEADERS:
            show("  ".join(_row(event, output, time.time())))
        else:
            show(json.dumps(event) if output == "json" else f"pod/{event['pod']}")
