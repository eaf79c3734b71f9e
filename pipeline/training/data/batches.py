"""Batches to train on. The batch of a step depends on the seed and the step alone, so a resumed training sees the same order."""

from __future__ import annotations

import hashlib
import zlib
from typing import Protocol

import torch
from torch import Tensor

from pipeline.training.systems.system import Batch


class Source(Protocol):
    """Where a training's images come from."""

    def batch(self, step: int) -> Batch:
        """The whole batch of a step, on the CPU: images float32 in [-1, 1]; the same for the same step, whoever asks and when."""

    def held_out(self) -> Batch:
        """A few images that are never trained on, for sample grids; the tensors of ``batch``."""


def stream_of(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step's batch."""
    digest = hashlib.sha256(f"{seed} {step}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def shuffled(seed: int, step: int, *, batch: int, count: int, about: str) -> Tensor:
    """The images (batch,) of a step: cut out of an endless row of permutations, so that each epoch takes every image once.

    ``about`` names the set, so that two sets of a training are in different orders.
    """
    first = step * batch
    epochs = range(first // count, (first + batch - 1) // count + 1)
    own_seed = seed * 2**32 + zlib.crc32(about.encode())
    row = torch.cat([torch.randperm(count, generator=stream_of(own_seed, epoch)) for epoch in epochs])
    start = first - epochs[0] * count
    return row[start : start + batch]
