"""A table as CSV, as a Markdown page that says how it was made, and as a plot."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline.tables.cells import NAMES, PUBLISHED, Row, Table

SHARES = ("disrupted", "relative")


def as_csv(table: Table, rows: Sequence[Row]) -> str:
    """One line a row: its labels, status, counts, and each mean with the ends of its interval; shares from 0 to 1."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    labels = list(dict.fromkeys(name for row in rows for name in row.labels))
    head = [part for name in NAMES for part in (name, f"{name}_low", f"{name}_high")]
    writer.writerow([*labels, "status", "photos", "samples", "missing", *head])
    for row in rows:
        counts = [row.line.photos, row.line.samples, row.missing] if row.line and row.status != PUBLISHED else ["", "", ""]
        columns = [name for name in NAMES if name != "relative" or name in table.shown]
        values = [value for name in columns for value in (row.mean(name), *row.interval(name))]
        numbers = ["" if math.isnan(value) else f"{value:.6g}" for value in values]
        writer.writerow([*row.labels.values(), row.status, *counts, *numbers, *[""] * (len(head) - len(numbers))])
    return text.getvalue()


def as_markdown(table: Table, rows: Sequence[Row]) -> str:
    """The rows laid out for people, each number with its 95 % interval where there is one."""
    lines: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in rows:
        lines.setdefault(tuple(row.labels[name] for name in table.lines), {})[row.labels.get(table.columns, "")] = row
    if table.columns:
        columns = list(dict.fromkeys(row.labels[table.columns] for row in rows))
        cells = [
            [" / ".join(_cells(table, by_column[name])) if name in by_column else "" for name in columns]
            for by_column in lines.values()
        ]
    else:
        columns = ["photos", *(NAMES[name] for name in table.shown)]
        cells = [[_photos(by_column[""]), *_cells(table, by_column[""])] for by_column in lines.values()]
    return grid([*table.lines, *columns], [[*line, *some] for line, some in zip(lines, cells, strict=True)])


def as_page(table: Table, rows: Sequence[Row], *, made: Mapping[str, str], notes: str, plot: str) -> str:
    """The page: caption, how it was made, the numbers, the plot, and what somebody wrote by hand."""
    legend = f"A cell shows {' / '.join(NAMES[name] for name in table.shown)} and in brackets the 95 % interval of the last.\n\n"
    return sections(
        f"# {table.title}\n\n{table.caption}",
        facts(made),
        f"## Numbers\n{legend if table.columns else ''}{as_markdown(table, rows)}",
        f"All digits and intervals: [{table.name}.csv]({table.name}.csv).",
        f"![{table.title}]({plot})" if plot else "",
        notes,
    )


def facts(made: Mapping[str, str]) -> str:
    """The section that says how a table was made."""
    return "## How it was made\n" + "\n".join(f"* {name}: {value}" for name, value in made.items())


def notes_of(out: Path, name: str) -> str:
    """The section of what somebody wrote by hand about a table; empty where there is nothing."""
    path = out / "notes" / f"{name}.md"
    return f"## Notes\n{path.read_text(encoding='utf-8').strip()}" if path.is_file() else ""


def sections(*parts: str) -> str:
    """The parts that are not empty, apart by a line."""
    return "\n\n".join(part for part in parts if part) + "\n"


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def draw(path: Path, table: Table, rows: Sequence[Row]) -> bool:
    """Write the plot as PNG, a bar for each row with its interval, published figures paler; False when there is no number."""
    from matplotlib.figure import Figure

    known = [row for row in rows if not math.isnan(row.mean(table.drawn))]
    if not known:
        return False
    columns = list(dict.fromkeys(row.labels.get(table.columns, "") for row in known))
    colours = [f"C{columns.index(row.labels.get(table.columns, '')) % 10}" for row in known]
    figure = Figure(figsize=(8, 1.2 + 0.24 * len(known)), layout="constrained", dpi=120)
    axes = figure.add_subplot(title=table.title, xlabel=NAMES[table.drawn])
    numbers = [(row.mean(table.drawn), *row.interval(table.drawn)) for row in known]
    means, lows, highs = (100 if table.drawn in SHARES else 1) * np.array(numbers).T
    bars = axes.barh(range(len(known)), means, color=colours)
    for bar, row in zip(bars, known, strict=True):
        bar.set_alpha(0.45 if row.status == PUBLISHED else 1)
    axes.hlines(range(len(known)), lows, highs, color="black", linewidth=1)
    labels = [", ".join(row.labels[name] for name in (*table.lines, table.columns) if row.labels.get(name)) for row in known]
    axes.set_yticks(range(len(known)), labels, fontsize=8)
    axes.invert_yaxis()
    figure.savefig(path, format="png", metadata={"Software": None})
    return True


def _photos(row: Row) -> str:
    return str(row.line.photos) if row.line and row.status != PUBLISHED else row.status


def _cells(table: Table, row: Row) -> list[str]:
    """The measures of a row; where a cell holds them all, it shows the interval of the last alone, and why there is none."""
    if row.line is None:
        return [row.status] if table.columns else [""] * len(table.shown)
    return [_number(row, name, interval=not table.columns or name == table.shown[-1]) for name in table.shown]


def _number(row: Row, name: str, *, interval: bool) -> str:
    """A number as tables show it: shares in percent, means with three digits, small ones in powers of ten."""

    def text(value: float) -> str:
        if name in SHARES:
            return f"{100 * value:.1f}"
        return f"{value:.3f}" if value >= 0.01 or value == 0 else f"{value:.2e}"

    mean, (low, high) = row.mean(name), row.interval(name)
    if math.isnan(mean):
        return "-"
    return text(mean) + (f" ({text(low)} to {text(high)})" if interval and low < high else "")
