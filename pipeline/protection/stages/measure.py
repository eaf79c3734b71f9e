"""What generators make of photos and of their files: the outputs on untouched photos, once, and the effect of a disruption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.disruption.view import Region
from pipeline.generators.generator import Generator
from pipeline.images.effect import breakage, l1, l2
from pipeline.protection.row import Measured
from pipeline.protection.stages.shown import batch_view


class UnusableError(ValueError):
    """The generator cannot be used on this photo."""


@dataclass(frozen=True)
class Clean:
    """What one generator sees in a box of the untouched regions of a batch (B, 3, S, S), and its outputs (K, B, 3, S, S), in fp32.

    ``which`` is the number of the box in each region; ``labels`` name the K classes as the manifest does.
    """

    generator: Generator
    which: int
    classes: tuple[str, ...]
    labels: tuple[str, ...]
    seen_BCHW: Tensor
    outputs_KBCHW: Tensor

    def by_class(self) -> dict[str, Tensor]:
        """The outputs (B, 3, S, S) by the generator's own class names."""
        return dict(zip(self.classes, self.outputs_KBCHW, strict=True))


@torch.no_grad()
def look(generators: Sequence[Generator], classes: Sequence[str], x_BCHW: Tensor, regions: Sequence[Region]) -> list[Clean]:
    """What each generator makes of each box of padded untouched regions (B, C, H, W), box after box.

    Class by class, as the ascent computes them: then the distance from the reference is exactly zero at the photo itself. Raises
    UnusableError where an output is not a number.
    """
    found = []
    for which in range(len(regions[0].boxes)):
        for generator in generators:
            names = generator.select_classes(classes)
            seen_BCHW = batch_view(regions, generator.size, which)(x_BCHW)
            outputs_KBCHW = torch.stack([generator(seen_BCHW, name) for name in names])
            for name, output_BCHW in zip(names, outputs_KBCHW, strict=True):
                if not output_BCHW.isfinite().all():
                    raise UnusableError(f"{generator.name} gives values that are not numbers for class {name}")
            labels = names if len(generators) == 1 else tuple(f"{generator.name}/{name}" for name in names)
            found.append(Clean(generator, which, names, labels, seen_BCHW, outputs_KBCHW))
    return found


@torch.no_grad()
def measure(
    clean: Sequence[Clean], rows: Sequence[int], protected_NCHW: Tensor, regions: Sequence[Region]
) -> list[list[list[Measured]]]:
    """What the files of these rows of the batch do to every output, in fp32: for each row, each of its boxes and each class.

    ``protected_NCHW`` holds the padded ``regions`` of the files.
    """
    measured: list[dict[int, list[Measured]]] = [{} for _ in rows]
    for one in clean:
        seen_NCHW = batch_view(regions, one.generator.size, one.which)(protected_NCHW)
        with torch.autocast(seen_NCHW.device.type, enabled=False):
            disrupted = one.generator.each(seen_NCHW, one.classes).flatten(0, 1)
        output = one.outputs_KBCHW[:, rows].flatten(0, 1)
        d = (disrupted - output).double()
        broken = breakage(disrupted, output, one.seen_BCHW[rows].repeat(len(one.classes), 1, 1, 1))
        values = (l1(d).cpu(), l2(d).cpu(), broken.levelled, broken.local, broken.lost, broken.ssim, broken.edit)
        values_VKN = torch.stack(values).unflatten(1, (len(one.classes), len(rows)))
        for boxes, values_VK in zip(measured, values_VKN.unbind(2), strict=True):
            boxes.setdefault(one.which, []).extend(Measured(*values_V) for values_V in values_VK.T.tolist())
    return [list(boxes.values()) for boxes in measured]
