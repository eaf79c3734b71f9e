"""Denoisers with which an attacker tries to remove the perturbation from a file."""

from __future__ import annotations

import numpy as np

from pipeline.channels.operations import to_image
from pipeline.images.types import F32, U8

STRIP_VALUES = 1 << 16
"""Values that the bilateral filter works on at a time: they and their weights fit in a core's cache."""


def bilateral(pixels_HWC: U8, *, radius: int = 2, sigma: float = 1.5, sigma_levels: float = 12.0) -> U8:
    """Each pixel as the mean of its neighbours, weighted by nearness (``sigma`` pixels) and likeness (``sigma_levels``).

    Likeness counts all channels together, so edges of any colour stay sharp. Source: Tomasi and Manduchi 1998.
    """
    to_image(pixels_HWC)
    rows = max(8, STRIP_VALUES // (pixels_HWC.shape[1] * pixels_HWC.shape[2]))
    padded = np.pad(pixels_HWC, ((radius, radius), (radius, radius), (0, 0)), mode="edge")
    strips = (padded[top : top + rows + 2 * radius] for top in range(0, pixels_HWC.shape[0], rows))
    return np.concatenate([_bilateral_strip(strip.astype(np.float32), radius, sigma, sigma_levels) for strip in strips])


def _bilateral_strip(strip: F32, radius: int, sigma: float, sigma_levels: float) -> U8:
    """The filtered middle of a strip with ``radius`` pixels of margin on each side."""
    height, width = strip.shape[0] - 2 * radius, strip.shape[1] - 2 * radius
    middle = strip[radius : radius + height, radius : radius + width]
    total, weights = np.zeros_like(middle), np.zeros((height, width, 1), np.float32)
    for down in range(2 * radius + 1):
        for right in range(2 * radius + 1):
            other = strip[down : down + height, right : right + width]
            far = ((down - radius) ** 2 + (right - radius) ** 2) / (2 * sigma**2)
            unlike = np.square(other - middle).mean(2, keepdims=True) / np.float32(2 * sigma_levels**2)
            weight = np.exp(-(unlike + np.float32(far)))
            total += weight * other
            weights += weight
    return np.rint(total / weights).clip(0, 255).astype(np.uint8)


def wavelet(pixels_HWC: U8, *, levels: int = 2, threshold: float = 4.0) -> U8:
    """Soft thresholding of Haar details in each channel, averaged over four shifts (cycle spinning, no blocks).

    ``threshold`` in 8-bit levels of an orthonormal transform. Source: Donoho 1995; Coifman and Donoho 1995.
    """
    to_image(pixels_HWC)
    height, width = pixels_HWC.shape[:2]
    block = 2**levels
    shifts = range(0, block, max(1, block // 4))
    out = np.empty_like(pixels_HWC)
    for channel in range(pixels_HWC.shape[2]):
        total = np.zeros((height, width), np.float32)
        for shift in shifts:
            bottom, right = -(height + shift) % block, -(width + shift) % block
            plane = np.pad(pixels_HWC[:, :, channel], ((shift, bottom), (shift, right)), mode="edge").astype(np.float32)
            total += _shrink_haar(plane, levels, threshold)[shift : shift + height, shift : shift + width]
        total /= len(shifts)
        out[:, :, channel] = np.rint(total).clip(0, 255)
    return out


def _shrink_haar(plane_HW: F32, levels: int, threshold: float) -> F32:
    """A plane whose Haar details of ``levels`` levels are shrunk by ``threshold``."""
    if levels == 0:
        return plane_HW
    a, b = plane_HW[0::2, 0::2], plane_HW[0::2, 1::2]
    c, d = plane_HW[1::2, 0::2], plane_HW[1::2, 1::2]
    half = np.float32(0.5)
    coarse = _shrink_haar(half * (a + b + c + d), levels - 1, threshold)
    across, down, cross = (_shrink(half * v, threshold) for v in (a - b + c - d, a + b - c - d, a - b - c + d))
    out = np.empty_like(plane_HW)
    out[0::2, 0::2] = (coarse + across + down + cross) / 2
    out[0::2, 1::2] = (coarse - across + down - cross) / 2
    out[1::2, 0::2] = (coarse + across - down - cross) / 2
    out[1::2, 1::2] = (coarse - across - down + cross) / 2
    return out


def _shrink(detail: F32, threshold: float) -> F32:
    shrunk: F32 = np.sign(detail) * np.maximum(np.abs(detail) - np.float32(threshold), np.float32(0))
    return shrunk
