"""The table of systems that can be trained: their recipe, their data, and the sizes they start with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn

from pipeline.training.data.labels import ATTRIBUTES, class_conditions
from pipeline.training.picture import each_class, each_translation
from pipeline.training.systems.cyclegan import CycleGANSystem
from pipeline.training.systems.ganimation import EXPRESSIONS, each_expression, expression_classes
from pipeline.training.systems.ganimation import REGIMES as GANIMATION
from pipeline.training.systems.pix2pixhd import Pix2PixHDSystem, each_scene
from pipeline.training.systems.signals import SignalSystem, each_signal
from pipeline.training.systems.stargan import REGIMES as STARGAN
from pipeline.training.systems.system import Batch, System

Data = Literal["faces", "unpaired", "label_maps", "photos"]
Show = Callable[[System, nn.ModuleDict, Batch], list[Tensor]]


@dataclass(frozen=True)
class SystemRow:
    """One system: its regimes by name, the first being the default, what it is fed, and the sizes it starts with."""

    regimes: Mapping[str, System]
    data: Data
    columns: tuple[str, ...] = ()
    """The columns of labels.csv that are the labels of faces."""
    size: int = 64
    conv_dim: int = 32
    d_conv_dim: int = 32
    batch: int = 8
    steps: int = 4000
    lr: float = 2e-4
    zoo: str = ""
    """The row of the table of generators that loads the trained weights."""
    classes: Mapping[str, list[float]] = field(default_factory=dict)
    """Written beside the weights."""
    show: Show = each_translation
    """The columns of a sample grid."""


SYSTEMS: dict[str, SystemRow] = {
    "stargan": SystemRow(STARGAN, "faces", columns=ATTRIBUTES, zoo="stargan", classes=class_conditions(), show=each_class),
    "ganimation": SystemRow(
        GANIMATION, "faces", columns=EXPRESSIONS, zoo="ganimation", classes=expression_classes(), show=each_expression
    ),
    "cyclegan": SystemRow(
        {"published": CycleGANSystem()}, "unpaired", size=128, d_conv_dim=64, batch=1, steps=80_000, zoo="cyclegan"
    ),
    "pix2pixhd": SystemRow(
        {"published": Pix2PixHDSystem()}, "label_maps", size=256, d_conv_dim=64, batch=1, steps=20_000, show=each_scene
    ),
    "signals": SystemRow({"joint": SignalSystem()}, "photos", batch=16, steps=600, lr=1e-3, show=each_signal),
}
"""The narrow nets of the first two train in hours of CPU, signals in a quarter of one.

pix2pixHD translates label maps, so there are no photos to protect; signals are no generator.
"""
