"""Generators as what manipulates photos: each with a condition per photo, at the photo's own size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.generators.generator import Generator
from pipeline.generators.zoo import load_generator


@dataclass(frozen=True)
class SourceName:
    """One generator by its name in the zoo (or ``my_module:build``) and a file of weights, None for those that are shipped."""

    name: str
    weights: Path | None = None


def source_names(names: Sequence[str], weights: Sequence[Path], *, shipped: Path) -> tuple[SourceName, ...]:
    """Names and weights of a command line, paired; ``shipped`` is the word for weights that come with the package."""
    given = weights or (shipped,) * len(names)
    return tuple(SourceName(n, None if path == shipped else path) for n, path in zip(names, given, strict=True))


@lru_cache(maxsize=16)
def opened(source: SourceName, device: str, dtype: torch.dtype) -> Generator:
    """The generator, loaded once in a process. Raises the zoo's errors, which name it."""
    generator = load_generator(source.name, weights=source.weights)
    generator.net.to(device=device, dtype=dtype)
    return generator


def manipulated(generator: Generator, x_BCHW: Tensor, class_B: Tensor) -> Tensor:
    """What a generator makes of photos (B, 3, H, W) in [-1, 1], same shape; ``class_B`` in [0, 1) picks each one's class.

    The generator works at its native side; its output is brought back to the photos' side.
    """
    conditions = [torch.tensor(condition) for condition in generator.classes.values()]
    picked = (class_B * len(conditions)).long().clamp(0, len(conditions) - 1).tolist()
    c_BK = torch.stack([conditions[i] for i in picked]).to(x_BCHW)
    y_BCHW = generator.translate(generator.net, resized(x_BCHW, (generator.size, generator.size)), c_BK)
    return resized(y_BCHW, (x_BCHW.shape[2], x_BCHW.shape[3])).clamp(-1, 1)


def resized(x_BCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Images at (H, W), bilinear with antialiasing."""
    if tuple(x_BCHW.shape[2:]) == size:
        return x_BCHW
    return F.interpolate(x_BCHW, size=size, mode="bilinear", align_corners=False, antialias=True)
