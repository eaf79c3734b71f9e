"""What generators make of photos and of their files: the outputs on untouched photos, once, and the effect of a disruption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.disruption.view import Region
from pipeline.generators.generator import Generator
from pipeline.images.effect import breakage, l1, l2
from pipeline.protection.row import Effect
from pipeline.protection.stages.shown import batch_view


class UnusableError(ValueError):
    """The generator cannot be used on this photo."""


@dataclass(frozen=True)
class Clean:
    """What one generator sees of the untouched regions of a batch (B, 3, S, S), and its outputs (K, B, 3, S, S), in fp32.

    ``labels`` name the K classes as the manifest does.
    """

    generator: Generator
    classes: tuple[str, ...]
    labels: tuple[str, ...]
    seen_BCHW: Tensor
    outputs_KBCHW: Tensor

    def by_class(self) -> dict[str, Tensor]:
        """The outputs (B, 3, S, S) by the generator's own class names."""
        return dict(zip(self.classes, self.outputs_KBCHW, strict=True))


@torch.no_grad()
def look(generators: Sequence[Generator], classes: Sequence[str], x_BCHW: Tensor, regions: Sequence[Region]) -> list[Clean]:
    """What each generator makes of padded untouched regions (B, C, H, W); raises UnusableError where that is not a number.

    Class by class, as the ascent computes them: then the distance from the reference is exactly zero at the photo itself.
    """
    found = []
    for generator in generators:
        names = generator.select_classes(classes)
        seen_BCHW = batch_view(regions, generator.size)(x_BCHW)
        outputs_KBCHW = torch.stack([generator(seen_BCHW, name) for name in names])
        for name, output_BCHW in zip(names, outputs_KBCHW, strict=True):
            if not output_BCHW.isfinite().all():
                raise UnusableError(f"{generator.name} gives values that are not numbers for class {name}")
        labels = names if len(generators) == 1 else tuple(f"{generator.name}/{name}" for name in names)
        found.append(Clean(generator, names, labels, seen_BCHW, outputs_KBCHW))
    return found


@torch.no_grad()
def effects(
    clean: Sequence[Clean], rows: Sequence[int], protected_NCHW: Tensor, regions: Sequence[Region], moved: Sequence[bool]
) -> list[Effect]:
    """What the files of these rows of the batch do to every output, in fp32.

    ``protected_NCHW`` holds the padded regions of the files, ``moved`` whether they differ from the photos.
    """
    measured = []
    for one in clean:
        seen_NCHW = batch_view(regions, one.generator.size)(protected_NCHW)
        with torch.autocast(seen_NCHW.device.type, enabled=False):
            disrupted = one.generator.each(seen_NCHW, one.classes).flatten(0, 1)
        output = one.outputs_KBCHW[:, rows].flatten(0, 1)
        d = (disrupted - output).double()
        broken = breakage(disrupted, output, one.seen_BCHW[rows].repeat(len(one.classes), 1, 1, 1))
        values = (l1(d).cpu(), l2(d).cpu(), broken.levelled, broken.local, broken.ssim, broken.edit)
        measured.append(torch.stack(values).unflatten(1, (len(one.classes), len(rows))))
    labels = [label for one in clean for label in one.labels]
    names = ("l1", "l2", "levelled", "local", "ssim", "edit")
    return [
        Effect(labels, moved=m, **dict(zip(names, values_VK.tolist(), strict=True)))
        for m, values_VK in zip(moved, torch.cat(measured, 1).unbind(2), strict=True)
    ]
