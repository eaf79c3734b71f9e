"""Table 1 of [R20]: FGSM, I-FGSM and PGD on every system, beside the published figures."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.tables import published
from pipeline.tables.bench import Bench
from pipeline.tables.cells import Attack, Cell, Net, Run, cell, each_own
from pipeline.tables.nets import Shelf, some_classes
from pipeline.tables.numbers import Result
from pipeline.tables.table import HERE, PUBLISHED, Layout, Table, by_label, ordering, published_result, side_by_side

RECIPES = ("fgsm", "ifgsm", "pgd")
LEVELS = {"0.05": 6, "0.1": 13}
EXACT = {"0.05": "6.375", "0.1": "12.75"}
CLASSES = 2
KEYS = ("system", "epsilon")


def systems(shelf: Shelf) -> dict[str, Net]:
    """The nets by the name of their system: the published five, then one trained by others."""
    return {
        "StarGAN": shelf.stargan,
        "GANimation": shelf.ganimation,
        "pix2pixHD": shelf.pix2pixhd,
        "CycleGAN (horse)": shelf.cyclegan,
        "CycleGAN (Monet)": shelf.monet,
        "multistyle": shelf.multistyle,
    }


def cells(bench: Bench, shelf: Shelf) -> list[Cell]:
    """Each system with each epsilon and recipe; a sample's own class is attacked."""
    return [
        cell(_runs(net, recipe, levels), system=system, epsilon=epsilon, levels=str(levels), source=HERE, recipe=recipe)
        for system, net in systems(shelf).items()
        for epsilon, levels in LEVELS.items()
        for recipe in RECIPES
    ]


def _runs(net: Net, recipe: str, levels: int) -> list[Run]:
    attack = Attack((net,), recipe, levels)
    return [Run(attack, net)] if net.planes else each_own(attack, some_classes(net, CLASSES))


def published_rows() -> list[Result]:
    """The published figures in the same labels."""
    return [
        published_result(
            {"system": system, "epsilon": epsilon, "levels": EXACT[epsilon], "source": PUBLISHED, "recipe": recipe}, figures
        )
        for (system, epsilon, recipe), figures in published.TABLE1.items()
    ]


def findings(results: Sequence[Result]) -> list[str]:
    """Whether the published order of the three recipes by L2 holds, for each system and epsilon that was published."""
    said = []
    for system, epsilon in dict.fromkeys((system, epsilon) for system, epsilon, _ in published.TABLE1):
        expected = sorted(RECIPES, key=lambda recipe: -published.TABLE1[system, epsilon, recipe].l2)
        found = by_label(results, "recipe", system=system, epsilon=epsilon)
        said.append(ordering(f"{system}, epsilon {epsilon}", expected, found))
    return said


TABLE = Table(
    name="table1",
    title="Table 1: how much each attack disrupts each system",
    about=(
        "FGSM (one step), I-FGSM and PGD (20 steps of 1.275 levels) against each system, beside the figures of "
        f"{published.SOURCE}. As there, the class that is measured is the one that is attacked, and L1, L2 and % dis. compare the "
        "output on the protected file with the output on the photo.\n\n"
        "Files have whole levels, so epsilon 0.05 (6.375 levels of 255) is rounded down to 6 and 0.1 (12.75 levels) up to 13. "
        "The nets "
        "here are not the published ones: they are smaller and trained on other and fewer pictures, so sizes of numbers cannot be "
        "compared, only their order. pix2pixHD translates label maps: its 36 input planes of 0 and 1 are perturbed, as in the "
        "paper, "
        "cut to [-1, 1], and the perturbation is stored in whole levels of 1/127.5; there is no photo file. multistyle (26 "
        "painting "
        "styles, four of them used here) was trained by others and has no published row."
    ),
    photos=12,
    cells=cells,
    layout=Layout(("system", "epsilon", "levels", "source"), "recipe"),
    findings=findings,
    published=published_rows,
    derived=lambda results: side_by_side(results, KEYS),
)
