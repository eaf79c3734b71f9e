"""Where a change of a photo is seen and where it hides: a just noticeable difference (JND) for each pixel, and the mask made of it.

Source: Chou and Li, "A perceptually tuned subband image coder based on the measure of just-noticeable-distortion profile", IEEE
Transactions on Circuits and Systems for Video Technology 5(6), 1995, for luminance adaptation and texture masking (equations 1 to
7); Yang, Ling, Lu, Ong and Yao, "Just noticeable distortion model and its applications in video coding", Signal Processing: Image
Communication 20(7), 2005, for their sum less what overlaps.

Every filter looks at near pixels alone, each in the same order, so that a part of a photo, cut out with `REACH` pixels around it,
has exactly the values that it has in the whole photo.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from pipeline.images.types import F32, U8, Box

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in what is seen as brightness (ITU-R BT.601)."""
BACKGROUND = np.array([[1, 1, 1, 1, 1], [1, 2, 2, 2, 1], [1, 2, 0, 2, 1], [1, 2, 2, 2, 1], [1, 1, 1, 1, 1]], np.float32) / 32
_ACROSS = np.array([[0, 0, 0, 0, 0], [1, 3, 8, 3, 1], [0, 0, 0, 0, 0], [-1, -3, -8, -3, -1], [0, 0, 0, 0, 0]], np.float32) / 16
_SLANTED = np.array([[0, 0, 1, 0, 0], [0, 8, 3, 0, 0], [1, 3, 0, -3, -1], [0, 0, -3, -8, 0], [0, 0, -1, 0, 0]], np.float32) / 16
GRADIENTS = (_ACROSS, _ACROSS.T, _SLANTED, _SLANTED[:, ::-1])
OVERLAP = 0.3
"""How much of the smaller of both effects is lost where they meet."""
POOL = 4.0
"""Standard deviation, in pixels, of the neighbourhood over which texture is averaged."""
TEXTURE = 3.0
"""Weight of texture beside luminance, that of Liu et al. 2010 ("Just noticeable difference for images with decomposition model")."""
FULL = 12.0
"""The JND, in levels, from which on the mask allows all of epsilon; below, in proportion."""
LEAST = 6
"""The mask allows one level or one in so many of epsilon everywhere, whichever is more."""
REACH = 2 + int(4 * POOL + 0.5)
"""How far from a pixel the photo decides its value."""


def jnd_levels(pixels_HWC: U8) -> F32:
    """The change in levels that is just noticeable at each pixel (H, W), of pixels with one or three channels.

    Luminance adaptation: dark and bright surroundings hide more than middle ones. Texture masking: so does texture. The strength of
    texture is the geometric mean of one plus the gradient over the neighbourhood: a lone edge, beside which everything shows, has
    little of it, hair and leaves have much.
    """
    y_HW = _luma(pixels_HWC)
    background = ndimage.correlate(y_HW, BACKGROUND, mode="mirror")
    gradient = np.zeros_like(y_HW)
    for kernel in GRADIENTS:
        np.maximum(gradient, np.abs(ndimage.correlate(y_HW, kernel, mode="mirror")), out=gradient)
    pooled = np.expm1(ndimage.gaussian_filter(np.log1p(gradient), POOL, mode="mirror"))
    dark = 17 * (1 - np.sqrt(np.minimum(background, 127) / 127)) + 3
    luminance = np.where(background <= 127, dark, 3 / 128 * (background - 127) + 3)
    texture = TEXTURE * np.maximum(pooled * (background * 1e-4 + 0.115) + 0.5 - 0.01 * background, 0)
    jnd: F32 = luminance + texture - OVERLAP * np.minimum(luminance, texture)
    return jnd


def mask_levels(pixels_HWC: U8, most: int, box: Box | None = None) -> U8:
    """How many levels each pixel (H, W, 1) may move, from one sixth of ``most`` (at least one) to ``most``, as its JND says.

    ``box`` is the part of the stored photo that is wanted: the values are those of the whole photo, cut. Raises ValueError for a
    ``most`` that is not a whole number from 1 to 255.
    """
    if isinstance(most, bool) or not isinstance(most, (int, np.integer)) or not 1 <= most <= 255:
        raise ValueError(f"the most levels of a mask are a whole number from 1 to 255, not {most!r}")
    height, width = pixels_HWC.shape[:2]
    left, top, right, bottom = box or (0, 0, width, height)
    x, y = max(0, left - REACH), max(0, top - REACH)
    jnd = jnd_levels(pixels_HWC[y : bottom + REACH, x : right + REACH])[top - y : bottom - y, left - x : right - x]
    mask: U8 = np.clip(np.rint(jnd * (most / FULL)), max(1, most // LEAST), most).astype(np.uint8)
    return mask[..., None]


def _luma(pixels_HWC: U8) -> F32:
    """Brightness (H, W) in levels; of grey photos the levels themselves. No matrix product: its rounding depends on the place."""
    if pixels_HWC.shape[2] == 1:
        return pixels_HWC[..., 0].astype(np.float32)
    red, green, blue = (pixels_HWC[..., c] * np.float32(weight) for c, weight in enumerate(LUMA))
    y: F32 = red + green + blue
    return y
