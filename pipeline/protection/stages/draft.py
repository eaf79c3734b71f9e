"""A file in the making: the pixels that the disruption puts into it, what a reader will see of them, and what they do."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from pipeline.images.levels import unit_to_pixels
from pipeline.photos.ball import project_levels
from pipeline.photos.encode import encode_photo, read_back
from pipeline.photos.photo import U8, Photo
from pipeline.protection.options import ProtectConfig
from pipeline.protection.row import Measured
from pipeline.protection.stages.measure import UnusableError
from pipeline.protection.stages.shown import Limit, Shown


@dataclass
class Draft:
    """A file in the making: a shown photo, what the disruption starts from (with its signal), and the pixels so far.

    ``read_HWC`` are those that a reader of the file sees, the same where the file is lossless; else ``encoded`` is that file.
    ``epsilon`` is that of the file. ``measured`` holds what every box does to every class, by the number of the box; ``steps``
    those taken, and ``allowed`` the sum of the mask in levels and its pixels, by that of the region.
    """

    shown: Shown
    photo: Photo
    epsilon: int
    pixels_HWC: U8 = field(init=False)
    read_HWC: U8 = field(init=False)
    encoded: bytes | None = None
    measured: dict[int, list[Measured]] = field(default_factory=dict)
    steps: dict[int, int] = field(default_factory=dict)
    allowed: dict[int, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pixels_HWC = self.read_HWC = self.photo.pixels_HWC.copy()

    def as_file(self, config: ProtectConfig) -> U8:
        """The pixels that a reader of the file will see; the file itself is kept where only it can tell (JPEG)."""
        if not config.lossless():
            photo, quality = self.photo, config.jpeg_quality
            self.encoded = encode_photo(photo, self.pixels_HWC, format=config.format, jpeg_quality=quality)
            self.read_HWC = read_back(self.encoded, photo, self.pixels_HWC, format=config.format).pixels_HWC
        return self.read_HWC

    def mask_mean(self) -> float | None:
        """The mean of the mask over what may change, in levels; None without one."""
        levels, pixels = (sum(one) for one in zip(*self.allowed.values(), strict=True)) if self.allowed else (0, 0)
        return levels / pixels if pixels else None


def as_levels(part_HWC: U8, y_CHW: Tensor, limit: Limit) -> U8:
    """A disrupted region as pixels within the ball around the region of the photo; raises UnusableError for what is no number."""
    height, width = part_HWC.shape[:2]
    levels_HWC = unit_to_pixels(y_CHW[:, :height, :width]).permute(1, 2, 0).cpu().numpy()
    if not np.isfinite(levels_HWC).all():
        raise UnusableError("the generator's gradient is not a number for this photo")
    return project_levels(levels_HWC, part_HWC, limit)
