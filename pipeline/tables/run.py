"""One table from options to files: cells, numbers, CSV, page, plot, record."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

from rich.console import Console

from pipeline.jobs.options import one_of
from pipeline.jobs.tracking import Tracking, no_record, open_tracking
from pipeline.jobs.versions import versions
from pipeline.storage import open_storage, write_atomic
from pipeline.tables import ablations, hardening, red_team, robust, table1, transfer, transfer_of_classes
from pipeline.tables.bench import Bench
from pipeline.tables.config import TablesConfig
from pipeline.tables.drawing import draw
from pipeline.tables.nets import Shelf, shelf_of
from pipeline.tables.numbers import Result
from pipeline.tables.page import as_csv, as_page, notes_of
from pipeline.tables.table import PUBLISHED, Table

_ALL = (
    table1.TABLE,
    transfer_of_classes.TABLE4,
    transfer_of_classes.TABLE5,
    ablations.REFERENCES_TABLE,
    ablations.FEATURES_TABLE,
    robust.TABLE,
    transfer.TABLE,
    red_team.TABLE,
    hardening.TABLE,
)
TABLES: dict[str, Table] = {table.name: table for table in _ALL}


def run_table(config: TablesConfig, *, command: str, console: Console) -> int:
    """Make a table; returns the exit code. Errors of the call are raised as ValueError."""
    one_of("TABLE", config.name, TABLES)
    config.check()
    table = TABLES[config.name]
    config = dataclasses.replace(config, photos=config.photos or table.photos)
    shelf = shelf_of(config, config.photos or table.photos)
    with _tracking(config, command) as tracking:
        results = results_of(table, Bench(config, console), shelf)
        for path in write(table, results, config, made=made(table, config, shelf, results)):
            tracking.artifact(path)
            console.print(str(path), soft_wrap=True, highlight=False)
        tracking.metrics(metrics(results))
    return 0


def results_of(table: Table, bench: Bench, shelf: Shelf) -> list[Result]:
    """The rows of a table, published ones among them."""
    return table.derived([*bench.results(table.cells(bench, shelf)), *table.published()])


def write(table: Table, results: list[Result], config: TablesConfig, *, made: dict[str, str]) -> list[Path]:
    """Write CSV, plot and page into ``--out``; returns their places."""
    out = config.out
    out.mkdir(parents=True, exist_ok=True)
    csv, plot, page = (out / f"{table.name}.{suffix}" for suffix in ("csv", "png", "md"))
    drawn = draw(plot, table.title, table.layout, results)
    text = as_page(table, results, made=made, notes=notes_of(out, table.name), plot=plot.name if drawn else "")
    for path, content in ((csv, as_csv(results)), (page, text)):
        write_atomic(*open_storage(str(path)), content.encode())
    return [csv, *([plot] if drawn else []), page]


def made(table: Table, config: TablesConfig, shelf: Shelf, results: list[Result]) -> dict[str, str]:
    """How the table was made, in words that name no place of this machine."""
    options = {"horses": "HORSES", "paintings": "PAINTINGS", "scenes": "SCENES"}
    options |= {name: name.upper() for name in vars(config) if name.startswith("weights_")}
    given = [f"{word}=..." for name, word in options.items() if getattr(config, name)]
    adapters = [f"ADAPTER_PHOTOS={config.adapter_photos}"] if table.name == "table-red-team" else []
    faces = shelf.stargan.photos or shelf.plain.photos
    counts = sorted({len(result.keys) for result in results if result.keys})
    lost = max((result.missing for result in results), default=0)
    found = versions()
    return {
        "Command": f"`make {' '.join([table.name, 'FACES=FOLDER', f'PHOTOS={config.photos}', *adapters, *given])}`",
        "Data": f"FOLDER is `{config.faces.name}`: {faces.about if faces else 'none'}, in the order of the hashes of their names",
        "Photos in a number": " or ".join(map(str, counts)) + (f"; at most {lost} could not be measured" if lost else "")
        if counts
        else "none: no net was at hand",
        "Numbers": "from the files as written, read back; L1 and L2 of outputs in [-1, 1]; % dis. is the share of pairs of "
        "photo and "
        "class with L2 of at least 0.05",
        "Intervals": f"95 %, by drawing the photos anew {config.bootstrap} times; they say nothing about other nets or other "
        "kinds of photos. A number without one is the same in every drawing"
        + (
            f"; 0 of {counts[0]} photos leaves room for a share of up to {100 * (1 - 0.025 ** (1 / counts[0])):.0f} %"
            if counts
            else ""
        ),
        "Computed with": f"disrupt {found.get('disrupt', '')}, torch {found.get('torch', '')}, on "
        f"{'a GPU' if config.gpu else 'the CPU'}",
    }


def metrics(results: list[Result]) -> dict[str, float]:
    """The measured means for the record, as ``measure/label/label``."""
    return {
        "/".join((name, *result.labels.values())): estimate.mean
        for result in results
        if result.status != PUBLISHED
        for name, estimate in result.estimates.items()
        if math.isfinite(estimate.mean)
    }


def _tracking(config: TablesConfig, command: str) -> Tracking:
    if not config.tracking:
        return no_record()
    return open_tracking(experiment="tables", run_name=config.name, params=dataclasses.asdict(config), tags={"command": command})
