"""What learned perturbations do to people they were not learned from: numbers, and pictures for the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.generators.generator import Generator
from pipeline.images import LOST, THRESHOLD
from pipeline.images.effect import l1, l2, l2_levelled, structure_lost
from pipeline.images.levels import unit_to_pixels
from pipeline.images.resize import pixels_to_tensor, resize
from pipeline.images.types import U8
from pipeline.report.examples import Example, Outputs, difference_png, picture_png, spread
from pipeline.training.data.faces import Faces
from pipeline.universal.add import with_perturbation
from pipeline.universal.bundle import Universal


@dataclass(frozen=True)
class Sample:
    """One held-out photo, network and class: the difference of the outputs for the file with its perturbation and for the photo."""

    generator: str
    class_name: str
    l1: float
    l2: float
    levelled: float
    lost: float


@dataclass(frozen=True)
class Line:
    """Means over samples; ``disrupted`` is the share with L2 >= 0.05, ``disrupted_levelled`` the same after auto levels.

    ``lost`` is the share of lines and texture lost, ``visible`` the share of samples in which it reaches the threshold.
    """

    generator: str
    class_name: str
    samples: int
    l1: float
    l2: float
    levelled: float
    lost: float
    disrupted: float
    disrupted_levelled: float
    visible: float


def measure(
    universal: Universal, generators: Sequence[Generator], classes: Sequence[str], faces: Faces, most: int, *, grey: bool = False
) -> list[Sample]:
    """Samples of up to ``most`` photos, evenly spread over those given, on request turned grey.

    Each has one perturbation of the set, in turn.
    """
    samples = []
    for before_HWC, after_HWC in _pairs(universal, faces, most, grey=grey):
        for generator in generators:
            names = generator.select_classes(classes)
            clean, broken = (_outputs(generator, names, pixels_HWC) for pixels_HWC in (before_HWC, after_HWC))
            values = (l1(broken - clean), l2(broken - clean), l2_levelled(broken, clean), structure_lost(broken, clean))
            samples += [
                Sample(generator.name, name, *row) for name, row in zip(names, torch.stack(values, 1).tolist(), strict=True)
            ]
    return samples


def lines(samples: Sequence[Sample]) -> list[Line]:
    """A line for each network and class, and one for all classes of each network."""
    rows = []
    for generator in dict.fromkeys(one.generator for one in samples):
        own = [one for one in samples if one.generator == generator]
        names = list(dict.fromkeys(one.class_name for one in own))
        rows += [_line(generator, name, [one for one in own if one.class_name == name]) for name in names]
        rows.append(_line(generator, "all", own))
    return rows


def as_card(rows: Sequence[Line]) -> list[dict[str, Any]]:
    """The lines of all classes as plain values, to six digits."""
    every = [asdict(row) for row in rows if row.class_name == "all"]
    return [{name: round(v, 6) if isinstance(v, float) else v for name, v in row.items() if name != "class_name"} for row in every]


def examples(
    universal: Universal, generators: Sequence[Generator], classes: Sequence[str], faces: Faces, most: int
) -> list[Example]:
    """Up to ``most`` held-out photos with what the networks make of them and of their files."""
    names = [faces.names[i] for i in spread(len(faces.names), most)]
    shown = []
    for key, (before_HWC, after_HWC) in zip(names, _pairs(universal, faces, most), strict=True):
        per_class: list[Outputs] = []
        for generator in generators:
            own = generator.select_classes(classes)
            clean, broken = (_outputs(generator, own, pixels_HWC) for pixels_HWC in (before_HWC, after_HWC))
            values = l2(broken - clean).tolist(), structure_lost(broken, clean).tolist()
            labels = own if len(generators) == 1 else [f"{generator.name}/{name}" for name in own]
            per_class += [Outputs(*one) for one in zip(labels, map(_png, clean), map(_png, broken), *values, strict=True)]
        difference = difference_png(before_HWC, after_HWC, epsilon=universal.epsilon)
        shown.append(Example(key, picture_png(before_HWC), picture_png(after_HWC), difference, per_class))
    return shown


def _pairs(universal: Universal, faces: Faces, most: int, *, grey: bool = False) -> Iterator[tuple[U8, U8]]:
    """Photos and their files: pixels (S, S, 3), or (S, S, 1) of grey ones."""
    for number, i in enumerate(spread(len(faces.names), most)):
        before_HWC = np.ascontiguousarray(faces.in_memory[i].permute(1, 2, 0).numpy())
        if grey:
            before_HWC = np.array(Image.fromarray(before_HWC).convert("L"))[:, :, None]
        height, width, _ = before_HWC.shape
        yield before_HWC, with_perturbation(before_HWC, universal, number % universal.count, boxes=[(0, 0, width, height)])


@torch.no_grad()
def _outputs(generator: Generator, names: Sequence[str], pixels_HWC: U8) -> Tensor:
    """What a network makes of a square for each class (K, 3, S, S), on the CPU."""
    device = next(generator.net.parameters(), torch.empty(0)).device
    seen_BCHW = resize(pixels_to_tensor(pixels_HWC).to(device), (generator.size, generator.size)).expand(-1, 3, -1, -1)
    return generator.each(seen_BCHW, names).flatten(0, 1).cpu()


def _line(generator: str, class_name: str, own: Sequence[Sample]) -> Line:
    values = np.array([[one.l1, one.l2, one.levelled, one.lost] for one in own])
    shares = (values[:, 1:] >= (THRESHOLD, THRESHOLD, LOST)).mean(0)
    return Line(generator, class_name, len(own), *(float(v) for v in (*values.mean(0), *shares)))


def _png(y_CHW: Tensor) -> bytes:
    pixels: U8 = unit_to_pixels(y_CHW).permute(1, 2, 0).byte().numpy()
    return picture_png(pixels)
