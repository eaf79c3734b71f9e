"""A table as CSV and as a Markdown page that says how it was made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from pipeline.evaluation.bootstrap import exact_interval
from pipeline.jobs.versions import versions
from pipeline.ledger.rows import csv_text
from pipeline.storage import open_storage, write_atomic
from pipeline.tables.cells import NAMES, PUBLISHED, Row, Table
from pipeline.tables.options import TablesConfig

SHARES = ("disrupted", "relative", "visible")


def as_csv(table: Table, rows: Sequence[Row]) -> str:
    """One line a row: its labels, status, counts, and each mean with the ends of its interval; shares from 0 to 1."""
    labels = list(dict.fromkeys(name for row in rows for name in row.labels))
    head = [part for name in NAMES for part in (name, f"{name}_low", f"{name}_high")]
    lines = []
    for row in rows:
        counts = [row.line.photos, row.line.samples, row.missing] if row.line and row.status != PUBLISHED else ["", "", ""]
        unknown = [name for name in ("relative", "visible") if name not in table.shown]
        values = [math.nan if name in unknown else value for name in NAMES for value in (row.mean(name), *row.interval(name))]
        numbers = ["" if math.isnan(value) else f"{value:.6g}" for value in values]
        lines.append([*row.labels.values(), row.status, *counts, *numbers])
    return csv_text([*labels, "status", "photos", "samples", "missing", *head], lines)


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


def as_page(table: Table, rows: Sequence[Row], *, made: str, notes: str) -> str:
    """The page: the first paragraph of the notes, how it was made, the numbers and the other notes."""
    legend = f"A cell shows {' / '.join(NAMES[name] for name in table.shown)} and in brackets the 95 % interval of the last.\n\n"
    numbers = f"## Numbers\n{legend if table.columns else ''}{as_markdown(table, rows)}"
    return page(table.title, notes, made, numbers, csv_name=f"{table.name}.csv")


def page(title: str, notes: str, made: str, *parts: str, csv_name: str) -> str:
    """A page from its parts, apart by a line; ``notes`` were written by hand."""
    intro, _, notes = notes.strip().partition("\n\n")
    digits = f"All digits and intervals: [{csv_name}]({csv_name})."
    parts = (f"# {title}", intro, made, *parts, digits, f"## Notes\n{notes}" if notes else "")
    return "\n\n".join(part for part in parts if part) + "\n"


def notes_of(out: Path, name: str) -> str:
    """What somebody wrote by hand about a table; empty where there is nothing."""
    path = out / "notes" / f"{name}.md"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def write_files(config: TablesConfig, name: str, **texts: str) -> list[Path]:
    """Write texts by suffix into ``--out``; returns their paths."""
    config.out.mkdir(parents=True, exist_ok=True)
    paths = {config.out / f"{name}.{suffix}": text for suffix, text in texts.items()}
    for path, text in paths.items():
        write_atomic(*open_storage(str(path)), text.encode())
    return list(paths)


def made_by(config: TablesConfig, photos: int) -> str:
    """How a table was made, in words that name no folder of this machine."""
    files = {name: " ".join(f"{word.partition('=')[0]}=..." for word in getattr(config, name)) for name in ("weights", "pictures")}
    options = [f"PHOTOS={photos}", *(f'{name.upper()}="{words}"' for name, words in files.items() if words)]
    options += [f"ADAPTER_PHOTOS={config.adapter_photos}"] if config.name == "table-red-team" else []
    known, device = versions(), "a GPU" if config.gpu else "the CPU"
    computed = f"disrupt {known.get('disrupt', '')} and torch {known.get('torch', '')}, on {device}"
    return f"Made by `make {config.name} FACES={config.faces.name} {' '.join(options)}` with {computed}."


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _photos(row: Row) -> str:
    return str(row.line.photos) if row.line and row.status != PUBLISHED else row.status


def _cells(table: Table, row: Row) -> list[str]:
    """The measures of a row; where a cell holds them all, it shows the interval of the last alone, and why there is none."""
    if row.line is None:
        return [row.status] if table.columns else [""] * len(table.shown)
    return [_number(row, name, interval=not table.columns or name == table.shown[-1]) for name in table.shown]


def _number(row: Row, name: str, *, interval: bool) -> str:
    """A number as tables show it: shares in percent, means with three digits, small ones in powers of ten.

    A share of 0 or 1 in every drawing has the exact interval of a share of as many people.
    """

    def text(value: float) -> str:
        if name in SHARES:
            return f"{100 * value:.1f}"
        return f"{value:.3f}" if value >= 0.01 or value == 0 else f"{value:.2e}"

    mean, (low, high) = row.mean(name), row.interval(name)
    if math.isnan(mean):
        return "-"
    if name in SHARES and name != "relative" and low == high and mean in (0, 1) and row.line:
        low, high = exact_interval(mean, row.line.photos)
    return text(mean) + (f" ({text(low)} to {text(high)})" if interval and low < high else "")
