"""How good a trained generator is on faces it has not seen: does it keep the photo, does the edit arrive.

``python -m tests.bench.quality STATE FACES`` prints the table of the model card.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from pipeline.generators.checkpoint import load_weights, read_state_dict
from pipeline.generators.state_names import block_indices
from pipeline.training.adversarial import blur_before
from pipeline.training.data.batches import resized
from pipeline.training.data.faces import load_faces
from pipeline.training.data.labels import source_condition
from pipeline.training.options import TrainError
from pipeline.training.state import FORMAT, read_checkpoint
from pipeline.training.systems.faces_game import FacesGame
from pipeline.training.systems.ganimation import GANimationSystem
from pipeline.training.systems.stargan import StarGANSystem
from pipeline.training.systems.system import Nets, Sizes
from pipeline.training.systems.table import SYSTEMS


@dataclass(frozen=True)
class Quality:
    """One class: mean L1 in [-1, 1] of the edit and of the way there and back; how far D sees what was asked, before and after."""

    name: str
    moved: float
    cycle: float
    before: float
    after: float


def load_nets(path: Path) -> tuple[str, Sizes, Nets]:
    """The system, its sizes, the averaged generators and the discriminators of a checkpoint, frozen and on the CPU.

    Raises TrainError for a file of another kind, CheckpointError for a damaged one.
    """
    checkpoint = read_checkpoint(path)
    if checkpoint.get("format") != FORMAT or checkpoint["system"] not in SYSTEMS:
        raise TrainError(f"{path} is no checkpoint of a training of {', '.join(SYSTEMS)}")
    sizes = Sizes(**checkpoint["sizes"])
    system = next(iter(SYSTEMS[checkpoint["system"]].recipes.values())).system
    if isinstance(system, FacesGame):
        system = replace(system, d_layers=len(block_indices(read_state_dict(path, part="D"), r"D\.main\.(\d+)\.weight")))
    nets = system.build(sizes)
    for part, net in (("G_ema", nets.G), ("D", nets.D)):
        load_weights(net.requires_grad_(False), read_state_dict(path, part=part), source=f"{part} of {path}")
    return checkpoint["system"], sizes, nets


def _may_leave(system: FacesGame) -> bool:
    """Whether a condition can leave a label as it is, by 0; else it holds all labels."""
    return isinstance(system, StarGANSystem) and system.conditions == "three-valued"


def unchanged(system: FacesGame, labels_BK: Tensor) -> Tensor:
    """The condition that asks images with these labels to stay as they are."""
    return torch.zeros_like(labels_BK) if _may_leave(system) else labels_BK


def way_back(system: FacesGame, labels_BK: Tensor, c_BK: Tensor) -> Tensor:
    """The condition that leads from images translated with ``c_BK`` back to their labels."""
    return source_condition(labels_BK) * (c_BK != 0) if _may_leave(system) else labels_BK


def agreement(system: FacesGame, read_BK: Tensor, c_BK: Tensor) -> float:
    """How far D sees the asked labels as asked, in [0, 1]: the mean of what it reads, or of 1 minus it where c is not above 0.

    GANimation is asked for expressions, StarGAN for the presence or absence of attributes, of all where it takes labels.
    """
    is_stargan = isinstance(system, StarGANSystem)
    labels_BK = (read_BK > 0).float() if is_stargan else read_BK.clamp(0, 1)
    asked_BK = torch.ones_like(c_BK, dtype=torch.bool) if is_stargan and not _may_leave(system) else c_BK != 0
    return torch.where(c_BK > 0, labels_BK, 1 - labels_BK)[asked_BK].mean().item()


@torch.no_grad()
def reconstruction(system: FacesGame, nets: Nets, x_BCHW: Tensor, labels_BK: Tensor) -> float:
    """Mean L1 in [-1, 1] between photos and what G makes of them when asked to change nothing."""
    return (system.edit(nets.G, x_BCHW, unchanged(system, labels_BK)) - x_BCHW).abs().mean().item()


@torch.no_grad()
def per_class(system: FacesGame, nets: Nets, x_BCHW: Tensor, labels_BK: Tensor) -> Iterator[Quality]:
    """Each class measured on photos (B, 3, H, W) with their labels (B, K)."""
    for name, condition in system.classes().items():
        c_BK = torch.tensor([condition]).expand(len(x_BCHW), -1)
        y_BCHW = system.edit(nets.G, x_BCHW, c_BK)
        back_BCHW = system.edit(nets.G, y_BCHW, way_back(system, labels_BK, c_BK))
        before, after = (agreement(system, nets.D["D"](image)[1], c_BK) for image in (x_BCHW, y_BCHW))
        moved, cycle = ((image - x_BCHW).abs().mean().item() for image in (y_BCHW, back_BCHW))
        yield Quality(name, moved, cycle, before, after)


@torch.no_grad()
def photo_weights(system: GANimationSystem, nets: Nets, x_BCHW: Tensor) -> Iterator[tuple[str, float]]:
    """Of each class the mean share of the photo that its mask leaves."""
    for name, condition in system.classes().items():
        attention_B1HW, _ = nets.G["G"](x_BCHW, torch.tensor([condition]).expand(len(x_BCHW), -1))
        yield name, attention_B1HW.mean().item()


def main() -> None:
    """Print L1 of giving photos back, then a row for each class."""
    parser = argparse.ArgumentParser(description="Measure a training checkpoint on held-out faces.")
    parser.add_argument("state", type=Path, help="state.pt of a training on faces")
    parser.add_argument("faces", type=Path, help="folder with labels.csv")
    parser.add_argument("--split", default="test")
    parser.add_argument("--licence", default="MIT")
    parser.add_argument("--regime", default="few-images", help="the regime that it was trained with")
    parser.add_argument("--blur", type=float, default=0.0, help="sigma of the blur that it was trained with, in pixels")
    a = parser.parse_args()
    name, sizes, nets = load_nets(a.state)
    row = SYSTEMS[name]
    system = row.recipes[a.regime].system if a.regime in row.recipes else None
    if not isinstance(system, FacesGame):
        raise TrainError(f"{a.state} is of {name}, regimes {', '.join(row.recipes)}; only stargan and ganimation are measured")
    blur_before(nets.G, a.blur)
    faces = load_faces(a.faces, attributes=row.columns, split=a.split, licences=(a.licence,))
    x_BCHW = resized(faces.in_memory, sizes.image)
    same = reconstruction(system, nets, x_BCHW, faces.labels_NK)
    print(f"{len(x_BCHW)} faces; L1 of giving a photo back: {same:.4f}\n")
    print("| class | L1 to the photo | L1 there and back | classifier agrees, before | after |\n" + "| --- " * 5 + "|")
    for q in per_class(system, nets, x_BCHW, faces.labels_NK):
        print(f"| {q.name} | {q.moved:.3f} | {q.cycle:.3f} | {100 * q.before:.0f} % | {100 * q.after:.0f} % |")
    if isinstance(system, GANimationSystem):
        print("\nWeight of the photo under the mask: " + ", ".join(f"{c} {v:.2f}" for c, v in photo_weights(system, nets, x_BCHW)))


if __name__ == "__main__":
    main()
