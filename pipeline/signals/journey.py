"""What happens to a photo between its publication and the detector while both are learned: one transform an image, drawn for it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.disruption.robust import ROBUST_TO, EachItsOwn
from pipeline.disruption.streams import Stream
from pipeline.disruption.transforms import Transform


def travelled(x_BCHW: Tensor, seeds_B: Tensor, names: Sequence[str]) -> Tensor:
    """Photos in [-1, 1] as they arrive, same shape: as they are or through one of ``names``, as each one's seed says.

    The gradient passes every transform.
    """
    if not names:
        return x_BCHW
    ways = [_drawn(int(seed), names, x_BCHW) for seed in seeds_B]
    return EachItsOwn(tuple(ways), ((x_BCHW.shape[2], x_BCHW.shape[3]),) * len(x_BCHW))(x_BCHW)


def _drawn(seed: int, names: Sequence[str], x_BCHW: Tensor) -> Transform:
    stream = Stream(torch.Generator().manual_seed(seed))
    draws = [draw for name in names for draw in ROBUST_TO[name]]
    pick = int(torch.randint(0, len(draws) + 1, (), generator=stream.rng))
    C, H, W = x_BCHW.shape[1:]
    return (lambda x: x) if pick == len(draws) else draws[pick](stream, (C, H, W))
