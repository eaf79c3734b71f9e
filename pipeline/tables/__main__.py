"""``python -m pipeline.tables TABLE --faces FOLDER``: one table from options to files: rows, CSV, page, plot, record."""

from __future__ import annotations

import dataclasses
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

import tyro

from pipeline.cli import exit_code
from pipeline.jobs.options import one_of
from pipeline.jobs.tracking import no_record, open_tracking
from pipeline.jobs.versions import versions
from pipeline.storage import open_storage, write_atomic
from pipeline.tables.bench import CONSOLE, fill
from pipeline.tables.cells import PUBLISHED, Net, Row, Table
from pipeline.tables.nets import nets_of
from pipeline.tables.options import SIGNALS, TablesConfig
from pipeline.tables.page import as_csv, as_page, draw, notes_of

PROG = "python -m pipeline.tables"
NAMES = ("table1", "table4", "table5", "table-references", "table-features", "table-robust", "table-transfer", "table-red-team",
         "table-hardening")  # fmt: skip
TABLES: dict[str, Table] = {name: import_module(f"pipeline.tables.{name.replace('-', '_')}").TABLE for name in NAMES}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse and run; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)

    def run() -> int:
        return run_table(tyro.cli(TablesConfig, prog=PROG, args=words), command=shlex.join([*PROG.split(), *words]))

    return exit_code(run, prog=PROG, after_stop="stopped. Run the same command again to go on.")


def run_table(config: TablesConfig, *, command: str) -> int:
    """Make a table; returns the exit code. Errors of the call are raised as ValueError."""
    one_of("TABLE", config.name, (*TABLES, SIGNALS))
    config.check()
    tags = {"command": command}
    params = dataclasses.asdict(config)
    record = open_tracking(experiment="tables", run_name=config.name, params=params, tags=tags) if config.tracking else no_record()
    with record as tracking:
        if config.name == SIGNALS:
            from pipeline.tables.signals.table import write_signals

            paths = write_signals(config)
        else:
            table = TABLES[config.name]
            nets = nets_of(config, config.photos or table.photos)
            rows = fill(config, table.rows(config, nets))
            paths = write(table, rows, config, made=made(table, config, nets, rows))
            tracking.metrics(metrics(rows))
        for path in paths:
            tracking.artifact(path)
            CONSOLE.print(str(path), soft_wrap=True)
    return 0


def write(table: Table, rows: Sequence[Row], config: TablesConfig, *, made: Mapping[str, str]) -> list[Path]:
    """Write CSV, plot and page into ``--out``; returns their paths."""
    config.out.mkdir(parents=True, exist_ok=True)
    text, plot, page = (config.out / f"{table.name}.{suffix}" for suffix in ("csv", "png", "md"))
    drawn = draw(plot, table, rows)
    notes = notes_of(config.out, table.name)
    write_atomic(*open_storage(str(text)), as_csv(table, rows).encode())
    write_atomic(*open_storage(str(page)), as_page(table, rows, made=made, notes=notes, plot=plot.name if drawn else "").encode())
    return [text, *([plot] if drawn else []), page]


def made(table: Table, config: TablesConfig, nets: Mapping[str, Net], rows: Sequence[Row]) -> dict[str, str]:
    """How the table was made, in words that name no folder of this machine."""
    words = ["horses", "paintings", "scenes", *(name for name in vars(config) if name.startswith("weights_"))]
    options = [f"PHOTOS={config.photos or table.photos}", *(f"{name.upper()}=..." for name in words if getattr(config, name))]
    options += [f"ADAPTER_PHOTOS={config.adapter_photos}"] if table.name == "table-red-team" else []
    faces = next((net.photos.about for net in (nets["stargan"], nets["plain"]) if not net.missing), "none")
    counts = sorted({row.line.photos for row in rows if row.line and row.status != PUBLISHED})
    missing = max((row.missing for row in rows), default=0)
    number = " or ".join(map(str, counts)) + (f"; at most {missing} could not be measured" if missing else "")
    known, device = versions(), "a GPU" if config.gpu else "the CPU"
    return {
        "Command": f"`make {table.name} FACES=FOLDER {' '.join(options)}`",
        "Data": f"FOLDER is `{config.faces.name}`: {faces}, in the order of the hashes of their names",
        "Photos in a number": number or "none: no net was at hand",
        "Intervals": f"95 %, by drawing the photos anew {config.draws} times",
        "Computed with": f"disrupt {known.get('disrupt', '')}, torch {known.get('torch', '')}, on {device}",
    }


def metrics(rows: Sequence[Row]) -> dict[str, float]:
    """The measured means for the record, as ``measure/label/label``."""
    measured = [row for row in rows if row.line and row.status != PUBLISHED]
    values = {"/".join((name, *row.labels.values())): row.mean(name) for row in measured for name in ("l1", "l2", "disrupted")}
    return {name: value for name, value in values.items() if math.isfinite(value)}


if __name__ == "__main__":
    sys.exit(main())
