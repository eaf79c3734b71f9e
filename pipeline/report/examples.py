"""Which photos a report shows, and their pictures as small PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.images import share_of_goal

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Outputs:
    """What a network makes of a photo and of its file for one class, as PNG bytes, and how far they differ."""

    class_name: str
    clean_png: bytes
    disrupted_png: bytes
    l2: float
    lost: float

    @property
    def share_of_goal(self) -> float:
        """How far they are on the way to being broken by both measures; from 1 on they are."""
        return share_of_goal(self.l2, self.lost)


@dataclass(frozen=True)
class Example:
    """One photo of the grid, its pictures as PNG bytes.

    ``difference_png`` is what `difference_png` makes; ``per_class`` holds the outputs for each class.
    """

    key: str
    photo_png: bytes
    protected_png: bytes
    difference_png: bytes
    per_class: Sequence[Outputs]

    @property
    def l2(self) -> float:
        """Mean L2 over the classes; 0 without classes."""
        return sum(one.l2 for one in self.per_class) / max(1, len(self.per_class))


def spread(count: int, most: int) -> list[int]:
    """Up to ``most`` evenly spread numbers below ``count``, the first and the last among them."""
    return list(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()) if count else []


def picture_png(pixels_HWC: Pixels, *, max_side: int = 320) -> bytes:
    """8-bit pixels of 1 or 3 channels as PNG bytes, scaled down with antialias to at most ``max_side`` pixels a side."""
    return _png(_small(pixels_HWC, max_side, Image.Resampling.LANCZOS))


def difference_png(photo_HWC: Pixels, protected_HWC: Pixels, *, epsilon: int, max_side: int = 320) -> bytes:
    """``protected - photo`` as PNG bytes, amplified so that ``epsilon`` levels reach black or white; mid-grey is no change.

    Scaled by taking single pixels: an average would hide a fine pattern.
    """
    photo, protected = (_small(pixels, max_side, Image.Resampling.NEAREST) for pixels in (photo_HWC, protected_HWC))
    d = np.asarray(protected, np.float32) - np.asarray(photo)
    return _png(Image.fromarray(np.clip(np.round(127.5 + d * amplification(epsilon)), 0, 255).astype(np.uint8)))


def amplification(epsilon: int) -> float:
    """By how much ``difference_png`` multiplies a difference in levels."""
    return 127.5 / max(1, epsilon)


def _small(pixels_HWC: Pixels, max_side: int, resampling: Image.Resampling) -> Image.Image:
    picture = Image.fromarray(pixels_HWC[..., 0] if pixels_HWC.shape[2] == 1 else pixels_HWC)
    scale = min(1.0, max_side / max(picture.size))
    if scale < 1:
        picture = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), resampling)
    return picture


def _png(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
