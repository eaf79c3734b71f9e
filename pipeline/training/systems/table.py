"""The table of systems that can be trained: their recipes, their data, and the sizes they start with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from pipeline.training.data.labels import ATTRIBUTES
from pipeline.training.systems.cyclegan import CycleGANSystem
from pipeline.training.systems.ganimation import EXPRESSIONS
from pipeline.training.systems.ganimation import REGIMES as GANIMATION
from pipeline.training.systems.pix2pixhd import Pix2PixHDSystem
from pipeline.training.systems.signals import SignalSystem
from pipeline.training.systems.stargan import REGIMES as STARGAN
from pipeline.training.systems.system import System

FEW, SHARP, PUBLISHED = "few-images", "sharp", "published"


@dataclass(frozen=True)
class Recipe:
    """How one regime of a system trains unless options say otherwise; see `StepSettings` for what the numbers are."""

    system: System
    batch: int
    lr: float
    d_steps: int = 1
    decay_from: float = 0.5
    final_lr: float = 0.05
    ema_decay: float = 0.998
    balanced: bool = True
    """How faces are drawn, see `FacesSource`."""


published = partial(Recipe, final_lr=0.0, ema_decay=0.0, balanced=False)
"""The learning rate falls to 0 and no weights are averaged; the other numbers are those of each paper. Source: FACTS section 3."""


@dataclass(frozen=True)
class SystemRow:
    """One system: its recipes by regime, the first being the default; its data; its sizes and steps on a small machine."""

    recipes: Mapping[str, Recipe]
    data: Literal["faces", "unpaired", "label_maps", "photos"]
    columns: tuple[str, ...] = ()
    """The columns of labels.csv that are the labels of faces."""
    one_class: bool = False
    """Whether a face has one of these labels only, so that its number says all."""
    size: int = 64
    conv_dim: int = 32
    d_conv_dim: int = 32
    steps: int = 4000
    zoo: str = ""
    """The row of the table of generators that loads the trained weights."""


SYSTEMS: dict[str, SystemRow] = {
    "stargan": SystemRow(
        {
            FEW: Recipe(STARGAN[FEW], 8, 2e-4),
            SHARP: Recipe(STARGAN[SHARP], 8, 3e-4),
            PUBLISHED: published(STARGAN[PUBLISHED], 16, 1e-4, d_steps=5),
        },
        "faces", columns=ATTRIBUTES, zoo="stargan",
    ),
    "ganimation": SystemRow(
        {
            FEW: Recipe(GANIMATION[FEW], 8, 2e-4),
            SHARP: Recipe(GANIMATION[SHARP], 4, 2e-4, d_steps=2),
            PUBLISHED: published(GANIMATION[PUBLISHED], 25, 1e-4, d_steps=5, decay_from=2 / 3),
        },
        "faces", columns=EXPRESSIONS, one_class=True, zoo="ganimation",
    ),
    "cyclegan": SystemRow(
        {PUBLISHED: published(CycleGANSystem(), 1, 2e-4)}, "unpaired", size=128, d_conv_dim=64, steps=80_000, zoo="cyclegan",
    ),
    "pix2pixhd": SystemRow(
        {PUBLISHED: published(Pix2PixHDSystem(), 1, 2e-4)}, "label_maps", size=256, d_conv_dim=64, steps=20_000,
    ),
    "signals": SystemRow({"joint": Recipe(SignalSystem(), 16, 1e-3, d_steps=2)}, "photos", steps=3000),
}  # fmt: skip
"""The narrow nets of the first two train in hours of CPU, signals in a quarter of one.

pix2pixHD translates label maps, so there are no photos to protect; signals are no generator.
"""
