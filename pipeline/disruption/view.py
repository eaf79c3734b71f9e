"""The differentiable view: from a photo at file resolution to the region that a generator gets, at the generator's own size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.images.orientation import FLIPS, SIDEWAYS
from pipeline.images.resize import resize

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels of the upright photo; right and bottom are outside."""


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


def upright(x_BCHW: Tensor, orientation: int) -> Tensor:
    """Stored pixels turned and mirrored the way EXIF ``orientation`` says they are shown; `to_upright` for tensors."""
    turned = x_BCHW.transpose(2, 3) if orientation in SIDEWAYS else x_BCHW
    return turned.flip([axis + 2 for axis in FLIPS[orientation]]) if orientation in FLIPS else turned


def region_box(region: str, width: int, height: int, box: Box | None) -> Box:
    """The box that ``region`` means for an upright photo of this size.

    ``whole`` is the photo, ``square`` its largest centred square, ``box`` the photo's own ``box``. Raises ValueError for
    a box that is missing, empty or outside the photo.
    """
    if region == "whole":
        return (0, 0, width, height)
    if region == "square":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return (left, top, left + side, top + side)
    if box is None:
        raise ValueError("region 'box' needs the columns left, top, right, bottom in the table of photos")
    left, top, right, bottom = box
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise ValueError(f"box {box} is not inside the upright photo of {width}x{height}")
    return box


@dataclass(frozen=True)
class BatchView:
    """The views of a batch of photos of different sizes, each padded at the right and bottom to a common size.

    ``stored_sizes`` holds the (height, width) of each photo as stored, so that no view reaches into the padding.
    """

    views: tuple[View, ...]
    stored_sizes: tuple[tuple[int, int], ...]

    def __call__(self, y_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 3, size, size)."""
        sizes = enumerate(zip(self.views, self.stored_sizes, strict=True))
        return torch.cat([view(y_BCHW[i : i + 1, :, :h, :w]) for i, (view, (h, w)) in sizes])
