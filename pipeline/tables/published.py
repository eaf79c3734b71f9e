"""Tables 1, 4 and 5 of [R20], measured on the nets at hand, beside the published figures."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping
from pathlib import Path

from pipeline.tables.cells import PUBLISHED, Net, Row, Run, Table, published, row
from pipeline.tables.nets import NETS, some_classes
from pipeline.tables.options import TablesConfig

RECIPES = ("fgsm", "ifgsm", "pgd")
LEVELS = {"0.05": (6, "6.375"), "0.1": (13, "12.75")}
"""Epsilon in [-1, 1] -> the whole levels here, and the levels of the paper."""
SYSTEMS = ("stargan", "ganimation", "pix2pixhd", "cyclegan", "monet", "multistyle")
NOTHING = "no disruption"


def figures(table: str) -> dict[tuple[str, str, str], tuple[float, ...]]:
    """(system, epsilon, attack) -> L1, L2 and, but for table 5, the share of disrupted samples, as published in [R20]."""
    with Path(__file__).with_name("published.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file) if row[0] == table]
    return {(system, epsilon, attack): tuple(float(one) for one in some if one) for _, system, epsilon, attack, *some in rows}


def systems(config: TablesConfig, nets: Mapping[str, Net]) -> list[Row]:
    """Each system with each epsilon and recipe, the class that is measured attacked; below it the published figures."""
    rows: list[Row] = []
    for name in SYSTEMS:
        net, system = nets[name], NETS[name].label
        for epsilon, (levels, exact) in LEVELS.items():
            for recipe in RECIPES:
                run = Run((net,), recipe=recipe, epsilon=levels)
                runs = [run] if net.planes else run.each_own(some_classes(net, 2))
                rows.append(row(*runs, system=system, epsilon=epsilon, levels=str(levels), source="here", recipe=recipe))
            labels = {"system": system, "epsilon": epsilon, "levels": exact, "source": PUBLISHED}
            known = {recipe: figures("table1").get((system, epsilon, recipe)) for recipe in RECIPES}
            rows += [published(values, **labels, recipe=recipe) for recipe, values in known.items() if values]
    return rows


def runs_of(net: Net, recipe: str, measure: str) -> dict[str, list[Run]]:
    """The runs of a net by what the attack knows of up to four classes."""
    names = some_classes(net, 4)
    run = Run((net,), recipe=recipe, attacked=names, measured=names, measure=measure)
    pairs = zip(names, (names[-1], *names[:-1]), strict=True)
    return {
        "incorrect class": [dataclasses.replace(run, attacked=(other,), measured=(name,)) for name, other in pairs],
        "iterative": [run],
        "joint": [dataclasses.replace(run, parts=(("class_schedule", "joint"),))],
        "correct class": run.each_own(names),
        NOTHING: [dataclasses.replace(run, measure=NOTHING)],
    }


def schedules(nets: Mapping[str, Net], recipe: str, measure: str, table: str) -> list[Row]:
    """GANimation (StarGAN where there is none) and multistyle with each line of the published figures, then these."""
    pair = [nets["stargan"] if nets["ganimation"].missing else nets["ganimation"], nets["multistyle"]]
    known = {attack: values for (_, _, attack), values in figures(table).items()}
    rows = [row(*runs_of(net, recipe, measure)[name], net=net.label, attacked=name) for net in pair for name in known]
    return rows + [published(values, net="GANimation [R20]", attacked=name) for name, values in known.items()]


TABLES = (
    Table(
        name="table1",
        title="Table 1: how much each attack disrupts each system",
        photos=12,
        rows=systems,
        lines=("system", "epsilon", "levels", "source"),
        columns="recipe",
    ),
    Table(
        name="table4",
        title="Table 4: attacks that do not know the class",
        photos=8,
        rows=lambda config, nets: schedules(nets, "pgd", "output", "table4"),
        lines=("net", "attacked"),
    ),
    Table(
        name="table5",
        title="Table 5: making the generator do nothing",
        photos=8,
        rows=lambda config, nets: schedules(nets, "towards-input", "to input", "table5"),
        lines=("net", "attacked"),
        shown=("l1", "l2"),
    ),
)
