"""What a table is made of: nets, attacks, and cells that say what is measured on whose files."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

CLEAN = "clean"
Combine = Literal["pool", "strongest"]


@dataclass(frozen=True)
class Photos:
    """The photos of a measurement: a table of originals for protect, or a folder of label maps; at most ``limit`` of them."""

    place: Path
    limit: int
    about: str


@dataclass(frozen=True)
class Net:
    """A net as a table names it, how it is loaded, and its photos; ``missing`` says why it is not at hand.

    ``planes`` marks a net that translates label maps, so that there are no photo files.
    """

    label: str
    generator: str = ""
    weights: Path | None = None
    photos: Photos | None = None
    missing: str = ""
    planes: bool = False


@dataclass(frozen=True)
class Attack:
    """A protection run: against which nets, how strong, on which photos. ``parts`` are options of protect by name."""

    nets: tuple[Net, ...]
    recipe: str = "pgd"
    epsilon: int = 6
    classes: tuple[str, ...] = ()
    parts: tuple[tuple[str, object], ...] = ()
    seed: int = 0
    photos: Photos | None = None
    """Other photos than the first net's."""

    @property
    def on(self) -> Photos | None:
        """The photos that are protected; None where there is no net."""
        return self.photos or self.nets[0].photos

    @property
    def missing(self) -> str:
        """Why it cannot be run; empty when it can."""
        return next((net.missing for net in self.nets if net.missing), "")


@dataclass(frozen=True)
class Run:
    """One net's outputs on the files of one attack. ``measure`` names what is compared (`measuring.MEASURES`).

    ``frozen`` is the net before an attacker changed it, for the measures that compare with it.
    """

    attack: Attack
    target: Net
    classes: tuple[str, ...] = ()
    channel: str = CLEAN
    measure: str = "output"
    frozen: Net | None = None

    @property
    def missing(self) -> str:
        """Why it cannot be measured; empty when it can."""
        return self.attack.missing or self.target.missing or (self.frozen.missing if self.frozen else "")


@dataclass(frozen=True)
class Cell:
    """A row of the tidy table: its labels, and the runs whose samples it counts.

    ``pool`` counts the samples of all runs; ``strongest`` takes for each photo and class the run with the
    highest L2, as restarts do.
    """

    labels: Mapping[str, str]
    runs: tuple[Run, ...]
    combine: Combine = "pool"

    @property
    def missing(self) -> str:
        """Why it has no numbers; empty when it has."""
        return next((run.missing for run in self.runs if run.missing), "")


def cell(runs: Iterable[Run], *, combine: Combine = "pool", **labels: str) -> Cell:
    """A cell with these labels, in this order."""
    return Cell(labels, tuple(runs), combine)


def in_turn(net: Net, recipe: str = "pgd", epsilon: int = 6, **parts: object) -> Attack:
    """The attack on all classes of a net, one a step in turn."""
    return Attack((net,), recipe, epsilon, parts=tuple(sorted(parts.items())))


def each_own(attack: Attack, classes: Iterable[str], *, target: Net | None = None) -> list[Run]:
    """Runs that attack each class by itself and measure that class, as [R20] counts."""
    return [Run(dataclasses.replace(attack, classes=(name,)), target or attack.nets[0], classes=(name,)) for name in classes]
