"""The terms of the signals' loss, each a pure function. Source: [A22] and FACTS section 5, as quoted in each docstring.

Signals are (n, C, H, W) in [-1, 1] units. All means are over pixels, so that a term does not grow with the resolution.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Region = Literal["low", "high"]
FLAT = 1e-12
"""Below this spread a signal counts as flat, which has no min-max form."""


def detection(logit_B: Tensor, untouched_B: Tensor) -> Tensor:
    """L_b = -mean_j [r_j log net(.) + (1 - r_j) log(1 - net(.))], with net(.) the sigmoid of a logit and r_j = 1 for untouched."""
    return F.binary_cross_entropy_with_logits(logit_B, untouched_B.to(logit_B))


def magnitude(signals_nCHW: Tensor) -> Tensor:
    """L_m = ||eta_i||_2^2 per value, averaged over the set: 0 without signals."""
    return _mean(signals_nCHW.square())


def filtered_energy(signals_nCHW: Tensor, *, k: float, region: Region = "low", dc: float = 1.0) -> Tensor:
    """L_c = ||Filter(FFT(eta_i), k)||_2^2 per value, averaged over the set; 0 without signals.

    The filter keeps the central part of the shifted 2D spectrum whose sides are the share ``k`` of it (0..1), as written; with
    ``region`` high it keeps the rest, so that high frequencies cost. ``dc`` weighs the power of the mean, which is most of L_c
    for fresh signals. The FFT is orthonormal and k a share, so the resolution at which a signal is given changes nothing.
    """
    if not signals_nCHW.numel():
        return _mean(signals_nCHW)
    H, W = signals_nCHW.shape[-2:]
    power = torch.fft.fft2(signals_nCHW, norm="ortho").abs().square()
    down, across = (torch.fft.fftfreq(side, device=power.device).abs() * 2 <= k for side in (H, W))
    low_HW = (down[:, None] & across[None]).to(power)
    filter_HW = low_HW if region == "low" else 1 - low_HW
    weight_HW = torch.ones(H, W, device=power.device, dtype=power.dtype)
    weight_HW[0, 0] = dc
    energy: Tensor = (power * filter_HW * weight_HW).mean()
    return energy


def separation(signals_nCHW: Tensor, recovered_BCHW: Tensor, *, weight_B: Tensor | None = None) -> Tensor:
    """L_s = max_k cos(MinMax(eta_k), MinMax(eta_hat)), averaged over images; eta_hat is recovered from a manipulated one.

    Defined as 0 for fewer than two signals. ``weight_B`` weighs the images, 0 for a photo that was edited in part and so
    still carries its signal.
    """
    if len(signals_nCHW) < 2:
        return _mean(signals_nCHW[:0])
    most_B = (minmax(recovered_BCHW) @ minmax(signals_nCHW).T).amax(1)
    return most_B.mean() if weight_B is None else (weight_B * most_B).mean()


def pairwise(signals_nCHW: Tensor) -> Tensor:
    """L_p = sum over i < j of cos(MinMax(eta_i), MinMax(eta_j)). Defined as 0 for fewer than two signals."""
    if len(signals_nCHW) < 2:
        return _mean(signals_nCHW[:0])
    unit_nD = minmax(signals_nCHW)
    return (unit_nD @ unit_nD.T).triu(1).sum()


def recovery(signals_BCHW: Tensor, recovered_BCHW: Tensor) -> Tensor:
    """The extra term of [A22]: 1 - cos(eta_i, eta_hat), averaged over images, eta_hat recovered from x + eta_i."""
    return 1 - F.cosine_similarity(signals_BCHW.flatten(1), recovered_BCHW.flatten(1), dim=1, eps=FLAT).mean()


def minmax(images_BCHW: Tensor) -> Tensor:
    """(x - min x) / (max x - min x) of each image, scaled to length 1: (B, C*H*W). A flat image becomes zeros."""
    x_BD = images_BCHW.flatten(1)
    low_B1, high_B1 = x_BD.amin(1, keepdim=True), x_BD.amax(1, keepdim=True)
    return F.normalize((x_BD - low_B1) / (high_B1 - low_B1).clamp_min(FLAT), dim=1, eps=FLAT)


def _mean(x: Tensor) -> Tensor:
    return x.mean() if x.numel() else x.sum()
