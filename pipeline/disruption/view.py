"""The region of a photo that a generator sees, and the differentiable view of it at the generator's own size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipeline.images.boxes import REACH, grow_box, jitter_box, join_boxes
from pipeline.images.orientation import FLIPS, SIDEWAYS, stored_box, upright_size
from pipeline.images.resize import resize
from pipeline.images.types import U8, Box


@dataclass(frozen=True)
class View:
    """What is cut out of one stored photo and shown upright to a generator of native side ``size``.

    ``box`` counts in upright pixels; ``orientation`` is the EXIF value 1..8.
    """

    box: Box
    orientation: int
    size: int

    def __call__(self, y_1CHW: Tensor) -> Tensor:
        """Stored pixels (1, 1 or 3, H, W) as (1, 3, size, size), resized with antialiasing; any box becomes a square."""
        left, top, right, bottom = self.box
        region = upright(y_1CHW, self.orientation)[:, :, top:bottom, left:right]
        return resize(region, (self.size, self.size)).expand(-1, 3, -1, -1)

    def jittered(self, drawn: Sequence[float], stored_size: tuple[int, int]) -> View:
        """The view of a box beside this one (`jitter_box`), inside stored pixels of this (height, width)."""
        height, width = stored_size
        return replace(self, box=jitter_box(self.box, drawn, upright_size(width, height, self.orientation)))


@dataclass(frozen=True)
class Region:
    """A rectangle of one photo, in stored pixels; a disruption works on it alone.

    Generators see ``boxes`` of it, in its own upright pixels; ``numbers`` are those of the boxes among all of the photo.
    """

    box: Box
    orientation: int
    boxes: tuple[Box, ...]
    numbers: tuple[int, ...]

    @property
    def stored_size(self) -> tuple[int, int]:
        """Rows and columns of stored pixels."""
        left, top, right, bottom = self.box
        return bottom - top, right - left

    @property
    def corner(self) -> tuple[int, int]:
        """Row and column of its first pixel in the photo."""
        return self.box[1], self.box[0]

    def cut(self, pixels_HWC: U8) -> U8:
        """Its part of the photo's stored pixels: a view of the same memory."""
        left, top, right, bottom = self.box
        return pixels_HWC[top:bottom, left:right]

    def view(self, size: int, which: int = 0) -> View:
        """What a generator of native side ``size`` is shown of the part that `cut` gives: ``which`` of its boxes."""
        return View(self.boxes[which], self.orientation, size)


def regions_of(boxes: Sequence[Box], size_HW: tuple[int, int], orientation: int, *, jitter: bool = False) -> tuple[Region, ...]:
    """The regions of a stored photo that show these boxes (upright); boxes that overlap share one, so that no two regions do.

    With ``jitter`` each holds what a jittered view of its boxes may reach.
    """
    size = upright_size(size_HW[1], size_HW[0], orientation)
    regions = []
    for (left, top, right, bottom), numbers in join_boxes([grow_box(box, REACH if jitter else 0, size) for box in boxes]):
        inside = tuple((b[0] - left, b[1] - top, b[2] - left, b[3] - top) for b in (boxes[number] for number in numbers))
        regions.append(Region(stored_box((left, top, right, bottom), *size, orientation), orientation, inside, numbers))
    return tuple(regions)


def upright(x_BCHW: Tensor, orientation: int) -> Tensor:
    """Stored pixels turned and mirrored the way EXIF ``orientation`` says they are shown; `to_upright` for tensors."""
    turned = x_BCHW.transpose(2, 3) if orientation in SIDEWAYS else x_BCHW
    return turned.flip([axis + 2 for axis in FLIPS[orientation]]) if orientation in FLIPS else turned


@dataclass(frozen=True)
class BatchView:
    """The views of a batch of photos, or parts of them, of different sizes, each padded at the right and bottom to a common size.

    ``stored_sizes`` holds the (height, width) of each as stored, so that no view reaches into the padding.
    """

    views: tuple[View, ...]
    stored_sizes: tuple[tuple[int, int], ...]

    def __call__(self, y_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 3, size, size)."""
        sizes = enumerate(zip(self.views, self.stored_sizes, strict=True))
        return torch.cat([view(y_BCHW[i : i + 1, :, :h, :w]) for i, (view, (h, w)) in sizes])

    def of_rows(self, rows: Sequence[int]) -> BatchView:
        """The views of some photos of the batch."""
        return BatchView(tuple(self.views[i] for i in rows), tuple(self.stored_sizes[i] for i in rows))
