"""The options of learning universal perturbations as one frozen value; command line, YAML file, signature and record use it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from pipeline.disruption.recipes import ROBUST_TO, Objective
from pipeline.jobs.options import (
    DEFAULT_GENERATOR,
    FILE_OR_SHIPPED,
    FLAT,
    NOTHING,
    ConfigError,
    Record,
    SettingsFile,
    check_limits,
    check_weights,
    one_of,
    own_default,
)

RESULT_FORMAT = 1
"""Raised when the same options give other perturbations than before; part of the signature."""
LIMITS = {
    "epsilon": (1, 64, "levels of 255; more is easier to see"),
    "count": (1, 256, "perturbations"),
    "steps": (1, 1_000_000, "steps for each perturbation"),
    "batch": (1, 4096, "photos a step"),
    "step_size": (0.01, 255, "levels"),
    "last_step": (0.001, 1, "share of the first step"),
    "apart": (0, 1000, "a weight"),
    "held_out": (1, 100_000, "photos that are measured"),
    "every": (1, 1_000_000, "steps between checkpoints"),
    "examples": (0, 12, "photos in the report"),
    "threads": (1, 1024, "CPU threads"),
}


@dataclass(frozen=True)
class UniversalConfig:
    """Learn one perturbation that breaks what networks make of any photo, or a set of them, for disrupt protect --universal.

    Example: disrupt universal faces learned --generator stargan-sharp --licence MIT

    FACES is a folder of square faces with labels.csv (columns file, split, licence), as disrupt train takes it: split train is
    learned from, test (else val) is measured on. Without that table any folder of photos does; every tenth is held out.

    Writes universal.safetensors, its card universal.json, report.html and state.safetensors (to resume from) into OUT. Learning
    takes one process. Run the same command again to resume after a stop: it ends with the same bytes.
    Exit code: 0 when done, 1 when learning broke off, 2 for a wrong call, 130 after Ctrl-C.
    """

    faces: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FACES")]
    """Folder with the faces."""
    output: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """Folder for what is written; new, empty, or of the same run to be continued."""

    generator: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME [NAME ...]")] = (DEFAULT_GENERATOR,)
    """Networks to break, all with the same perturbation: as for disrupt protect."""
    weights: Annotated[tuple[Path, ...], FILE_OR_SHIPPED, own_default("FILE [FILE ...]", "none")] = ()
    """Weights for the generators, one each in their order; the word shipped for those that come with the package."""
    classes: Annotated[tuple[str, ...], own_default("CLASS [CLASS ...]", "all")] = ()
    """Translations to break, by name; all networks must have them."""
    epsilon: Annotated[int, tyro.conf.arg(metavar="LEVELS")] = 6
    """Largest change of any pixel, in 8-bit levels, 1 to 64; that of disrupt protect must be as large."""
    count: int = 1
    """How many perturbations. Of a set, a secret key chooses one for each photo: the plain average of protected photos then shows
    little of them, while ten photos of a single perturbation give it away."""
    apart: Annotated[float, tyro.conf.arg(metavar="WEIGHT")] = 4.0
    """How much a perturbation of a set is kept unlike the earlier ones; 0: not at all."""
    steps: int = 120
    """Steps of each perturbation, and half as many for grey photos; each takes a batch, and the networks' classes take turns."""
    batch: int = 8
    """Photos a step."""
    step_size: Annotated[float, tyro.conf.arg(metavar="LEVELS")] = 2.0
    """Size of the first step, in 8-bit levels."""
    last_step: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.1
    """The last step as a share of the first, above 0 to 1; steps shrink evenly."""
    objective: Objective = "l2"
    """What to break: visible, L2 and lines and texture together; l2, any change of the output, also of brightness; levelled, what
    auto levels leave of it; local, lines and texture; edge, the steps from pixel to pixel."""
    class_schedule: Literal["iterative", "joint", "weakest"] = "iterative"
    """One class of one network per step in turn, or all in every step (as many times slower); weakest: all, and what is hardest to
    break counts most."""
    robust_to: Annotated[tuple[str, ...], own_default("{" + ",".join((*ROBUST_TO, NOTHING)) + "} [...]", NOTHING)] = ()
    """What the perturbation is to survive on the file's way: one of these, or the plain file, is drawn in each step."""
    licence: Annotated[tuple[str, ...], own_default("LICENCE [LICENCE ...]", "all")] = ()
    """Only photos with one of these words in the column licence of labels.csv."""
    held_out: Annotated[int, tyro.conf.arg(metavar="PHOTOS")] = 100
    """Held-out photos that the finished perturbations are measured on, at most."""
    seed: int = 0
    """Seed of the first perturbations and of everything drawn."""

    gpu: bool = False
    """Run the networks on this machine's GPU."""
    threads: int = 1
    """CPU threads. Results may differ in the last digit between thread counts."""
    every: int = 20
    """Steps between checkpoints."""
    record: Annotated[Record, FLAT] = Record(experiment="universal")
    examples: int = 4
    """Held-out photos shown in the report, 0 to 12."""
    config: SettingsFile = None

    def survives(self) -> tuple[str, ...]:
        """The names of --robust-to, by commas or spaces, each once; the word none gives none."""
        names = tuple(dict.fromkeys(word for part in self.robust_to for word in part.replace(",", " ").split()))
        return () if names == (NOTHING,) else names

    def check(self) -> None:
        """Raise ConfigError for a value that cannot be, saying what was expected."""
        if not self.generator:
            raise ConfigError("--generator needs at least one name, e.g. stargan-sharp")
        check_weights("--weights", self.weights, self.generator)
        for name in self.survives():
            one_of("--robust-to", name, ROBUST_TO)
        check_limits(self, LIMITS)

    def what_changes_results(self) -> dict[str, Any]:
        """The options that decide the perturbations, as plain values; weights count by what is in them."""
        own = ("generator", "classes", "licence")
        same = ("epsilon", "count", "steps", "batch", "step_size", "last_step", "objective", "class_schedule", "seed", "held_out")
        apart = {"apart": self.apart} if self.count > 1 else {}
        lists: dict[str, Any] = {name: list(getattr(self, name)) for name in own} | {"robust_to": list(self.survives())}
        return lists | {name: getattr(self, name) for name in same} | apart
