"""The ball of allowed pixels around a photo, in integers: what is written can be proven to lie within epsilon levels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.photos.photo import U8

_BAND_ELEMENTS = 4_000_000  # elements worked on at once, so that a large photo needs no large temporary arrays


def project_levels(pixels_HWC: NDArray[Any], original_HWC: U8, epsilon: int | U8) -> U8:
    """The uint8 pixels nearest to `pixels_HWC` that differ from the original by at most `epsilon` levels, one for all or a mask.

    `pixels_HWC` holds levels, uint8 or floating point, in the shape of the original. They are rounded to the nearest level, then
    clipped in integers to [original - epsilon, original + epsilon] and [0, 255]. A mask is uint8 (H, W, 1). Raises ValueError for
    an epsilon that is not a whole number 0..255, for another shape, and for values that are not finite.
    """
    if isinstance(epsilon, np.ndarray):
        if epsilon.dtype != np.uint8 or epsilon.shape != (*original_HWC.shape[:2], 1):
            raise ValueError(f"a mask for pixels {original_HWC.shape} is uint8 (H, W, 1), not {epsilon.dtype} {epsilon.shape}")
    elif isinstance(epsilon, bool) or not isinstance(epsilon, (int, np.integer)) or not 0 <= epsilon <= 255:
        raise ValueError(f"epsilon is a whole number of levels from 0 to 255, not {epsilon!r}")
    if original_HWC.dtype != np.uint8:
        raise ValueError(f"the original must be 8-bit levels (uint8), not {original_HWC.dtype}")
    if pixels_HWC.shape != original_HWC.shape:
        raise ValueError(f"pixels {pixels_HWC.shape} and original {original_HWC.shape} differ in shape")
    projected = np.empty_like(original_HWC)
    for rows in _bands(original_HWC.shape):
        allowed = epsilon[rows].astype(np.int16) if isinstance(epsilon, np.ndarray) else int(epsilon)
        projected[rows] = _project(pixels_HWC[rows], original_HWC[rows], allowed)
    return projected


def linf_levels(a: U8, b: U8) -> int:
    """The largest absolute difference of two uint8 pictures of one shape, in levels. Raises ValueError when they do not fit."""
    if a.shape != b.shape or a.dtype != np.uint8 or b.dtype != np.uint8:
        raise ValueError(f"two uint8 pictures of one shape are needed, not {a.dtype} {a.shape} and {b.dtype} {b.shape}")
    largest = 0
    for rows in _bands(a.shape):
        if a[rows].size:
            difference = np.maximum(a[rows], b[rows]) - np.minimum(a[rows], b[rows])
            largest = max(largest, int(difference.max()))
    return largest


def _project(pixels: NDArray[Any], original: U8, epsilon: int | NDArray[np.int16]) -> U8:
    if np.issubdtype(pixels.dtype, np.floating):
        if not np.isfinite(pixels).all():
            raise ValueError("the pixels hold values that are not finite")
        pixels = np.rint(pixels)
    whole = np.clip(pixels, 0, 255).astype(np.int16)
    centre = original.astype(np.int16)
    projected: U8 = np.clip(whole, np.maximum(centre - epsilon, 0), np.minimum(centre + epsilon, 255)).astype(np.uint8)
    return projected


def _bands(shape: tuple[int, ...]) -> list[slice]:
    if len(shape) == 0:
        raise ValueError("a picture has rows, not a single value")
    per_row = max(1, int(np.prod(shape[1:])))
    step = max(1, _BAND_ELEMENTS // per_row)
    return [slice(start, start + step) for start in range(0, shape[0], step)]
