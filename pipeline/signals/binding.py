"""A photo's own tints mix the signals that it carries, so that a signal fits its content and no other. Without torch.

The n signals are pairs. At each place the two of a pair are mixed as cosine and sine of a phase, which is a tint there, averaged
over the neighbourhood, in units of `PERIOD`, plus an offset that the secret decides. Honest handling hardly moves such a tint; a
network that gives a photo back in other tones moves it, and the signal that it kept does not fit any more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from pipeline.images.types import F32, U8

BLUR = 1 / 16
"""Sigma of the average over a neighbourhood, as a share of the side."""
PERIOD = 8.0
"""Levels of tint that turn a phase once."""
KNEE = 10.0
"""Beyond so many levels a tint counts less and less (asinh): light makes strong colours stronger, and that is no manipulation."""
DRIVE = 2.4
"""How much stronger a mixture is than its signals before it is cut to the budget: a mixture seldom reaches it."""
CHROMA = np.array([[-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)
"""Cb and Cr of red, green and blue: ITU-R BT.601, as JPEG has them."""


def small(pixels_HWC: U8, size: int) -> U8:
    """A picture (H, W, 3 or 1) as its tints are read: (size, size, 3)."""
    image = Image.fromarray(pixels_HWC[..., 0] if pixels_HWC.shape[2] == 1 else pixels_HWC)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0).convert("RGB"))


def phases(levels_3SS: F32, pairs: int) -> F32:
    """The phase of each pair of signals at each place of a picture (3, S, S) in levels: (pairs, S, S), in radians.

    Two pairs follow Cb and Cr, other numbers of pairs follow directions between them, evenly spread.
    """
    sigma = BLUR * levels_3SS.shape[-1]
    tint_2SS = gaussian_filter(np.tensordot(CHROMA, levels_3SS, 1), (0, sigma, sigma), mode="reflect", truncate=3.0)
    tint_2SS = KNEE * np.arcsinh(tint_2SS / KNEE)
    angles = [math.pi * pair / pairs for pair in range(pairs)]
    directions_m2 = np.array([[math.cos(angle), math.sin(angle)] for angle in angles], np.float32).reshape(pairs, 2)
    phase_mSS: F32 = (2 * math.pi / PERIOD * np.tensordot(directions_m2, tint_2SS, 1)).astype(np.float32)
    return phase_mSS


def weights(phase_mSS: F32, offsets: Sequence[float]) -> F32:
    """The weight of each of n signals at each place, (n, S, S), with the pairs' offsets in radians; their squares add up to 1."""
    angle_mSS = phase_mSS + np.asarray(offsets, np.float32)[:, None, None]
    weight_nSS: F32 = np.stack([np.cos(angle_mSS), np.sin(angle_mSS)], 1).reshape(-1, *phase_mSS.shape[1:])
    weight_nSS /= np.float32(math.sqrt(max(len(offsets), 1)))
    return weight_nSS


def mixture(signals_nCSS: F32, weight_nSS: F32, budget: float) -> F32:
    """The signal of a photo, (C, S, S) in the unit of the budget and nowhere larger than it."""
    mixed_CSS: F32 = np.clip(DRIVE * (signals_nCSS * weight_nSS[:, None]).sum(0), -budget, budget)
    return mixed_CSS
