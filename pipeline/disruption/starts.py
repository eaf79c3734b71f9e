"""Where an ascent starts, image by image, from a seed that depends on the image's key alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pipeline.disruption.balls import Ball

JITTER = 1e-3
"""Half-width, in [-1, 1], of the start that only steps off the point where the gradient is zero."""

Start = Callable[[Tensor, Ball, list[torch.Generator]], Tensor]


def generators_for(keys: Sequence[str], seed: int) -> list[torch.Generator]:
    """One CPU random generator per key; the same key and seed give the same stream on any machine and in any batch."""
    digests = [hashlib.sha256(f"{seed}\0{key}".encode("utf-8", "surrogatepass")).digest() for key in keys]
    return [torch.Generator().manual_seed(int.from_bytes(d[:8], "big") >> 1) for d in digests]


def clean(x_BCHW: Tensor, ball: Ball, rngs: list[torch.Generator]) -> Tensor:
    """The image itself. With the reference G(x) the gradient here is exactly zero."""
    return x_BCHW


def jitter(x_BCHW: Tensor, ball: Ball, rngs: list[torch.Generator]) -> Tensor:
    """The image plus +-0.001 at random: off the zero-gradient point, far below one 8-bit level (0.0078)."""
    signs = [torch.randint(0, 2, x_BCHW.shape[1:], generator=rng) * 2 - 1 for rng in rngs]
    return ball.project(x_BCHW + torch.stack(signs).to(x_BCHW) * JITTER, x_BCHW)


def uniform(x_BCHW: Tensor, ball: Ball, rngs: list[torch.Generator]) -> Tensor:
    """A uniform point of the ball, cut by the pixel range: the start of PGD."""
    return ball.project(x_BCHW + ball.draw(x_BCHW, rngs), x_BCHW)


STARTS: dict[str, Start] = {"clean": clean, "jitter": jitter, "uniform": uniform}
