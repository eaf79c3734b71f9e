"""The examples of a report: pictures of a few photos, read back from the written files, and what the generators make of them.

Torch is imported only where there are generators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.containers.listing import PhotoRef, boxes_of
from pipeline.images.levels import unit_to_pixels
from pipeline.images.orientation import to_upright
from pipeline.images.types import Box
from pipeline.ledger.run import RunFolder
from pipeline.photos.decode import decode_photo
from pipeline.photos.photo import U8, Photo, PhotoBrokenError, PhotoRefusedError
from pipeline.protection.options import ProtectConfig
from pipeline.protection.plan import photo_of_plan
from pipeline.protection.sums import Sums
from pipeline.report.examples import Example, Outputs, difference_png, picture_png, spread
from pipeline.storage import read_uri

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.generators.generator import Generator


def read_examples(sums: Sums, generators: Sequence[Generator], config: ProtectConfig, run: RunFolder) -> list[Example]:
    """Up to ``config.examples`` photos, evenly spread from the weakest effect to the strongest; computed on the CPU.

    Where no generator was measured (signals alone), from the most changed file to the least. A photo whose file was moved or
    changed since it was protected is left out.
    """
    rows = [sums["samples"][i] for i in spread(len(sums["samples"]), config.examples)]
    refs = [(photo_of_plan(run, row["shard"], row["key"]), row) for row in rows]
    return [example for ref, row in refs if ref and (example := _example(ref, row, generators, config, run))]


def _example(
    ref: PhotoRef, row: Mapping[str, Any], generators: Sequence[Generator], config: ProtectConfig, run: RunFolder
) -> Example | None:
    try:
        photo = decode_photo(read_uri(ref.uri), max_pixels=config.photos.max_pixels)
        protected = decode_photo(run.folder.read(row["output"]), max_pixels=config.photos.max_pixels)
    except (OSError, PhotoBrokenError, PhotoRefusedError):
        return None
    if photo.pixels_HWC.shape != protected.pixels_HWC.shape:
        return None
    before, after = as_rgb(photo), as_rgb(protected)
    difference = difference_png(before, after, epsilon=config.epsilon)
    per_class = outputs_of(photo, protected, boxes_of(row["boxes"]), generators, config) if generators else []
    return Example(ref.key, picture_png(before), picture_png(after), difference, per_class)


def outputs_of(
    photo: Photo, protected: Photo, boxes: Sequence[Box], generators: Sequence[Generator], config: ProtectConfig
) -> list[Outputs]:
    """What each generator makes of the photo and of the protected file for each class.

    Of several boxes the one in which the class breaks least is shown, as in the row.
    """
    import torch

    from pipeline.images.effect import l2, structure_lost
    from pipeline.images.resize import pixels_to_tensor
    from pipeline.protection.stages.shown import photo_regions

    regions = photo_regions(photo, boxes)
    sides = [[pixels_to_tensor(region.cut(p.pixels_HWC)) for region in regions] for p in (photo, protected)]
    per_class = []
    for generator in (one.to(torch.device("cpu")) for one in generators):
        views = [[region.view(generator.size, i) for i in range(len(region.numbers))] for region in regions]
        before, after = ([view(x) for x, own in zip(side, views, strict=True) for view in own] for side in sides)
        for name in generator.select_classes(config.classes):
            with torch.no_grad():
                outputs = [(generator(x, name), generator(y, name)) for x, y in zip(before, after, strict=True)]
            label = name if len(generators) == 1 else f"{generator.name}/{name}"
            shown = [Outputs(label, _png(x), _png(y), float(l2(y - x)), float(structure_lost(y, x))) for x, y in outputs]
            per_class.append(min(shown, key=lambda one: one.share_of_goal))
    return per_class


def as_rgb(photo: Photo) -> U8:
    """The photo's pixels as RGB, turned the way they are shown."""
    shown_HWC = to_upright(photo.pixels_HWC, photo.orientation)
    return np.ascontiguousarray(np.broadcast_to(shown_HWC, (*shown_HWC.shape[:2], 3)))


def _png(y_1CHW: Tensor) -> bytes:
    pixels: U8 = unit_to_pixels(y_1CHW)[0].permute(1, 2, 0).byte().numpy()
    return picture_png(pixels)
