"""Tables 1, 4 and 5 of [R20], measured on the nets at hand, beside the published figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from pipeline.tables.cells import PUBLISHED, SOURCE, Net, Row, Run, Table, published, row
from pipeline.tables.nets import some_classes
from pipeline.tables.options import TablesConfig

RECIPES = ("fgsm", "ifgsm", "pgd")
LEVELS = {"0.05": (6, "6.375"), "0.1": (13, "12.75")}
"""Epsilon in [-1, 1] -> the whole levels here, and the levels of the paper."""
SYSTEMS = {
    "StarGAN": "stargan",
    "GANimation": "ganimation",
    "pix2pixHD": "pix2pixhd",
    "CycleGAN (horse)": "cyclegan",
    "CycleGAN (Monet)": "monet",
    "multistyle": "multistyle",
}
TABLE1 = {
    ("StarGAN", "0.05"): ((0.462, 0.332, 1.0), (1.134, 1.525, 1.0), (1.119, 1.479, 1.0)),
    ("GANimation", "0.05"): ((0.090, 0.017, 0.0), (0.142, 0.046, 0.349), (0.139, 0.044, 0.304)),
    ("GANimation", "0.1"): ((0.121, 0.024, 0.015), (0.212, 0.098, 0.939), (0.190, 0.077, 0.837)),
    ("pix2pixHD", "0.05"): ((0.240, 0.118, 0.96), (0.935, 1.110, 1.0), (0.922, 1.084, 1.0)),
    ("CycleGAN (horse)", "0.05"): ((0.133, 0.040, 0.21), (0.385, 0.242, 1.0), (0.402, 0.253, 1.0)),
    ("CycleGAN (Monet)", "0.05"): ((0.155, 0.039, 0.22), (0.817, 0.802, 1.0), (0.881, 0.898, 1.0)),
}
"""L1, L2 and share of disrupted samples for each recipe. Faces are CelebA, street scenes Cityscapes."""
TABLE4 = {
    "incorrect class": (0.144, 0.053, 0.457),
    "iterative": (0.171, 0.075, 0.756),
    "joint": (0.157, 0.062, 0.538),
    "correct class": (0.166, 0.071, 0.687),
}
"""L1, L2 and share of disrupted samples."""
NOTHING = "no disruption"
TABLE5 = {
    "incorrect class": (1.69e-3, 3.09e-4),
    "iterative": (6.07e-4, 8.02e-5),
    "joint": (3.86e-4, 1.67e-5),
    "correct class": (9.88e-5, 4.73e-5),
    NOTHING: (9.10e-2, 2.15e-2),
}
"""L1 and L2 of the output to the input."""


def systems(config: TablesConfig, nets: Mapping[str, Net]) -> list[Row]:
    """Each system with each epsilon and recipe, the class that is measured attacked; below it the published figures."""
    rows: list[Row] = []
    for system, name in SYSTEMS.items():
        net = nets[name]
        for epsilon, (levels, exact) in LEVELS.items():
            for recipe in RECIPES:
                run = Run((net,), recipe=recipe, epsilon=levels)
                runs = [run] if net.planes else run.each_own(some_classes(net, 2))
                rows.append(row(*runs, system=system, epsilon=epsilon, levels=str(levels), source="here", recipe=recipe))
            labels = {"system": system, "epsilon": epsilon, "levels": exact, "source": PUBLISHED}
            figures = zip(RECIPES, TABLE1.get((system, epsilon), ()), strict=False)
            rows += [published(values, **labels, recipe=recipe) for recipe, values in figures]
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


def schedules(nets: Mapping[str, Net], recipe: str, measure: str, figures: Mapping[str, tuple[float, ...]]) -> list[Row]:
    """GANimation (StarGAN where there is none) and multistyle with each line of the published figures, then these."""
    pair = [nets["stargan"] if nets["ganimation"].missing else nets["ganimation"], nets["multistyle"]]
    rows = [row(*runs_of(net, recipe, measure)[name], net=net.label, attacked=name) for net in pair for name in figures]
    return rows + [published(values, net="GANimation [R20]", attacked=name) for name, values in figures.items()]


CLASSES = f"Epsilon 6 levels (0.05 in the paper). The published rows are those of GANimation at 128 px in {SOURCE}."
TABLES = (
    Table(
        name="table1",
        title="Table 1: how much each attack disrupts each system",
        caption="FGSM (one step), I-FGSM and PGD (20 steps of 1.275 levels) against each system, beside the figures of "
        f"{SOURCE}. The class that is measured is the one that is attacked.",
        photos=12,
        rows=systems,
        lines=("system", "epsilon", "levels", "source"),
        columns="recipe",
    ),
    Table(
        name="table4",
        title="Table 4: attacks that do not know the class",
        caption=f"PGD away from the output; higher is better. {CLASSES}",
        photos=8,
        rows=lambda config, nets: schedules(nets, "pgd", "output", TABLE4),
        lines=("net", "attacked"),
    ),
    Table(
        name="table5",
        title="Table 5: making the generator do nothing",
        caption=f"The output driven towards the photo; L1 and L2 are its distance to the photo; lower is better. {CLASSES}",
        photos=8,
        rows=lambda config, nets: schedules(nets, "towards-input", "to input", TABLE5),
        lines=("net", "attacked"),
        shown=("l1", "l2"),
    ),
)
