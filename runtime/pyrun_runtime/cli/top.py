"""``pyrun top``: a screen with what pods use, as it changes."""

from __future__ import annotations

import os
import select

from pyrun_runtime.cli.duration import parse_duration
from pyrun_runtime.cli.message import CommandError, UsageError, did_you_mean, say
from pyrun_runtime.cli.options import setting
from pyrun_runtime.cli.reach import ROOT_HELP, ROOT_OPTIONS
from pyrun_runtime.store import RUN_ROOT
from pyrun_runtime.usage_rows import HEADER, Samples, rows_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.table import Table

    from pyrun_runtime.cli.options import Options, OptionTable
    from pyrun_runtime.usage_rows import Pod

OPTIONS: OptionTable = {"interval": "DURATION", "sort": "KEY", **ROOT_OPTIONS}
HELP = f"""\
usage: pyrun top [OPTION]... [POD...]

Shows what pods and their containers use on a full screen, until q or Ctrl-C. The columns are those of 'pyrun stats'.

  --interval DURATION    between two looks (1s)
  --sort KEY             name, cpu, memory, pids or io; the keys n, c, m, p and i do that, too
{ROOT_HELP}
Where standard output is no terminal the columns are printed once. Needs the package rich (pip install 'pyrun[top]').

Exit status: 0; 1 if there is no pod of a name that was given, or rich is not there.
"""
KEYS: dict[str, Callable[[Pod], float]] = {
    "name": lambda _pod: 0.0,
    "cpu": lambda pod: pod.samples()[0][2] or 0.0,
    "memory": lambda pod: pod.now.pod.working_set_bytes or 0,
    "pids": lambda pod: pod.now.pod.pids or 0,
    "io": lambda pod: (pod.now.pod.read_bytes or 0) + (pod.now.pod.written_bytes or 0),
}
LETTERS = {name[0]: name for name in KEYS}


def run(options: Options, arguments: list[str]) -> int:
    key = options.get("sort", "name")
    if key not in KEYS:
        raise UsageError(f"--sort {key}: not one of {', '.join(KEYS)}{did_you_mean(key, KEYS)}")
    interval_s = parse_duration("interval", options.get("interval", "1s"))
    if not (os.isatty(0) and os.isatty(1)):
        from pyrun_runtime.cli.stats import run as print_once

        say("standard input or output is no terminal: printed once")
        kept = {name: options[name] for name in ROOT_OPTIONS if name in options}
        return print_once(kept, arguments)
    samples = Samples(setting(options, "root", "PYRUN_ROOT", RUN_ROOT), arguments)
    try:
        _show(samples, interval_s, key)
    except ModuleNotFoundError as error:
        raise CommandError(f"pyrun top needs the package {error.name}: pip install 'pyrun[top]'") from None
    return 0


def _show(samples: Samples, interval_s: float, key: str) -> None:
    from rich.live import Live

    from pyrun_runtime.terminal import Keys

    with Keys() as keys, Live(screen=True, auto_refresh=False) as live:
        while True:
            live.update(_table(samples.look(), key), refresh=True)
            ready = dict(_poll(keys.fileno(), interval_s))
            pressed = os.read(keys.fileno(), 64).decode("latin-1") if ready else ""
            if "q" in pressed or "\x03" in pressed or (ready and not pressed):
                return
            key = next((LETTERS[letter] for letter in reversed(pressed) if letter in LETTERS), key)


def _poll(fd: int, seconds: float) -> list[tuple[int, int]]:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return poll.poll(round(seconds * 1000))


def _table(pods: list[Pod], key: str) -> Table:
    from rich.table import Table

    table = Table(title=f"{len(pods)} pods, by {key}", expand=True, box=None, title_justify="left")
    for name in HEADER:
        table.add_column(name, no_wrap=True, justify="left" if name in ("POD", "CONTAINER") else "right")
    for pod in sorted(pods, key=lambda pod: (-KEYS[key](pod), pod.namespace, pod.name)):
        for row in rows_of(pod):
            table.add_row(*row, style="bold" if not row[1] else "")
    return table
