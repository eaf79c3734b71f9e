"""A signal added to a photo, in whole levels at the photo's own size. Without torch, for millions of photos."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import csr_array

from pipeline.images.orientation import to_stored, to_upright, upright_size
from pipeline.images.types import F32, U8
from pipeline.photos.photo import Photo, PhotoRefusedError
from pipeline.signals.binding import mixture, phases, small, weights
from pipeline.signals.bundle import GREEN, Signals

I8 = NDArray[np.int8]
CACHED_VALUES = 4 << 20
"""A resized signal of up to so many values (one byte each) is cached for the next photo of its size, 16 at most."""
STRIP_VALUES = 1 << 18  # resized at a time: one megabyte of floats, which fits in a cache


def with_signal(photo: Photo, signals: Signals, offsets: Sequence[float]) -> U8:
    """The photo's stored pixels (H, W, 3 or 1) with its signal, none moved by more than the budget rounded up.

    Its signal is the mixture that its tints ask for with these offsets, in radians (`pipeline.signals.binding`). It lies over the
    whole photo as it is shown, after its orientation tag. Raises PhotoRefusedError for a photo whose shorter side is below
    `Signals.smallest`.
    """
    if min(photo.height, photo.width) < signals.smallest:
        raise PhotoRefusedError(
            f"{photo.width}x{photo.height} is too small for a signal, which needs {signals.smallest} pixels a side"
        )
    grey = photo.pixels_HWC.shape[2] == 1
    seen_SS3 = small(np.ascontiguousarray(to_upright(photo.pixels_HWC, photo.orientation)), signals.size)
    phase_mSS = phases(seen_SS3.astype(np.float32).transpose(2, 0, 1), signals.count // 2)
    signals_nCSS = signals.signals_nCHW[:, GREEN : GREEN + 1] if grey else signals.signals_nCHW
    mixed_CSS = mixture(signals_nCSS, weights(phase_mSS, offsets), signals.budget)
    size_HW = (photo.pixels_HWC.shape[0], photo.pixels_HWC.shape[1])
    return _sum(photo.pixels_HWC, _levels(mixed_CSS, signals.budget, size_HW, photo.orientation))


def add_levels(pixels_HWC: U8, signals: Signals, which: int, orientation: int) -> U8:
    """Stored pixels (H, W, 3 or 1) with signal ``which`` over all of them as they are shown, cut to 0..255."""
    resize = _cached_levels if pixels_HWC.size <= CACHED_VALUES else _levels_of
    height, width, planes = pixels_HWC.shape
    return _sum(pixels_HWC, resize(signals, which, (height, width), orientation, planes == 1))


def _sum(pixels_HWC: U8, levels_HWC: I8) -> U8:
    sum_HWC = np.add(pixels_HWC, levels_HWC, dtype=np.int16)
    return np.clip(sum_HWC, 0, 255, out=sum_HWC).astype(np.uint8)


def _levels_of(signals: Signals, which: int, size_HW: tuple[int, int], orientation: int, grey: bool) -> I8:
    """Signal ``which`` at the size of stored pixels, (H, W, 3), or (H, W, 1) for a grey photo."""
    levels_HWC = _levels(signals.planes(which, grey=grey), signals.budget, size_HW, orientation)
    levels_HWC.setflags(write=False)
    return levels_HWC


def _levels(signal_CSS: F32, budget: float, size_HW: tuple[int, int], orientation: int) -> I8:
    """A signal (C, S, S) at the size of stored pixels, in whole levels (H, W, C)."""
    size = upright_size(size_HW[1], size_HW[0], orientation)
    return np.ascontiguousarray(to_stored(_upright(signal_CSS.transpose(1, 2, 0), size, budget), orientation))


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


_cached_levels = lru_cache(maxsize=16)(_levels_of)
