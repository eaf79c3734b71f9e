"""What may carry a disruption over to networks that it was not made for: other sizes and places of the photo, smoother gradients.

Both act on what a network sees (B, C, H, W), in its own pixels, so that the size of the photo and of the batch plays no part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.disruption.streams import Stream
from pipeline.images.blur import gaussian_blur
from pipeline.images.resize import resize

LEAST_SHARE = 0.9
"""How far a photo is made smaller at most: to this share of its sides, as 299 of 331 pixels in the paper."""

Placing = tuple[float, float, float]
"""The share of the sides that a smaller photo keeps, and the shares (0 to 1) of the free room that lie above and left of it."""


def draw_placings(streams: Sequence[Stream], share: float, steps: int) -> list[list[Placing | None]]:
    """For each step and photo how it is shown: smaller, in ``share`` of the steps at random, else (None) as it is.

    Four numbers a step from the photo's own stream. Source: Xie et al. 2019, "Improving transferability of adversarial examples
    with input diversity", section 3.3.
    """
    drawn_BT4 = torch.stack([(stream.uniform((steps, 4)) + 1) / 2 for stream in streams])
    return [
        [
            (LEAST_SHARE + (1 - LEAST_SHARE) * size, down, across) if chance < share else None
            for chance, size, down, across in step_B4
        ]
        for step_B4 in drawn_BT4.transpose(0, 1).tolist()
    ]


def place(x_BCHW: Tensor, placings: Sequence[Placing | None]) -> Tensor:
    """Each photo smaller and somewhere on mid-grey, of the same size as before; one without a placing stays as it is."""
    return torch.cat([_place(x_BCHW[i : i + 1], one) if one else x_BCHW[i : i + 1] for i, one in enumerate(placings)])


def _place(x_1CHW: Tensor, placing: Placing) -> Tensor:
    H, W = x_1CHW.shape[2:]
    share, down, across = placing
    h, w = max(1, round(share * H)), max(1, round(share * W))
    top, left = round(down * (H - h)), round(across * (W - w))
    return F.pad(resize(x_1CHW, (h, w)), (left, W - w - left, top, H - h - top))


def smooth_gradient(x_BCHW: Tensor, *, sigma: float) -> Tensor:
    """The same images, whose gradient becomes its convolution with a Gaussian of ``sigma`` pixels, cut at three sigma.

    Source: Dong et al. 2019, "Evading defenses to transferable adversarial examples by translation-invariant attacks", equation 7.
    """
    smoothed: Tensor = _SmoothGradient.apply(x_BCHW, sigma)  # type: ignore[no-untyped-call]
    return smoothed


class _SmoothGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BCHW: Tensor, sigma: float) -> Tensor:
        ctx.sigma = sigma
        return x_BCHW.view_as(x_BCHW)

    @staticmethod
    def backward(ctx: Any, *g: Tensor) -> tuple[Tensor, None]:
        with torch.autocast(g[0].device.type, enabled=False):
            return gaussian_blur(g[0], sigma=ctx.sigma, k=2 * math.ceil(3 * ctx.sigma) + 1), None
