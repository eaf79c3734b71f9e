"""``python -m pipeline.tables TABLE --faces FOLDER``: one table from options to files: rows, CSV, page, record."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro

from pipeline.cli import exit_code
from pipeline.jobs.options import one_of
from pipeline.jobs.tracking import no_record, open_tracking
from pipeline.tables import ablations, published, red_team
from pipeline.tables.bench import CONSOLE, fill
from pipeline.tables.cells import PUBLISHED, Row, Table
from pipeline.tables.nets import nets_of
from pipeline.tables.options import SIGNALS, TablesConfig
from pipeline.tables.page import as_csv, as_page, made_by, notes_of, write_files

PROG = "python -m pipeline.tables"
TABLES: dict[str, Table] = {table.name: table for table in (*published.TABLES, *ablations.TABLES, red_team.TABLE)}


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
    tags, params = {"command": command}, dataclasses.asdict(config)
    record = open_tracking(experiment="tables", run_name=config.name, params=params, tags=tags) if config.tracking else no_record()
    with record as tracking:
        if config.name == SIGNALS:
            from pipeline.tables.signals.table import write_signals

            paths = write_signals(config)
        else:
            table = TABLES[config.name]
            nets = nets_of(config, config.photos or table.photos)
            rows = fill(config, table.rows(config, nets))
            paths = write(table, rows, config, made=made_by(config, config.photos or table.photos))
            measured = [row for row in rows if row.line and row.status != PUBLISHED]
            tracking.metrics(
                {"/".join((name, *row.labels.values())): row.mean(name) for row in measured for name in ("l2", "disrupted")}
            )
        for path in paths:
            tracking.artifact(path)
            CONSOLE.print(str(path), soft_wrap=True)
    return 0


def write(table: Table, rows: Sequence[Row], config: TablesConfig, *, made: str) -> list[Path]:
    """Write CSV and page into ``--out``; returns their paths."""
    page = as_page(table, rows, made=made, notes=notes_of(config.out, table.name))
    return write_files(config, table.name, csv=as_csv(table, rows), md=page)


if __name__ == "__main__":
    sys.exit(main())
