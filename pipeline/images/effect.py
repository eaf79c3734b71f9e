"""What a disruption does: the difference between a generator's disrupted and undisrupted output, one number per image.

Outputs are in [-1, 1], so an absolute difference lies in [0, 2] and a squared one in [0, 4]. `L2` is a mean square, as in
[Ruiz 2020], not a norm.
"""

from __future__ import annotations

from torch import Tensor

MASK_THRESHOLD = 0.5
"""A pixel is manipulated when the generator moves it by more than this, summed over channels ([Huang 2022], CMUA)."""


def l1(d: Tensor) -> Tensor:
    """Mean absolute value of each image of ``d`` (B, ...) as (B,)."""
    return d.abs().flatten(1).mean(1)


def l2(d: Tensor) -> Tensor:
    """Mean square of each image of ``d`` (B, ...) as (B,)."""
    return d.square().flatten(1).mean(1)


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
