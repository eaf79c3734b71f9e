"""What generators see of photos: the region of each, and regions that are computed together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.disruption.view import BatchView, Region, region_of
from pipeline.images.resize import pixels_to_tensor
from pipeline.photos.photo import U8, Photo, PhotoRefusedError
from pipeline.protection.row import Work

REGION_PIXELS = 16_000_000
"""Most pixels of regions, padding included, that are computed together: about 2 GB of floating point on the device."""
PHOTO_PIXELS = 100_000_000
"""Most pixels of the photos around them, each of which is held up to three times: about 1 GB of 8-bit values."""


@dataclass(frozen=True)
class Shown:
    """A photo on its way and the region of it that the generators see."""

    work: Work
    photo: Photo
    region: Region


def photo_region(photo: Photo, region: str, box: tuple[float, float, float, float] | None) -> Region:
    """What generators see of a photo; raises PhotoRefusedError for a box that does not fit."""
    try:
        return region_of(region, (photo.height, photo.width), photo.orientation, box)
    except ValueError as error:
        raise PhotoRefusedError(str(error)) from error


def batches(shown: Sequence[Shown], *, most: int) -> Iterator[list[Shown]]:
    """Photos computed together: of one number of channels, at most ``most`` and within both limits of pixels, or one alone."""
    for channels in (1, 3):
        batch: list[Shown] = []
        fitting = [one for one in shown if one.photo.pixels_HWC.shape[2] == channels]
        for one in sorted(fitting, key=lambda one: (math.prod(one.region.stored_size), one.work.ref.key)):
            if batch and (len(batch) == most or _too_large([*batch, one])):
                yield batch
                batch = []
            batch.append(one)
        if batch:
            yield batch


def _too_large(batch: Sequence[Shown]) -> bool:
    heights, widths = zip(*(one.region.stored_size for one in batch), strict=True)
    photo_pixels = sum(one.photo.height * one.photo.width for one in batch)
    return bool(len(batch) * max(heights) * max(widths) > REGION_PIXELS or photo_pixels > PHOTO_PIXELS)


def batch_view(regions: Sequence[Region], size: int) -> BatchView:
    """What a generator of native side ``size`` is shown of the padded regions."""
    return BatchView(tuple(region.view(size) for region in regions), tuple(region.stored_size for region in regions))


def pad(parts: Sequence[U8]) -> Tensor:
    """A batch (B, C, H, W) in [-1, 1], smaller parts padded with mid-grey at the right and bottom."""
    height, width = max(part.shape[0] for part in parts), max(part.shape[1] for part in parts)
    x_BCHW = torch.zeros(len(parts), parts[0].shape[2], height, width)
    for i, part in enumerate(parts):
        x_BCHW[i, :, : part.shape[0], : part.shape[1]] = pixels_to_tensor(part)[0]
    return x_BCHW
