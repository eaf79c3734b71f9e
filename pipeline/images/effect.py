"""What a disruption does: the difference between a generator's disrupted and undisrupted output, one number per image.

Outputs are in [-1, 1], so an absolute difference lies in [0, 2] and a squared one in [0, 4]. `L2` is a mean square, as in
[Ruiz 2020], not a norm. It mixes a change of tone, which anybody undoes, with broken structure; `l2_levelled`, `l2_local`,
`structure_lost` and `output_ssim` tell them apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from pipeline.images.levels import unit_to_pixels
from pipeline.images.quality import ssim
from pipeline.images.types import U8

MASK_THRESHOLD = 0.5
"""A pixel is manipulated when the generator moves it by more than this, summed over channels ([Huang 2022], CMUA)."""


def l1(d: Tensor) -> Tensor:
    """Mean absolute value of each image of ``d`` (B, ...) as (B,)."""
    return d.abs().flatten(1).mean(1)


def l2(d: Tensor) -> Tensor:
    """Mean square of each image of ``d`` (B, ...) as (B,)."""
    return d.square().flatten(1).mean(1)


@dataclass(frozen=True)
class Breakage:
    """How two outputs differ beside L1 and L2, one value per image (B,), on the CPU in float64.

    ``edit`` is the L2 of the edit itself, G(x) to x; the L2 of the disruption over it says how large the disruption is beside it.
    """

    levelled: Tensor
    local: Tensor
    lost: Tensor
    ssim: Tensor
    edit: Tensor


def breakage(disrupted_BCHW: Tensor, output_BCHW: Tensor, x_BCHW: Tensor) -> Breakage:
    """`l2_levelled`, `l2_local`, `structure_lost`, SSIM and the edit's L2 of outputs G(x_d), G(x) and what the generator saw, x."""
    d, y, x = (image.detach().cpu().double() for image in (disrupted_BCHW, output_BCHW, x_BCHW))
    return Breakage(l2_levelled(d, y), *_local_and_lost(d, y), output_ssim(d, y), l2(y - x))


def manipulation_mask(output_BCHW: Tensor, x_BCHW: Tensor) -> Tensor:
    """Where the generator changes the photo: (B, 1, H, W) of zeros and ones ([Huang 2022])."""
    return ((output_BCHW - x_BCHW).abs().sum(1, keepdim=True) > MASK_THRESHOLD).to(output_BCHW.dtype)


def masked_l2(disrupted_BCHW: Tensor, output_BCHW: Tensor, x_BCHW: Tensor) -> Tensor:
    """Mean square difference of the two outputs over the pixels that the generator manipulates, (B,) ([Huang 2022]).

    ``output_BCHW`` is G(x), ``disrupted_BCHW`` is G(protected x). The value of an image where the generator
    manipulates nothing is 0: it is never disrupted and lowers a mean.
    """
    mask_B1HW = manipulation_mask(output_BCHW, x_BCHW)
    channels = output_BCHW.shape[1]
    total_B = ((disrupted_BCHW - output_BCHW) * mask_B1HW).square().flatten(1).sum(1)
    count_B = channels * mask_B1HW.flatten(1).sum(1)
    return total_B / count_B.clamp(min=1)


def l2_levelled(disrupted_B: Tensor, output_B: Tensor) -> Tensor:
    """What is left of `l2` between two outputs (B, C, ...) after auto levels on the disrupted one, as (B,).

    The mean over channels of min over (a, b) of mean((a y_d + b - y)^2) = var(y) (1 - rho^2), with y the output, y_d the disrupted
    one and rho their correlation: from 0, where they differ by brightness and contrast, to the variance of the output.
    Source: least squares in one variable.
    """
    y_BCN, d_BCN = _centred(output_B), _centred(disrupted_B)
    square_BC1 = d_BCN.square().sum(2, keepdim=True)
    gain_BC1 = (y_BCN * d_BCN).sum(2, keepdim=True) / square_BC1.clamp_min(torch.finfo(d_BCN.dtype).tiny)
    return l2(gain_BC1 * d_BCN - y_BCN)


def l2_local(disrupted_BCHW: Tensor, output_BCHW: Tensor) -> Tensor:
    """`l2_levelled` of the two outputs less their local means, (B,): what changed in lines and texture, whatever the shading."""
    return _local_and_lost(disrupted_BCHW, output_BCHW)[0]


def structure_lost(disrupted_BCHW: Tensor, output_BCHW: Tensor) -> Tensor:
    """Which share of an output's lines and texture the disrupted output no longer has, (B,), from 0 to 1.

    `l2_local` over the variance of the output less its local mean, channels together: of one channel 1 - rho^2, rho the correlation
    of the two outputs less their local means. 0 where the output has no structure, and nothing is lost.
    """
    return _local_and_lost(disrupted_BCHW, output_BCHW)[1]


def _local_and_lost(disrupted_BCHW: Tensor, output_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    """`l2_local` and `structure_lost`, with one local mean of each output."""
    d_BCHW, y_BCHW = (image - local_mean(image) for image in (disrupted_BCHW, output_BCHW))
    local_B, structure_B = l2_levelled(d_BCHW, y_BCHW), l2(_centred(y_BCHW))
    return local_B, local_B / structure_B.clamp_min(torch.finfo(structure_B.dtype).tiny)


def l2_edges(disrupted_BCHW: Tensor, output_BCHW: Tensor) -> Tensor:
    """Mean square of the change of the steps from pixel to pixel, to the right and down, (B,)."""
    d_BCHW = disrupted_BCHW - output_BCHW
    return l2(d_BCHW.diff(dim=3)) + l2(d_BCHW.diff(dim=2))


def local_mean(x_BCHW: Tensor) -> Tensor:
    """The mean around each pixel, same shape: a Gaussian with sigma 1/32 of the shorter side, over the pixels that there are."""
    sigma = min(x_BCHW.shape[2:]) / 32
    down_HH, across_WW = (_gaussian_rows(side, sigma).to(x_BCHW) for side in x_BCHW.shape[2:])
    return down_HH @ x_BCHW @ across_WW.T


def output_ssim(disrupted_BCHW: Tensor, output_BCHW: Tensor) -> Tensor:
    """SSIM of the two outputs as 8-bit pictures, (B,): 1 where they look the same ([Wang 2004], see `pipeline.images.quality`)."""
    pictures = [as_pictures(y_BCHW) for y_BCHW in (disrupted_BCHW, output_BCHW)]
    return torch.tensor([ssim(*pair) for pair in zip(*pictures, strict=True)], dtype=torch.float64)


def as_pictures(y_BCHW: Tensor) -> list[U8]:
    """Images in [-1, 1] as 8-bit pictures (H, W, C)."""
    return list(unit_to_pixels(y_BCHW.detach()).permute(0, 2, 3, 1).to("cpu", torch.uint8).numpy())


def _centred(y_B: Tensor) -> Tensor:
    """(B, C, ...) as (B, C, N), each channel less its mean."""
    y_BCN = y_B.flatten(2)
    return y_BCN - y_BCN.mean(2, keepdim=True)


@cache
def _gaussian_rows(side: int, sigma: float) -> Tensor:
    """(side, side): row i holds the weights of a Gaussian around pixel i; they sum to 1."""
    at = torch.arange(side, dtype=torch.float64)
    bell = torch.exp(-(at[:, None] - at).square() / (2 * sigma**2))
    return bell / bell.sum(1, keepdim=True)
