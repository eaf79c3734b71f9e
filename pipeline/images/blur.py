"""Separable blurs of images, differentiable: a defence of a generator, and what a disruption is to survive."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Transform = Callable[[Tensor], Tensor]
"""Images (B, C, H, W) to images, differentiable."""


def blur_input(net: nn.Module, sigma: float) -> None:
    """Make the net blur its first argument, the images: a Gaussian of ``sigma`` pixels, none for 0."""
    if sigma > 0:
        net.register_forward_pre_hook(partial(_blur_first, sigma))


def _blur_first(sigma: float, net: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return (gaussian_blur(arguments[0], sigma=sigma), *arguments[1:])


def gaussian_blur(x_BCHW: Tensor, *, sigma: float, k: int = 11) -> Tensor:
    """x convolved with a k x k Gaussian that sums to 1, zero (mid-grey) padding; ``sigma`` in pixels."""
    at = torch.arange(k, dtype=x_BCHW.dtype, device=x_BCHW.device) - (k - 1) / 2
    line = torch.exp(-at.square() / (2 * sigma**2))
    return _separable(x_BCHW, line / line.sum())


def box_blur(x_BCHW: Tensor, *, k: int) -> Tensor:
    """The mean over k x k pixels, zero (mid-grey) padding."""
    return _separable(x_BCHW, torch.full((k,), 1 / k, dtype=x_BCHW.dtype, device=x_BCHW.device))


BLURS: dict[str, Transform] = {
    **{f"gaussian-{sigma}": partial(gaussian_blur, sigma=sigma) for sigma in (1.0, 1.5, 2.0, 2.5, 3.0)},
    **{f"box-{k}": partial(box_blur, k=k) for k in (3, 5, 7, 9)},
}
"""The blurs of [R20] section 3.5: Gaussian k = 11 with five widths, box with four."""


def _separable(x_BCHW: Tensor, line_K: Tensor) -> Tensor:
    C, k = x_BCHW.shape[1], len(line_K)
    rows = F.conv2d(x_BCHW, line_K.view(1, 1, 1, k).expand(C, 1, 1, k), padding=(0, k // 2), groups=C)
    return F.conv2d(rows, line_K.view(1, 1, k, 1).expand(C, 1, k, 1), padding=(k // 2, 0), groups=C)
