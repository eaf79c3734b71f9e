"""How close a protected photo looks to its original: PSNR and SSIM of 8-bit pixels, in strips, so that large photos stay cheap."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

WINDOW, SIGMA = 11, 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
ROW_STRIDE, STRIDE_FROM = 8, 256
STRIP_VALUES = 1 << 17  # values of one plane in work at a time: some ten such planes fit in a core's cache


def psnr(a_HWC: Pixels, b_HWC: Pixels) -> float:
    """Peak signal-to-noise ratio of two 8-bit images in dB over all channels; infinite when they are equal.

    Raises ValueError when the shapes differ or the pixels are not 8-bit.
    """
    _check(a_HWC, b_HWC)
    squares = 0
    for top, bottom in _strips(a_HWC.shape[0], a_HWC.shape[1] * a_HWC.shape[2]):
        d = a_HWC[top:bottom].astype(np.int32) - b_HWC[top:bottom]
        squares += int(np.square(d).sum(dtype=np.int64))
    return math.inf if squares == 0 else 10 * math.log10(255 * 255 * a_HWC.size / squares)


def ssim(a_HWC: Pixels, b_HWC: Pixels) -> float:
    """Structural similarity of two 8-bit images, at most 1 ([Wang 2004]).

    Gaussian window of 11 x 11, sigma 1.5, K1 .01, K2 .03, range 255; each channel on its own; the mean over all windows that lie
    inside the image; from 256 rows on over those of every eighth row, which is as good a mean and much less work. An image with
    a side under 11 gets the largest odd window that fits. Raises ValueError when the shapes
    differ or the pixels are not 8-bit.

    With d = a - b and s = a + b, SSIM = (1 - mu_d^2 / (mu_a^2 + mu_b^2 + C1)) * (1 - var_d / (var_a + var_b + C2)): the published
    formula, written so that rounding in float32 touches the distance from 1 and not the 1.
    """
    _check(a_HWC, b_HWC)
    height, width, channels = a_HWC.shape
    taps = _gaussian(min(WINDOW, (min(height, width) - 1) // 2 * 2 + 1))
    margin = len(taps) - 1
    stride = ROW_STRIDE if height >= STRIDE_FROM else 1
    total, rows = 0.0, len(range(0, height - margin, stride))
    for channel in range(channels):
        a_HW, b_HW = a_HWC[..., channel], b_HWC[..., channel]
        for top, bottom in _strips(height - margin, width):
            total += _ssim_sum(a_HW[top : bottom + margin], b_HW[top : bottom + margin], taps, stride)
    windows: int = rows * (width - margin) * channels
    return total / windows


def _ssim_sum(a_HW: Pixels, b_HW: Pixels, taps: Floats, stride: int) -> float:
    """Sum of the SSIM map over the windows of every ``stride``-th row inside one strip of one channel."""
    a, b = a_HW.astype(np.float32), b_HW.astype(np.float32)
    d = a - b
    s = a + b
    s -= 255  # centred: smaller squares lose less to rounding, and a variance does not mind
    mu_d, mu_s = _smooth(d, taps, stride), _smooth(s, taps, stride)
    var_d = _smooth(np.square(d, out=d), taps, stride) - np.square(mu_d)
    var_s = _smooth(np.square(s, out=s), taps, stride) - np.square(mu_s)
    mu_s += 255
    np.square(mu_d, out=mu_d)
    luminance = 1 - mu_d / ((np.square(mu_s) + mu_d) / 2 + C1)
    structure = 1 - var_d / ((var_s + var_d) / 2 + C2)
    return float(np.multiply(luminance, structure, out=luminance).sum(dtype=np.float64))


def _smooth(x_HW: Floats, taps: Floats, stride: int) -> Floats:
    """Every ``stride``-th row of ``x_HW`` under the separable window ``taps``, where it lies inside."""
    height, width = x_HW.shape
    inside, half = height - len(taps) + 1, len(taps) // 2
    rows = [x_HW[k : k + inside : stride] for k in range(len(taps))]
    column_sums = _weighted(rows, taps, half)
    inside = width - len(taps) + 1
    return _weighted([column_sums[:, k : k + inside] for k in range(len(taps))], taps, half)


def _weighted(shifted: list[Floats], taps: Floats, half: int) -> Floats:
    """Sum of ``taps[k] * shifted[k]``, pairing the equal taps of a symmetric window."""
    result: Floats = shifted[half] * taps[half]
    pair = np.empty_like(result)
    for k in range(half):
        np.add(shifted[k], shifted[-1 - k], out=pair)
        pair *= taps[k]
        result += pair
    return result


def _gaussian(size: int) -> Floats:
    """Gaussian taps of sigma 1.5 that sum to 1."""
    x = np.arange(size) - size // 2
    bell = np.exp(-(x**2) / (2 * SIGMA**2))
    taps: Floats = (bell / bell.sum()).astype(np.float32)
    return taps


def _strips(rows: int, values_a_row: int) -> Iterator[tuple[int, int]]:
    """(first row, row after the last) of strips of about ``STRIP_VALUES`` values."""
    step = max(16, STRIP_VALUES // values_a_row) // ROW_STRIDE * ROW_STRIDE
    for top in range(0, rows, step):
        yield top, min(top + step, rows)


def _check(a_HWC: NDArray[Any], b_HWC: NDArray[Any]) -> None:
    if a_HWC.shape != b_HWC.shape or a_HWC.ndim != 3 or 0 in a_HWC.shape:
        raise ValueError(f"expected two images of one shape (H, W, C), got {a_HWC.shape} and {b_HWC.shape}")
    if a_HWC.dtype != np.uint8 or b_HWC.dtype != np.uint8:
        raise ValueError(f"expected 8-bit pixels, got {a_HWC.dtype} and {b_HWC.dtype}")
