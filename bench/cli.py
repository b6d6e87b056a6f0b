"""``./dev bench [NAME...] [--quick] [--json FILE] [--html FILE]``"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import prctl

from bench import machine, world
from bench.answer import Answer, document
from bench.question import Bench
from bench.questions import NAMES
from bench.rounds import QUICK_ROUNDS, ROUNDS, CaseFailed, Rounds
from bench.terminal import Terminal


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench", description="Measures pyrun, the limit and the others.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(NAMES)}; all without a name")
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds instead of {ROUNDS}, and fewer pods"
    )
    parser.add_argument("--rounds", type=int, help="so many rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a report with plots")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in NAMES]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}")
    return options


def main() -> None:
    options = parse()
    world.enter(sys.argv[1:])
    world.show_cgroup2()
    prctl.set_child_subreaper(1)  # conmon(8) and others leave processes behind: they come to us
    count = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    terminal = Terminal()
    before = machine.sample()
    try:
        with world.World() as made:
            bench = Bench(made, Rounds(count))
            answers = {name: ask(name, bench, terminal) for name in options.names or NAMES}
    finally:
        reap_orphans()
    about = machine.describe(before, machine.sample())
    terminal.say(f"\n{machine.heading(about)}, {count} rounds")
    if warning := machine.warning(about):
        terminal.say(warning, "bold red")
    write(document(about, count, answers), options.json, options.html)


def reap_orphans() -> None:
    """What others have left to us, and has ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def ask(name: str, bench: Bench, terminal: Terminal) -> Answer:
    question: Any = importlib.import_module(f"bench.questions.{name}")
    with terminal.progress(name) as bench.tell:
        try:
            answer: Answer = question.ask(bench)
        except CaseFailed as error:
            answer = Answer(notes=[f"not answered: {error}"])
    terminal.show(name, (question.__doc__ or "").splitlines()[0], answer)
    return answer


def write(found: dict[str, Any], json_path: Path | None, html_path: Path | None) -> None:
    if json_path is not None:
        json_path.write_text(json.dumps(found, indent=1) + os.linesep)
    if html_path is not None:
        from bench.report import render  # matplotlib takes a second to import

        html_path.write_text(render(found))
