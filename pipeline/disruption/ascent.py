"""The one ascent loop. FGSM, I-FGSM, PGD, targeted, joint, iterative and robust disruptions are values handed to it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.disruption.balls import Ball

Objective = Callable[[Tensor, int], Tensor]
"""(images (B, C, H, W) in [-1, 1], step number) -> one value per image (B,), to be made large."""


def ascend(
    objective: Objective,
    x_BCHW: Tensor,
    ball: Ball,
    *,
    start_BCHW: Tensor,
    steps: int,
    step_size: float | Tensor,
    last_step: float = 1.0,
) -> Tensor:
    """Climb ``objective`` from ``start`` without leaving ``ball`` around ``x``; returns images (B, C, H, W).

    ``step_size`` is in the units of the ball, one for all or one per image (B, 1, 1, 1); steps shrink evenly to the share
    ``last_step`` of it. The start is taken as it is; every later
    point is projected. Where the gradient is zero the image does not move: with the reference G(x) that is so at x itself, so
    start elsewhere.
    Source: [R20] section 3.2; Madry et al. 2018 for the projection.
    """
    y_BCHW = start_BCHW.detach()
    for t in range(steps):
        g_BCHW = gradient(objective, y_BCHW, t)
        share = 1 - (1 - last_step) * t / max(1, steps - 1)
        y_BCHW = ball.project(y_BCHW + share * step_size * ball.steepest(g_BCHW), x_BCHW)
    return y_BCHW


def gradient(objective: Objective, y_BCHW: Tensor, t: int) -> Tensor:
    """The gradient of each image's own value with respect to that image, same shape as ``y``.

    Values are summed, not averaged, so an image's gradient does not depend on its batch.
    """
    y_BCHW = y_BCHW.detach().requires_grad_(True)
    with torch.enable_grad():
        value_B = objective(y_BCHW, t)
        (g_BCHW,) = torch.autograd.grad(value_B.sum(), y_BCHW)
    return g_BCHW
