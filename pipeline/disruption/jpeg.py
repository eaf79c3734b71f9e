"""JPEG as a differentiable transform: a baseline encoder and decoder whose rounding lets the gradient pass."""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.images.levels import level_to_unit, unit_to_level

Table = tuple[tuple[int, ...], ...]

LUMA: Table = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA: Table = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8 for _ in range(4)),
)
"""Steps of the quantiser at quality 50. Source: ITU-T T.81, tables K.1 and K.2."""

TO_YCC = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))
"""RGB to Y, Cb, Cr, all around zero. Source: JFIF 1.02."""

ALIVE = 0.3
"""A coefficient gets a gradient from this share of a quantiser step on; the file keeps it from 0.5 on."""


def jpeg(x_BCHW: Tensor, *, quality: int, subsampled: bool = True, corner: tuple[int, int] = (0, 0)) -> Tensor:
    """Photos (B, 3 or 1, H, W) in [-1, 1] after a JPEG file of this quality (1..100), same shape.

    ``subsampled`` halves the sides of the chroma planes (4:2:0). ``corner`` is the (row, column) of the first pixel in the file,
    which is cut into blocks from its own first pixel. Values are within about a level of libjpeg's (mean over a photo).
    """
    C, H, W = x_BCHW.shape[1:]
    unit = 16 if subsampled and C == 3 else 8
    top, left = corner[0] % unit, corner[1] % unit
    levels = F.pad(unit_to_level(x_BCHW) - 0.5, (left, -(left + W) % unit, top, -(top + H) % unit), mode="replicate")
    coded = _code(levels, LUMA, quality) if C == 1 else _code_colour(levels, quality, subsampled=subsampled)
    coded = coded[:, :, top : top + H, left : left + W]
    return level_to_unit(_straight_through(coded, coded.round().clamp(-128, 127)) + 0.5)


def quantiser_steps(table: Table, quality: int) -> Tensor:
    """The (8, 8) steps of a table at a quality of 1..100, as libjpeg scales them."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return ((torch.tensor(table) * percent + 50) // 100).clamp(1, 255)


def _code_colour(levels_B3HW: Tensor, quality: int, *, subsampled: bool) -> Tensor:
    to_ycc = torch.tensor(TO_YCC, dtype=torch.float64)
    ycc = _round(_mix(levels_B3HW, to_ycc))
    luma, chroma = _code(ycc[:, :1], LUMA, quality), ycc[:, 1:]
    if subsampled:
        small = _code(_round(F.avg_pool2d(chroma, 2)), CHROMA, quality)
        chroma = F.interpolate(small, scale_factor=2, mode="bilinear")  # libjpeg's triangle filter
    else:
        chroma = _code(chroma, CHROMA, quality)
    return _mix(torch.cat([luma, chroma], 1), to_ycc.inverse())


def _mix(x_BCHW: Tensor, matrix: Tensor) -> Tensor:
    return torch.einsum("dc,bchw->bdhw", matrix.to(x_BCHW), x_BCHW)


def _code(x_BCHW: Tensor, table: Table, quality: int) -> Tensor:
    """Planes around zero after the quantiser; sides are multiples of 8."""
    B, C, H, W = x_BCHW.shape
    dct, steps = _dct().to(x_BCHW), quantiser_steps(table, quality).to(x_BCHW)
    blocks = x_BCHW.reshape(B, C, H // 8, 8, W // 8, 8).transpose(3, 4)
    quantised = _quantise(dct @ blocks @ dct.T / steps)
    return _round((dct.T @ (quantised * steps) @ dct).transpose(3, 4).reshape(B, C, H, W))


def _quantise(k: Tensor) -> Tensor:
    """Rounded coefficients; the gradient is 1, but 0 for |k| <= 0.3.

    The perturbation then grows in coefficients that the file keeps. Plain straight-through, with a gradient of 1 everywhere, also
    spends it on those that the file drops.
    """
    return _straight_through(torch.where(k.abs() > ALIVE, k, k.detach()), k.round())


def _round(x: Tensor) -> Tensor:
    """Rounded values with a gradient of 1."""
    return _straight_through(x, x.round())


def _straight_through(inner: Tensor, value: Tensor) -> Tensor:
    """``value`` going forward, the gradient of ``inner`` going back."""
    return inner + (value - inner).detach()


@cache
def _dct() -> Tensor:
    """The orthonormal DCT-II of 8 values, (8, 8): row k holds frequency k."""
    at = torch.arange(8, dtype=torch.float64)
    dct = torch.cos((2 * at[None] + 1) * at[:, None] * math.pi / 16) / 2
    dct[0] = 8**-0.5
    return dct
