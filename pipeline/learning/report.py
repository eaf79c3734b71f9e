"""Learned perturbations for people: a table for the terminal and one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from markupsafe import Markup
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from pipeline.images import LOST, THRESHOLD
from pipeline.images.types import F64
from pipeline.jobs.versions import versions
from pipeline.learning.held_out import Line, Sample, lines
from pipeline.learning.job import Job
from pipeline.report.examples import Example, amplification
from pipeline.report.outcome import number
from pipeline.report.page import as_yaml, template
from pipeline.report.plots import histogram

REPORT_FILE = "report.html"
HEADS = ("network", "class", "samples", "L1", "L2", "% dis.", "lost", "% visible", "levelled", "% levelled")


def terminal_table(rows: Sequence[Line]) -> Table:
    """What ``rich`` prints at the end: the effect on people that were not learned from."""
    table = Table(*HEADS, title="Effect on held-out people", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in table.columns[2:]:
        column.justify = "right"
    for row in rows:
        table.add_row(Text(row.generator), Text(row.class_name), *_cells(row))
    return table


def in_grey(rows: Sequence[Line]) -> list[Line]:
    """The lines of all classes, measured on grey photos, as they are shown below those of colour photos."""
    return [replace(row, class_name="all, grey photos") for row in rows if row.class_name == "all"]


def write_report(
    job: Job,
    samples: Sequence[Sample],
    grey: Sequence[Line],
    examples: Sequence[Example],
    cosines_nn: F64,
    *,
    command: str,
) -> str:
    """The page: what the perturbations do to held-out people, with pictures, and how alike they are. Every text is escaped.

    ``grey`` has the lines of the same photos turned grey.
    """
    rows, config = lines(samples), job.config
    everyone = [row for row in rows if row.class_name == "all"]
    verdict = ", ".join(f"{row.generator} {number(100 * row.disrupted, 1)} %" for row in everyone)
    plots = [
        (
            f"{label} of each held-out photo, network and class; the line is the threshold, {THRESHOLD}",
            histogram([getattr(one, name) for one in samples], name=name, label=label, counted="samples", threshold=THRESHOLD),
        )
        for name, label in (("l2", "L2"), ("levelled", "levelled"))
    ]
    text: str = template("universal.html").render(
        summary={"total": 0, "counts": {}, "reasons": ()},
        verdict=f"Outputs of held-out people disrupted: {verdict}.",
        facts=_facts(everyone, cosines_nn),
        plots=[(caption, Markup(svg)) for caption, svg in plots if svg],
        rows=[(row.generator, row.class_name, *_cells(row)) for row in [*rows, *in_grey(grey)]],
        heads=HEADS,
        examples=examples,
        measured={},
        amplification=amplification(config.epsilon),
        count=config.count,
        learned=len(job.faces.names),
        split=job.split,
        side=job.side,
        max_reasons=0,
        command=command,
        config=as_yaml(job.options),
        versions=versions(),
        threshold=THRESHOLD,
        lost=LOST,
    )
    return text.encode("utf-8", "backslashreplace").decode()


def _facts(rows: Sequence[Line], cosines_nn: F64) -> list[tuple[str, str, str]]:
    """(value, what it is, remark) for the row of numbers at the top."""
    facts = []
    for row in rows:
        facts.append((f"{number(100 * row.disrupted, 1)} %", f"disrupted, {row.generator}", f"{row.samples:,} samples"))
        facts.append((f"{number(100 * row.visible, 1)} %", f"visibly broken, {row.generator}", f"mean lost {number(row.lost)}"))
        levelled = f"mean {number(row.levelled)}"
        facts.append((f"{number(100 * row.disrupted_levelled, 1)} %", f"after auto levels, {row.generator}", levelled))
    if len(cosines_nn) > 1:
        others = cosines_nn[~np.eye(len(cosines_nn), dtype=bool)]
        facts.append((number(float(others.mean()), 2), "mean cosine in the set", f"largest {number(float(others.max()), 2)}"))
    return facts


def _cells(row: Line) -> tuple[str, ...]:
    effect = (str(row.samples), number(row.l1), number(row.l2), number(100 * row.disrupted, 1))
    seen = (number(row.lost), number(100 * row.visible, 1))
    return *effect, *seen, number(row.levelled), number(100 * row.disrupted_levelled, 1)
