"""``pyrun-oci events``: what a container uses, again and again, and when it runs out of memory. A line of JSON each."""

from __future__ import annotations

import os
import time

from pyrun import KernelError
from pyrun_runtime.cli.message import UsageError, flush, show
from pyrun_runtime.oci.container import STOPPED, read_status
from pyrun_runtime.oci.explain import NotRunning
from pyrun_runtime.oci.json_text import to_json
from pyrun_runtime.oci.options import container_id
from pyrun_runtime.oci.pause import need_cgroup
from pyrun_runtime.oci.stats import event, read_stats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun import Cgroup
    from pyrun_runtime.oci.main import Context
    from pyrun_runtime.oci.options import Options, OptionTable

OPTIONS: OptionTable = {"interval": "DURATION", "stats": ""}
IN_ORDER = False
HELP = """\
usage: pyrun-oci events [OPTION]... ID

Prints what the container uses, in runc's types, every 5 seconds until it ends; and a line whenever it ran out of memory.

  --interval DURATION  how often: 1s, 500ms, 1m30s
  --stats              once, and no more
"""
DEFAULT_INTERVAL = "5s"
UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
HUGE_PAGES = "/sys/kernel/mm/hugepages"


def run(context: Context, options: Options, arguments: list[str]) -> int:
    id = container_id(arguments)
    interval_s = parse_duration(options.get("interval", DEFAULT_INTERVAL))
    with context.store.look(id) as entry:
        state = entry.read_state()
        if read_status(context.store, entry, state) == STOPPED:
            raise NotRunning(f"container {id!r} is not running")
    with need_cgroup(state, "watched") as group:
        if options.flag("stats"):
            _say_stats(id, group)
        else:
            follow(id, group, interval_s)
    return 0


def follow(id: str, group: Cgroup, interval_s: float) -> None:
    """Until nobody lives in the group any more."""
    import gc

    gc.enable()  # the script that starts us turns it off for commands that end at once
    killed = _count_killed(group)
    due = time.monotonic() + interval_s
    with group.watch("memory.events", "cgroup.events") as watch:
        while _is_populated(group):
            if not watch.wait(max(due - time.monotonic(), 0)):
                _say_stats(id, group)
                due = time.monotonic() + interval_s
            before, killed = killed, _count_killed(group)
            if killed > before:
                _say(event("oom", id))


def _say_stats(id: str, group: Cgroup) -> None:
    _say(event("stats", id, read_stats(reader(group), page_sizes())))


def _say(line: dict[str, object]) -> None:
    show(to_json(line, ""))
    flush()  # whoever reads a pipe waits for it


def _is_populated(group: Cgroup) -> bool:
    try:
        return group.read_events().populated
    except KernelError:
        return False  # the group is gone


def _count_killed(group: Cgroup) -> int:
    """0 without the controller, and for a group that is gone: its last line has been read by then."""
    try:
        events = group.read_memory_events()
    except KernelError:
        return 0
    return events.oom_kill if events is not None else 0


class reader:
    """Reads files of a group; None for one that there is not, or that the kernel has turned off (psi=0)."""

    def __init__(self, group: Cgroup) -> None:
        self._group = group

    def __call__(self, name: str) -> str | None:
        try:
            return self._group.read_file(name)
        except KernelError:
            return None


def page_sizes() -> list[str]:
    """Of huge pages, as cgroup files call them: ``hugepages-2048kB`` is ``2MB``."""
    try:
        names = os.listdir(HUGE_PAGES)
    except FileNotFoundError:
        return []
    found = []
    for name in sorted(names):
        size = name.removeprefix("hugepages-").removesuffix("kB")
        if size.isdecimal():
            found.append(_in_units(int(size)))
    return found


def _in_units(kib: int) -> str:
    """As the kernel's mem_fmt() has it."""
    for unit, size in (("GB", 1 << 20), ("MB", 1 << 10)):
        if kib >= size:
            return f"{kib // size}{unit}"
    return f"{kib}KB"


def parse_duration(text: str) -> float:
    """Seconds of a duration as Go writes it: numbers with units, one after the other."""
    rest, total = text, 0.0
    while rest:
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(number) :]
        unit = rest[: len(rest) - len(rest.lstrip("hmnsuµ"))]
        rest = rest[len(unit) :]
        try:
            total += float(number) * UNITS_S[unit]
        except (ValueError, KeyError):
            total, rest = 0.0, ""
    if not 0 < total < 1e9:
        raise UsageError(f"--interval {text}: not a duration above 0, such as 1s, 500ms or 1m30s")
    return total
