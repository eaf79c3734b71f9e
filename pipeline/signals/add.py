"""A signal onto a photo, in whole levels at the photo's own size: without torch, for millions of photos."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import csr_array

from pipeline.photos.photo import U8, Photo, PhotoRefusedError
from pipeline.signals.bundle import GREEN, Bundle

I8 = NDArray[np.int8]
F32 = NDArray[np.float32]
T = TypeVar("T", bound=np.generic)
SIDEWAYS = (5, 6, 7, 8)
FLIPS = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}
"""EXIF orientations that swap the sides, and the axes (rows, columns) that are mirrored after that to show the picture."""
KEPT_VALUES = 4 << 20
"""A signal of up to so many values (one byte each) is kept for the next photo of the same size, 16 at most; larger ones are not."""
STRIP_VALUES = 1 << 18  # resized at a time: one megabyte of floats, which fits in a cache


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
    """A signal in whole levels at (width, height), resized as Pillow's bicubic filter does it."""
    (width, height), (rows, columns, planes) = size, signal_SSC.shape
    wide = _weights(width, columns) @ signal_SSC.swapaxes(0, 1).reshape(columns, -1)
    wide = np.ascontiguousarray(wide.reshape(width, rows, planes).swapaxes(0, 1)).reshape(rows, -1)
    weights = _weights(height, rows)
    shown = np.empty((height, width * planes), np.int8)
    step = max(1, STRIP_VALUES // (width * planes))
    for top in range(0, height, step):
        levels = weights[top : top + step] @ wide
        np.clip(levels, -budget, budget, out=levels)
        shown[top : top + step] = np.rint(levels, out=levels)
    return shown.reshape(height, width, planes)


@lru_cache(maxsize=256)
def _weights(pixels: int, of: int) -> csr_array:
    """(pixels, of): what Pillow's bicubic filter makes of ``of`` values, each of them 1 in turn. Kept: photos share their sides."""
    return csr_array(np.asarray(Image.fromarray(np.eye(of, dtype=np.float32)).resize((of, pixels), Image.Resampling.BICUBIC)))


_kept_levels = lru_cache(maxsize=16)(_levels)


def as_stored(shown_HWC: NDArray[T], orientation: int) -> NDArray[T]:
    """A picture as it is shown, turned the way a file with this EXIF orientation (1..8) stores it."""
    turned = np.flip(shown_HWC, FLIPS.get(orientation, ()))
    return turned.swapaxes(0, 1) if orientation in SIDEWAYS else turned


def as_shown(stored_HWC: NDArray[T], orientation: int) -> NDArray[T]:
    """A picture as a file with this EXIF orientation (1..8) stores it, turned the way it is shown."""
    turned = stored_HWC.swapaxes(0, 1) if orientation in SIDEWAYS else stored_HWC
    return np.flip(turned, FLIPS.get(orientation, ()))
