"""Tables 4 and 5 of [R20]: attacks that know the class, another class, or all classes; away from the output, or to the input."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

from pipeline.tables import published
from pipeline.tables.bench import Bench
from pipeline.tables.cells import Attack, Cell, Net, Run, cell, each_own
from pipeline.tables.nets import Shelf, some_classes
from pipeline.tables.numbers import Result
from pipeline.tables.published import Figures
from pipeline.tables.table import Layout, Table, by_label, ordering, published_result, side_by_side

CLASSES = 4
IN_THE_PAPER = "GANimation [R20]"
Runs = Callable[[Attack, tuple[str, ...]], list[Run]]


def _incorrect(attack: Attack, names: tuple[str, ...]) -> list[Run]:
    """Each class measured after an attack on the one before it in the list."""
    net = attack.nets[0]
    return [Run(dataclasses.replace(attack, classes=(names[i - 1],)), net, classes=(name,)) for i, name in enumerate(names)]


def _all(attack: Attack, names: tuple[str, ...], schedule: str = "iterative") -> list[Run]:
    parts = (*attack.parts, ("class_schedule", schedule))
    return [Run(dataclasses.replace(attack, classes=names, parts=parts), attack.nets[0], classes=names)]


SCHEDULES: dict[str, Runs] = {
    "incorrect class": _incorrect,
    "iterative": _all,
    "joint": partial(_all, schedule="joint"),
    "correct class": each_own,
}


def _nets(shelf: Shelf) -> list[Net]:
    """GANimation, or StarGAN where there is none, and multistyle."""
    return [shelf.stargan if shelf.ganimation.missing else shelf.ganimation, shelf.multistyle]


def _cells(bench: Bench, shelf: Shelf, recipe: str, measure: str) -> list[Cell]:
    found = []
    for net in _nets(shelf):
        names = some_classes(net, CLASSES)
        for schedule, runs in SCHEDULES.items():
            measured = [dataclasses.replace(run, measure=measure) for run in runs(Attack((net,), recipe), names)]
            found.append(cell(measured, net=net.label, attacked=schedule))
    return found


def _with_nothing(bench: Bench, shelf: Shelf) -> list[Cell]:
    """The cells of Table 5 and, for each net, the output without any disruption."""
    found = _cells(bench, shelf, "towards-input", "to input")
    for net in _nets(shelf):
        names = some_classes(net, CLASSES)
        runs = [dataclasses.replace(run, measure="no disruption") for run in _all(Attack((net,), "towards-input"), names)]
        found.append(cell(runs, net=net.label, attacked="no disruption"))
    return side_by_side_cells(found)


def side_by_side_cells(cells: Sequence[Cell]) -> list[Cell]:
    """Cells of one net next to each other."""
    nets = list(dict.fromkeys(one.labels["net"] for one in cells))
    return sorted(cells, key=lambda one: nets.index(one.labels["net"]))


def _published(figures: dict[str, Figures]) -> list[Result]:
    return [published_result({"net": IN_THE_PAPER, "attacked": name}, found) for name, found in figures.items()]


def _findings(results: Sequence[Result], figures: dict[str, Figures]) -> list[str]:
    expected = sorted(figures, key=lambda name: -figures[name].l2)
    nets = dict.fromkeys(result.labels["net"] for result in results if result.labels["net"] != IN_THE_PAPER)
    return [ordering(net, expected, by_label(results, "attacked", net=net)) for net in nets]


_ABOUT = (
    f"Up to {CLASSES} classes of each net, evenly spread over its list. *incorrect class*: the attack knows another class than the "
    "one that is measured; *iterative*: one class a step in turn; *joint*: the sum over the classes in every step (as many times "
    "the work); *correct class*: the measured class itself. Epsilon 6 levels (0.05 in the paper). "
    f"The published rows are those of GANimation at 128 px in {published.SOURCE}."
)

TABLE4 = Table(
    name="table4",
    title="Table 4: attacks that do not know the class",
    about=f"PGD away from the output; higher is better. {_ABOUT}",
    photos=8,
    cells=partial(_cells, recipe="pgd", measure="output"),
    layout=Layout(("net", "attacked")),
    findings=partial(_findings, figures=published.TABLE4),
    published=partial(_published, published.TABLE4),
    derived=lambda results: side_by_side(results, ("net",)),
)

TABLE5 = Table(
    name="table5",
    title="Table 5: making the generator do nothing",
    about=(
        "The output is driven towards the photo itself, 20 steps of 1.275 levels; L1 and L2 are the distance of the output on the "
        "protected file to the photo; lower is better. *no disruption* is that distance for the photo as it is: what the "
        f"translation changes. {_ABOUT}"
    ),
    photos=8,
    cells=_with_nothing,
    layout=Layout(("net", "attacked"), shown=("l1", "l2")),
    findings=partial(_findings, figures=published.TABLE5),
    published=partial(_published, published.TABLE5),
    derived=lambda results: side_by_side(results, ("net",)),
)
