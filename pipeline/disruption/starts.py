"""Where an ascent starts, image by image, from each image's own random stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pipeline.disruption.balls import Ball
from pipeline.disruption.streams import Stream

JITTER = 1e-3
"""Half-width, in [-1, 1], of the start that only steps off the point where the gradient is zero."""

Start = Callable[[Tensor, Ball, Sequence[Stream]], Tensor]


def clean(x_BCHW: Tensor, ball: Ball, streams: Sequence[Stream]) -> Tensor:
    """The image itself. With the reference G(x) the gradient here is exactly zero."""
    return x_BCHW


def jitter(x_BCHW: Tensor, ball: Ball, streams: Sequence[Stream]) -> Tensor:
    """The image plus at most 0.001 at random: off the zero-gradient point, far below one 8-bit level (0.0078)."""
    eta = torch.stack([stream.uniform_pixels(x_BCHW.shape[1:]) for stream in streams]).to(x_BCHW)
    return ball.project(x_BCHW + eta * JITTER, x_BCHW)


def uniform(x_BCHW: Tensor, ball: Ball, streams: Sequence[Stream]) -> Tensor:
    """A uniform point of the ball, cut by the pixel range: the start of PGD."""
    return ball.project(x_BCHW + ball.draw(x_BCHW, streams), x_BCHW)


STARTS: dict[str, Start] = {"clean": clean, "jitter": jitter, "uniform": uniform}
