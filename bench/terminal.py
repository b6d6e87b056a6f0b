"""Progress bar and tables on the terminal, drawn by rich."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.answer import Answer
from bench.table import GOAL_COLUMNS, WORDS, goal_row, tables

NARROW = 110  # where the output is no terminal, rich would take 80 columns


class Terminal:
    def __init__(self) -> None:
        self._console = Console(width=None if sys.stdout.isatty() else NARROW, highlight=False)

    def say(self, text: str, style: str = "") -> None:
        self._console.print(text, style=style or None, markup=False)

    def show(self, name: str, title: str, answer: Answer) -> None:
        self.say(f"\n{name}: {title}", "bold")
        for heading, columns, rows in tables(answer):
            self._draw(heading, columns, rows)
        if answer.goals:
            rows = [goal_row(goal) for goal in answer.goals]
            self._draw("", GOAL_COLUMNS, rows)
        for note in answer.notes:
            self.say(f"  {note}", "dim")

    def _draw(self, heading: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        table = Table(
            title=heading or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
        )
        for column in columns:
            table.add_column(column, justify="left" if column in WORDS else "right", overflow="fold")
        for row in rows:
            table.add_row(*row)
        self._console.print(table)

    @contextmanager
    def progress(self, name: str) -> Iterator[Callable[[int, str], None]]:
        """Within it, call what it gives with the number of cases still to come and what runs now."""
        columns = (TextColumn("{task.fields[question]}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, TextColumn("{task.description}"), console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", question=name, total=0)

            def tell(more: int, what: str) -> None:
                total = (bar.tasks[0].total or 0) + more
                bar.update(task, total=total, advance=0 if more else 1, description=what)

            yield tell
