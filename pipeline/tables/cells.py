"""What a table is made of: nets, runs that attack and measure them, and rows that hold the numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline.evaluation.bootstrap import NONE, Interval
from pipeline.evaluation.summary import CLEAN, Line
from pipeline.tables.options import TablesConfig

PUBLISHED = "published"
NAMES = {"l1": "L1", "l2": "L2", "disrupted": "% dis.", "relative": "share of the clean % dis.", "visible": "% visibly broken"}
"""The measures as a reader knows them."""
BOTH_SHARES = ("l1", "l2", "disrupted", "visible")
"""What a table shows that has both shares: as published, and by what a person sees."""


class Photos(NamedTuple):
    """The first ``limit`` photos of a CSV for protect, or label maps of a folder."""

    path: Path
    limit: int


class Net(NamedTuple):
    """A net as a table names it, how it is loaded, and its photos; ``missing`` says why it is not at hand."""

    label: str
    generator: str = ""
    weights: Path | None = None
    photos: Photos = Photos(Path(), 0)
    missing: str = ""

    @property
    def planes(self) -> bool:
        """Whether it translates label maps, so that there are no photo files."""
        return self.generator == "pix2pixhd"


@dataclass(frozen=True)
class Run:
    """Photos protected against ``nets``, and what ``target`` (without one the first of them) makes of the files.

    ``attacked`` and ``measured`` are classes, none for all; ``parts`` are further options of protect. ``measure`` is `output` or
    one of `bench.MEASURES`, some of which compare with the net before an attacker changed it (``frozen``).
    """

    nets: tuple[Net, ...]
    target: Net | None = None
    recipe: str = "pgd"
    epsilon: int = 6
    attacked: tuple[str, ...] = ()
    measured: tuple[str, ...] = ()
    parts: tuple[tuple[str, object], ...] = ()
    seed: int = 0
    channel: str = CLEAN
    measure: str = "output"
    frozen: Net | None = None
    other_photos: Photos | None = None

    @property
    def net(self) -> Net:
        """The net that is measured."""
        return self.target or self.nets[0]

    @property
    def photos(self) -> Photos:
        """The photos that are protected."""
        return self.other_photos or self.nets[0].photos

    def each_own(self, classes: Iterable[str]) -> list[Run]:
        """Runs that attack each class by itself and measure that class, as [R20] counts."""
        return [dataclasses.replace(self, attacked=(name,), measured=(name,)) for name in classes]


class Row(NamedTuple):
    """A row: its labels, the runs whose samples it counts, and its numbers once they are measured.

    ``strongest`` counts for each photo and class only the run with the highest L2, as restarts do. ``status`` is measured,
    published, or why there is no ``line``; ``missing`` counts photos that could not be protected or measured.
    """

    labels: Mapping[str, str]
    runs: tuple[Run, ...] = ()
    strongest: bool = False
    status: str = ""
    line: Line | None = None
    missing: int = 0

    def mean(self, name: str) -> float:
        """The mean of a measure; NaN where there is none."""
        return self.line.means.get(name, math.nan) if self.line else math.nan

    def interval(self, name: str) -> Interval:
        """Its 95 % interval."""
        return self.line.interval(name) if self.line else NONE


class Table(NamedTuple):
    """A table. ``rows`` makes its rows, without numbers yet, from the nets by name.

    ``lines`` are the labels that name a line of the page, ``columns`` the label whose values are its columns (none: one column a
    measure), ``shown`` the measures in a cell, ``photos`` the default number of photos.
    """

    name: str
    title: str
    photos: int
    rows: Callable[[TablesConfig, Mapping[str, Net]], list[Row]]
    lines: tuple[str, ...]
    columns: str = ""
    shown: tuple[str, ...] = ("l1", "l2", "disrupted")


def row(*runs: Run, **labels: str) -> Row:
    """A row to be measured, with these labels, in this order."""
    return Row(labels, runs)


def published(figures: Iterable[float], **labels: str) -> Row:
    """A row of published figures: mean L1 and L2 of outputs in [-1, 1], and the share of disrupted samples where there is one."""
    means = dict(zip(NAMES, figures, strict=False))
    return Row(labels, status=PUBLISHED, line=Line("", "", "", 0, 0, means))
