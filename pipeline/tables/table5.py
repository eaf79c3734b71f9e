"""Table 5 of [R20]: the output driven towards the input, so that the generator does nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from pipeline.tables.cells import Net, Row, Table, published, row
from pipeline.tables.options import TablesConfig
from pipeline.tables.table4 import CLASSES_CAPTION, PAPER, nets_with_classes, runs_of

RECIPE, NOTHING = "towards-input", "no disruption"
FIGURES = {
    "incorrect class": (1.69e-3, 3.09e-4),
    "iterative": (6.07e-4, 8.02e-5),
    "joint": (3.86e-4, 1.67e-5),
    "correct class": (9.88e-5, 4.73e-5),
    NOTHING: (9.10e-2, 2.15e-2),
}
"""L1 and L2 of the output to the input."""


def rows_of(config: TablesConfig, nets: Mapping[str, Net]) -> list[Row]:
    """Each net with each schedule of classes and without disruption, then the published figures."""
    rows: list[Row] = []
    for net in nets_with_classes(nets):
        runs = runs_of(net, RECIPE, "to input")
        runs[NOTHING] = [dataclasses.replace(run, measure=NOTHING) for run in runs["iterative"]]
        rows += [row(*some, net=net.label, attacked=name) for name, some in runs.items()]
    return [*rows, *(published(figures, net=PAPER, attacked=name) for name, figures in FIGURES.items())]


TABLE = Table(
    name="table5",
    title="Table 5: making the generator do nothing",
    caption=f"The output driven towards the photo; L1 and L2 are its distance to the photo; lower is better. {CLASSES_CAPTION}",
    photos=8,
    rows=rows_of,
    lines=("net", "attacked"),
    shown=("l1", "l2"),
)
