"""Randomness by image: each photo has a stream of its own, from a seed that depends on its key and the run's seed alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Stream:
    """The random numbers of one image, drawn on the CPU in float64, and where the image lies.

    ``stored_size`` is its (height, width) in a padded batch, ``corner`` the (row, column) of its first pixel in its file.
    """

    rng: torch.Generator
    stored_size: tuple[int, int] | None = None
    corner: tuple[int, int] = (0, 0)

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """Values uniform in [-1, 1) of any shape."""
        return torch.rand(tuple(shape), generator=self.rng, dtype=torch.float64).mul_(2).sub_(1)

    def uniform_pixels(self, shape_CHW: Sequence[int]) -> Tensor:
        """Values uniform in [-1, 1) for the image's own pixels, zero in its padding: the same whatever the batch."""
        C, H, W = shape_CHW
        h, w = self.stored_size or (H, W)
        return F.pad(self.uniform((C, h, w)), (0, W - w, 0, H - h))


def streams_for(
    keys: Sequence[str],
    seed: int,
    *,
    stored_sizes: Sequence[tuple[int, int]] | None = None,
    corners: Sequence[tuple[int, int]] | None = None,
) -> list[Stream]:
    """One stream per key; the same key and seed give the same numbers on any machine and in any batch."""
    digests = [hashlib.sha256(f"{seed}\0{key}".encode("utf-8", "surrogatepass")).digest() for key in keys]
    rngs = [torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1) for digest in digests]
    sizes: Sequence[tuple[int, int] | None] = stored_sizes or [None] * len(rngs)
    return [Stream(*one) for one in zip(rngs, sizes, corners or [(0, 0)] * len(rngs), strict=True)]
