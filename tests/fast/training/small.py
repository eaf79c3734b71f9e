"""Small nets and faces that training tests share, in float64 so that two ways of counting agree to the last digits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pipeline.training.data.faces import Faces
from pipeline.training.state import TrainState
from pipeline.training.systems.stargan import StarGANSystem
from pipeline.training.systems.system import Batch, Sizes

SIZES = Sizes(image=64, conv_dim=2, d_conv_dim=2)


def fresh(
    system: StarGANSystem | None = None, *, seed: int = 3, dtype: torch.dtype = torch.float64, lr: float = 1e-3
) -> TrainState:
    return TrainState.fresh(system or StarGANSystem(), SIZES, seed=seed, lr=lr, dtype=dtype)


def faces(count: int = 6, size: int = 64) -> Faces:
    rng = torch.Generator().manual_seed(1)
    coarse = torch.rand(count, 3, 4, 4, generator=rng)
    images = (torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear") * 255).to(torch.uint8)
    labels = torch.tensor([[1.0, 0, 0, 1, 0], [0, 1, 1, 0, 1], [0, 0, 1, 1, 0]])[torch.arange(count) % 3]
    known = torch.ones(count, 5)
    known[2::3, :2] = 0
    return Faces(tuple(f"{i}.png" for i in range(count)), images, labels, known)


def batch_of(count: int = 4, dtype: torch.dtype = torch.float64) -> Batch:
    some = faces(count)
    images = some.in_memory.to(dtype) / 127.5 - 1
    return {"image": images, "labels": some.labels_NK.to(dtype), "known": some.known_NK.to(dtype)}


def flat(content: Any, path: str = "") -> dict[str, Tensor | float | str]:
    """Every tensor and number inside nested dicts and lists, by its path."""
    if isinstance(content, dict):
        items = [(str(k), v) for k, v in content.items()]
    elif isinstance(content, list | tuple):
        items = [(str(i), v) for i, v in enumerate(content)]
    else:
        return {path: content}
    return {k: v for name, part in items for k, v in flat(part, f"{path}/{name}").items()}


def differing(a: TrainState, b: TrainState) -> list[str]:
    """Which entries of two states are not the same bit for bit."""
    first, second = flat(a.content()), flat(b.content())
    shared = first.keys() & second.keys()
    return sorted((first.keys() ^ second.keys()) | {name for name in shared if not _same(first[name], second[name])})


def _same(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, Tensor) else bool(a == b)
