"""The HTML report: one file with everything in it, its plots drawn by matplotlib as SVG."""

from __future__ import annotations

import html
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.answer import Answer, Bars, Lines, Series, read_document
from bench.machine import heading, warning
from bench.table import GOAL_COLUMNS, WORDS, goal_row, groups, tables

WIDTH_INCHES = 9.0
ROW_INCHES = 0.32
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: .5rem 0 1.5rem } caption { text-align: left; font-weight: 600 }
th, td { padding: .15rem .7rem; text-align: right; border-bottom: 1px solid #ddd }
.words { text-align: left } .busy { color: #b00; font-weight: 600 } .note { color: #555 }
svg { max-width: 100%; height: auto }
"""


def render(found: Mapping[str, Any]) -> str:
    """The page for a document (bench/answer.py)."""
    # Text stays text, and the same figures give the same file.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "pyrun", "font.size": 9})
    machine = found["machine"]
    parts = [f"<h1>pyrun: benchmarks</h1><p>{_text(heading(machine))}, {found['rounds']} rounds</p>"]
    if busy := warning(machine):
        parts.append(f'<p class="busy">{_text(busy)}</p>')
    for name, answer in read_document(found).items():
        parts += _question(name, answer)
    head = f'<meta charset="utf-8"><title>pyrun: benchmarks</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def _question(name: str, answer: Answer) -> Iterator[str]:
    yield f"<h2>{_text(name)}</h2>"
    if answer.goals:
        yield _table("", GOAL_COLUMNS, [goal_row(goal) for goal in answer.goals])
    for series in groups(answer.series):
        yield _svg(_draw_distribution(series))
    for bars in answer.bars:
        yield _svg(_draw_bars(bars))
    for lines in answer.lines:
        yield _svg(_draw_lines(lines))
    for title, columns, rows in tables(answer):
        yield _table(title, columns, rows)
    yield from (f'<p class="note">{_text(note)}</p>' for note in answer.notes)


# ---- plots -----------------------------------------------------------------------------------------------------------


def _draw_distribution(series: Sequence[Series]) -> Figure:
    """A box with every measurement, one row a case."""
    figure = Figure(figsize=(WIDTH_INCHES, 0.9 + ROW_INCHES * len(series)), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(series), 0, -1)
    values = [each.values for each in series]
    axes.boxplot(values, positions=list(places), orientation="horizontal", widths=0.6, showfliers=False)
    for place, each in zip(places, values, strict=True):
        axes.plot(each, [place] * len(each), ".", markersize=3, alpha=0.4, color="tab:blue")
    axes.set_yticks(list(places), [each.case for each in series])
    if max(map(max, values)) > 10 * min(map(min, values)) > 0:
        axes.set_xscale("log")
    else:
        axes.set_xlim(left=0)
    axes.set_xlabel(series[0].unit)
    axes.set_title(f"{series[0].group}: {series[0].metric}", loc="left")
    axes.grid(axis="x", alpha=0.3)
    return figure


def _draw_bars(bars: Bars) -> Figure:
    figure = Figure(figsize=(WIDTH_INCHES, 2.6 + ROW_INCHES * len(bars.bars)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_prop_cycle(color=mpl.colormaps["tab20"].colors)
    left = [0.0] * len(bars.bars)
    for name, lengths in bars.parts.items():
        axes.barh(bars.bars, lengths, left=left, label=name)
        left = [start + length for start, length in zip(left, lengths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel(bars.unit)
    axes.set_title(bars.title, loc="left")
    figure.legend(loc="outside lower center", ncols=5, frameon=False)
    return figure


def _draw_lines(lines: Lines) -> Figure:
    figure = Figure(figsize=(WIDTH_INCHES, 3.4), layout="constrained")
    axes = figure.add_subplot()
    for name, values in lines.lines.items():
        axes.plot(lines.x, values, "o-", label=name)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(lines.x_label)
    axes.set_ylabel(lines.y_label)
    axes.set_title(lines.title, loc="left")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def _svg(figure: Figure) -> str:
    """Inline: without the XML declaration and document type that a file of its own begins with."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    drawn = text.getvalue()
    return drawn[drawn.index("<svg") :]


# ---- text ------------------------------------------------------------------------------------------------------------


def _text(words: str) -> str:
    return html.escape(words)


def _cells(sides: Sequence[str], row: Sequence[str]) -> str:
    return "".join(f"<td{side}>{_text(cell)}</td>" for side, cell in zip(sides, row, strict=True))


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    sides = [' class="words"' if column in WORDS else "" for column in columns]
    head = "".join(f"<th{side}>{_text(column)}</th>" for side, column in zip(sides, columns, strict=True))
    body = "".join(f"<tr>{_cells(sides, row)}</tr>" for row in rows)
    return f"<table><caption>{_text(title)}</caption><tr>{head}</tr>{body}</table>"
