"""What generators see of photos: the regions of each, and photos and regions that are computed together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from pipeline.disruption.view import BatchView, Region, regions_of
from pipeline.images.levels import level_to_unit
from pipeline.images.resize import pixels_to_tensor
from pipeline.images.types import Box
from pipeline.photos.photo import U8, Photo
from pipeline.protection.row import Work
from pipeline.protection.stages.read import choose_boxes

T = TypeVar("T")
Limit = int | U8
"""How many levels a region may move: everywhere as many, or a mask (H, W, 1)."""
REGION_PIXELS = 16_000_000
"""Most pixels of regions, padding included, that are computed together: about 2 GB of floating point on the device."""
PHOTO_PIXELS = 100_000_000
"""Most pixels of the photos around them, each of which is held up to three times: about 1 GB of 8-bit values."""


@dataclass(frozen=True)
class Shown:
    """A photo on its way and the regions of it that the generators see; no two of them share a pixel."""

    work: Work
    photo: Photo
    regions: tuple[Region, ...]


@dataclass(frozen=True)
class Patch:
    """A region of one of the photos of a batch: which photo, which of its regions, and the key of its random numbers."""

    photo: int
    number: int
    key: str
    region: Region


def show(work: Work, photo: Photo, region: str, *, jitter: bool = False) -> Shown:
    """A photo with the regions that ``region`` means, or those of the boxes that were found when it was read.

    Its work says what is seen. Raises PhotoRefusedError for a box that does not fit.
    """
    seen = work if work.boxes else choose_boxes(work, photo, work.region or region)
    return Shown(seen, photo, photo_regions(photo, seen.boxes, jitter=jitter))


def photo_regions(photo: Photo, boxes: Sequence[Box], *, jitter: bool = False) -> tuple[Region, ...]:
    """The regions of a photo that hold these boxes (upright), with ``jitter`` and what lies around them."""
    return regions_of(boxes, (photo.height, photo.width), photo.orientation, jitter=jitter)


def batches(shown: Sequence[Shown], *, most: int) -> Iterator[list[Shown]]:
    """Photos in memory together: of one number of channels, at most ``most`` and within both limits of pixels, or one alone."""
    for channels in (1, 3):
        fitting = [one for one in shown if one.photo.pixels_HWC.shape[2] == channels]
        ordered = sorted(fitting, key=lambda one: (sum(_area(region) for region in one.regions), one.work.ref.key))
        yield from _packed(ordered, most, _too_large)


def patches_of(batch: Sequence[Shown], *, most: int) -> Iterator[list[Patch]]:
    """The regions of photos, those computed together: with as many boxes each, at most ``most`` and within the limit of pixels."""
    patches = [
        Patch(i, n, f"{one.work.ref.key}\0{n}" if n else one.work.ref.key, region)
        for i, one in enumerate(batch)
        for n, region in enumerate(one.regions)
    ]
    for count in sorted({len(patch.region.numbers) for patch in patches}):
        alike = [patch for patch in patches if len(patch.region.numbers) == count]
        yield from _packed(sorted(alike, key=lambda patch: _area(patch.region)), most, _too_wide)


def _packed(items: Sequence[T], most: int, is_too_large: Callable[[Sequence[T]], bool]) -> Iterator[list[T]]:
    pack: list[T] = []
    for item in items:
        if pack and (len(pack) == most or is_too_large([*pack, item])):
            yield pack
            pack = []
        pack.append(item)
    if pack:
        yield pack


def _too_large(batch: Sequence[Shown]) -> bool:
    photo_pixels = sum(one.photo.height * one.photo.width for one in batch)
    return photo_pixels > PHOTO_PIXELS or _padded(region for one in batch for region in one.regions) > REGION_PIXELS


def _too_wide(patches: Sequence[Patch]) -> bool:
    return _padded(patch.region for patch in patches) > REGION_PIXELS


def _padded(regions: Iterable[Region]) -> int:
    """Pixels of regions as a batch."""
    sizes = [region.stored_size for region in regions]
    return len(sizes) * max(height for height, _ in sizes) * max(width for _, width in sizes)


def _area(region: Region) -> int:
    height, width = region.stored_size
    return int(height * width)


def batch_view(regions: Sequence[Region], size: int, which: int = 0) -> BatchView:
    """What a generator of native side ``size`` is shown of the padded regions: ``which`` of the boxes of each."""
    return BatchView(tuple(region.view(size, which) for region in regions), tuple(region.stored_size for region in regions))


def jittered_view(view: BatchView, drawn: Sequence[Sequence[float]]) -> BatchView:
    """The view of boxes beside those of a view, by three numbers from -1 to 1 for each."""
    boxes = zip(view.views, drawn, view.stored_sizes, strict=True)
    return dataclasses.replace(view, views=tuple(one.jittered(numbers, size) for one, numbers, size in boxes))


def pad(parts: Sequence[U8]) -> Tensor:
    """A batch (B, C, H, W) in [-1, 1], smaller parts padded with mid-grey at the right and bottom."""
    height, width = max(part.shape[0] for part in parts), max(part.shape[1] for part in parts)
    x_BCHW = torch.zeros(len(parts), parts[0].shape[2], height, width)
    for i, part in enumerate(parts):
        x_BCHW[i, :, : part.shape[0], : part.shape[1]] = pixels_to_tensor(part)[0]
    return x_BCHW


def radius_of(limits: Sequence[Limit]) -> float | Tensor:
    """The radius of a ball in [-1, 1] units around regions with these limits: a number where all have the same one.

    Else one per region (B, 1, 1, 1), or, of masks, one per pixel (B, 1, H, W), with 0 in the padding.
    """
    numbers = [limit for limit in limits if isinstance(limit, int)]
    if len(numbers) == len(limits):
        if len(set(numbers)) == 1:
            return level_to_unit(float(numbers[0]))
        return level_to_unit(torch.tensor(numbers, dtype=torch.float32)[:, None, None, None])
    masks = [limit for limit in limits if not isinstance(limit, int)]
    radius_B1HW = torch.zeros(len(masks), 1, max(len(mask) for mask in masks), max(mask.shape[1] for mask in masks))
    for b, mask in enumerate(masks):
        radius_B1HW[b, 0, : len(mask), : mask.shape[1]] = torch.from_numpy(mask[..., 0])
    return level_to_unit(radius_B1HW)
