"""EXIF orientation (1..8): pixels as a file stores them and as they are shown. Without torch."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.images.types import Box

T = TypeVar("T", bound=np.generic)
SIDEWAYS = (5, 6, 7, 8)
"""Orientations that swap the sides."""
FLIPS = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}
"""The axes (rows, columns) that are mirrored after that to show the picture."""


def to_upright(stored_HWC: NDArray[T], orientation: int) -> NDArray[T]:
    """Stored pixels turned and mirrored the way they are shown; a view of the same memory."""
    turned = stored_HWC.swapaxes(0, 1) if orientation in SIDEWAYS else stored_HWC
    return np.flip(turned, FLIPS.get(orientation, ()))


def to_stored(upright_HWC: NDArray[T], orientation: int) -> NDArray[T]:
    """The inverse of `to_upright`."""
    turned = np.flip(upright_HWC, FLIPS.get(orientation, ()))
    return turned.swapaxes(0, 1) if orientation in SIDEWAYS else turned


def upright_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    """(width, height) of a stored photo as it is shown."""
    return (height, width) if orientation in SIDEWAYS else (width, height)


def stored_box(upright_box: Box, upright_width: int, upright_height: int, orientation: int) -> Box:
    """A box of the photo as it is shown (upright, of this size), as the box of the stored pixels under it."""
    left, top, right, bottom = upright_box
    flips = FLIPS.get(orientation, ())
    if 0 in flips:
        top, bottom = upright_height - bottom, upright_height - top
    if 1 in flips:
        left, right = upright_width - right, upright_width - left
    return (top, left, bottom, right) if orientation in SIDEWAYS else (left, top, right, bottom)
