"""A universal perturbation added to what generators see of a photo, in whole levels. Without torch, for millions of photos."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.images.orientation import stored_box, upright_size
from pipeline.images.types import U8, Box
from pipeline.signals.add import add_levels
from pipeline.universal.bundle import Universal


def with_perturbation(pixels_HWC: U8, universal: Universal, which: int, *, boxes: Sequence[Box], orientation: int = 1) -> U8:
    """Stored pixels (H, W, 3 or 1) with perturbation ``which`` in each of the ``boxes`` (upright), none moved by more than epsilon.

    Each box holds the whole perturbation, resized as Pillow's bicubic filter does it; where boxes overlap the last one counts. A
    grey photo gets the plane for grey ones.
    """
    height, width, _ = pixels_HWC.shape
    size = upright_size(width, height, orientation)
    perturbed_HWC = pixels_HWC.copy()
    for box in boxes:
        left, top, right, bottom = stored_box(box, *size, orientation)
        part = pixels_HWC[top:bottom, left:right]
        perturbed_HWC[top:bottom, left:right] = add_levels(part, universal, which, orientation)
    return perturbed_HWC
