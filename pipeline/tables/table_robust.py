"""Plain against robust recipes: what is left of a disruption after what happens to files on the web."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from pipeline.channels.channels import CHANNELS
from pipeline.disruption.recipes import RECIPES
from pipeline.tables.cells import Net, Row, Run, Table, row
from pipeline.tables.options import TablesConfig


def rows_of(config: TablesConfig, nets: Mapping[str, Net]) -> list[Row]:
    """Every channel for every recipe; the longer PGD takes as many steps as robust, so that work is not what differs."""
    steps = RECIPES["robust"].steps
    pgd = Run((nets["stargan"],))
    runs = {
        "pgd": pgd,
        f"pgd, {steps} steps": dataclasses.replace(pgd, parts=(("steps", steps),)),
        "robust": dataclasses.replace(pgd, recipe="robust"),
    }
    pairs = [(channel, recipe) for channel in CHANNELS for recipe in runs]
    return [row(dataclasses.replace(runs[recipe], channel=channel), channel=channel, recipe=recipe) for channel, recipe in pairs]


TABLE = Table(
    name="table-robust",
    title="What is left after the web: plain against robust",
    caption="The same photos protected with `pgd` and with `robust` (epsilon 6 levels, all classes in turn, StarGAN), then "
    "through each channel with the real codec, as the photo that they are compared with.",
    photos=12,
    rows=rows_of,
    lines=("channel",),
    columns="recipe",
    shown=("l2", "disrupted", "relative"),
    drawn="disrupted",
)
