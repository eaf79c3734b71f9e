"""``python -m pipeline.tables TABLE --faces FOLDER``: one table of the method."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

import tyro
from rich.console import Console

from pipeline.cli import exit_code
from pipeline.tables.config import TablesConfig
from pipeline.tables.run import run_table

PROG = "python -m pipeline.tables"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse and run; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)

    def run() -> int:
        config = tyro.cli(TablesConfig, prog=PROG, args=words)
        return run_table(config, command=shlex.join([*PROG.split(), *words]), console=Console(markup=False, emoji=False))

    return exit_code(run, prog=PROG, after_stop="stopped; what is done is kept. Run the same command again to go on.")


if __name__ == "__main__":
    sys.exit(main())
