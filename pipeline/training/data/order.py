"""Which images a step takes, as a function of the seed and the step alone: a continued training sees what an unbroken one sees."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

from pipeline.training.data.batches import stream_of


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
