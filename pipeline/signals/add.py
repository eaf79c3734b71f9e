"""A signal added to a photo, in whole levels at the photo's own size. Without torch, for millions of photos."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import csr_array

from pipeline.images.orientation import to_stored, upright_size
from pipeline.images.types import F32, U8
from pipeline.photos.photo import Photo, PhotoRefusedError
from pipeline.signals.bundle import Signals

I8 = NDArray[np.int8]
CACHED_VALUES = 4 << 20
"""A resized signal of up to so many values (one byte each) is cached for the next photo of its size, 16 at most."""
STRIP_VALUES = 1 << 18  # resized at a time: one megabyte of floats, which fits in a cache


def with_signal(photo: Photo, signals: Signals, which: int) -> U8:
    """The photo's stored pixels (H, W, 3 or 1) with signal ``which``, none moved by more than the budget rounded up.

    The signal lies over the whole photo as it is shown, after its orientation tag. Raises PhotoRefusedError for a photo whose
    shorter side is below `Signals.smallest`.
    """
    if min(photo.height, photo.width) < signals.smallest:
        raise PhotoRefusedError(
            f"{photo.width}x{photo.height} is too small for a signal, which needs {signals.smallest} pixels a side"
        )
    return add_levels(photo.pixels_HWC, signals, which, photo.orientation)


def add_levels(pixels_HWC: U8, signals: Signals, which: int, orientation: int) -> U8:
    """Stored pixels (H, W, 3 or 1) with signal ``which`` over all of them as they are shown, cut to 0..255."""
    resize = _cached_levels if pixels_HWC.size <= CACHED_VALUES else _levels
    height, width, planes = pixels_HWC.shape
    sum_HWC = np.add(pixels_HWC, resize(signals, which, (height, width), orientation, planes == 1), dtype=np.int16)
    return np.clip(sum_HWC, 0, 255, out=sum_HWC).astype(np.uint8)


def _levels(signals: Signals, which: int, size_HW: tuple[int, int], orientation: int, grey: bool) -> I8:
    """A signal at the size of stored pixels, in whole levels (H, W, 3), or (H, W, 1) for a grey photo."""
    signal_CSS = signals.planes(which, grey=grey)
    size = upright_size(size_HW[1], size_HW[0], orientation)
    levels_HWC: I8 = np.ascontiguousarray(to_stored(_upright(signal_CSS.transpose(1, 2, 0), size, signals.budget), orientation))
    levels_HWC.setflags(write=False)
    return levels_HWC


def _upright(signal_SSC: F32, size: tuple[int, int], budget: float) -> I8:
    """A signal in whole levels at (width, height), resized as Pillow's bicubic filter does it."""
    (width, height), (rows, columns, planes) = size, signal_SSC.shape
    wide = _weights(width, columns) @ signal_SSC.swapaxes(0, 1).reshape(columns, -1)
    wide = np.ascontiguousarray(wide.reshape(width, rows, planes).swapaxes(0, 1)).reshape(rows, -1)
    weights = _weights(height, rows)
    upright = np.empty((height, width * planes), np.int8)
    step = max(1, STRIP_VALUES // (width * planes))
    for top in range(0, height, step):
        levels = weights[top : top + step] @ wide
        np.clip(levels, -budget, budget, out=levels)
        upright[top : top + step] = np.rint(levels, out=levels)
    return upright.reshape(height, width, planes)


@lru_cache(maxsize=256)
def _weights(pixels: int, of: int) -> csr_array:
    """(pixels, of): what Pillow's bicubic filter makes of ``of`` values, each of them 1 in turn."""
    return csr_array(np.asarray(Image.fromarray(np.eye(of, dtype=np.float32)).resize((of, pixels), Image.Resampling.BICUBIC)))


_cached_levels = lru_cache(maxsize=16)(_levels)
