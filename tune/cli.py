"""The verb ``disrupt tune``: parse, call one function."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.console import Console

from pipeline.cli import ended, parse


def tune(arguments: Sequence[str], *, prog: str = "disrupt tune", **defaults: object) -> int:
    """Run ``disrupt tune`` with these words; ``defaults`` replace defaults of options. Returns the exit code."""

    def run() -> int:
        from tune.config import SearchConfig

        config = parse(SearchConfig, ("data", "output"), arguments, prog=prog, defaults=defaults)
        from tune.run import run_search

        console = Console(markup=False, emoji=False)
        return run_search(config, command=shlex.join([*prog.split(), *arguments]), console=console)

    return ended(run, prog=prog, after_stop="stopped; what trials have done is kept. Run the same command again to go on.")
