"""Table 1 of [R20]: FGSM, I-FGSM and PGD on every system, beside the published figures."""

from __future__ import annotations

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
FIGURES = {
    ("StarGAN", "0.05"): ((0.462, 0.332, 1.0), (1.134, 1.525, 1.0), (1.119, 1.479, 1.0)),
    ("GANimation", "0.05"): ((0.090, 0.017, 0.0), (0.142, 0.046, 0.349), (0.139, 0.044, 0.304)),
    ("GANimation", "0.1"): ((0.121, 0.024, 0.015), (0.212, 0.098, 0.939), (0.190, 0.077, 0.837)),
    ("pix2pixHD", "0.05"): ((0.240, 0.118, 0.96), (0.935, 1.110, 1.0), (0.922, 1.084, 1.0)),
    ("CycleGAN (horse)", "0.05"): ((0.133, 0.040, 0.21), (0.385, 0.242, 1.0), (0.402, 0.253, 1.0)),
    ("CycleGAN (Monet)", "0.05"): ((0.155, 0.039, 0.22), (0.817, 0.802, 1.0), (0.881, 0.898, 1.0)),
}
"""L1, L2 and share of disrupted samples for each recipe. Faces are CelebA, street scenes Cityscapes."""


def rows_of(config: TablesConfig, nets: Mapping[str, Net]) -> list[Row]:
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
            figures = zip(RECIPES, FIGURES.get((system, epsilon), ()), strict=False)
            rows += [published(values, **labels, recipe=recipe) for recipe, values in figures]
    return rows


TABLE = Table(
    name="table1",
    title="Table 1: how much each attack disrupts each system",
    caption="FGSM (one step), I-FGSM and PGD (20 steps of 1.275 levels) against each system, beside the figures of "
    f"{SOURCE}. The class that is measured is the one that is attacked.",
    photos=12,
    rows=rows_of,
    lines=("system", "epsilon", "levels", "source"),
    columns="recipe",
)
