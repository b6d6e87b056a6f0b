"""What does ``pyrun run`` import, and what does each module cost?"""

from __future__ import annotations

import re
import subprocess
import sys
from functools import partial

from bench.answer import Answer, Bars, Sheet
from bench.command import run
from bench.question import Bench
from bench.rounds import Case
from bench.statistics import median

LINE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \| (\s*)(\S+)")
PYTHON = sys.executable


def ask(bench: Bench) -> Answer:
    answer = Answer()
    spec = bench.world.write_manifest(1)
    words = [str(bench.world.pyrun), "run", "--root", str(bench.world.directory / "run")]
    words += ["--state", str(bench.world.directory / "state"), str(spec)]
    bench.measure(answer, _starts(str(bench.world.pyrun), words))
    rounds = [_import_times([PYTHON, "-X", "importtime", *words]) for _ in range(bench.rounds.count)]
    times = {name: median([found[name] for found in rounds if name in found]) for name in rounds[-1]}
    answer.sheets.append(_sheet(times))
    answer.bars.append(_bars(times))
    answer.notes.append("-X importtime itself makes every import dearer: the order tells, the sum is too high")
    return answer


def _starts(pyrun: str, words: list[str]) -> list[Case]:
    group = "start of the interpreter"
    commands = {
        "python -I -S -c pass": [PYTHON, "-I", "-S", "-c", "pass"],
        "python -I -c pass": [PYTHON, "-I", "-c", "pass"],
        "python -c 'import pyrun'": [PYTHON, "-c", "import pyrun"],
        "pyrun --version": [pyrun, "--version"],
        "pyrun validate": [pyrun, "validate", words[-1]],
        "pyrun run": words,
    }
    return [Case(group, name, partial(run, command)) for name, command in commands.items()]


def _import_times(command: list[str]) -> dict[str, float]:
    """Microseconds of each module's own, in the order of their end."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {match[4]: float(match[1]) for match in LINE.finditer(done.stderr)}


def _sheet(times: dict[str, float]) -> Sheet:
    rows = [(name, f"{us:,.0f}") for name, us in sorted(times.items(), key=lambda item: -item[1])]
    return Sheet(
        f"modules that pyrun run imports: {len(rows)}",
        ("module", "own µs"),
        (*rows, ("all", f"{sum(times.values()):,.0f}")),
    )


def _bars(times: dict[str, float]) -> Bars:
    """By the package that they belong to."""
    places = {"pyrun": "pyrun", "pyrun_runtime": "pyrun_runtime", "_cffi_backend": "cffi"}
    sums: dict[str, float] = {}
    for name, us in times.items():
        place = places.get(name.split(".")[0], "Python's own")
        sums[place] = sums.get(place, 0.0) + us
    return Bars("what the imports of pyrun run cost", "µs", ("pyrun run",), {name: (us,) for name, us in sums.items()})
