"""A signal onto a photo, in whole levels at the photo's own size: NumPy and Pillow alone, for millions of photos."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.photos.photo import U8, Photo, PhotoRefusedError
from pipeline.signals.bundle import Bundle

I8 = NDArray[np.int8]
F32 = NDArray[np.float32]
T = TypeVar("T", bound=np.generic)
GREEN = 1
SIDEWAYS = (5, 6, 7, 8)
FLIPS = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}
"""EXIF orientations that swap the sides, and the axes (rows, columns) that are mirrored after that to show the picture."""
KEPT_VALUES = 4 << 20
"""A signal of up to so many values (one byte each) is kept for the next photo of the same size, 16 at most; larger ones are not."""


def with_signal(photo: Photo, bundle: Bundle, which: int) -> U8:
    """The photo's stored pixels (H, W, 3 or 1) with signal ``which``, none moved by more than the budget rounded up.

    The signal lies over the whole photo as it is shown (its orientation tag heeded). Raises PhotoRefusedError for a photo whose
    shorter side is below `Bundle.smallest`.
    """
    if min(photo.height, photo.width) < bundle.smallest:
        raise PhotoRefusedError(
            f"{photo.width}x{photo.height} is too small for a signal, which needs {bundle.smallest} pixels a side"
        )
    made = _kept_levels if photo.pixels_HWC.size <= KEPT_VALUES else _levels
    levels = made(bundle, which, (photo.height, photo.width), photo.orientation, photo.pixels_HWC.shape[2] == 1)
    sum_HWC = np.add(photo.pixels_HWC, levels, dtype=np.int16)
    return np.clip(sum_HWC, 0, 255, out=sum_HWC).astype(np.uint8)


def _levels(bundle: Bundle, which: int, size_HW: tuple[int, int], orientation: int, grey: bool) -> I8:
    """A signal at the size of stored pixels, in whole levels (H, W, 3), or (H, W, 1) of its green plane alone."""
    signal_CSS = bundle.signals_nCHW[which]
    if grey:
        signal_CSS = signal_CSS[GREEN : GREEN + 1]
    size = size_HW if orientation in SIDEWAYS else size_HW[::-1]
    whole: I8 = np.ascontiguousarray(as_stored(_shown(signal_CSS.transpose(1, 2, 0), size, bundle.budget), orientation))
    whole.setflags(write=False)
    return whole


def _shown(signal_SSC: F32, size: tuple[int, int], budget: float) -> I8:
    """A signal in whole levels at (width, height), resized in 255 steps over the budget: much faster than in floats."""
    if size == signal_SSC.shape[1::-1]:
        return np.rint(signal_SSC).astype(np.int8)
    steps = np.rint(signal_SSC * (127 / budget) + 128).astype(np.uint8)
    image = Image.fromarray(steps if steps.shape[2] == 3 else steps[..., 0]).resize(size, Image.Resampling.BICUBIC)
    level_of_step = np.rint((np.arange(256) - 128).clip(-127, 127) * (budget / 127)).astype(np.int8)
    shown: I8 = level_of_step[np.asarray(image)].reshape(size[1], size[0], -1)
    return shown


_kept_levels = lru_cache(maxsize=16)(_levels)


def as_stored(shown_HWC: NDArray[T], orientation: int) -> NDArray[T]:
    """A picture as it is shown, turned the way a file with this EXIF orientation (1..8) stores it."""
    turned = np.flip(shown_HWC, FLIPS.get(orientation, ()))
    return turned.swapaxes(0, 1) if orientation in SIDEWAYS else turned


def as_shown(stored_HWC: NDArray[T], orientation: int) -> NDArray[T]:
    """A picture as a file with this EXIF orientation (1..8) stores it, turned the way it is shown."""
    turned = stored_HWC.swapaxes(0, 1) if orientation in SIDEWAYS else stored_HWC
    return np.flip(turned, FLIPS.get(orientation, ()))
