"""A table as a value: its cells, its layout, what stands beside it, and what its numbers say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pipeline.tables.bench import Bench
from pipeline.tables.cells import Cell
from pipeline.tables.nets import Shelf
from pipeline.tables.numbers import Estimate, Result, compare
from pipeline.tables.published import Figures

PUBLISHED, HERE = "published", "here"


@dataclass(frozen=True)
class Layout:
    """How results are laid out: the labels that name a line, the label whose values are columns (none: one column a measure).

    ``shown`` are the measures of a cell. ``drawn`` is the one of the plot.
    """

    lines: tuple[str, ...]
    columns: str = ""
    shown: tuple[str, ...] = ("l1", "l2", "disrupted")
    drawn: str = "l2"


@dataclass(frozen=True)
class Table:
    """A table of the method. ``photos`` is the default number of photos; ``findings`` are sentences made from the numbers."""

    name: str
    title: str
    about: str
    photos: int
    cells: Callable[[Bench, Shelf], list[Cell]]
    layout: Layout
    findings: Callable[[Sequence[Result]], list[str]]
    published: Callable[[], list[Result]] = list
    derived: Callable[[list[Result]], list[Result]] = lambda results: results


def published_result(labels: Mapping[str, str], figures: Figures) -> Result:
    """Published figures as a row: means without intervals."""
    found = {"l1": Estimate(figures.l1), "l2": Estimate(figures.l2)}
    return Result(labels, PUBLISHED, found if figures.disrupted is None else found | {"disrupted": Estimate(figures.disrupted)})


def ordering(who: str, expected: Sequence[str], found: Mapping[str, Result], *, measure: str = "l2", because: str = "") -> str:
    """A sentence on whether the measured rows have the expected order, largest first, pair by pair.

    Neighbours in that order are compared; a name without a number is passed over.
    """
    known = [name for name in expected if name in found and found[name].estimates]
    if len(known) < 2:
        return f"{who}: no net, so nothing to compare."
    verdicts = [(a, b, compare(found[a], found[b], measure)) for a, b in pairwise(known)]
    said = {
        "larger": "{a} above {b}: holds",
        "smaller": "{a} above {b}: does not hold, it is the other way round",
        "undecided": "{a} above {b}: cannot be told from these photos",
    }
    parts = "; ".join(said[verdict].format(a=a, b=b) for a, b, verdict in verdicts)
    return f"{who}: {because or 'published'} {' > '.join(expected)} by {NAMES[measure]}. {parts}."


NAMES = {"l1": "L1", "l2": "L2", "disrupted": "% dis.", "relative": "share of the clean % dis."}
"""The measures as a reader knows them."""


def by_label(results: Sequence[Result], key: str, **labels: str) -> dict[str, Result]:
    """Results measured here with these labels, by their label ``key``."""
    return {
        result.labels[key]: result
        for result in results
        if result.status != PUBLISHED and all(result.labels.get(name) == value for name, value in labels.items())
    }


def side_by_side(results: Sequence[Result], keys: Sequence[str]) -> list[Result]:
    """The results with those of equal labels ``keys`` next to each other, in the order in which they first come."""
    seen = [tuple(result.labels[key] for key in keys) for result in results]
    first = list(dict.fromkeys(seen))
    return [result for _, result in sorted(zip(map(first.index, seen), results, strict=True), key=lambda pair: pair[0])]
