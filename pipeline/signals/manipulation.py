"""Networks that manipulate photos: how one is named, loaded and applied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from pipeline.generators.generator import Generator
from pipeline.generators.zoo import load_generator
from pipeline.images.resize import resize


@dataclass(frozen=True)
class SourceName:
    """One generator by its name in the zoo (or ``my_module:build``) and a file of weights, None for those that are shipped."""

    name: str
    weights: Path | None = None


def source_names(names: Sequence[str], weights: Sequence[Path], *, shipped: Path) -> tuple[SourceName, ...]:
    """Names and weights of a command line, paired; ``shipped`` is the word for weights that come with the package."""
    paths = weights or (shipped,) * len(names)
    return tuple(SourceName(n, None if path == shipped else path) for n, path in zip(names, paths, strict=True))


@lru_cache(maxsize=16)
def load_source(source: SourceName, device: str, dtype: torch.dtype) -> Generator:
    """The generator, loaded once in a process. Raises the zoo's errors, which name it."""
    generator = load_generator(source.name, weights=source.weights)
    generator.net.to(device=device, dtype=dtype)
    return generator


def notes_on_sources(sources: Sequence[SourceName]) -> list[str]:
    """What a user should know of how the weights of these generators were found, each sentence once."""
    return list(dict.fromkeys(note for source in sources for note in load_source(source, "cpu", torch.float32).notes))


def manipulate(generator: Generator, x_BCHW: Tensor, class_B: Tensor) -> Tensor:
    """The generator's translation of photos (B, 3, H, W) in [-1, 1], same shape; ``class_B`` in [0, 1) picks each one's class.

    The generator works at its native side; its output is resized back to the photos' size.
    """
    conditions = [torch.tensor(condition) for condition in generator.classes.values()]
    picks = (class_B * len(conditions)).long().clamp(0, len(conditions) - 1).tolist()
    c_BK = torch.stack([conditions[i] for i in picks]).to(x_BCHW)
    y_BCHW = generator.translate(generator.net, resize(x_BCHW, (generator.size, generator.size)), c_BK)
    return resize(y_BCHW, (x_BCHW.shape[2], x_BCHW.shape[3])).clamp(-1, 1)
