"""How good a trained generator is on faces it has not seen: does it keep the photo, does the edit arrive.

``python -m pipeline.training.quality STATE FACES`` prints the table of the model card.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.training.adversarial import blur_before
from pipeline.training.data.augment import resized
from pipeline.training.data.faces import load_faces
from pipeline.training.data.labels import source_condition
from pipeline.training.errors import TrainError
from pipeline.training.export import load_nets
from pipeline.training.systems.ganimation import GANimationSystem
from pipeline.training.systems.stargan import StarGANSystem
from pipeline.training.systems.system import Nets
from pipeline.training.systems.table import SYSTEMS


@dataclass(frozen=True)
class Reading:
    """What conditions and D's second output mean to a system of faces."""

    translate: Callable[[nn.ModuleDict, Tensor, Tensor], Tensor]
    as_it_is: Callable[[Tensor], Tensor]
    """labels (B, K) -> the condition that changes nothing."""
    back: Callable[[Tensor, Tensor], Tensor]
    """(labels, condition there) -> the condition that leads back."""
    read: Callable[[Tensor], Tensor]
    """D's second output (B, K) -> how far it sees each label, in [0, 1]."""


READINGS = {
    "stargan": Reading(
        translate=lambda G, x, c: StarGANSystem().translate(G, {"fake": x}, {"c": c})["fake"],
        as_it_is=torch.zeros_like,
        back=lambda labels, c: source_condition(labels) * (c != 0),
        read=lambda logits: (logits > 0).float(),
    ),
    "ganimation": Reading(
        translate=lambda G, x, c: GANimationSystem().translate(G, {"fake": x}, {"target": c})["fake"],
        as_it_is=lambda labels: labels,
        back=lambda labels, c: labels,
        read=lambda values: values.clamp(0, 1),
    ),
}


@dataclass(frozen=True)
class Quality:
    """One class: mean L1 in [-1, 1] of the edit and of the way there and back; how far D sees what was asked, before and after."""

    name: str
    moved: float
    cycle: float
    before: float
    after: float


def agreement(read_BK: Tensor, c_BK: Tensor) -> float:
    """How far the asked labels (c = +-1) are seen as asked, in [0, 1]: the mean of what is read, or of 1 minus it where c is -1."""
    asked = c_BK != 0
    return torch.where(c_BK > 0, read_BK, 1 - read_BK)[asked].mean().item()


@torch.no_grad()
def reconstruction(reading: Reading, G: nn.ModuleDict, x_BCHW: Tensor, labels_BK: Tensor) -> float:
    """Mean L1 in [-1, 1] between photos and what G makes of them when asked to change nothing."""
    return (reading.translate(G, x_BCHW, reading.as_it_is(labels_BK)) - x_BCHW).abs().mean().item()


@torch.no_grad()
def per_class(
    reading: Reading, nets: Nets, x_BCHW: Tensor, labels_BK: Tensor, *, classes: Mapping[str, list[float]]
) -> Iterator[Quality]:
    """Each class measured on photos (B, 3, H, W) with their labels (B, K)."""
    for name, condition in classes.items():
        c_BK = torch.tensor([condition]).expand(len(x_BCHW), -1)
        y_BCHW = reading.translate(nets.G, x_BCHW, c_BK)
        back_BCHW = reading.translate(nets.G, y_BCHW, reading.back(labels_BK, c_BK))
        before, after = (agreement(reading.read(nets.D["D"](image)[1]), c_BK) for image in (x_BCHW, y_BCHW))
        moved, cycle = ((image - x_BCHW).abs().mean().item() for image in (y_BCHW, back_BCHW))
        yield Quality(name, moved, cycle, before, after)


def main() -> None:
    """Print L1 of giving photos back, then a row for each class."""
    parser = argparse.ArgumentParser(description="Measure a training checkpoint on held-out faces.")
    parser.add_argument("state", type=Path, help="state.pt of a training on faces")
    parser.add_argument("faces", type=Path, help="folder with labels.csv")
    parser.add_argument("--split", default="test")
    parser.add_argument("--licence", default="MIT")
    parser.add_argument("--blur", type=float, default=0.0, help="sigma of the blur that it was trained with, in pixels")
    a = parser.parse_args()
    system, sizes, nets = load_nets(a.state)
    if system not in READINGS:
        raise TrainError(f"{a.state} is of {system}; only {', '.join(READINGS)} are measured on faces")
    blur_before(nets.G, a.blur)
    reading, row = READINGS[system], SYSTEMS[system]
    faces = load_faces(a.faces, attributes=row.columns, split=a.split, licences=(a.licence,))
    x_BCHW = resized(faces.u8_NCHW, sizes.image)
    same = reconstruction(reading, nets.G, x_BCHW, faces.labels_NK)
    print(f"{len(x_BCHW)} faces; L1 of giving a photo back: {same:.4f}\n")
    print("| class | L1 to the photo | L1 there and back | classifier agrees, before | after |\n" + "| --- " * 5 + "|")
    for q in per_class(reading, nets, x_BCHW, faces.labels_NK, classes=row.classes):
        print(f"| {q.name} | {q.moved:.3f} | {q.cycle:.3f} | {100 * q.before:.0f} % | {100 * q.after:.0f} % |")


if __name__ == "__main__":
    main()
