"""How close a protected photo looks to its original: PSNR and SSIM of 8-bit pixels, in strips, so that large photos stay cheap."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.images.types import F32, U8

WINDOW, SIGMA = 11, 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
ROWS = 48  # of windows that SSIM looks at
STRIP_VALUES = 1 << 18  # values in work at a time, one megabyte of floats: they fit in a cache


def psnr(a_HWC: U8, b_HWC: U8) -> float:
    """Peak signal-to-noise ratio of two 8-bit images in dB over all channels; infinite when they are equal.

    Raises ValueError when the shapes differ or the pixels are not 8-bit.
    """
    _check(a_HWC, b_HWC)
    squares = 0
    for top, bottom in _strips(a_HWC.shape[0], a_HWC.shape[1] * a_HWC.shape[2]):
        d = np.subtract(a_HWC[top:bottom], b_HWC[top:bottom], dtype=np.int32)
        squares += int(np.square(d, out=d).sum(dtype=np.int64))
    return math.inf if squares == 0 else 10 * math.log10(255 * 255 * a_HWC.size / squares)


def ssim(a_HWC: U8, b_HWC: U8) -> float:
    """Structural similarity of two 8-bit images, at most 1: the formula of [Wang 2004], in at most `ROWS` rows of windows.

    Gaussian window of 11 x 11, sigma 1.5, K1 .01, K2 .03, range 255; each channel on its own; the mean over the windows that lie
    inside the image, in all rows up to `ROWS` and else in that many rows, evenly spread; [Wang 2004] takes all. An image with a
    side under 11 gets the largest odd window that fits. Raises ValueError when the shapes differ or the pixels are not 8-bit.

    With d = a - b and s = a + b, SSIM = (1 - mu_d^2 / (mu_a^2 + mu_b^2 + C1)) * (1 - var_d / (var_a + var_b + C2)): the published
    formula, written so that rounding in float32 touches the distance from 1 and not the 1.
    """
    _check(a_HWC, b_HWC)
    height, width, channels = a_HWC.shape
    taps = _gaussian(min(WINDOW, (min(height, width) - 1) // 2 * 2 + 1))
    inside = height - len(taps) + 1
    rows = min(ROWS, inside)
    tops = (2 * np.arange(rows) + 1) * inside // (2 * rows)
    step = max(1, STRIP_VALUES // (width * channels * len(taps)))
    total = 0.0
    for first in range(0, rows, step):
        under_window = tops[first : first + step, None] + np.arange(len(taps))
        total += _ssim_sum(a_HWC[under_window], b_HWC[under_window], taps)
    windows: int = rows * (width - len(taps) + 1) * channels
    return total / windows


def _ssim_sum(a_RKWC: U8, b_RKWC: U8, taps: F32) -> float:
    """Sum of the SSIM map over R rows of windows, of each of which the K rows of pixels under it are given."""
    shape = *a_RKWC.shape[:2], -1
    a, b = a_RKWC.reshape(shape).astype(np.float32), b_RKWC.reshape(shape).astype(np.float32)
    d = a - b
    s = np.add(a, b, out=a)
    s -= 255  # centred: smaller squares lose less to rounding, and a variance does not mind
    columns = np.stack([_down(d, taps), _down(s, taps), _down(np.square(d, out=d), taps), _down(np.square(s, out=s), taps)])
    mu_d, mu_s, square_d, square_s = _across(columns, taps, channels=a_RKWC.shape[3])
    mu_s2, mu_d2 = np.square(mu_s), np.square(mu_d)
    var_d, var_s = square_d - mu_d2, square_s - mu_s2
    luminance = 1 - mu_d2 / ((np.square(mu_s + 255) + mu_d2) / 2 + C1)
    structure = 1 - var_d / ((var_s + var_d) / 2 + C2)
    return float(np.multiply(luminance, structure, out=luminance).sum(dtype=np.float64))


def _down(x_RKV: F32, taps: F32) -> F32:
    """The K rows of each window, weighted by ``taps``. Not a matrix product: how that rounds depends on threads and processor."""
    return _weighted([x_RKV[:, k] for k in range(len(taps))], taps, len(taps) // 2)


def _across(x: F32, taps: F32, *, channels: int) -> F32:
    """The last axis, of interleaved channels, under the window ``taps`` where it lies inside."""
    inside = x.shape[-1] - channels * (len(taps) - 1)
    return _weighted([x[..., channels * k : channels * k + inside] for k in range(len(taps))], taps, len(taps) // 2)


def _weighted(shifted: list[F32], taps: F32, half: int) -> F32:
    """Sum of ``taps[k] * shifted[k]``, pairing the equal taps of a symmetric window."""
    result: F32 = shifted[half] * taps[half]
    pair = np.empty_like(result)
    for k in range(half):
        np.add(shifted[k], shifted[-1 - k], out=pair)
        pair *= taps[k]
        result += pair
    return result


def _gaussian(size: int) -> F32:
    """Gaussian taps of sigma 1.5 that sum to 1."""
    x = np.arange(size) - size // 2
    bell = np.exp(-(x**2) / (2 * SIGMA**2))
    taps: F32 = (bell / bell.sum()).astype(np.float32)
    return taps


def _strips(rows: int, values_a_row: int) -> Iterator[tuple[int, int]]:
    """(first row, row after the last) of strips of about ``STRIP_VALUES`` values."""
    step = max(16, STRIP_VALUES // values_a_row)
    for top in range(0, rows, step):
        yield top, min(top + step, rows)


def _check(a_HWC: NDArray[Any], b_HWC: NDArray[Any]) -> None:
    if a_HWC.shape != b_HWC.shape or a_HWC.ndim != 3 or 0 in a_HWC.shape:
        raise ValueError(f"expected two images of one shape (H, W, C), got {a_HWC.shape} and {b_HWC.shape}")
    if a_HWC.dtype != np.uint8 or b_HWC.dtype != np.uint8:
        raise ValueError(f"expected 8-bit pixels, got {a_HWC.dtype} and {b_HWC.dtype}")
