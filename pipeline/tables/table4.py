"""Table 4 of [R20]: attacks that know the class, another class, or all classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from pipeline.tables.cells import SOURCE, Net, Row, Run, Table, published, row
from pipeline.tables.nets import some_classes
from pipeline.tables.options import TablesConfig

CLASSES = 4
PAPER = "GANimation [R20]"
FIGURES = {
    "incorrect class": (0.144, 0.053, 0.457),
    "iterative": (0.171, 0.075, 0.756),
    "joint": (0.157, 0.062, 0.538),
    "correct class": (0.166, 0.071, 0.687),
}
"""L1, L2 and share of disrupted samples."""
CLASSES_CAPTION = f"Epsilon 6 levels (0.05 in the paper). The published rows are those of GANimation at 128 px in {SOURCE}."


def nets_with_classes(nets: Mapping[str, Net]) -> list[Net]:
    """GANimation, or StarGAN where there is none, and multistyle."""
    return [nets["stargan"] if nets["ganimation"].missing else nets["ganimation"], nets["multistyle"]]


def runs_of(net: Net, recipe: str, measure: str = "output") -> dict[str, list[Run]]:
    """The runs of a net by what the attack knows of the class."""
    names = some_classes(net, CLASSES)
    run = Run((net,), recipe=recipe, attacked=names, measured=names, measure=measure)
    joint = dataclasses.replace(run, parts=(("class_schedule", "joint"),))
    pairs = zip(names, (names[-1], *names[:-1]), strict=True)
    return {
        "incorrect class": [dataclasses.replace(run, attacked=(other,), measured=(name,)) for name, other in pairs],
        "iterative": [run],
        "joint": [joint],
        "correct class": run.each_own(names),
    }


def rows_of(config: TablesConfig, nets: Mapping[str, Net]) -> list[Row]:
    """Each net with each schedule of classes, then the published figures."""
    rows: list[Row] = []
    for net in nets_with_classes(nets):
        rows += [row(*runs, net=net.label, attacked=name) for name, runs in runs_of(net, "pgd").items()]
    return [*rows, *(published(figures, net=PAPER, attacked=name) for name, figures in FIGURES.items())]


TABLE = Table(
    name="table4",
    title="Table 4: attacks that do not know the class",
    caption=f"PGD away from the output; higher is better. {CLASSES_CAPTION}",
    photos=8,
    rows=rows_of,
    lines=("net", "attacked"),
)
