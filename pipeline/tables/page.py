"""A table as CSV and as a Markdown page that says how it was made."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.tables.numbers import MEASURES, RELATIVE, Result
from pipeline.tables.table import NAMES, PUBLISHED, Layout, Table

COLUMNS = (*MEASURES, RELATIVE)


def as_csv(results: Sequence[Result]) -> str:
    """One line a result: its labels, status, counts, and each mean with the ends of its interval; shares from 0 to 1."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    labels = list(dict.fromkeys(name for result in results for name in result.labels))
    head = [part for name in COLUMNS for part in (name, f"{name}_low", f"{name}_high")]
    writer.writerow([*labels, "status", "photos", "samples", "missing", *head])
    for result in results:
        values = [value for name in COLUMNS for value in _numbers(result, name)]
        counts = [len(result.keys), result.samples, result.missing] if result.estimates and result.keys else ["", "", ""]
        shown = ["" if math.isnan(value) else f"{value:.6g}" for value in values]
        writer.writerow([*(result.labels.get(name, "") for name in labels), result.status, *counts, *shown])
    return text.getvalue()


def as_markdown(layout: Layout, results: Sequence[Result]) -> str:
    """The results laid out for people, each number with its 95 % interval where there is one."""
    lines = list(dict.fromkeys(_line(layout, result) for result in results))
    if layout.columns:
        columns = list(dict.fromkeys(result.labels[layout.columns] for result in results))
        place = {(_line(layout, result), result.labels[layout.columns]): result for result in results}
        head = [*layout.lines, *columns]
        rows = [[*line, *(_cell(layout, place.get((line, column))) for column in columns)] for line in lines]
    else:
        by_line = {_line(layout, result): result for result in results}
        head = [*layout.lines, "photos", *(NAMES[name] for name in layout.shown)]
        rows = [[*line, *_measures(layout, by_line[line])] for line in lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def as_page(table: Table, results: Sequence[Result], *, made: Mapping[str, str], notes: str, plot: str) -> str:
    """The page: what the table is, how it was made, the numbers, the plot, what they say, hand-written notes."""
    shown = "" if not table.layout.columns else f"A cell shows {' / '.join(NAMES[name] for name in table.layout.shown)}"
    shown += " and in brackets the 95 % interval of the last.\n\n" if shown else ""
    said = "\n".join(f"* {sentence}" for sentence in table.findings(results))
    facts = "\n".join(f"* {name}: {value}" for name, value in made.items())
    parts = [
        f"# {table.title}\n\n{table.about}",
        f"## How it was made\n{facts}",
        f"## Numbers\n{shown}{as_markdown(table.layout, results)}",
        f"All digits and intervals: [{table.name}.csv]({table.name}.csv).",
        f"![{table.title}]({plot})" if plot else "",
        f"## What the numbers say\n{said}" if said else "",
        f"## Notes\n{notes.strip()}" if notes.strip() else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def notes_of(out: Path, name: str) -> str:
    """What somebody wrote by hand about a table; empty where there is nothing."""
    place = out / "notes" / f"{name}.md"
    return place.read_text(encoding="utf-8") if place.is_file() else ""


def _numbers(result: Result, name: str) -> tuple[float, float, float]:
    found = result.estimates.get(name)
    return (found.mean, *found.interval) if found else (math.nan, math.nan, math.nan)


def _line(layout: Layout, result: Result) -> tuple[str, ...]:
    return tuple(result.labels[name] for name in layout.lines)


def _cell(layout: Layout, result: Result | None) -> str:
    if result is None:
        return ""
    if not result.estimates:
        return result.status
    means = " / ".join(_shown(name, result.mean(name)) for name in layout.shown)
    low, high = _numbers(result, layout.shown[-1])[1:]
    return means + _interval(layout.shown[-1], low, high)


def _measures(layout: Layout, result: Result) -> list[str]:
    if not result.estimates:
        return [result.status, *("" for _ in layout.shown)]
    photos = result.status if result.status == PUBLISHED else str(len(result.keys))
    return [photos, *(_with_interval(result, name) for name in layout.shown)]


def _with_interval(result: Result, name: str) -> str:
    mean, low, high = _numbers(result, name)
    return _shown(name, mean) + _interval(name, low, high)


def _interval(name: str, low: float, high: float) -> str:
    """The interval in brackets; nothing where there is none, or where every drawing of the photos gave the same."""
    return "" if math.isnan(low) or low == high else f" ({_shown(name, low)} to {_shown(name, high)})"


def _shown(name: str, value: float) -> str:
    """A number as tables show it: shares in percent, means with three digits, small ones in powers of ten."""
    if math.isnan(value):
        return "-"
    if name in ("disrupted", RELATIVE):
        return f"{100 * value:.1f}"
    return f"{value:.3f}" if value >= 0.01 or value == 0 else f"{value:.2e}"
