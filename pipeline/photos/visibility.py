"""Where a change of a photo is seen and where it hides: the just noticeable difference (JND) at each pixel, and masks of epsilon.

Source: Chou and Li, "A perceptually tuned subband image coder based on the measure of just-noticeable-distortion profile", IEEE
Transactions on Circuits and Systems for Video Technology 5(6), 1995, equations 1 to 7. For the mask also Yang et al., "Just
noticeable distortion model and its applications in video coding", Signal Processing: Image Communication 20(7), 2005, and Liu et
al., "Just noticeable difference for images with decomposition model for separating edge and textured regions", IEEE Transactions
on Circuits and Systems for Video Technology 20(11), 2010.

Every filter looks at near pixels alone, so that a part of a photo, cut out with `REACH` pixels around it, has the mask that it has
in the whole photo.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from pipeline.images.types import F32, U8, Box

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in what is seen as brightness (ITU-R BT.601)."""
BACKGROUND = np.array([[1, 1, 1, 1, 1], [1, 2, 2, 2, 1], [1, 2, 0, 2, 1], [1, 2, 2, 2, 1], [1, 1, 1, 1, 1]], np.float32) / 32
_LEVEL = np.array([[0, 0, 0, 0, 0], [1, 3, 8, 3, 1], [0, 0, 0, 0, 0], [-1, -3, -8, -3, -1], [0, 0, 0, 0, 0]], np.float32) / 16
_SLANTED = np.array([[0, 0, 1, 0, 0], [0, 8, 3, 0, 0], [1, 3, 0, -3, -1], [0, 0, -3, -8, 0], [0, 0, -1, 0, 0]], np.float32) / 16
GRADIENTS = (_LEVEL, _LEVEL.T, _SLANTED, _SLANTED[:, ::-1])
FLAT = 3.0
"""The JND, in levels, of a smooth middle grey: the smallest there is."""
OVERLAP = 0.3
"""How much of the smaller of two effects is lost where they meet [Yang 2005]."""
TEXTURE = 3.0
"""Weight of texture, where that of edges is 1 [Liu 2010]."""
POOL = 4.0
"""Standard deviation, in pixels, of the neighbourhood that tells texture from a lone edge."""
FULL = 12.0
"""The JND, in levels, from which on a mask allows all of epsilon; below, in proportion."""
LEAST = 6
"""A mask allows one in so many of epsilon everywhere, and at least one level; smooth grey gets a quarter, so few pixels need it."""
REACH = 2 + round(4 * POOL)
"""How far from a pixel the photo decides its mask."""


def jnd_levels(pixels_HWC: U8) -> F32:
    """The JND in levels at each pixel (H, W), exactly as [Chou 1995]: of luminance adaptation and texture masking the larger."""
    background, gradient = _surroundings(pixels_HWC)
    dark = 17 * (1 - np.sqrt(np.minimum(background, 127) / 127)) + 3
    luminance = np.where(background <= 127, dark, 3 / 128 * (background - 127) + 3)
    jnd: F32 = np.maximum(luminance, _texture(background, gradient)).astype(np.float32)
    return jnd


def mask_levels(pixels_HWC: U8, most: int, box: Box | None = None) -> U8:
    """How many levels each pixel (H, W, 1) may move, from ``most // 6`` (at least 1) to ``most``: in proportion to its JND.

    The JND is here that of a smooth grey plus three times that of texture, less what overlaps. The strength of texture is the
    geometric mean of one plus the gradient around a pixel: hair and leaves have much of it; a lone edge, beside which everything
    shows, has little. Darkness and brightness hide nothing: with the luminance adaptation of 1995 black hair got coloured and white
    walls got blotched on a display of today. ``box`` is the part of the stored photo that is wanted. Raises ValueError for a
    ``most`` that is not a whole number from 1 to 255.
    """
    if isinstance(most, bool) or not isinstance(most, (int, np.integer)) or not 1 <= most <= 255:
        raise ValueError(f"the most levels of a mask are a whole number from 1 to 255, not {most!r}")
    height, width = pixels_HWC.shape[:2]
    left, top, right, bottom = box or (0, 0, width, height)
    x, y = max(0, left - REACH), max(0, top - REACH)
    background, gradient = _surroundings(pixels_HWC[y : bottom + REACH, x : right + REACH])
    pooled = np.expm1(ndimage.gaussian_filter(np.log1p(gradient), POOL, mode="mirror"))
    texture = TEXTURE * np.maximum(_texture(background, pooled), 0)
    jnd = FLAT + texture - OVERLAP * np.minimum(FLAT, texture)
    allowed = np.rint(jnd[top - y : bottom - y, left - x : right - x] * (most / FULL))
    mask: U8 = np.clip(allowed, max(1, most // LEAST), most).astype(np.uint8)
    return mask[..., None]


def _surroundings(pixels_HWC: U8) -> tuple[F32, F32]:
    """Mean brightness around each pixel and the largest of four gradients there, in levels, both (H, W)."""
    y_HW = _luma(pixels_HWC)
    gradient = np.zeros_like(y_HW)
    for kernel in GRADIENTS:
        np.maximum(gradient, np.abs(ndimage.correlate(y_HW, kernel, mode="mirror")), out=gradient)
    return ndimage.correlate(y_HW, BACKGROUND, mode="mirror"), gradient


def _texture(background: F32, gradient: F32) -> F32:
    """The JND of texture of this gradient on this background, in levels; equations 3, 6 and 7 of [Chou 1995]."""
    jnd: F32 = gradient * (background * 1e-4 + 0.115) + 0.5 - 0.01 * background
    return jnd


def _luma(pixels_HWC: U8) -> F32:
    """Brightness (H, W) in levels. No matrix product, whose rounding may depend on the place."""
    if pixels_HWC.shape[2] == 1:
        return pixels_HWC[..., 0].astype(np.float32)
    red, green, blue = (pixels_HWC[..., c] * np.float32(weight) for c, weight in enumerate(LUMA))
    y_HW: F32 = red + green + blue
    return y_HW
